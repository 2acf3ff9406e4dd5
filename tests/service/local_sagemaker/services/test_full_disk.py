"""A disk that takes no more: nothing is visible that is not kept, the answer says why, and room mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.fence_jobs import Job
from tests.support.local_sagemaker import running_server
from tests.support.small_disk import SmallDisk, can_mount, small_disk
from tests.support.waiting import wait_until

MEGABYTES = 40
FULL = "the disk of the local SageMaker is full"
BODY = b"x" * 3_000_000


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    if not can_mount():
        pytest.skip("this machine allows no mount namespaces")
    with small_disk(tmp_path_factory.mktemp("small"), MEGABYTES, "--stop-grace-seconds", "2") as found:
        found.server.client("s3").create_bucket(Bucket="bucket")
        yield found


@pytest.fixture(autouse=True)
def room(disk: SmallDisk) -> Iterator[None]:
    yield
    disk.make_room()


def _refused(call: Callable[[], Any], code: str) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert error["Error"]["Code"] == code
    message = str(error["Error"]["Message"])
    assert message.startswith("Nothing was changed: the disk of the local SageMaker is full (")
    assert "make room there" in message
    return message


def _until_refused(make: Callable[[str], Any], code: str) -> tuple[list[str], str]:
    """Make one thing after another until there is no room; names of those made, and of the one that was not."""
    made: list[str] = []
    for number in range(5_000):
        name = f"thing-{number}"
        try:
            make(name)
        except ClientError as error:
            if error.response["Error"]["Code"] == code and FULL in error.response["Error"]["Message"]:
                return made, name
            raise
        made.append(name)
    raise AssertionError("the disk took everything")


def _bodies(disk: SmallDisk) -> set[str]:
    return {path.name for path in disk.folder.glob("objects/??/*")}


def test_an_object_that_can_not_be_kept_is_not_visible(disk: SmallDisk, tmp_path: Path) -> None:
    s3 = disk.server.client("s3")
    first = s3.put_object(Bucket="bucket", Key="live/austin.json", Body=b"first", Tagging="a=b")
    s3.put_object(Bucket="bucket", Key="other", Body=BODY)
    before = _bodies(disk)
    disk.fill(leave_bytes=1_000_000)

    _refused(lambda: s3.put_object(Bucket="bucket", Key="new", Body=BODY), "InternalError")
    _refused(
        lambda: s3.put_object(Bucket="bucket", Key="live/austin.json", Body=BODY, IfMatch=first["ETag"]),
        "InternalError",
    )
    copy = {"Bucket": "bucket", "Key": "other"}
    _refused(lambda: s3.copy_object(Bucket="bucket", Key="copy", CopySource=copy), "InternalError")

    def check(client: Any) -> None:
        listed = {each["Key"] for each in client.list_objects_v2(Bucket="bucket")["Contents"]}
        assert {"live/austin.json", "other"} <= listed
        assert not {"new", "copy"} & listed
        found = client.get_object(Bucket="bucket", Key="live/austin.json")
        assert (found["Body"].read(), found["ETag"]) == (b"first", first["ETag"])
        tags = client.get_object_tagging(Bucket="bucket", Key="live/austin.json")["TagSet"]
        assert tags == [{"Key": "a", "Value": "b"}]

    check(s3)
    assert _bodies(disk) == before  # no part of a file is left
    disk.copy(tmp_path / "data")
    with running_server(tmp_path) as again:
        check(again.client("s3"))
    log = disk.server.log.read_text()
    assert "s3 PutObject: the disk of the local SageMaker is full" in log
    assert "Traceback" not in log

    disk.make_room()
    s3.put_object(Bucket="bucket", Key="live/austin.json", Body=BODY, IfMatch=first["ETag"])
    assert s3.get_object(Bucket="bucket", Key="live/austin.json")["Body"].read() == BODY


def test_what_was_told_to_be_there_is_there_after_a_restart_and_nothing_else(
    disk: SmallDisk, tmp_path: Path
) -> None:
    server = disk.server
    s3, iam, logs, sagemaker = (server.client(name) for name in ("s3", "iam", "logs", "sagemaker"))
    logs.create_log_group(logGroupName="group")
    group, text = "thing", "x" * 2_000
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    calls: dict[str, tuple[Callable[[str], Any], str]] = {
        "bucket": (lambda name: s3.create_bucket(Bucket=name), "InternalError"),
        "object": (
            lambda name: s3.put_object(Bucket="bucket", Key=f"small/{name}", Body=b"y"),
            "InternalError",
        ),
        "role": (
            lambda name: iam.create_role(
                RoleName=name, AssumeRolePolicyDocument="{}", Description=text[:900]
            ),
            "ServiceFailure",
        ),
        "stream": (
            lambda name: logs.create_log_stream(logGroupName="group", logStreamName=name),
            "InternalFailure",
        ),
        "package group": (
            lambda name: sagemaker.create_model_package_group(
                ModelPackageGroupName=name, ModelPackageGroupDescription=text[:1000]
            ),
            "InternalFailure",
        ),
        "model package": (
            lambda name: sagemaker.create_model_package(
                ModelPackageGroupName=group, ModelPackageDescription=text[:1000], ClientToken=name
            ),
            "InternalFailure",
        ),
    }
    outcome = {}
    for what, (make, code) in calls.items():
        disk.fill()
        outcome[what] = _until_refused(make, code)

    def seen(client: Callable[[str], Any]) -> dict[str, set[str]]:
        pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix="small/")
        roles = client("iam").get_paginator("list_roles").paginate()
        streams = client("logs").get_paginator("describe_log_streams").paginate(logGroupName="group")
        groups = client("sagemaker").get_paginator("list_model_package_groups").paginate()
        return {
            "bucket": {each["Name"] for each in client("s3").list_buckets()["Buckets"]},
            "object": {each["Key"][6:] for page in pages for each in page.get("Contents", [])},
            "role": {each["RoleName"] for page in roles for each in page["Roles"]},
            "stream": {each["logStreamName"] for page in streams for each in page["logStreams"]},
            "package group": {
                each["ModelPackageGroupName"]
                for page in groups
                for each in page["ModelPackageGroupSummaryList"]
            },
        }

    def packages(client: Callable[[str], Any]) -> int:
        pages = client("sagemaker").get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
        return sum(len(page["ModelPackageSummaryList"]) for page in pages)

    now = seen(server.client)
    for what, names in now.items():
        made, refused = outcome[what]
        assert set(made) <= names, what
        assert refused not in names, what
    assert packages(server.client) == len(outcome["model package"][0])
    disk.copy(tmp_path / "data")
    with running_server(tmp_path) as again:
        assert seen(again.client) == now
        assert packages(again.client) == len(outcome["model package"][0])
    disk.make_room()
    for make, _ in calls.values():
        make("after")


def test_jobs_say_that_the_disk_was_full(disk: SmallDisk) -> None:
    client = disk.server.client
    write = "import sys\nwith open(sys.argv[1] + '/x', 'wb') as file:\n    file.write(bytes(60_000_000))\n"
    end = Job(client, "fills", write).end
    assert end["ProcessingJobStatus"] == "Failed"
    assert FULL in end["FailureReason"]

    # Its input finds no room.
    disk.fill(leave_bytes=4_500_000)
    end = Job(client, "reads", "#" * len(BODY)).end
    assert end["ProcessingJobStatus"] == "Failed"
    assert "InternalServerError" in end["FailureReason"]
    assert FULL in end["FailureReason"]
    disk.make_room()
    assert Job(client, "after", "pass").end["ProcessingJobStatus"] == "Completed"


LEAVES = """
import os, sys, time
with open(sys.argv[1] + "/model", "wb") as file:
    file.write(os.urandom(1_000_000))
path = sys.argv[2] + "/began"
open(path, "w").close()
while os.path.exists(path):
    time.sleep(0.05)
"""


def test_s3_that_has_no_room_for_an_output_is_not_the_jobs_fault(disk: SmallDisk) -> None:
    """The job of a caller who asks again completes; one that is told to have asked wrongly is never asked for again."""
    log, before = disk.server.log, disk.server.log.read_text()

    def no_room() -> None:
        wait_until(lambda: list(disk.folder.glob("jobs/leaves-*/opt/ml/began")), 60, "the job has begun")
        disk.fill(leave_bytes=500_000)
        next(disk.folder.glob("jobs/leaves-*/opt/ml/began")).unlink()
        told = "s3 PutObject: the disk of the local SageMaker is full"
        wait_until(lambda: told in log.read_text()[len(before) :], 60, "the output is refused")

    end = Job(disk.server.client, "leaves", LEAVES, meanwhile=no_room).end
    assert end["ProcessingJobStatus"] == "Failed"
    assert end["FailureReason"].startswith("InternalServerError: We encountered an internal error.")
    assert "s3://bucket/leaves/out/model" in end["FailureReason"]
    assert FULL in end["FailureReason"]
    assert "Traceback" not in log.read_text()[len(before) :]


INFERENCE = """
import os
def model_fn(model_dir):
    return open(os.path.join(model_dir, "name")).read()
def input_fn(body, content_type):
    return body
def predict_fn(data, model):
    return model
def output_fn(prediction, accept):
    return prediction
"""


def test_models_make_room_for_each_other_on_a_full_disk(disk: SmallDisk) -> None:
    s3, sagemaker = disk.server.client("s3"), disk.server.client("sagemaker")
    s3.put_object(Bucket="bucket", Key="serve/code.tar.gz", Body=archive({"inference.py": INFERENCE}))
    for name in ("a", "b", "c"):  # zeros: small in S3, 4 MB each when extracted
        content = {"name": name, "zeros": "\0" * 4_000_000}
        s3.put_object(Bucket="bucket", Key=f"serve/models/{name}.tar.gz", Body=archive(content))
    content = {"name": "big", "zeros": "\0" * 30_000_000}
    s3.put_object(Bucket="bucket", Key="serve/models/big.tar.gz", Body=archive(content))
    container = {
        "Image": IMAGE_URI,
        "Mode": "MultiModel",
        "ModelDataUrl": "s3://bucket/serve/models/",
        "Environment": {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/serve/code.tar.gz",
        },
    }
    sagemaker.create_model(ModelName="serve", ExecutionRoleArn=ROLE, Containers=[container])
    variant = {
        "VariantName": "all",
        "ModelName": "serve",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="serve", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="serve", EndpointConfigName="serve")
    wait_until(
        lambda: sagemaker.describe_endpoint(EndpointName="serve")["EndpointStatus"] == "InService",
        60,
        "the endpoint is in service",
    )
    runtime = disk.server.client("sagemaker-runtime")

    def ask(name: str) -> str:
        answer = runtime.invoke_endpoint(EndpointName="serve", TargetModel=f"{name}.tar.gz", Body=b"?")
        return str(answer["Body"].read().decode())

    disk.fill(leave_bytes=6_000_000)
    assert [ask(name) for name in "abcab"] == list("abcab")
    with pytest.raises(ClientError) as caught:
        ask("big")
    message = caught.value.response["Error"]["Message"]
    assert "There is no room for the model big.tar.gz" in message
    assert FULL in message
    assert ask("a") == "a"
    log = disk.server.log.read_text()
    assert "goes from the disk to make room" in log
    sagemaker.delete_endpoint(EndpointName="serve")
