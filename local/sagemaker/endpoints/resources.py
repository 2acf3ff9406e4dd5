"""Models and endpoint configurations: what an endpoint is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from local.sagemaker.endpoints import data_capture
from local.sagemaker.endpoints.endpoint_specs import DIRECT
from local.sagemaker.endpoints.package_containers import resolved_containers
from local.sagemaker.errors import ValidationException, not_found
from local.sagemaker.preconditions import check_model_data, check_model_role
from local.sagemaker.processes.images import check_labels
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.reach import Server
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import AlreadyExists, Document

MODEL = "model"
ENDPOINT_CONFIG = "endpoint-config"
#: Keys and values of a model's environment, all containers together (API Reference: ContainerDefinition).
MAX_ENVIRONMENT_BYTES = 32 * 1024
#: Members that are kept and described, and change nothing here.
NO_EFFECT_OF_CONTAINER = ("ImageConfig", "InferenceSpecificationName", "ContainerMetricsConfig")
NO_EFFECT_OF_VARIANT = (
    "ManagedInstanceScaling",
    "AcceleratorType",
    "CapacityReservationConfig",
    "EnableSSMAccess",
    "InstancePools",
    "ModelDataDownloadTimeoutInSeconds",
    "RoutingConfig",
    "VariantInstanceProvisionTimeoutInSeconds",
)
SERVERLESS_MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)
#: The kinds in SageMaker's words.
_WORDS = {MODEL: "model", ENDPOINT_CONFIG: "endpoint configuration"}


@operation(
    "CreateModel",
    source="API Reference: CreateModel, ContainerDefinition; Developer Guide: Create a multi-container endpoint, "
    "Invoke a multi-container endpoint with direct invocation",
    differs=[
        "The bucket of a multi-model prefix must exist; objects may follow later.",
        "The execution role is required; images are not looked for.",
        "ModelDataUrl must be an s3:// URI.",
        "A model package is looked up when the model is created: its container, with its Environment below the "
        "model's own. It must be approved.",
        "What must hold for InferenceExecutionConfig Mode Direct, and for TargetContainerHostname of InvokeEndpoint, "
        "is documented; the wording of refusals is our own.",
    ],
    no_effect=[
        "VpcConfig",
        "EnableNetworkIsolation",
        *(
            f"{where}.{member}"
            for where in ("PrimaryContainer", "Containers")
            for member in NO_EFFECT_OF_CONTAINER
        ),
    ],
)
def create_model(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Create a model: one container, or several; a multi-model one has a prefix of artifacts."""
    if ("PrimaryContainer" in request) == bool(request.get("Containers")):
        raise ValidationException("Exactly one of PrimaryContainer and Containers must be given.")
    if "ExecutionRoleArn" not in request:
        raise ValidationException(
            "ExecutionRoleArn is required: the role the endpoint reads its artifacts with."
        )
    document = {"EnableNetworkIsolation": False, **request}
    if "PrimaryContainer" in request:
        document["PrimaryContainer"] = _container(server, request["PrimaryContainer"], "PrimaryContainer")
        containers = [document["PrimaryContainer"]]
    else:
        containers = document["Containers"] = [
            _container(server, container, f"Containers.{number}")
            for number, container in enumerate(request["Containers"], 1)
        ]
    direct = request.get("InferenceExecutionConfig", {}).get("Mode") == DIRECT
    _check_together(containers, direct=direct)
    containers = document["_containers"] = resolved_containers(server, containers)
    for container in containers:
        check_labels(server.settings, container)
    data = [(each["ModelDataUrl"], each["Mode"]) for each in containers if "ModelDataUrl" in each]
    check_model_role(server, request["ExecutionRoleArn"], data[0][0] if data else None)
    for uri, mode in data:
        check_model_data(server, uri, many=mode == "MultiModel")
    return {"ModelArn": _create(server, MODEL, document, "ModelName", "ModelArn")}


@operation("DescribeModel")
def describe_model(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a model."""
    return _describe(server, MODEL, request["ModelName"])


@operation("ListModels")
def list_models(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """List models."""
    return list_page("ListModels", request, server.store.list(MODEL), name="ModelName")


@operation("DeleteModel")
def delete_model(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a model; endpoints that serve it keep serving."""
    return _delete(server, MODEL, request["ModelName"])


@operation(
    "CreateEndpointConfig",
    source="API Reference: CreateEndpointConfig, ProductionVariant, DataCaptureConfig; Developer Guide: Capture data "
    "from real-time endpoint",
    differs=[
        "What the stand-in can't run is refused by CreateEndpoint.",
        "Data is captured of every endpoint, multi-model ones too, without the name of the target model: AWS documents "
        "no member for it, and says of those only that Model Monitor does not support them.",
        "Captured are requests that were answered; AWS does not say what it does with those that failed.",
        "What is captured is written within seconds; if the bucket refuses, it is lost, and the server's log says so.",
        "DataCaptureConfig.DestinationS3Uri must be an s3:// URI.",
    ],
    no_effect=[
        "KmsKeyId",
        "VpcConfig",
        "EnableNetworkIsolation",
        "ExecutionRoleArn",
        "MetricsConfig",
        *(f"ProductionVariants.{member}" for member in NO_EFFECT_OF_VARIANT),
    ],
)
def create_endpoint_config(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Create an endpoint configuration whose variants serve existing models."""
    variants = request["ProductionVariants"]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise ValidationException(
            f"Variant names must be unique within an endpoint configuration, got {names}."
        )
    if "DataCaptureConfig" in request:
        data_capture.check(request["DataCaptureConfig"])
    document = {
        "EnableNetworkIsolation": False,
        **request,
        "ProductionVariants": [_variant(server, variant) for variant in variants],
    }
    arn = _create(server, ENDPOINT_CONFIG, document, "EndpointConfigName", "EndpointConfigArn")
    return {"EndpointConfigArn": arn}


@operation("DescribeEndpointConfig")
def describe_endpoint_config(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe an endpoint configuration."""
    return _describe(server, ENDPOINT_CONFIG, request["EndpointConfigName"])


@operation("ListEndpointConfigs")
def list_endpoint_configs(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """List endpoint configurations."""
    return list_page(
        "ListEndpointConfigs", request, server.store.list(ENDPOINT_CONFIG), name="EndpointConfigName"
    )


@operation("DeleteEndpointConfig")
def delete_endpoint_config(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete an endpoint configuration; endpoints that were made from it keep serving."""
    return _delete(server, ENDPOINT_CONFIG, request["EndpointConfigName"])


def _container(server: Server, container: dict[str, Any], path: str) -> dict[str, Any]:
    """A container as Describe shows it.

    :raises ValidationException: if its members do not fit together.
    """
    mode = container.get("Mode", "SingleModel")
    if "Image" not in container and "ModelPackageName" not in container:
        raise ValidationException(f"{path}: Image or ModelPackageName must be given.")
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise ValidationException(f"{path}: ModelDataUrl and ModelDataSource can't be given both.")
    if mode == "MultiModel":
        url = container.get("ModelDataUrl", "")
        if not url.startswith("s3://") or not url.endswith("/"):
            raise ValidationException(
                f"{path}: ModelDataUrl of a container in MultiModel mode must be the S3 prefix of its"
                f" artifacts and end with '/', got '{url}'."
            )
    elif "MultiModelConfig" in container:
        raise ValidationException(f"{path}: MultiModelConfig needs Mode MultiModel, got {mode}.")
    return {**container, "Mode": mode}


def _check_together(containers: list[dict[str, Any]], *, direct: bool) -> None:
    """Check what holds for all containers of a model (API Reference: ContainerDefinition).

    :param direct: whether each of them is to be asked by its hostname.
    :raises ValidationException: if they don't fit together.
    """
    size = sum(
        len(key.encode()) + len(value.encode())
        for container in containers
        for key, value in container.get("Environment", {}).items()
    )
    if size > MAX_ENVIRONMENT_BYTES:
        raise ValidationException(
            f"The keys and values of all containers' Environment can have {MAX_ENVIRONMENT_BYTES} bytes"
            f" together, got {size}."
        )
    names = [each["ContainerHostname"] for each in containers if "ContainerHostname" in each]
    if direct and len(containers) < 2:
        raise ValidationException(
            "InferenceExecutionConfig Mode Direct needs Containers with more than one container, got"
            f" {len(containers)}."
        )
    if direct and len(set(names)) < len(containers):
        raise ValidationException(
            "ContainerHostname must be given for every container with InferenceExecutionConfig Mode Direct, and be"
            f" unique; got {names} for {len(containers)} containers."
        )
    if len(containers) > 1 and names and len(set(names)) < len(containers):
        raise ValidationException(
            "ContainerHostname must be given for every container of an inference pipeline, or for none, and"
            f" be unique; got {names} for {len(containers)} containers."
        )


def _variant(server: Server, variant: dict[str, Any]) -> dict[str, Any]:
    """A production variant as Describe shows it.

    :raises ValidationException: if its model does not exist or it has no instances.
    """
    name = variant["VariantName"]
    if "ModelName" not in variant:
        raise ValidationException(f"Production variant {name}: ModelName must be given.")
    if server.store.get(MODEL, variant["ModelName"]) is None:
        raise not_found(_WORDS[MODEL], server.arn(MODEL, variant["ModelName"]))
    if "ServerlessConfig" in variant:
        for member in ("InstanceType", "InitialInstanceCount"):
            if member in variant:
                raise ValidationException(
                    f"Production variant {name}: {member} can't be given with ServerlessConfig."
                )
        _check_serverless(name, variant["ServerlessConfig"])
    else:
        for member in ("InstanceType", "InitialInstanceCount"):
            if member not in variant:
                raise ValidationException(f"Production variant {name}: {member} must be given.")
    return {"InitialVariantWeight": 1.0, **variant}


def _check_serverless(name: str, config: dict[str, Any]) -> None:
    """Check what the service model does not say (API Reference: ProductionVariantServerlessConfig).

    :raises ValidationException: if it is none that AWS takes.
    """
    memory = config["MemorySizeInMB"]
    if memory not in SERVERLESS_MEMORY_MB:
        raise ValidationException(
            f"Production variant {name}: ServerlessConfig.MemorySizeInMB must be one of"
            f" {', '.join(map(str, SERVERLESS_MEMORY_MB))}, got {memory}."
        )
    provisioned, most = config.get("ProvisionedConcurrency", 0), config["MaxConcurrency"]
    if provisioned > most:
        raise ValidationException(
            f"Production variant {name}: ServerlessConfig.ProvisionedConcurrency must be at most MaxConcurrency, which"
            f" is {most}; got {provisioned}."
        )


def _create(server: Server, kind: str, document: Document, name_member: str, arn_member: str) -> str:
    """Store a new resource.

    :returns: its ARN.
    :raises ValidationException: if the name is taken.
    """
    name = document[name_member]
    arn = server.arn(kind, name)
    tags = check_tags(document.pop("Tags", []))
    document |= {arn_member: arn, "CreationTime": datetime.now(UTC), "_tags": tags}
    try:
        server.store.insert(kind, name, document)
    except AlreadyExists:
        raise ValidationException(f'Cannot create already existing {_WORDS[kind]} "{arn}".') from None
    return arn


def _describe(server: Server, kind: str, name: str) -> Document:
    document = server.store.get(kind, name)
    if document is None:
        raise not_found(_WORDS[kind], server.arn(kind, name))
    return document


def _delete(server: Server, kind: str, name: str) -> dict[str, Any]:
    if not server.store.delete(kind, name):
        raise not_found(_WORDS[kind], server.arn(kind, name))
    return {}
