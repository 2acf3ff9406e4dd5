"""Updates that move the traffic step by step and go back by themselves, over boto3 with real fleets."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.support.endpoint_calls import Endpoints

#: Answers with its color, whatever it is asked.
SCRIPT = """
def model_fn(model_dir):
    return "COLOR"
def input_fn(body, content_type):
    return body
def predict_fn(body, model):
    return model
def output_fn(prediction, accept):
    return prediction, accept
"""


def config(fleet: Endpoints, color: str) -> str:
    fleet.put("m.tar.gz", {"model.txt": b"m"})
    data = f"s3://{fleet.bucket}/models/m.tar.gz"
    return fleet.config(color, SCRIPT.replace("COLOR", color), Mode="SingleModel", ModelDataUrl=data)


def create(fleet: Endpoints, name: str, color: str) -> str:
    name = fleet.unique(name)
    fleet.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config(fleet, color))
    assert fleet.settled(name)["EndpointStatus"] == "InService"
    return name


def colors(fleet: Endpoints, name: str, count: int = 30) -> set[str]:
    return {fleet.invoke(name, None)["Body"].decode() for _ in range(count)}


def routing(kind: str, wait: int, **more: Any) -> dict[str, Any]:
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait, **more}
        }
    }


def test_a_canary_is_taken_back_by_an_alarm_and_a_linear_update_gets_there(
    fleet: Endpoints, local_sagemaker: Any
) -> None:
    name = create(fleet, "safe", "blue")
    green = config(fleet, "green")
    cloudwatch = local_sagemaker.client("cloudwatch")
    alarm = fleet.unique("errors")
    half = {"Type": "CAPACITY_PERCENT", "Value": 50}
    canary = routing("CANARY", 3600, CanarySize=half) | {
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]}
    }
    update = {"EndpointName": name, "EndpointConfigName": green, "DeploymentConfig": canary}
    with pytest.raises(ClientError, match=f"could not find the CloudWatch alarms .'{alarm}'."):
        fleet.sagemaker.update_endpoint(**update)
    cloudwatch.put_metric_alarm(
        AlarmName=alarm,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0.5,
        ComparisonOperator="GreaterThanThreshold",
        Dimensions=[{"Name": "EndpointName", "Value": name}],
    )
    fleet.sagemaker.update_endpoint(**update)
    pending = fleet.sagemaker.describe_endpoint(EndpointName=name)["PendingDeploymentSummary"]
    assert pending["EndpointConfigName"] == green
    assert pending["ProductionVariants"][0]["DesiredInstanceCount"] == 1
    fleet.wait_until(
        lambda: colors(fleet, name) == {"blue", "green"}, 60, "both fleets answer, each its share"
    )
    described = fleet.sagemaker.describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Updating"
    (variant,) = described["PendingDeploymentSummary"]["ProductionVariants"]
    assert variant["VariantStatus"][0]["Status"] == "Baking"
    assert variant["InstanceType"] == "ml.m5.large"

    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    described = fleet.settled(name)
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] != green
    assert f"alarm state during deployment: [{alarm}]" in described["FailureReason"]
    assert described["LastDeploymentConfig"] == canary
    assert "PendingDeploymentSummary" not in described
    assert colors(fleet, name) == {"blue"}
    # The same policy again: the alarm is still on, so the new fleet is never asked.
    del update["DeploymentConfig"]
    fleet.sagemaker.update_endpoint(**update, RetainDeploymentConfig=True)
    asked = set()
    while fleet.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Updating":
        asked |= colors(fleet, name, 1)
    assert asked == {"blue"}
    assert fleet.settled(name)["LastDeploymentConfig"] == canary

    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="a test")
    linear = routing("LINEAR", 1, LinearStepSize=half)
    fleet.sagemaker.update_endpoint(**update, DeploymentConfig=linear)
    while fleet.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Updating":
        asked |= colors(fleet, name, 1)
    assert asked == {"blue", "green"}
    described = fleet.settled(name)
    assert described["EndpointConfigName"] == green
    assert "FailureReason" not in described
    assert colors(fleet, name) == {"green"}


def test_weights_and_counts_may_be_retained(fleet: Endpoints) -> None:
    name = create(fleet, "kept", "blue")
    # Before its first answer a container may take as long as one that is cold on AWS.
    faults = f"{fleet.server.url}/_local/faults"
    slow = {"kind": "model_load_latency", "name": f"{name}/primary", "seconds": 1.5}
    httpx.post(faults, json=slow, trust_env=False).raise_for_status()
    begun = time.monotonic()
    assert colors(fleet, name, 1) == {"blue"}
    assert time.monotonic() - begun > 1.5
    (on,) = [
        each for each in httpx.get(faults, trust_env=False).json()["faults"] if each["name"] == slow["name"]
    ]
    assert colors(fleet, name, 5) == {"blue"}
    httpx.delete(f"{faults}/{on['id']}", trust_env=False)
    assert on["injected"] == 1
    wanted = {"VariantName": "AllTraffic", "DesiredWeight": 3.0, "DesiredInstanceCount": 2}
    fleet.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[wanted]
    )
    fleet.settled(name)
    green = config(fleet, "green")
    fleet.sagemaker.update_endpoint(
        EndpointName=name,
        EndpointConfigName=green,
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
    )
    (variant,) = fleet.settled(name)["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (2, 1.0)
    assert colors(fleet, name, 1) == {"green"}


def test_a_killed_server_goes_on_with_an_update(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server()
    server.client("s3").create_bucket(Bucket="rolling")
    fleet = Endpoints(server, "rolling", unique, wait_until)
    name = create(fleet, "rolling", "blue")
    green = config(fleet, "green")
    rolling = {
        "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        "WaitIntervalInSeconds": 3,
    }
    fleet.sagemaker.update_endpoint(
        EndpointName=name, EndpointConfigName=green, DeploymentConfig={"RollingUpdatePolicy": rolling}
    )
    wait_until(lambda: colors(fleet, name) == {"blue", "green"}, 60, "half of the traffic has moved")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    fleet = Endpoints(start_server(folder=server.data_dir.parent), "rolling", unique, wait_until)
    assert fleet.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Updating"
    assert fleet.settled(name)["EndpointConfigName"] == green
    assert colors(fleet, name) == {"green"}
