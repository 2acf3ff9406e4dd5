"""Which containers an endpoint runs, by its configuration and models; what is not supported is refused by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from local.sagemaker.container_spec import DEFAULT_STARTUP_SECONDS, ContainerSpec
from local.sagemaker.endpoints.traffic_plan import TrafficPlan, traffic_plan
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
    return [each for variant in config["ProductionVariants"] for each in _variant(server, endpoint, variant)]


def data_capture(server: Server, config_name: str) -> dict[str, Any] | None:
    """The DataCaptureConfig of an endpoint configuration; None where it has none."""
    config = server.store.get("endpoint-config", config_name) or {}
    return config.get("DataCaptureConfig")


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


def instances(specs: Iterable[ContainerSpec], share: float = 1.0) -> list[tuple[str, int]]:
    """The quotas that variants use, and how much of each.

    :param specs: the containers that an endpoint runs; those of a variant share its instances.
    :param share: of the instances; part of one is one.
    """
    variants = {spec.variant: spec for spec in specs}
    return [
        (quota_name(spec.instance_type, ENDPOINT), math.ceil(share * spec.instance_count - 1e-9))
        for spec in variants.values()
    ]


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


@dataclass(frozen=True)
class Deployment:
    """What an endpoint is brought to run.

    :param config: name of the endpoint configuration.
    :param specs: the containers, each with the weight of its variant.
    :param policy: the DeploymentConfig that says how; None for all at once.
    :param capture: the DataCaptureConfig; None where nothing was said of it.
    """

    config: str
    specs: list[tuple[ContainerSpec, float]]
    policy: dict[str, Any] | None = None
    capture: dict[str, Any] | None = None

    def packed(self) -> dict[str, Any]:
        """As the store holds it: a later server starts it again even without its configuration."""
        specs = [[asdict(spec), weight] for spec, weight in self.specs]
        return {"config": self.config, "specs": specs, "policy": self.policy, "capture": self.capture}

    @classmethod
    def unpacked(cls, packed: dict[str, Any]) -> Deployment:
        """The reverse of :meth:`packed`.

        :raises KeyError, TypeError, ValueError: if it was written by a version that is too different.
        """
        specs = [(ContainerSpec(**spec), weight) for spec, weight in packed["specs"]]
        return cls(packed["config"], specs, packed.get("policy"), packed.get("capture"))

    @property
    def plan(self) -> TrafficPlan:
        """How the traffic gets there.

        :raises ValidationException: if the policy does not fit the variants.
        """
        return traffic_plan(self.policy, {spec.variant: spec.instance_count for spec, _ in self.specs})


def retained(
    specs: list[tuple[ContainerSpec, float]], variants: Iterable[dict[str, Any]], excluded: Iterable[str]
) -> list[tuple[ContainerSpec, float]]:
    """What RetainAllVariantProperties makes of a new configuration: weights and counts of variants that are there stay.

    :param specs: what the new configuration says.
    :param variants: the endpoint's ProductionVariants.
    :param excluded: types of ExcludeRetainedVariantProperties.
    """
    current = {each["VariantName"]: each for each in variants}
    kept = []
    for spec, weight in specs:
        variant = current.get(
            spec.variant, {"DesiredWeight": weight, "DesiredInstanceCount": spec.instance_count}
        )
        count = spec.instance_count if "DesiredInstanceCount" in excluded else variant["DesiredInstanceCount"]
        share = weight if "DesiredWeight" in excluded else float(variant["DesiredWeight"])
        kept.append((replace(spec, instance_count=count), share))
    return kept


def _refuse(document: dict[str, Any], members: tuple[str, ...], where: str) -> None:
    for member in members:
        if document.get(member):
            raise ValidationException(
                f"{where}: the local SageMaker does not support {member}; leave it out."
            )
