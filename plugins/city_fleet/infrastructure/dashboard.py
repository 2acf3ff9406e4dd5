"""A page of CloudWatch that shows an installation: endpoints, predictions, function, arrivals, what went live. Pure.

On metrics that AWS counts by itself, and on those of predictions, which the function counts where it is told to. By
names alone: what is not there, or not counted, is an empty picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from city_fleet.config.endpoint_section import OWN
from city_fleet.infrastructure.cloudformation import ACCOUNT, PARTITION, REGION, Resource, resource
from city_fleet.infrastructure.names import StackNames
from city_fleet.plan import endpoint_name

#: Where the function that applications ask counts predictions, each with the dimensions Fleet and Environment.
NAMESPACE = "CityFleet"
_VARIANT = "AllTraffic"
_WIDTH, _HEIGHT, _ALARMS_HEIGHT = 8, 6, 2
#: Alarms that every installation has.
_ALARMS = ("endpoint_errors", "endpoint_cache", "endpoint_loading", "arrivals_lost")
_Metric = tuple[str, str, Mapping[str, str], str]


def resources(names: StackNames) -> dict[str, Resource]:
    """Return the dashboard."""
    body = json.dumps({"widgets": _widgets(names)}, separators=(",", ":"))
    return {
        "Dashboard": resource(
            "AWS::CloudWatch::Dashboard", {"DashboardName": names.stack, "DashboardBody": {"Fn::Sub": body}}
        )
    }


def _widgets(names: StackNames) -> list[dict[str, Any]]:
    fleet = names.fleet
    endpoints = [endpoint_name(fleet, each) for each in (OWN, *sorted(fleet.endpoints))]
    of_fleet = {"Fleet": fleet.fleet, "Environment": fleet.environment}
    function, retrain = {"FunctionName": names.of("predict")}, {"FunctionName": names.of("retrain")}

    def endpoint(metric: str, statistic: str) -> list[_Metric]:
        return [
            ("AWS/SageMaker", metric, {"EndpointName": name, "VariantName": _VARIANT}, statistic)
            for name in endpoints
        ]

    def machine(metric: str) -> list[_Metric]:
        return [
            ("/aws/sagemaker/Endpoints", metric, {"EndpointName": name, "VariantName": _VARIANT}, "Average")
            for name in endpoints
        ]

    def queue(metric: str, purpose: str) -> _Metric:
        return ("AWS/SQS", metric, {"QueueName": names.of(purpose)}, "Maximum")

    graphs: Sequence[tuple[str, list[_Metric]]] = (
        ("Requests of the endpoint, and its errors", [
            *endpoint("Invocations", "Sum"), *endpoint("Invocation4XXErrors", "Sum"),
            *endpoint("Invocation5XXErrors", "Sum"),
        ]),
        ("Microseconds that models take", [*endpoint("ModelLatency", "p50"), *endpoint("ModelLatency", "p99")]),
        ("Microseconds until a model is loaded", endpoint("ModelLoadingWaitTime", "Average")),
        ("Share of requests whose model was loaded", endpoint("ModelCacheHit", "Average")),
        ("Models in memory", endpoint("LoadedModelCount", "Maximum")),
        ("Percent of memory and CPU", [*machine("MemoryUtilization"), *machine("CPUUtilization")]),
        ("Predictions by city's name, errors, cold loads", [
            (NAMESPACE, metric, of_fleet, "Sum") for metric in ("Predictions", "Errors", "ColdLoads")
        ]),
        ("Latency of predictions", [(NAMESPACE, "Latency", of_fleet, each) for each in ("p50", "p99")]),
        ("The function: calls, errors, throttles", [
            ("AWS/Lambda", metric, function, "Sum") for metric in ("Invocations", "Errors", "Throttles")
        ]),
        ("Data that have arrived", [
            queue("ApproximateNumberOfMessagesVisible", "arrivals"),
            queue("ApproximateNumberOfMessagesVisible", "arrivals_failed"),
        ]),
        ("Runs started for them", [("AWS/Lambda", each, retrain, "Sum") for each in ("Invocations", "Errors")]),
        ("Models that went live", [("AWS/Events", "TriggeredRules", {"RuleName": names.of("moves")}, "Sum")]),
    )  # fmt: skip
    alarms = [f"arn:{PARTITION}:cloudwatch:{REGION}:{ACCOUNT}:alarm:{names.of(each)}" for each in _ALARMS]
    head = {
        "type": "alarm", "x": 0, "y": 0, "width": 3 * _WIDTH, "height": _ALARMS_HEIGHT,
        "properties": {"title": f"{fleet.fleet}, {fleet.environment}", "alarms": alarms},
    }  # fmt: skip
    return [head, *(_graph(title, metrics, number) for number, (title, metrics) in enumerate(graphs))]


def _graph(title: str, metrics: Sequence[_Metric], number: int) -> dict[str, Any]:
    row, column = divmod(number, 3)
    shown = [
        [namespace, metric, *(text for pair in dimensions.items() for text in pair), {"stat": statistic}]
        for namespace, metric, dimensions, statistic in metrics
    ]
    return {
        "type": "metric", "x": column * _WIDTH, "y": _ALARMS_HEIGHT + row * _HEIGHT, "width": _WIDTH, "height": _HEIGHT,
        "properties": {"title": title, "region": REGION, "period": 300, "view": "timeSeries", "metrics": shown},
    }  # fmt: skip
