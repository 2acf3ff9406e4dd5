"""sagemaker-core's resources, run unchanged: only AWS_ENDPOINT_URL says where AWS is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE

pytest.importorskip("sagemaker.core")

from sagemaker.core import resources, shapes
from sagemaker.core.utils.utils import SageMakerClient

TRAIN = """
import os, pathlib
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "train.csv").read_text().split()
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(str(len(rows)))
"""
INFERENCE = """
import pathlib
def model_fn(model_dir):
    return int(pathlib.Path(model_dir, "model.txt").read_text())
def input_fn(body, content_type):
    return float(body)
def predict_fn(number, model):
    return number * model
def output_fn(prediction, accept):
    return str(prediction)
"""


@pytest.fixture
def session(local_sagemaker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A boto3 session as anyone has it; the environment leads to the local SageMaker."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in local_sagemaker.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    SageMakerClient.reset()
    yield boto3.Session()
    SageMakerClient.reset()


@pytest.fixture
def data(session: Any, bucket: str) -> str:
    """URI of a prefix with code and three rows."""
    s3 = session.client("s3")
    s3.put_object(Bucket=bucket, Key="data/train.csv", Body=b"1\n2\n3\n")
    s3.put_object(Bucket=bucket, Key="raw/count.py", Body=b"print(open(__import__('sys').argv[1]).read())")
    s3.put_object(Bucket=bucket, Key="train.tar.gz", Body=archive({"train.py": TRAIN}))
    s3.put_object(Bucket=bucket, Key="serve.tar.gz", Body=archive({"inference.py": INFERENCE}))
    return f"s3://{bucket}"


def train(data: str, name: str) -> Any:
    """Start a training job."""
    source = shapes.S3DataSource(
        s3_data_type="S3Prefix", s3_uri=f"{data}/data/", s3_data_distribution_type="FullyReplicated"
    )
    return resources.TrainingJob.create(
        training_job_name=name,
        role_arn=ROLE,
        algorithm_specification=shapes.AlgorithmSpecification(
            training_image=IMAGE_URI, training_input_mode="File"
        ),
        hyper_parameters={
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": f'"{data}/train.tar.gz"',
        },
        input_data_config=[
            shapes.Channel(channel_name="train", data_source=shapes.DataSource(s3_data_source=source))
        ],
        output_data_config=shapes.OutputDataConfig(s3_output_path=f"{data}/out"),
        resource_config=shapes.ResourceConfig(
            instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=5
        ),
        stopping_condition=shapes.StoppingCondition(max_runtime_in_seconds=60),
    )


def test_from_training_to_predictions(data: str, session: Any, unique: Callable[[str], str]) -> None:
    name = unique("sdk")
    job = train(data, name)
    job.wait(poll=1, timeout=60)
    job.refresh()
    assert job.training_job_status == "Completed", job.failure_reason
    artifact = job.model_artifacts.s3_model_artifacts
    assert artifact == f"{data}/out/{name}/output/model.tar.gz"
    assert [each.training_job_name for each in resources.TrainingJob.get_all(name_contains=name)] == [name]
    assert resources.TrainingJob.get(training_job_name=name).training_job_arn == job.training_job_arn

    group = resources.ModelPackageGroup.create(model_package_group_name=name)
    # The SDK's two shapes of this name hide each other (2.27): this is the one that ModelPackage wants.
    container = shapes.ContainersItem(image=IMAGE_URI, model_data_url=artifact)
    # Of the answer it reads a member that CreateModelPackage has nowhere (2.27): the package is made all the same.
    with pytest.raises(KeyError, match="ModelPackageName"):
        resources.ModelPackage.create(
            model_package_group_name=name,
            model_approval_status="PendingManualApproval",
            inference_specification=shapes.InferenceSpecification(containers=[container]),
        )
    (package,) = resources.ModelPackage.get_all(model_package_group_name=name)
    package.refresh()
    package.wait_for_status("Completed", poll=1, timeout=10)
    package.update(model_approval_status="Approved")
    package.refresh()
    assert (package.model_approval_status, package.model_package_version) == ("Approved", 1)
    listed = resources.ModelPackage.get_all(model_package_group_name=name)
    assert [each.model_package_arn for each in listed] == [package.model_package_arn]

    model = resources.Model.create(
        model_name=name,
        execution_role_arn=ROLE,
        primary_container=shapes.ContainerDefinition(
            image=IMAGE_URI,
            model_data_url=artifact,
            environment={
                "SAGEMAKER_PROGRAM": "inference.py",
                "SAGEMAKER_SUBMIT_DIRECTORY": f"{data}/serve.tar.gz",
            },
        ),
    )
    assert [each.model_name for each in resources.Model.get_all(name_contains=name)] == [name]
    config = resources.EndpointConfig.create(
        endpoint_config_name=name,
        production_variants=[
            shapes.ProductionVariant(
                variant_name="all", model_name=name, instance_type="ml.m5.large", initial_instance_count=1
            )
        ],
    )
    config.refresh()
    assert [each.get_name() for each in resources.EndpointConfig.get_all(name_contains=name)] == [name]
    endpoint = resources.Endpoint.create(endpoint_name=name, endpoint_config_name=name)
    endpoint.wait_for_status("InService", poll=1, timeout=60)
    answer = endpoint.invoke(body=b"2", content_type="text/csv", accept="text/csv")
    assert answer.body.read() == b"6.0"
    assert [each.endpoint_name for each in resources.Endpoint.get_all(name_contains=name)] == [name]

    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=30)
    # The SDK deletes packages by a name that versions do not have (2.27).
    session.client("sagemaker").delete_model_package(ModelPackageName=package.model_package_arn)
    for resource in (config, model, group, job):
        resource.delete()
    for kind in (resources.TrainingJob, resources.Model, resources.EndpointConfig, resources.Endpoint):
        assert not list(kind.get_all(name_contains=name)), kind


def test_a_processing_job(data: str, unique: Callable[[str], str]) -> None:
    name = unique("sdk")

    def source(input_name: str, key: str) -> Any:
        return shapes.ProcessingInput(
            input_name=input_name,
            s3_input=shapes.ProcessingS3Input(
                s3_uri=f"{data}/{key}",
                local_path=f"/opt/ml/processing/input/{input_name}",
                s3_data_type="S3Prefix",
                s3_input_mode="File",
            ),
        )

    job = resources.ProcessingJob.create(
        processing_job_name=name,
        role_arn=ROLE,
        processing_inputs=[source("data", "data/"), source("code", "raw/count.py")],
        processing_resources=shapes.ProcessingResources(
            cluster_config=shapes.ProcessingClusterConfig(
                instance_type="ml.t3.medium", instance_count=1, volume_size_in_gb=5
            )
        ),
        app_specification=shapes.AppSpecification(
            image_uri=IMAGE_URI,
            container_entrypoint=["python3", "/opt/ml/processing/input/code/count.py"],
            container_arguments=["/opt/ml/processing/input/data/train.csv"],
        ),
        stopping_condition=shapes.ProcessingStoppingCondition(max_runtime_in_seconds=60),
    )
    job.wait(poll=1, timeout=60)
    job.refresh()
    assert job.processing_job_status == "Completed", job.failure_reason
    assert [each.get_name() for each in resources.ProcessingJob.get_all(name_contains=name)] == [name]
    job.delete()
    assert not list(resources.ProcessingJob.get_all(name_contains=name))


def test_a_package_with_a_name_of_its_own(session: Any, unique: Callable[[str], str]) -> None:
    name = unique("sdk")
    specification = {"Containers": [{"Image": IMAGE_URI}]}
    session.client("sagemaker").create_model_package(
        ModelPackageName=name, InferenceSpecification=specification
    )
    package = resources.ModelPackage.get(model_package_name=name)
    assert package.get_name() == name
    package.delete()
    package.wait_for_delete(poll=1, timeout=10)


def test_a_job_that_fails_raises_in_wait(
    data: str, session: Any, bucket: str, unique: Callable[[str], str]
) -> None:
    from sagemaker.core.utils.exceptions import FailedStatusError

    body = archive({"train.py": "raise ValueError('waco has no rows')"})
    session.client("s3").put_object(Bucket=bucket, Key="train.tar.gz", Body=body)
    job = train(data, unique("sdk"))
    # As on AWS: the SDK shows the reason, and what the script said is in the log.
    with pytest.raises(FailedStatusError, match="ExecuteUserScriptError"):
        job.wait(poll=1, timeout=60)
