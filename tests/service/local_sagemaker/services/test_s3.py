"""S3 behind the same port: moto's, with conditional writes that hold when many write at once."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

THREADS = 8
INCREMENTS = 6
#: moto lets go of the interpreter while it handles a large body: without one the writers hardly ever meet.
PADDING = " " * 1_000_000


@pytest.fixture
def s3(local_sagemaker: Any) -> Any:
    return local_sagemaker.client("s3")


def refusal(call: Callable[..., Any], **request: Any) -> tuple[int, str]:
    """Status and code of the error a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_no_update_is_lost_when_many_write_on_condition(s3: Any, bucket: str) -> None:
    key = "live/austin.json"
    s3.put_object(Bucket=bucket, Key=key, Body=b'{"sequence": 0}')
    refused = 0
    lock = threading.Lock()

    def increment() -> None:
        nonlocal refused
        while True:
            found = s3.get_object(Bucket=bucket, Key=key)
            sequence = json.loads(found["Body"].read())["sequence"]
            body = (json.dumps({"sequence": sequence + 1}) + PADDING).encode()
            try:
                s3.put_object(Bucket=bucket, Key=key, Body=body, IfMatch=found["ETag"])
            except ClientError as error:
                if error.response["Error"]["Code"] != "PreconditionFailed":
                    raise
                with lock:
                    refused += 1
            else:
                return

    with ThreadPoolExecutor(THREADS) as pool:
        for call in [pool.submit(increment) for _ in range(THREADS * INCREMENTS)]:
            call.result()
    found = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert found == {"sequence": THREADS * INCREMENTS}
    assert refused  # else nobody was in anybody's way, and the test has shown nothing


@pytest.mark.parametrize("way", ["put", "copy"])
def test_one_of_many_creates_an_object(s3: Any, bucket: str, way: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=PADDING.encode())
    start = threading.Barrier(THREADS)

    def create(number: int) -> int:
        start.wait(timeout=30)
        try:
            if way == "put":
                s3.put_object(
                    Bucket=bucket, Key="target", Body=f"{number}{PADDING}".encode(), IfNoneMatch="*"
                )
            else:
                source = {"Bucket": bucket, "Key": "source"}
                s3.copy_object(Bucket=bucket, Key="target", CopySource=source, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            return 0
        return 1

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(create, range(THREADS))) == 1


def test_conditions_hold_for_put_copy_and_multipart(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a key/with ü%2F?", Body=b"1")["ETag"]
    source = {"Bucket": bucket, "Key": "a key/with ü%2F?"}

    def multipart(**condition: str) -> None:
        key = condition.pop("Key")
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"2")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
        s3.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload=parts, **condition
        )

    writes: list[Callable[..., Any]] = [
        lambda **request: s3.put_object(Bucket=bucket, Body=b"1", **request),
        lambda **request: s3.copy_object(
            Bucket=bucket, CopySource=source, MetadataDirective="REPLACE", **request
        ),
        multipart,
    ]
    for write in writes:
        assert refusal(write, Key=source["Key"], IfNoneMatch="*") == (412, "PreconditionFailed")
        assert refusal(write, Key=source["Key"], IfMatch='"0"') == (412, "PreconditionFailed")
        assert refusal(write, Key="nowhere", IfMatch=etag) == (404, "NoSuchKey")
    for write in writes[:2]:
        write(Key=source["Key"], IfMatch=etag)
        assert s3.head_object(Bucket=bucket, Key=source["Key"])["ETag"] == etag
    assert refusal(s3.put_object, Bucket="nobody-made-this", Key="a", IfMatch=etag)[1] == "NoSuchBucket"


def test_a_delete_may_have_a_condition(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="live.json", Body=b"1")["ETag"]
    delete = {"Bucket": bucket, "Key": "live.json"}
    assert refusal(s3.delete_object, **delete, IfMatch='"0"') == (412, "PreconditionFailed")
    s3.delete_object(**delete, IfMatch=etag)
    assert refusal(s3.delete_object, **delete, IfMatch="*") == (412, "PreconditionFailed")
    s3.delete_object(**delete)


def test_objects_of_all_sizes_and_their_metadata_survive(s3: Any, bucket: str) -> None:
    body = bytes(range(256)) * 60_000  # 15 MB
    config = TransferConfig(multipart_threshold=6 * 1024**2, multipart_chunksize=6 * 1024**2)
    s3.upload_fileobj(io.BytesIO(body), bucket, "large", Config=config)
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == body
    assert s3.get_object(Bucket=bucket, Key="large", Range="bytes=256-259")["Body"].read() == b"\0\1\2\3"
    s3.put_object(Bucket=bucket, Key="empty", Body=b"", Metadata={"model_name": "austin"})
    head = s3.head_object(Bucket=bucket, Key="empty")
    assert (head["ContentLength"], head["Metadata"]) == (0, {"model_name": "austin"})
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "large"})
    assert httpx.get(url, trust_env=False).content == body
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "large"}, {"Key": "empty"}]})
    assert len(deleted["Deleted"]) == 2
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_the_other_services_are_there(local_sagemaker: Any, unique: Callable[[str], str]) -> None:
    assert local_sagemaker.client("sts").get_caller_identity()["Account"] == "123456789012"
    role = local_sagemaker.client("iam").create_role(RoleName=unique("role"), AssumeRolePolicyDocument="{}")
    assert role["Role"]["Arn"].startswith("arn:aws:iam::123456789012:role/")
    logs = local_sagemaker.client("logs")
    group = unique("/aws/sagemaker/TrainingJobs")
    logs.create_log_group(logGroupName=group)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupName"] == group
