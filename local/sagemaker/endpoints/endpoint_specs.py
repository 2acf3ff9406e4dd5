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
UNSUPPORTED_VARIANT = ("ServerlessConfig", "CoreDumpConfig", "InferenceAmiVersion")
#: InferenceExecutionConfig.Mode of a model whose containers are asked one by one.
DIRECT = "Direct"


def container_specs(server: Server, endpoint: str, config_name: str) -> list[tuple[ContainerSpec, float]]:
    """The containers that an endpoint runs.

    :param server: holds configurations and models.
    :param endpoint: name of the endpoint.
    :param config_name: name of its endpoint configuration.
    :return: the containers of all production variants, each with the weight of its variant.
    :raises ValidationException: when something does not exist, or the stand-in can't run it.
    """
    config = server.store.get("endpoint-config", config_name)
    if config is None:
        raise not_found("endpoint configuration", server.arn("endpoint-config", config_name))
    _refuse(config, UNSUPPORTED_CONFIG, f"Endpoint configuration {config_name}")
    if config.get("DataCaptureConfig", {}).get("EnableCapture"):
        _refuse(config, ("DataCaptureConfig",), f"Endpoint configuration {config_name}")
    return [each for variant in config["ProductionVariants"] for each in _variant(server, endpoint, variant)]


def model_containers(server: Server, model_name: str) -> list[dict[str, Any]]:
    """The containers of a model that run side by side, each with its image: what a model package says is looked up.

    :param server: holds models.
    :param model_name: name of the model.
    :raises ValidationException: when there is no such model, or the stand-in can't run it.
    """
    model = server.store.get("model", model_name)
    if model is None:
        raise not_found("model", server.arn("model", model_name))
    where = f"Model {model_name}"
    containers: list[dict[str, Any]] = (
        model.get("_containers") or model.get("Containers") or [model["PrimaryContainer"]]
    )
    direct = model.get("InferenceExecutionConfig", {}).get("Mode") == DIRECT
    if len(containers) > 1 and not direct:
        raise ValidationException(
            f"{where}: the local SageMaker does not support inference pipelines of containers (Mode Serial); it "
            "supports InferenceExecutionConfig Mode Direct."
        )
    for container in containers:
        _refuse(container, ("ModelPackageName", "ModelDataSource", "AdditionalModelDataSources"), where)
        if not container.get("Environment", {}).get("SAGEMAKER_PROGRAM"):
            raise ValidationException(
                f"{where}: the local SageMaker serves in script mode only; set SAGEMAKER_PROGRAM and "
                "SAGEMAKER_SUBMIT_DIRECTORY in the container's Environment."
            )
        if len(containers) > 1 and container.get("Mode") == "MultiModel":
            raise ValidationException(
                f"{where}: the local SageMaker does not support Mode MultiModel in one of several containers."
            )
    return containers


def _variant(server: Server, endpoint: str, variant: dict[str, Any]) -> list[tuple[ContainerSpec, float]]:
    name = variant["VariantName"]
    _refuse(variant, UNSUPPORTED_VARIANT, f"Production variant {name}")
    containers = model_containers(server, variant["ModelName"])
    return [
        (
            ContainerSpec(
                endpoint=endpoint,
                variant=name,
                image=container["Image"],
                model_data_url=container.get("ModelDataUrl", ""),
                multi_model=container.get("Mode") == "MultiModel",
                cache_models=container.get("MultiModelConfig", {}).get("ModelCacheSetting", "Enabled")
                == "Enabled",
                environment=container["Environment"],
                startup_seconds=variant.get(
                    "ContainerStartupHealthCheckTimeoutInSeconds", DEFAULT_STARTUP_SECONDS
                ),
                instance_type=variant.get("InstanceType", ""),
                instance_count=variant.get("InitialInstanceCount", 1),
                hostname=container["ContainerHostname"] if len(containers) > 1 else "",
            ),
            float(variant.get("InitialVariantWeight", 1.0)),
        )
        for container in containers
    ]


def instances(specs: Iterable[ContainerSpec]) -> list[tuple[str, int]]:
    """The quotas that variants use, and how much of each.

    :param specs: the containers that an endpoint runs; those of a variant share its instances.
    """
    variants = {spec.variant: spec for spec in specs}
    return [(quota_name(spec.instance_type, ENDPOINT), spec.instance_count) for spec in variants.values()]


def describe_variants(
    server: Server, config_name: str, specs: list[tuple[ContainerSpec, float]]
) -> list[dict[str, Any]]:
    """Production variants as DescribeEndpoint shows them.

    :param server: holds the configuration.
    :param config_name: name of the endpoint configuration.
    :param specs: what the endpoint runs.
    """
    config = server.store.get("endpoint-config", config_name) or {"ProductionVariants": []}
    configured = {each["VariantName"]: each for each in config["ProductionVariants"]}
    variants: dict[str, dict[str, Any]] = {}
    for spec, weight in specs:
        shown = variants.setdefault(
            spec.variant,
            {
                "VariantName": spec.variant,
                "DeployedImages": [],
                "CurrentWeight": weight,
                "DesiredWeight": weight,
                "CurrentInstanceCount": spec.instance_count,
                "DesiredInstanceCount": spec.instance_count,
            },
        )
        shown["DeployedImages"].append(
            {"SpecifiedImage": spec.image, "ResolvedImage": spec.image, "ResolutionTime": now()}
        )
        for member in ("ManagedInstanceScaling", "RoutingConfig"):
            if member in configured.get(spec.variant, {}):
                shown[member] = configured[spec.variant][member]
    return list(variants.values())


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
