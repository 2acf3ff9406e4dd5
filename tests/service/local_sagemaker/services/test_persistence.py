"""A data folder outlives its server: killed or stopped, what was answered is there at the next start."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE

TRUST = '{"Statement": [{"Principal": {"Service": "sagemaker.amazonaws.com"}}]}'
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
)
INTERNAL_ERROR = "InternalServerError: We encountered an internal error. Please try again."
INFERENCE = (
    "def model_fn(model_dir):\n    return open(model_dir + '/model.txt').read()\n"
    "def input_fn(body, content_type):\n    return body if isinstance(body, str) else body.decode()\n"
    "def predict_fn(data, model):\n    return model + data\n"
    "def output_fn(prediction, accept):\n    return prediction, accept\n"
)
WAIT = "import time; print('waiting', flush=True); time.sleep(600)"


def kill(server: Any) -> None:
    """End a server as a power cut of the process would."""
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=30)


def snapshot(client: Any, operation: str, **request: Any) -> dict[str, Any]:
    """The answer of an operation without what differs from request to request."""
    answer = dict(getattr(client, operation)(**request))
    answer.pop("ResponseMetadata")
    if "Body" in answer:
        answer["Body"] = answer["Body"].read()
    return answer


def put_endpoint(server: Any) -> None:
    """Artifacts, model and endpoint of one fleet."""
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.put_object(Bucket="city-fleet", Key="code.tar.gz", Body=archive({"inference.py": INFERENCE.encode()}))
    s3.put_object(Bucket="city-fleet", Key="models/austin.tar.gz", Body=archive({"model.txt": b"austin "}))
    container = {
        "Image": IMAGE_URI,
        "Mode": "MultiModel",
        "ModelDataUrl": "s3://city-fleet/models/",
        "Environment": {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "s3://city-fleet/code.tar.gz",
        },
    }
    sagemaker.create_model(ModelName="fleet", ExecutionRoleArn=ROLE, Containers=[container])
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "fleet",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="fleet", ProductionVariants=[variant])
    sagemaker.create_endpoint(
        EndpointName="fleet", EndpointConfigName="fleet", Tags=[{"Key": "owner", "Value": "data"}]
    )


def status(server: Any, endpoint: str = "fleet") -> str:
    """State of an endpoint."""
    described = server.client("sagemaker").describe_endpoint(EndpointName=endpoint)
    return str(described["EndpointStatus"])


def invoke(server: Any) -> str:
    """What the endpoint answers for Austin."""
    answer = server.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="fleet", TargetModel="austin.tar.gz", Body=b"1", ContentType="text/csv"
    )
    return str(answer["Body"].read().decode())


def processing_request(name: str) -> dict[str, Any]:
    """A job that waits."""
    return {
        "ProcessingJobName": name,
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
        },
        "AppSpecification": {"ImageUri": IMAGE_URI, "ContainerEntrypoint": ["python3", "-c", WAIT]},
        "RoleArn": ROLE,
    }


def test_s3_iam_and_logs_outlive_a_server_that_is_killed(start_server: Callable[..., Any]) -> None:
    server = start_server()
    s3, iam, logs = (server.client(name) for name in ("s3", "iam", "logs"))
    s3.create_bucket(Bucket="plain")
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket="plain", Tagging={"TagSet": [{"Key": "fleet", "Value": "texas"}]})
    rules = [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "runs/"}, "Expiration": {"Days": 30}}]
    s3.put_bucket_lifecycle_configuration(Bucket="plain", LifecycleConfiguration={"Rules": rules})
    cors = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}
    s3.put_bucket_cors(Bucket="plain", CORSConfiguration=cors)
    s3.put_object(
        Bucket="plain",
        Key="a key/with ü%2F?",
        Body=b"1,2\n" * 100_000,
        ContentType="text/csv",
        CacheControl="no-store",
        Metadata={"model_name": "austin"},
        Tagging="city=austin&state=texas",
        ChecksumAlgorithm="SHA256",
    )
    s3.put_object(Bucket="plain", Key="empty", Body=b"")
    for name in ("gone", "gone/too", "deleted & gone"):
        s3.put_object(Bucket="plain", Key=name, Body=b"x")
    s3.delete_object(Bucket="plain", Key="gone")
    s3.delete_objects(Bucket="plain", Delete={"Objects": [{"Key": "gone/too"}, {"Key": "deleted & gone"}]})
    s3.put_object(Bucket="plain", Key="overwritten", Body=b"old")
    s3.put_object(Bucket="plain", Key="overwritten", Body=b"new")
    s3.copy_object(Bucket="plain", Key="copy", CopySource={"Bucket": "plain", "Key": "a key/with ü%2F?"})
    parts = TransferConfig(multipart_threshold=5 * 1024**2, multipart_chunksize=5 * 1024**2)
    s3.upload_fileobj(io.BytesIO(os.urandom(11 * 1024**2)), "plain", "large", Config=parts)
    for body in (b"first", b"second"):
        s3.put_object(Bucket="versioned", Key="live.json", Body=body)
    s3.put_object(Bucket="versioned", Key="marked", Body=b"hidden")
    s3.delete_object(Bucket="versioned", Key="marked")
    s3.create_bucket(Bucket="removed")
    s3.put_object(Bucket="removed", Key="a", Body=b"1")
    s3.delete_object(Bucket="removed", Key="a")
    s3.delete_bucket(Bucket="removed")
    iam.create_role(RoleName="kept", AssumeRolePolicyDocument=TRUST, Tags=[{"Key": "a", "Value": "b"}])
    policy = iam.create_policy(PolicyName="s3", PolicyDocument=POLICY)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="kept", PolicyArn=policy)
    iam.put_role_policy(RoleName="kept", PolicyName="inline", PolicyDocument=POLICY)
    logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    logs.put_retention_policy(logGroupName="/aws/sagemaker/TrainingJobs", retentionInDays=7)
    stream = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamName": "job/algo-1-1"}
    logs.create_log_stream(**stream)
    moment = s3.head_object(Bucket="plain", Key="empty")["LastModified"].timestamp()
    for number in range(3):
        event = {"timestamp": int(moment * 1000) + number, "message": f"line {number}"}
        logs.put_log_events(**stream, logEvents=[event])
    logs.create_log_group(logGroupName="deleted")
    logs.delete_log_group(logGroupName="deleted")

    def look(server: Any) -> dict[str, Any]:
        s3, iam, logs = (server.client(name) for name in ("s3", "iam", "logs"))
        seen: dict[str, Any] = {"buckets": snapshot(s3, "list_buckets")}
        for bucket in ("plain", "versioned"):
            seen[bucket] = snapshot(s3, "list_objects_v2", Bucket=bucket)
            for found in seen[bucket]["Contents"]:
                where = {"Bucket": bucket, "Key": found["Key"]}
                seen[bucket, found["Key"]] = [
                    snapshot(s3, "get_object", **where, ChecksumMode="ENABLED"),
                    snapshot(s3, "get_object_tagging", **where),
                ]
        seen["acl of an object"] = snapshot(s3, "get_object_acl", Bucket="plain", Key="copy")
        for operation in ("tagging", "cors", "lifecycle_configuration", "location", "acl"):
            seen[operation] = snapshot(s3, f"get_bucket_{operation}", Bucket="plain")
        seen["versioning"] = snapshot(s3, "get_bucket_versioning", Bucket="versioned")
        seen["versions"] = snapshot(s3, "list_object_versions", Bucket="versioned")
        seen["role"] = snapshot(iam, "get_role", RoleName="kept")
        seen["attached"] = snapshot(iam, "list_attached_role_policies", RoleName="kept")
        seen["inline"] = snapshot(iam, "get_role_policy", RoleName="kept", PolicyName="inline")
        seen["policy"] = snapshot(iam, "get_policy", PolicyArn=policy)
        seen["groups"] = snapshot(logs, "describe_log_groups")
        seen["streams"] = snapshot(logs, "describe_log_streams", logGroupName="/aws/sagemaker/TrainingJobs")
        seen["events"] = snapshot(logs, "get_log_events", **stream, startFromHead=True)
        return seen

    before = look(server)
    assert [found["Key"] for found in before["plain"]["Contents"]] == [
        "a key/with ü%2F?",
        "copy",
        "empty",
        "large",
        "overwritten",
    ]
    kill(server)
    again = start_server(folder=server.data_dir.parent)
    after = look(again)
    for what, seen in before.items():
        assert after[what] == seen, what

    # Nothing that was deleted or replaced takes room, and what was loaded can be changed and deleted.
    bodies = [path for path in (again.data_dir / "objects").rglob("*") if path.is_file()]
    assert len(bodies) == len(["with ü", "copy", "large", "overwritten", "first", "second", "hidden"])
    s3 = again.client("s3")
    etag = before["plain", "overwritten"][0]["ETag"]
    s3.put_object(Bucket="plain", Key="overwritten", Body=b"newer", IfMatch=etag)
    for found in before["plain"]["Contents"]:
        if found["Key"] != "overwritten":
            s3.delete_object(Bucket="plain", Key=found["Key"])
    kill(again)
    third = start_server(folder=server.data_dir.parent).client("s3")
    assert third.get_object(Bucket="plain", Key="overwritten")["Body"].read() == b"newer"
    assert third.list_objects_v2(Bucket="plain")["KeyCount"] == 1
    with pytest.raises(ClientError, match="NoSuchBucket"):
        third.list_objects_v2(Bucket="removed")


def test_sagemaker_outlives_a_server_that_is_killed(
    start_server: Callable[..., Any], wait_until: Any
) -> None:
    server = start_server("--max-running-jobs", "2")
    server.client("s3").create_bucket(Bucket="city-fleet")
    sagemaker = server.client("sagemaker")
    put_endpoint(server)
    sagemaker.create_model_package_group(ModelPackageGroupName="austin")
    package = sagemaker.create_model_package(ModelPackageGroupName="austin")["ModelPackageArn"]
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    for name in ("running", "waiting", "queued"):
        sagemaker.create_processing_job(**processing_request(name))
    wait_until(
        lambda: "ProcessingStartTime" in sagemaker.describe_processing_job(ProcessingJobName="running"),
        60,
        "the job runs",
    )
    wait_until(lambda: status(server) == "InService", 60, "the endpoint is in service")
    assert invoke(server) == "austin 1"
    sagemaker.delete_endpoint_config(EndpointConfigName="fleet")
    endpoint = snapshot(sagemaker, "describe_endpoint", EndpointName="fleet")
    approved = snapshot(sagemaker, "describe_model_package", ModelPackageName=package)
    kill(server)

    again = start_server(folder=server.data_dir.parent)
    sagemaker = again.client("sagemaker")
    for name in ("running", "waiting", "queued"):
        job = sagemaker.describe_processing_job(ProcessingJobName=name)
        assert (job["ProcessingJobStatus"], job["FailureReason"]) == ("Failed", INTERNAL_ERROR)
    assert again.client("s3").head_object(Bucket="city-fleet", Key="code.tar.gz")
    assert snapshot(sagemaker, "describe_model_package", ModelPackageName=package) == approved
    assert status(again) in ("SystemUpdating", "InService")
    wait_until(lambda: status(again) == "InService", 60, "the endpoint is back in service")
    assert snapshot(sagemaker, "describe_endpoint", EndpointName="fleet") == endpoint
    assert invoke(again) == "austin 1"
    tags = sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]
    assert tags == [{"Key": "owner", "Value": "data"}]
    with pytest.raises(ClientError, match="unique within an AWS account"):
        sagemaker.create_processing_job(**processing_request("running"))


def test_a_stop_is_for_jobs_the_loss_of_their_instance_and_for_endpoints_a_pause(
    start_server: Callable[..., Any], wait_until: Any
) -> None:
    server = start_server()
    server.client("s3").create_bucket(Bucket="city-fleet")
    put_endpoint(server)
    server.client("sagemaker").create_processing_job(**processing_request("running"))
    assert server.stop() == 0  # the endpoint may be Creating still
    again = start_server(folder=server.data_dir.parent)
    job = again.client("sagemaker").describe_processing_job(ProcessingJobName="running")
    assert (job["ProcessingJobStatus"], job["FailureReason"]) == ("Failed", INTERNAL_ERROR)
    wait_until(lambda: status(again) == "InService", 60, "the endpoint comes into service")
    assert invoke(again) == "austin 1"


def test_an_update_goes_on_after_a_kill(start_server: Callable[..., Any], wait_until: Any) -> None:
    server = start_server()
    sagemaker = server.client("sagemaker")
    server.client("s3").create_bucket(Bucket="city-fleet")
    put_endpoint(server)
    wait_until(lambda: status(server) == "InService", 60, "the endpoint is in service")
    variants = sagemaker.describe_endpoint_config(EndpointConfigName="fleet")["ProductionVariants"]
    sagemaker.create_endpoint_config(EndpointConfigName="newer", ProductionVariants=variants)
    sagemaker.update_endpoint(EndpointName="fleet", EndpointConfigName="newer")
    kill(server)
    again = start_server(folder=server.data_dir.parent)
    wait_until(lambda: status(again) == "InService", 60, "the endpoint is updated")
    described = again.client("sagemaker").describe_endpoint(EndpointName="fleet")
    assert described["EndpointConfigName"] == "newer"
    assert "PendingDeploymentSummary" not in described
    assert invoke(again) == "austin 1"


def test_an_endpoint_that_can_t_come_back_tells_why(
    start_server: Callable[..., Any], wait_until: Any
) -> None:
    server = start_server()
    server.client("s3").create_bucket(Bucket="city-fleet")
    put_endpoint(server)
    wait_until(lambda: status(server) == "InService", 60, "the endpoint is in service")
    server.client("s3").delete_object(Bucket="city-fleet", Key="code.tar.gz")
    kill(server)
    again = start_server(folder=server.data_dir.parent)
    wait_until(lambda: status(again) == "Failed", 60, "the endpoint has failed")
    described = again.client("sagemaker").describe_endpoint(EndpointName="fleet")
    assert "Failed to download the code of SAGEMAKER_SUBMIT_DIRECTORY" in described["FailureReason"]


def test_a_damaged_folder_never_stops_the_start(start_server: Callable[..., Any]) -> None:
    server = start_server()
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    for name in ("whole", "cut", "lost"):
        s3.put_object(Bucket="bucket", Key=name, Body=name.encode() * 10)
    server.client("sagemaker").create_model_package_group(ModelPackageGroupName="austin")
    kill(server)
    for path in (server.data_dir / "objects").rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"cut"):
            path.write_bytes(b"cut")
        elif path.is_file() and path.read_bytes().startswith(b"lost"):
            path.unlink()
    (server.data_dir / "objects" / "ab" / "half-written").write_bytes(b"half")
    (server.data_dir / "format.json").write_text('{"format_ver')
    for path in server.data_dir.glob("store.sqlite3*"):
        path.write_bytes(b"no database" * 1000)

    again = start_server(folder=server.data_dir.parent)
    listed = again.client("s3").list_objects_v2(Bucket="bucket")["Contents"]
    assert [found["Key"] for found in listed] == ["whole"]
    assert not (again.data_dir / "objects" / "ab" / "half-written").exists()
    assert again.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    assert list(again.data_dir.glob("store.sqlite3.damaged-*"))
    warnings = again.log.read_text()
    assert "store.sqlite3 is damaged" in warnings
    assert "s3://bucket/cut is lost" in warnings
    assert json.loads((again.data_dir / "format.json").read_text()) == {"format_version": 1}


def test_a_folder_of_a_newer_version_is_refused(tmp_path: Path, start_server: Callable[..., Any]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "format.json").write_text('{"format_version": 2}')
    with pytest.raises(AssertionError, match="was written by a newer local SageMaker"):
        start_server(folder=tmp_path)
