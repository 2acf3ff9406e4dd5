"""Data capture of an endpoint: what is asked and answered stands in S3 as AWS writes it, and never stops an answer."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from tests.support.endpoint_calls import Endpoints

TARGET = "austin/20140101T000000Z-aaa.tar.gz"


def test_requests_and_answers_are_captured_and_a_missing_bucket_stops_nothing(
    fleet: Endpoints, local_sagemaker: Any
) -> None:
    model = fleet.config("captured")
    fleet.put(TARGET, {"model.txt": b"austin"})

    def config(name: str, **capture: Any) -> str:
        name = fleet.unique(name)
        fleet.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": model,
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                }
            ],
            DataCaptureConfig={
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{fleet.bucket}/seen/",
                "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
                **capture,
            },
        )
        return name

    # Without EnableCapture it is on; a type of neither list is kept in Base64.
    name = config("captured-csv", CaptureContentTypeHeader={"CsvContentTypes": ["text/csv"]})
    fleet.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    described = fleet.settled(name)
    assert described["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{fleet.bucket}/seen/",
        "KmsKeyId": "",
    }
    answer = fleet.invoke(name, TARGET, b"1,2", InferenceId="mine", Accept="application/json")["Body"]
    with pytest.raises(fleet.runtime.exceptions.ModelError):
        fleet.invoke(name, TARGET, b"bad")

    def keys() -> list[str]:
        found = fleet.s3.list_objects_v2(Bucket=fleet.bucket, Prefix="seen/").get("Contents", [])
        return [each["Key"] for each in found]

    (key,) = fleet.wait_until(keys, 30, "the request is captured")
    assert re.fullmatch(
        rf"seen/{name}/AllTraffic/\d{{4}}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl", key
    )
    (line,) = fleet.s3.get_object(Bucket=fleet.bucket, Key=key)["Body"].read().splitlines()
    document = json.loads(line)
    metadata = document.pop("eventMetadata")
    assert document == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "1,2",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "data": base64.b64encode(answer).decode(),
                "encoding": "BASE64",
            },
        },
        "eventVersion": "0",
    }
    assert metadata["inferenceId"] == "mine"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["inferenceTime"])

    gone = config("captured-nowhere", DestinationS3Uri="s3://nobody-has-this-bucket/seen")
    fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=gone)
    assert fleet.settled(name)["DataCaptureConfig"]["DestinationS3Uri"] == "s3://nobody-has-this-bucket/seen"
    assert fleet.ask(name, TARGET)["model"] == "austin"
    said = f"endpoint {name}: captured data can't be written below s3://nobody-has-this-bucket/seen/{name}: "
    fleet.wait_until(lambda: said in local_sagemaker.log.read_text(), 30, "the server says what is lost")
    assert fleet.ask(name, TARGET)["calls"] == 2
    assert keys() == [key]

    with pytest.raises(fleet.sagemaker.exceptions.ClientError, match="DestinationS3Uri"):
        config("captured-https", DestinationS3Uri="https://example.com/seen")
