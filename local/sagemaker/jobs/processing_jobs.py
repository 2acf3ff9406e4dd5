"""Processing jobs: the operations."""

from __future__ import annotations

from typing import Any

from local.sagemaker.errors import ResourceInUse, ValidationException
from local.sagemaker.jobs.job_checks import check_processing_request
from local.sagemaker.jobs.processing_run import KIND
from local.sagemaker.moments import now
from local.sagemaker.preconditions import check_job_role
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.quotas import PROCESSING, quota_name
from local.sagemaker.reach import Server
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import AlreadyExists, Document, NotFound

DEFAULT_MAX_RUNTIME_SECONDS = 86_400


@operation(
    "CreateProcessingJob",
    source="API Reference; Developer Guide: How Amazon SageMaker Processing Configures Your Processing Container",
    differs=[
        "An image is a Python interpreter, which runs the ContainerEntrypoint.",
        "One instance, which gets all files of an input, ShardedByS3Key or not; S3Prefix and ManifestFile, mode File.",
        "Outputs EndOfJob, below /opt/ml/processing.",
        "A job waits its turn while as many run as --max-running-jobs allows.",
    ],
    refused=[
        "ProcessingInputs.DatasetDefinition",
        "ProcessingInputs.AppManaged",
        "ProcessingInputs.S3Input.S3InputMode=Pipe",
        "ProcessingOutputConfig.Outputs.FeatureStoreOutput",
        "ProcessingOutputConfig.Outputs.S3Output.S3UploadMode=Continuous",
    ],
    no_effect=[
        "NetworkConfig",
        "ExperimentConfig",
        "ProcessingOutputConfig.KmsKeyId",
        "ProcessingResources.ClusterConfig.VolumeSizeInGB",
        "ProcessingResources.ClusterConfig.SelectedInstanceType",
        "ProcessingResources.ClusterConfig.SelectedInstanceCount",
    ],
)
def create_processing_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Start a processing job."""
    check_processing_request(request)
    check_job_role(server, request["RoleArn"])
    name = request["ProcessingJobName"]
    arn = server.arn(KIND, name)
    moment = now()
    document: Document = {
        "StoppingCondition": {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_SECONDS},
        **request,
        "ProcessingJobArn": arn,
        "ProcessingJobStatus": "InProgress",
        "CreationTime": moment,
        "LastModifiedTime": moment,
        "_region": server.region,
    }
    document["_tags"] = check_tags(document.pop("Tags", []))
    cluster = request["ProcessingResources"]["ClusterConfig"]
    quota = quota_name(cluster["InstanceType"], PROCESSING)
    try:
        with server.store.transaction():
            server.store.insert(KIND, name, document)
            taken = server.quotas.take((KIND, name), [(quota, cluster["InstanceCount"])])
            server.store.when_undone(taken)
    except AlreadyExists:
        raise ResourceInUse(
            "Job name must be unique within an AWS account and region, and a processing job with this name "
            f"already exists ({arn})"
        ) from None
    server.jobs.submit(KIND, name)
    return {"ProcessingJobArn": arn}


@operation("DescribeProcessingJob")
def describe_processing_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a processing job."""
    document = server.store.get(KIND, request["ProcessingJobName"])
    if document is None:
        raise _not_found(request["ProcessingJobName"])
    return document


@operation("StopProcessingJob")
def stop_processing_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Stop a processing job: SIGTERM, a grace period, SIGKILL."""
    name = request["ProcessingJobName"]

    def change(document: Document) -> None:
        status = document["ProcessingJobStatus"]
        if status != "InProgress":
            raise ValidationException(
                f"The request was rejected because the processing job is in status {status}."
            )
        document.update(ProcessingJobStatus="Stopping", LastModifiedTime=now())

    try:
        server.store.update(KIND, name, change)
    except NotFound:
        raise _not_found(name) from None
    server.jobs.stop(KIND, name)
    return {}


@operation("ListProcessingJobs")
def list_processing_jobs(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Processing jobs, filtered and sorted, a page at a time."""
    documents = server.store.list(KIND)
    return list_page(
        "ListProcessingJobs",
        request,
        documents,
        name="ProcessingJobName",
        status="ProcessingJobStatus",
        default_order="Ascending",
    )


def _not_found(name: str) -> ValidationException:
    return ValidationException(f"Could not find requested job with name: {name}")
