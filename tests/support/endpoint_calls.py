"""Endpoints of one test on a local SageMaker, made and asked over boto3; their script says what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE

DEADLINE_SECONDS = 60

INFERENCE = """
import json, os, pathlib, time

class BadRequest(ValueError):
    def __init__(self, message):
        super().__init__(message)
        self.status_code, self.message = 400, message

def model_fn(model_dir):
    text = pathlib.Path(model_dir, "model.txt").read_text()
    if text.startswith("slow"):
        time.sleep(0.5)
    if text.startswith("broken"):
        raise ValueError("this model is broken")
    print("loaded", text)
    return {"text": text, "calls": 0}

def input_fn(body, content_type):
    return (type(body).__name__, body, content_type)

def predict_fn(data, model):
    kind, body, content_type = data
    model["calls"] += 1
    if body == "bad":
        raise BadRequest("feature 'sales_lag_1' is missing")
    if body == "crash":
        raise RuntimeError("the booster is gone")
    if body == "sleep":
        time.sleep(1.5)
    answer = {"model": model["text"], "calls": model["calls"]}
    return answer | {"body": str(body), "kind": kind, "type": content_type}

def output_fn(prediction, accept):
    return json.dumps(prediction), accept
"""


class Endpoints:
    """Creates endpoints of one test and talks to them."""

    def __init__(self, server: Any, bucket: str, unique: Callable[[str], str], wait_until: Any) -> None:
        self.server = server
        self.sagemaker = server.client("sagemaker")
        self.runtime = server.client("sagemaker-runtime")
        self.s3 = server.client("s3")
        self.logs = server.client("logs")
        self.bucket = bucket
        self.unique = unique
        self.wait_until = wait_until

    def put(self, target: str, files: dict[str, bytes] | None = None, body: bytes | None = None) -> None:
        """Put an artifact below the endpoint's prefix."""
        self.s3.put_object(Bucket=self.bucket, Key=f"models/{target}", Body=body or archive(files or {}))

    def config(self, name: str, script: str = INFERENCE, **container: Any) -> str:
        """Create model and endpoint configuration; returns the configuration's name."""
        name = self.unique(name)
        self.s3.put_object(
            Bucket=self.bucket, Key=f"code/{name}.tar.gz", Body=archive({"inference.py": script.encode()})
        )
        definition: dict[str, Any] = {
            "Image": IMAGE_URI,
            "Mode": "MultiModel",
            "ModelDataUrl": f"s3://{self.bucket}/models/",
            "Environment": {
                "SAGEMAKER_PROGRAM": "inference.py",
                "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{self.bucket}/code/{name}.tar.gz",
            },
        } | container
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=[definition])
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        return name

    def create(self, name: str = "fleet", script: str = INFERENCE, **container: Any) -> str:
        """Create an endpoint and wait until it is in service or failed."""
        config = self.config(name, script, **container)
        self.sagemaker.create_endpoint(EndpointName=config, EndpointConfigName=config)
        self.settled(config)
        return config

    def settled(self, name: str) -> dict[str, Any]:
        """Wait until an endpoint is in no transition."""

        def settled() -> dict[str, Any] | None:
            description = dict(self.sagemaker.describe_endpoint(EndpointName=name))
            return None if description["EndpointStatus"] in ("Creating", "Updating") else description

        return dict(self.wait_until(settled, DEADLINE_SECONDS, f"{name} settles"))

    def invoke(self, endpoint: str, target: str | None, body: bytes = b"1,2", **more: Any) -> dict[str, Any]:
        """Invoke an endpoint and read the answer."""
        named = {} if target is None else {"TargetModel": target}
        response = self.runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType="text/csv", **named, **more
        )
        return response | {"Body": response["Body"].read()}

    def ask(self, endpoint: str, target: str, body: bytes = b"1,2") -> dict[str, Any]:
        """The JSON answer of the tiny handler above."""
        return dict(json.loads(self.invoke(endpoint, target, body)["Body"]))

    def log_lines(self, endpoint: str) -> list[str]:
        """The lines of an endpoint's log."""
        group = f"/aws/sagemaker/Endpoints/{endpoint}"
        try:
            streams = self.logs.describe_log_streams(logGroupName=group)["logStreams"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [
            event["message"]
            for stream in streams
            for event in self.logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]
