"""What the library writes is encrypted with the fleet file's key, and without one nothing is asked of S3."""

from __future__ import annotations

import json
from typing import Any

from city_fleet.state.encryption import encrypting
from city_fleet.state.objects import ObjectStore
from tests.support.aws_calls import Calls, client
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT
from tests.support.private_fleets import KEY

BUCKET = "city-fleet"


def written(aws: LocalSageMaker, kms_key: str | None) -> tuple[list[dict[str, Any]], Calls]:
    """What S3 says of an object that was put, created, replaced and copied."""
    s3 = encrypting(client(aws, "s3"), kms_key)
    store, calls = ObjectStore(s3, BUCKET), Calls(s3)
    folder = f"encryption/{'key' if kms_key else 'none'}"
    store.put(f"{folder}/put", b"1")
    etag = store.create(f"{folder}/created", b"1")
    assert etag is not None
    assert store.replace(f"{folder}/created", b"2", etag) is not None
    store.copy(f"{folder}/put", f"{folder}/copied")
    return [
        s3.head_object(Bucket=BUCKET, Key=f"{folder}/{name}") for name in ("put", "created", "copied")
    ], calls


def test_every_write_carries_the_key(aws: LocalSageMaker) -> None:
    found, _ = written(aws, KEY)
    assert [(each["ServerSideEncryption"], each["SSEKMSKeyId"]) for each in found] == [("aws:kms", KEY)] * 3


def test_without_a_key_the_bucket_decides(aws: LocalSageMaker) -> None:
    found, calls = written(aws, None)
    assert not [each for each in found if "SSEKMSKeyId" in each]
    assert not [params for _, params in calls.seen if "ServerSideEncryption" in params]


def test_the_local_sagemaker_takes_key_and_network_and_shows_them(aws: LocalSageMaker) -> None:
    sagemaker = aws.client("sagemaker")
    requests = {
        name: json.loads((ROOT / "tests" / "golden" / f"private_{name}.json").read_text())["request"]
        for name in ("model", "endpoint_config")
    }
    sagemaker.create_model(**requests["model"])
    sagemaker.create_endpoint_config(**requests["endpoint_config"])
    model = sagemaker.describe_model(ModelName=requests["model"]["ModelName"])
    assert model["VpcConfig"] == requests["model"]["VpcConfig"]
    name = requests["endpoint_config"]["EndpointConfigName"]
    assert sagemaker.describe_endpoint_config(EndpointConfigName=name)["KmsKeyId"] == KEY
