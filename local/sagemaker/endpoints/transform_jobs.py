"""Batch transform jobs: the operations."""

from __future__ import annotations

from typing import Any

from local.sagemaker.endpoints.endpoint_specs import model_containers
from local.sagemaker.endpoints.transform_run import KIND
from local.sagemaker.errors import ResourceInUse, ValidationException
from local.sagemaker.moments import now
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.quotas import TRANSFORM, quota_name
from local.sagemaker.reach import Server
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import AlreadyExists, Document, NotFound

#: API Reference: CreateTransformJob, MaxPayloadInMB.
MAX_PAYLOAD_MB = 100
#: Data processing that changes nothing.
_PLAIN = {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}


@operation(
    "CreateTransformJob",
    source="API Reference: CreateTransformJob, TransformInput, TransformOutput, ModelClientConfig",
    differs=[
        "A model has one container with one model, which serves in script mode.",
        "One process, which is asked one payload after the other, whatever InstanceCount and MaxConcurrentTransforms "
        "are.",
        "Inputs by S3Prefix and ManifestFile; split by lines or not at all. An output lies below S3OutputPath as its "
        "input below S3Uri.",
        "AssembleWith Line gives no second newline to an answer that ends with one.",
    ],
    refused=[
        "DataProcessing",
        "DataCaptureConfig",
        "TransformInput.DataSource.S3DataSource.S3DataType=AugmentedManifestFile",
        "TransformInput.DataSource.S3DataSource.S3DataType=Converse",
        "TransformInput.CompressionType=Gzip",
        "TransformInput.SplitType=RecordIO",
        "TransformInput.SplitType=TFRecord",
    ],
    no_effect=[
        "MaxConcurrentTransforms",
        "ExperimentConfig",
        "TransformOutput.KmsKeyId",
        "TransformResources.VolumeKmsKeyId",
        "TransformResources.TransformAmiVersion",
    ],
)
def create_transform_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Start a batch transform job."""
    _check(request)
    containers = model_containers(server, request["ModelName"])
    if len(containers) > 1 or containers[0].get("Mode") == "MultiModel":
        raise ValidationException(
            f"Model {request['ModelName']}: the local SageMaker transforms with models that have one container in Mode"
            " SingleModel."
        )
    name = request["TransformJobName"]
    arn = server.arn(KIND, name)
    moment = now()
    document: Document = {
        **request,
        "TransformJobArn": arn,
        "TransformJobStatus": "InProgress",
        "CreationTime": moment,
        "LastModifiedTime": moment,
        "_region": server.region,
    }
    document["_tags"] = check_tags(document.pop("Tags", []))
    resources = request["TransformResources"]
    quota = quota_name(resources["InstanceType"], TRANSFORM)
    try:
        with server.store.transaction():
            server.store.insert(KIND, name, document)
            taken = server.quotas.take((KIND, name), [(quota, resources["InstanceCount"])])
            server.store.when_undone(taken)
    except AlreadyExists:
        raise ResourceInUse(
            "Job name must be unique within an AWS account and region, and a transform job with this name "
            f"already exists ({arn})"
        ) from None
    server.transforms.submit(name)
    return {"TransformJobArn": arn}


def _check(request: dict[str, Any]) -> None:
    source = request["TransformInput"]["DataSource"]["S3DataSource"]
    given = request["TransformInput"]
    for value, allowed, where in (
        (
            source["S3DataType"],
            ("S3Prefix", "ManifestFile"),
            "TransformInput.DataSource.S3DataSource.S3DataType",
        ),
        (given.get("CompressionType", "None"), ("None",), "TransformInput.CompressionType"),
        (given.get("SplitType", "None"), ("None", "Line"), "TransformInput.SplitType"),
    ):
        if value not in allowed:
            raise ValidationException(
                f"{where}: the local SageMaker does not support {value}; it supports {', '.join(allowed)}."
            )
    processing = request.get("DataProcessing", {})
    if any(value != _PLAIN[member] for member, value in processing.items()):
        raise ValidationException("DataProcessing: the local SageMaker does not support it; leave it out.")
    if "DataCaptureConfig" in request:
        raise ValidationException("DataCaptureConfig: the local SageMaker does not support it; leave it out.")
    payload, transforms = request.get("MaxPayloadInMB", 6), request.get("MaxConcurrentTransforms", 1)
    if payload > MAX_PAYLOAD_MB or payload * transforms > MAX_PAYLOAD_MB:
        raise ValidationException(
            f"MaxPayloadInMB must be at most {MAX_PAYLOAD_MB}, and so must it be together with MaxConcurrentTransforms;"
            f" got {payload} and {transforms}."
        )
    if payload == 0 and given.get("SplitType", "None") != "None":
        raise ValidationException("MaxPayloadInMB 0, which sets no limit, needs SplitType None.")


@operation("DescribeTransformJob")
def describe_transform_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a batch transform job."""
    document = server.store.get(KIND, request["TransformJobName"])
    if document is None:
        raise _not_found(request["TransformJobName"])
    # A summary has it, and a description has not.
    return {member: value for member, value in document.items() if member != "LastModifiedTime"}


@operation("StopTransformJob")
def stop_transform_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Stop a batch transform job; what it has uploaded stays."""
    name = request["TransformJobName"]

    def change(document: Document) -> None:
        status = document["TransformJobStatus"]
        if status != "InProgress":
            raise ValidationException(
                f"The request was rejected because the transform job is in status {status}."
            )
        document.update(TransformJobStatus="Stopping", LastModifiedTime=now())

    try:
        server.store.update(KIND, name, change)
    except NotFound:
        raise _not_found(name) from None
    server.transforms.stop(name)
    return {}


@operation("ListTransformJobs")
def list_transform_jobs(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Batch transform jobs, filtered and sorted, a page at a time."""
    return list_page(
        "ListTransformJobs",
        request,
        server.store.list(KIND),
        name="TransformJobName",
        status="TransformJobStatus",
    )


def _not_found(name: str) -> ValidationException:
    return ValidationException(f"Could not find requested job with name: {name}")
