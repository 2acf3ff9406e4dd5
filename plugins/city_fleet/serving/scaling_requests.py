"""Requests that have Application Auto Scaling change an endpoint's number of instances. Pure."""

from __future__ import annotations

from typing import Any

from city_fleet.config.scaling_section import Scaling
from city_fleet.state.scalable_targets import POLICY, tracking, variant


def target_request(endpoint: str, scaling: Scaling) -> dict[str, Any]:
    """Return the RegisterScalableTarget request, which changes a target that is there, too."""
    return {
        **variant(endpoint),
        "MinCapacity": scaling.min_instances,
        "MaxCapacity": scaling.max_instances,
    }


def policy_request(endpoint: str, scaling: Scaling) -> dict[str, Any]:
    """Return the PutScalingPolicy request, which changes a policy that is there, too."""
    return {
        **variant(endpoint),
        "PolicyName": POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": tracking(scaling),
    }


def count_to_keep(serves: int, made: int, scaling: Scaling) -> int | None:
    """Return how many instances an endpoint needs before it takes over; None where it has them.

    It is made with ``instance_count`` of them, and the one that serves may have scaled to more by now.

    :param serves: instances of the endpoint that serves.
    :param made: those of the endpoint that is to take over.
    """
    wanted = min(serves, scaling.max_instances)
    return wanted if wanted > made else None
