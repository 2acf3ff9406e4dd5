"""What calls for somebody: alarms on the endpoint, the functions and the queue, and a budget. Pure.

All on metrics that AWS itself counts; nothing in a run reports to CloudWatch. That champions move is counted by
EventBridge: S3 says that a live pointer was written, and a rule passes it on to a topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from city_fleet.config import Fleet
from city_fleet.infrastructure.arrivals import created_below
from city_fleet.infrastructure.cloudformation import (
    ACCOUNT,
    PARTITION,
    REGION,
    Resource,
    attribute,
    document,
    either,
    no_value,
    ref,
    resource,
    statement,
    sub,
)
from city_fleet.infrastructure.names import StackNames
from city_fleet.infrastructure.policies import key_arn
from city_fleet.ticks import next_tick

#: CloudWatch looks back a week at most where an alarm's period is an hour or longer.
LONGEST_DAYS = 7
_DAY, _FIVE_MINUTES = 86_400, 300
#: A model that others have pushed out of memory is loaded anew while somebody waits.
CACHE_HITS_PER_HUNDRED = 0.5
LOADING_MICROSECONDS = 10_000_000
_VARIANT = "AllTraffic"
#: Some ticks of the calendar, to see how far apart those of a schedule are.
_FROM, _LOOKED_AT = datetime(2026, 1, 1, tzinfo=UTC), 40


def resources(names: StackNames) -> dict[str, Resource]:
    """Return both topics, the rule that counts moves, the alarms and the budget."""
    return {**_topics(names), **_endpoint(names), **_functions(names), **_arrivals(names), **_moves(names),
            "Budget": _budget(names)}  # fmt: skip


def quiet_days(fleet: Fleet) -> int | None:
    """Return after how many days without a move of any champion something is wrong.

    :return: None for a fleet whose schedule leaves a week or more between its runs, or that has none: CloudWatch does
        not look back that far. ``./fleet status`` does.
    """
    gaps = [
        _longest_gap(schedule) for schedule in {city.schedule for city in fleet.cities.values()} if schedule
    ]
    if not gaps:
        return None
    shortest = min(gaps)
    # A night's models may all be held, and the next night's too.
    days = 3 * -(-shortest // timedelta(days=1))
    return min(days, LONGEST_DAYS) if shortest < timedelta(days=LONGEST_DAYS) else None


def _longest_gap(schedule: str) -> timedelta:
    before, longest = next_tick(schedule, _FROM), timedelta()
    try:
        for _ in range(_LOOKED_AT):
            tick = next_tick(schedule, before)
            longest, before = max(longest, tick - before), tick
    except ValueError:  # the calendar ends
        return timedelta.max
    return longest


def _topics(names: StackNames) -> dict[str, Resource]:
    of_account = {
        "StringEquals": {"aws:SourceAccount": sub(ACCOUNT)},
        "ArnLike": {"aws:SourceArn": sub(f"arn:{PARTITION}:cloudwatch:{REGION}:{ACCOUNT}:alarm:*")},
    }
    of_rule = {"ArnEquals": {"aws:SourceArn": attribute("MovesRule")}}
    encrypted = {"KmsMasterKeyId": key_arn()}
    return {
        "AlarmTopic": resource("AWS::SNS::Topic", {"TopicName": names.of("alarms"), **encrypted}),
        "AlarmTopicPolicy": resource(
            "AWS::SNS::TopicPolicy",
            {
                "Topics": [ref("AlarmTopic")],
                "PolicyDocument": _may_publish(
                    "AlarmTopic", "AlarmsSpeakHere", "cloudwatch.amazonaws.com", of_account
                ),
            },
        ),
        "AlarmMail": resource(
            "AWS::SNS::Subscription",
            {"TopicArn": ref("AlarmTopic"), "Protocol": "email", "Endpoint": ref("AlarmEmail")},
            condition="HasEmail",
        ),
        "MovesTopic": resource("AWS::SNS::Topic", {"TopicName": names.of("moves"), **encrypted}),
        "MovesTopicPolicy": resource(
            "AWS::SNS::TopicPolicy",
            {
                "Topics": [ref("MovesTopic")],
                "PolicyDocument": _may_publish(
                    "MovesTopic", "TheRuleSpeaksHere", "events.amazonaws.com", of_rule
                ),
            },
        ),
        "MovesRule": resource(
            "AWS::Events::Rule",
            {
                "Name": names.of("moves"),
                "Description": "A city's live pointer was written: another model serves, or it was pinned",
                "EventPattern": created_below(names, names.fleet.keys.live_prefix()),
                "State": "ENABLED",
                "Targets": [{"Id": "moves", "Arn": ref("MovesTopic")}],
            },
        ),
    }


def _may_publish(topic: str, sid: str, service: str, conditions: dict[str, Any]) -> dict[str, Any]:
    return document(statement(sid, {"Service": service}, "sns:Publish", ref(topic), **conditions))


def _alarm(
    names: StackNames,
    purpose: str,
    says: str,
    *,
    namespace: str,
    metric: str,
    dimensions: dict[str, Any],
    statistic: str = "Sum",
    above: float | None = None,
    below: float | None = None,
    period_seconds: int = _FIVE_MINUTES,
    periods: int = 1,
    silence_is_bad: bool = False,
    condition: str | None = None,
) -> Resource:
    limit, operator = (above, "GreaterThanThreshold") if above is not None else (below, "LessThanThreshold")
    return resource(
        "AWS::CloudWatch::Alarm",
        {
            "AlarmName": names.of(purpose),
            "AlarmDescription": says,
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            "Statistic": statistic,
            "Period": period_seconds,
            "EvaluationPeriods": periods,
            "Threshold": limit,
            "ComparisonOperator": operator,
            "TreatMissingData": "breaching" if silence_is_bad else "notBreaching",
            "AlarmActions": [ref("AlarmTopic")],
            "OKActions": [ref("AlarmTopic")],
        },
        condition=condition,
    )


def _endpoint(names: StackNames) -> dict[str, Resource]:
    of: dict[str, Any] = {
        "namespace": "AWS/SageMaker",
        "dimensions": {"EndpointName": names.endpoint, "VariantName": _VARIANT},
    }
    says: Sequence[tuple[str, str, str, dict[str, Any]]] = (
        ("EndpointErrors", "endpoint_errors", "The endpoint answers with errors of its own: its log says which.",
         {"metric": "Invocation5XXErrors", "above": 0, "periods": 2}),
        ("EndpointCache", "endpoint_cache",
         "Half of the predictions and more wait for their model: the instances have too little memory.",
         {"metric": "ModelCacheHit", "statistic": "Average", "below": CACHE_HITS_PER_HUNDRED, "periods": 3}),
        ("EndpointLoading", "endpoint_loading", "Models take more than ten seconds until they are loaded.",
         {"metric": "ModelLoadingWaitTime", "statistic": "Average", "above": LOADING_MICROSECONDS, "periods": 3}),
    )  # fmt: skip
    return {
        logical: _alarm(names, purpose, text, **of, **settings) for logical, purpose, text, settings in says
    }


def _functions(names: StackNames) -> dict[str, Resource]:
    api: dict[str, Any] = {"namespace": "AWS/ApiGateway", "dimensions": {"ApiId": ref("Api")}}
    function: dict[str, Any] = {
        "namespace": "AWS/Lambda",
        "dimensions": {"FunctionName": names.of("predict")},
    }
    return {
        "ApiErrors": _alarm(
            names,
            "api_errors",
            "Applications get answers of 500 and above: 502 is a broken model or pointer, 503 an endpoint away.",
            metric="5xx",
            above=0,
            periods=2,
            condition="MakesPredict",
            **api,
        ),
        "PredictErrors": _alarm(
            names,
            "predict_errors",
            "The function that applications ask ends with an error instead of an answer: its log says which.",
            metric="Errors",
            above=0,
            condition="MakesPredict",
            **function,
        ),
        "RetrainErrors": _alarm(
            names,
            "retrain_errors",
            "The function that starts runs ends with an error: data wait in the queue, its log says why.",
            metric="Errors",
            above=0,
            periods=2,
            condition="MakesRetrain",
            namespace="AWS/Lambda",
            dimensions={"FunctionName": names.of("retrain")},
        ),
        "PredictThrottles": _alarm(
            names,
            "predict_throttles",
            "The account has no room for more calls of functions at the same time.",
            metric="Throttles",
            above=0,
            periods=2,
            condition="MakesPredict",
            **function,
        ),
    }


def _arrivals(names: StackNames) -> dict[str, Resource]:
    def queue(logical: str) -> dict[str, Any]:
        return {"namespace": "AWS/SQS", "dimensions": {"QueueName": attribute(logical, "QueueName")}}

    return {
        "ArrivalsLost": _alarm(
            names,
            "arrivals_lost",
            "Data have arrived that no run was started for, after several tries: look at the queue, mend, and redrive.",
            metric="ApproximateNumberOfMessagesVisible",
            statistic="Maximum",
            above=0,
            **queue("ArrivalsFailed"),
        ),
        "ArrivalsWait": _alarm(
            names,
            "arrivals_wait",
            "Data have arrived more than an hour ago, and nobody has asked the queue.",
            metric="ApproximateAgeOfOldestMessage",
            statistic="Maximum",
            above=3600,
            condition="HearsArrivals",
            **queue("Arrivals"),
        ),
    }


def _moves(names: StackNames) -> dict[str, Resource]:
    days = quiet_days(names.fleet)
    if days is None:
        return {}
    return {
        "NothingMoves": _alarm(
            names,
            "nothing_moves",
            f"No model of any city has gone live for {days} days: ./fleet status says what runs and what is held.",
            namespace="AWS/Events",
            metric="TriggeredRules",
            dimensions={"RuleName": ref("MovesRule")},
            below=1,
            period_seconds=_DAY,
            periods=days,
            silence_is_bad=True,
        )
    }


def _budget(names: StackNames) -> Resource:
    fleet = names.fleet
    mail = {"SubscriptionType": "EMAIL", "Address": ref("AlarmEmail")}
    notices = [
        {
            "Notification": {
                "NotificationType": kind,
                "ComparisonOperator": "GREATER_THAN",
                "Threshold": percent,
                "ThresholdType": "PERCENTAGE",
            },
            "Subscribers": [mail],
        }
        for kind, percent in (("ACTUAL", 80), ("FORECASTED", 100))
    ]
    return resource(
        "AWS::Budgets::Budget",
        {
            "Budget": {
                "BudgetName": names.stack,
                "BudgetType": "COST",
                "TimeUnit": "MONTHLY",
                "BudgetLimit": {"Amount": ref("MonthlyBudget"), "Unit": "USD"},
                # Counts from the day on which the tag was activated as a cost allocation tag.
                "CostFilters": {"TagKeyValue": [f"user:city-fleet:fleet${fleet.fleet}"]},
            },
            "NotificationsWithSubscribers": either("HasEmail", notices, no_value()),
        },
        condition="HasBudget",
    )
