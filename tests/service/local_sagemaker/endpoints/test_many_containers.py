"""Endpoints with several containers that are asked one by one, and several endpoints with images of their own."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from city_fleet import naming
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.state import serving_code
from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.endpoint_calls import Endpoints
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import SCRIPTS
from tests.support.process_table import processes
from tests.support.serving import archive_of, small_artifacts

#: Answers with what it is, and ends when it is told to.
SCRIPT = """
import json, os, pathlib, sys
def model_fn(model_dir):
    return pathlib.Path(model_dir, "model.txt").read_text()
def input_fn(body, content_type):
    return body
def predict_fn(body, model):
    if body == "end":
        os._exit(3)
    if body == "bad":
        raise ValueError("no such row")
    return {"model": model, "python": sys.executable, "name": os.environ["NAME"]}
def output_fn(prediction, accept):
    return json.dumps(prediction), accept
"""
OTHER_IMAGE = "other-models:1"
KEYS = naming.Keys("containers", "fleet", "laptop")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    run_server: Callable[..., AbstractContextManager[LocalSageMaker]],
) -> Iterator[LocalSageMaker]:
    """A server on which a second image has another interpreter."""
    with run_server(tmp_path_factory.mktemp("two"), "--image", f"{OTHER_IMAGE}={sys.executable}") as running:
        running.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield running


@pytest.fixture
def many(server: LocalSageMaker, unique: Callable[[str], str], wait_until: Any) -> Endpoints:
    return Endpoints(server, KEYS.bucket, unique, wait_until)


def container(many: Endpoints, name: str, image: str = IMAGE_URI) -> dict[str, Any]:
    """A container that answers with its name, its model and its interpreter."""
    many.put(f"{name}.tar.gz", {"model.txt": f"model of {name}".encode()})
    many.s3.put_object(Bucket=many.bucket, Key="code.tar.gz", Body=archive({"serve.py": SCRIPT}))
    return {
        "ContainerHostname": name,
        "Image": image,
        "ModelDataUrl": f"s3://{many.bucket}/models/{name}.tar.gz",
        "Environment": {
            "NAME": name,
            "SAGEMAKER_PROGRAM": "serve.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{many.bucket}/code.tar.gz",
        },
    }


def create(many: Endpoints, name: str, *containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Create model and endpoint of these containers; returns its description."""
    name = many.unique(name)
    request = {"Containers": list(containers), "InferenceExecutionConfig": {"Mode": "Direct"}, **more}
    many.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, **request)
    variant = {
        "VariantName": "all",
        "ModelName": name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    many.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    many.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    description = many.settled(name)
    assert description["EndpointStatus"] == "InService", description["FailureReason"]
    return description


def ask(many: Endpoints, endpoint: str, hostname: str, body: bytes = b"1") -> dict[str, Any]:
    return dict(json.loads(many.invoke(endpoint, None, body, TargetContainerHostname=hostname)["Body"]))


def test_each_container_has_its_own_image_and_model(many: Endpoints, server: LocalSageMaker) -> None:
    first, second = container(many, "first"), container(many, "second", f"x/{OTHER_IMAGE}")
    description = create(many, "two", first, second)
    name = description["EndpointName"]
    (variant,) = description["ProductionVariants"]
    assert [each["SpecifiedImage"] for each in variant["DeployedImages"]] == [
        IMAGE_URI,
        second["Image"],
    ]
    answers = {each: ask(many, name, each) for each in ("first", "second")}
    assert {each: answer["model"] for each, answer in answers.items()} == {
        "first": "model of first",
        "second": "model of second",
    }
    assert answers["first"]["name"] == "first"
    assert answers["first"]["python"] != answers["second"]["python"] == sys.executable

    invalid = many.runtime.exceptions.ValidationError
    with pytest.raises(invalid, match=r"missing a target container hostname header.*it has: first, second"):
        many.invoke(name, None)
    with pytest.raises(invalid, match=r"Container third not found; .* has: first, second"):
        many.invoke(name, None, TargetContainerHostname="third")
    with pytest.raises(invalid, match="does not support target model header"):
        many.invoke(name, "a.tar.gz", TargetContainerHostname="first")
    with pytest.raises(many.runtime.exceptions.ModelError, match=r"error \(500\) from second .*no such row"):
        ask(many, name, "second", b"bad")
    # One instance, a stream of the log for each container.
    group = f"/aws/sagemaker/Endpoints/{name}"
    streams = [
        each["logStreamName"] for each in many.logs.describe_log_streams(logGroupName=group)["logStreams"]
    ]
    assert len({stream.rpartition("/")[0] for stream in streams}) == 1
    assert sorted(stream.rpartition("/")[2] for stream in streams) == ["first", "second"]

    # A second endpoint with the other image alone, beside it.
    alone = create(
        many,
        "alone",
        container(many, "only", f"x/{OTHER_IMAGE}"),
        InferenceExecutionConfig={"Mode": "Serial"},
    )
    assert json.loads(many.invoke(alone["EndpointName"], None)["Body"])["name"] == "only"
    with pytest.raises(invalid, match="not configured for direct invocation"):
        many.invoke(alone["EndpointName"], None, TargetContainerHostname="only")

    # One that dies is started again; the other one goes on.
    with pytest.raises(ClientError):
        ask(many, name, "second", b"end")
    assert ask(many, name, "first")["name"] == "first"

    def answers_again() -> bool:
        try:
            return ask(many, name, "second")["model"] == "model of second"
        except many.runtime.exceptions.ServiceUnavailable:
            return False

    many.wait_until(answers_again, 30, "the container is started again")
    assert processes(f"{server.data_dir}/endpoints/{name[:40]}")
    many.sagemaker.delete_endpoint(EndpointName=name)
    many.wait_until(
        lambda: not processes(f"{server.data_dir}/endpoints/{name[:40]}"), 30, "its containers are gone"
    )


def test_a_pipeline_is_refused_by_name(many: Endpoints) -> None:
    with pytest.raises(ClientError, match="does not support inference pipelines of containers"):
        create(
            many,
            "serial",
            container(many, "first"),
            container(many, "second"),
            InferenceExecutionConfig={"Mode": "Serial"},
        )


def test_our_artifacts_are_served_side_by_side_and_from_the_registry(many: Endpoints, tmp_path: Path) -> None:
    """The code in a bucket, or within model.tar.gz as the SageMaker SDK packs it; then by the name of its package."""
    artifacts = small_artifacts(tmp_path, 2)
    bundle = CodeBundle.load(SCRIPTS)
    bundle.ensure_uploaded(many.s3, KEYS)
    with tarfile.open(fileobj=io.BytesIO(artifacts[1])) as tar:
        tar.extractall(tmp_path / "packed", filter="data")
    (tmp_path / "packed" / "code").mkdir()
    for path, content in bundle.files:
        (tmp_path / "packed" / "code" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packed" / "code" / path).write_bytes(content)
    many.put("austin.tar.gz", body=artifacts[0])
    many.put("waco.tar.gz", body=archive_of(tmp_path / "packed"))
    algorithms = serving_code.environment(serving_code.algorithms_of(bundle.files))
    environment = {"SAGEMAKER_PROGRAM": "inference.py", **algorithms}
    of_bucket = {**environment, "SAGEMAKER_SUBMIT_DIRECTORY": bundle.archive_uri(KEYS)}
    of_model = {**environment, "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
    containers = [
        {
            "ContainerHostname": city,
            "Image": IMAGE_URI,
            "ModelDataUrl": f"s3://{many.bucket}/models/{city}.tar.gz",
            "Environment": code,
        }
        for city, code in (("austin", of_bucket), ("waco", of_model))
    ]
    name = create(many, "cities", *containers)["EndpointName"]
    for city, artifact in zip(("austin", "waco"), artifacts, strict=True):
        row, expected = sample(artifact)
        answer = many.invoke(name, None, row, TargetContainerHostname=city, Accept="text/csv")
        assert float(answer["Body"]) == pytest.approx(expected, rel=1e-6)

    group = many.unique("registered")
    many.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    package = many.sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [{"Image": IMAGE_URI, "ModelDataUrl": f"s3://{many.bucket}/models/austin.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    registered = {"ModelPackageName": package, "Environment": of_bucket}
    name = create(many, "package", registered, InferenceExecutionConfig={"Mode": "Serial"})["EndpointName"]
    described = many.sagemaker.describe_model(ModelName=name)["Containers"]
    assert described == [{**registered, "Mode": "SingleModel"}]
    row, expected = sample(artifacts[0])
    answer = many.invoke(name, None, row, Accept="text/csv")
    assert float(answer["Body"]) == pytest.approx(expected, rel=1e-6)


def sample(artifact: bytes) -> tuple[bytes, float]:
    """A row that an artifact holds, as text/csv, and its prediction."""
    with tarfile.open(fileobj=io.BytesIO(artifact)) as tar:
        member = tar.extractfile("city_fleet/samples.json")
        assert member is not None
        samples = json.load(member)
    return ",".join(map(str, samples["rows"][0])).encode(), samples["predictions"][0]


def test_they_are_there_again_after_a_kill(
    start_server: Callable[..., LocalSageMaker], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server()
    server.client("s3").create_bucket(Bucket=KEYS.bucket)
    many = Endpoints(server, KEYS.bucket, unique, wait_until)
    name = create(many, "kept", container(many, "first"), container(many, "second"))["EndpointName"]
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    many = Endpoints(start_server(folder=server.data_dir.parent), KEYS.bucket, unique, wait_until)
    back = lambda: many.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"  # noqa: E731
    many.wait_until(back, 30, "the endpoint is back")
    assert ask(many, name, "second")["model"] == "model of second"
