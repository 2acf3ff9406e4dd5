"""Which containers an endpoint runs, by its configuration and models; what is not supported is refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from local.sagemaker.container_spec import DEFAULT_STARTUP_SECONDS, ContainerSpec
from local.sagemaker.errors import ValidationException, not_found
from local.sagemaker.moments import now
from local.sagemaker.quotas import ENDPOINT, quota_name
from local.sagemaker.reach import Server

#: Members that CreateEndpointConfig takes, and CreateEndpoint refuses.
UNSUPPORTED_CONFIG = ("AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants")
UNSUPPORTED_VARIANT = ("ServerlessConfig", "CoreDumpConfig", "ManagedInstanceScaling", "InferenceAmiVersion")


def container_specs(server: Server, endpoint: str, config_name: str) -> list[tuple[ContainerSpec, float]]:
    """The containers that an endpoint runs.

    :param server: holds configurations and models.
    :param endpoint: name of the endpoint.
    :param config_name: name of its endpoint configuration.
    :return: container and weight of each production variant.
    :raises ValidationException: when something does not exist, or the stand-in can't run it.
    """
    config = server.store.get("endpoint-config", config_name)
    if config is None:
        raise not_found("endpoint configuration", server.arn("endpoint-config", config_name))
    _refuse(config, UNSUPPORTED_CONFIG, f"Endpoint configuration {config_name}")
    if config.get("DataCaptureConfig", {}).get("EnableCapture"):
        _refuse(config, ("DataCaptureConfig",), f"Endpoint configuration {config_name}")
    return [_variant(server, endpoint, variant) for variant in config["ProductionVariants"]]


def _variant(server: Server, endpoint: str, variant: dict[str, Any]) -> tuple[ContainerSpec, float]:
    name = variant["VariantName"]
    _refuse(variant, UNSUPPORTED_VARIANT, f"Production variant {name}")
    model = server.store.get("model", variant["ModelName"])
    if model is None:
        raise not_found("model", server.arn("model", variant["ModelName"]))
    where = f"Model {variant['ModelName']}"
    containers = model.get("Containers") or [model["PrimaryContainer"]]
    if len(containers) > 1:
        raise ValidationException(
            f"{where}: the local SageMaker does not support inference pipelines of containers."
        )
    container = containers[0]
    _refuse(container, ("ModelPackageName", "ModelDataSource", "AdditionalModelDataSources"), where)
    environment = container.get("Environment", {})
    if not environment.get("SAGEMAKER_PROGRAM"):
        raise ValidationException(
            f"{where}: the local SageMaker serves in script mode only; set SAGEMAKER_PROGRAM and "
            "SAGEMAKER_SUBMIT_DIRECTORY in the container's Environment."
        )
    multi_model = container.get("Mode") == "MultiModel"
    caching = container.get("MultiModelConfig", {}).get("ModelCacheSetting", "Enabled")
    spec = ContainerSpec(
        endpoint=endpoint,
        variant=name,
        image=container["Image"],
        model_data_url=container.get("ModelDataUrl", ""),
        multi_model=multi_model,
        cache_models=caching == "Enabled",
        environment=environment,
        startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds", DEFAULT_STARTUP_SECONDS),
        instance_type=variant.get("InstanceType", ""),
        instance_count=variant.get("InitialInstanceCount", 1),
    )
    return spec, float(variant.get("InitialVariantWeight", 1.0))


def instances(specs: Iterable[ContainerSpec]) -> list[tuple[str, int]]:
    """The quotas that containers use, and how much of each.

    :param specs: the containers that an endpoint runs.
    """
    return [(quota_name(spec.instance_type, ENDPOINT), spec.instance_count) for spec in specs]


def describe_variants(
    server: Server, config_name: str, specs: list[tuple[ContainerSpec, float]]
) -> list[dict[str, Any]]:
    """Production variants as DescribeEndpoint shows them.

    :param server: holds the configuration.
    :param config_name: name of the endpoint configuration.
    :param specs: what the endpoint runs.
    """
    config = server.store.get("endpoint-config", config_name) or {"ProductionVariants": []}
    counts = {
        each["VariantName"]: each.get("InitialInstanceCount", 1) for each in config["ProductionVariants"]
    }
    return [
        {
            "VariantName": spec.variant,
            "DeployedImages": [
                {"SpecifiedImage": spec.image, "ResolvedImage": spec.image, "ResolutionTime": now()}
            ],
            "CurrentWeight": weight,
            "DesiredWeight": weight,
            "CurrentInstanceCount": counts.get(spec.variant, 1),
            "DesiredInstanceCount": counts.get(spec.variant, 1),
        }
        for spec, weight in specs
    ]


def pack_deployment(config: str, specs: list[tuple[ContainerSpec, float]]) -> dict[str, Any]:
    """What an endpoint runs, as the store holds it: a later server starts it again even without its configuration.

    :param config: name of the endpoint configuration.
    :param specs: container and weight of each variant.
    """
    return {"config": config, "specs": [[asdict(spec), weight] for spec, weight in specs]}


def unpack_deployment(packed: dict[str, Any]) -> tuple[str, list[tuple[ContainerSpec, float]]]:
    """The reverse of :func:`pack_deployment`.

    :raises KeyError, TypeError, ValueError: if it was written by a version that is too different.
    """
    return packed["config"], [(ContainerSpec(**spec), weight) for spec, weight in packed["specs"]]


def _refuse(document: dict[str, Any], members: tuple[str, ...], where: str) -> None:
    for member in members:
        if document.get(member):
            raise ValidationException(
                f"{where}: the local SageMaker does not support {member}; leave it out."
            )
