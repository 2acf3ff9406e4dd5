"""What Application Auto Scaling knows of an endpoint, and in what that differs from the fleet file.

A client is passed in.
Sources: SageMaker Developer Guide, "Set Auto Scaling Policies for Multi-Model Endpoint Deployments"; Application Auto
Scaling API Reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

#: The one variant of every endpoint.
VARIANT = "AllTraffic"
#: Name of the policy; it tells what this package has registered from what somebody has by hand.
POLICY = "city-fleet"
_METRIC = "SageMakerVariantInvocationsPerInstance"


class ScalingClient(Protocol):
    """What is used of boto3's client ``application-autoscaling``, of whose types there is no package here."""

    def describe_scalable_targets(self, **request: Any) -> Any: ...
    def describe_scaling_policies(self, **request: Any) -> Any: ...
    def register_scalable_target(self, **request: Any) -> Any: ...
    def put_scaling_policy(self, **request: Any) -> Any: ...
    def delete_scaling_policy(self, **request: Any) -> Any: ...
    def deregister_scalable_target(self, **request: Any) -> Any: ...


class Scaling(Protocol):
    """What the fleet file's section says; the section itself is pydantic's, which the state does without."""

    @property
    def min_instances(self) -> int: ...
    @property
    def max_instances(self) -> int: ...
    @property
    def invocations_per_instance(self) -> int: ...
    @property
    def scale_in_cooldown_seconds(self) -> int: ...
    @property
    def scale_out_cooldown_seconds(self) -> int: ...


@dataclass(frozen=True)
class Registered:
    """What Application Auto Scaling knows of an endpoint.

    :param limits: smallest and largest number of instances; None where it is no scalable target.
    :param tracking: what :data:`POLICY` tracks; None where there is no such policy.
    :param others: names of further policies, which somebody else has made.
    """

    limits: tuple[int, int] | None = None
    tracking: Mapping[str, Any] | None = None
    others: tuple[str, ...] = ()


def variant(endpoint: str) -> dict[str, str]:
    """Return what names the one variant of an endpoint in every request.

    :param endpoint: name of the SageMaker endpoint.
    """
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def registered(scaling: ScalingClient, endpoint: str) -> Registered:
    """Return what Application Auto Scaling knows of an endpoint."""
    named = variant(endpoint)
    resource = named.pop("ResourceId")
    targets = scaling.describe_scalable_targets(**named, ResourceIds=[resource])["ScalableTargets"]
    if not targets:
        return Registered()
    policies = scaling.describe_scaling_policies(**named, ResourceId=resource)["ScalingPolicies"]
    found = {
        each["PolicyName"]: each.get("TargetTrackingScalingPolicyConfiguration", {}) for each in policies
    }
    return Registered(
        limits=(targets[0]["MinCapacity"], targets[0]["MaxCapacity"]),
        tracking=found.pop(POLICY, None),
        others=tuple(sorted(found)),
    )


def tracking(scaling: Scaling) -> dict[str, Any]:
    """Return what the policy is to track."""
    return {
        "TargetValue": float(scaling.invocations_per_instance),
        "PredefinedMetricSpecification": {"PredefinedMetricType": _METRIC},
        "ScaleInCooldown": scaling.scale_in_cooldown_seconds,
        "ScaleOutCooldown": scaling.scale_out_cooldown_seconds,
    }


def difference(found: Registered, scaling: Scaling) -> str | None:
    """Say in what an endpoint scales otherwise than the fleet file says; None where it does not."""
    if found.limits is None:
        return "is no scalable target"
    wanted = (scaling.min_instances, scaling.max_instances)
    if found.limits != wanted:
        low, high = found.limits
        return f"scales from {low} to {high} instances, not from {wanted[0]} to {wanted[1]}"
    if found.tracking is None:
        return f"has no scaling policy {POLICY}, so that its number of instances stays as it is"
    for name, value in tracking(scaling).items():
        if found.tracking.get(name) != value:
            return f"has the scaling policy {POLICY} with {name} {found.tracking.get(name)}, not {value}"
    return None
