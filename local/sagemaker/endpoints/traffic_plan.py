"""How an update moves an endpoint's traffic to its new fleet: a DeploymentConfig as steps.

Follows the API Reference (DeploymentConfig, TrafficRoutingConfig, RollingUpdatePolicy, CapacitySize) and the Developer
Guide ("Deployment guardrails for updating models in production", "Exclusions"): all at once in one step, a canary in
two, linear and rolling in as many as it takes. After each step the new fleet bakes: alarms are watched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.sagemaker.errors import ValidationException

BLUE_GREEN = "BlueGreenUpdatePolicy"
ROLLING = "RollingUpdatePolicy"
#: How much of a variant's instances a step may be, in percent (API Reference).
LIMITS = {"CanarySize": (0, 50), "LinearStepSize": (10, 50), "MaximumBatchSize": (5, 50)}
#: Which size goes with which type of routing.
_SIZES = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}


@dataclass(frozen=True)
class Step:
    """One step of the traffic to the new fleet.

    :param share: of the traffic that the new fleet has then, above 0 and up to 1.
    :param bake_seconds: how long the alarms are watched before the next step.
    """

    share: float
    bake_seconds: float


@dataclass(frozen=True)
class TrafficPlan:
    """An update's way.

    :param steps: the last one has a share of 1.
    :param alarms: names of the CloudWatch alarms any of which rolls the update back.
    :param limit_seconds: how long it may take before it is rolled back; None for as long as it takes.
    :param batch: the share of the instances that comes on top of those in service at a time.
    """

    steps: tuple[Step, ...] = (Step(1.0, 0.0),)
    alarms: tuple[str, ...] = field(default=())
    limit_seconds: float | None = None
    batch: float = 1.0

    @property
    def at_once(self) -> bool:
        """Whether there is nothing to wait and to watch for."""
        return not self.alarms and all(step.bake_seconds == 0 for step in self.steps)


def traffic_plan(config: Mapping[str, Any] | None, counts: Mapping[str, int]) -> TrafficPlan:
    """The steps of a DeploymentConfig.

    :param config: as UpdateEndpoint has it; None for a blue/green update all at once.
    :param counts: instances by name of the new fleet's production variants.
    :raises ValidationException: if its members don't fit together, or to so many instances.
    """
    config = config or {}
    if BLUE_GREEN in config and ROLLING in config:
        raise ValidationException(
            "DeploymentConfig: BlueGreenUpdatePolicy and RollingUpdatePolicy can't be given both."
        )
    alarms = tuple(
        each["AlarmName"]
        for each in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])
        if "AlarmName" in each
    )
    if ROLLING in config:
        return _rolling(config[ROLLING], counts, alarms)
    return _blue_green(config.get(BLUE_GREEN), counts, alarms)


def _blue_green(
    policy: Mapping[str, Any] | None, counts: Mapping[str, int], alarms: tuple[str, ...]
) -> TrafficPlan:
    if policy is None:
        return TrafficPlan(alarms=alarms)
    routing = policy["TrafficRoutingConfiguration"]
    kind, wait = routing["Type"], float(routing["WaitIntervalInSeconds"])
    for member in _SIZES.values():
        if (member in routing) != (_SIZES.get(kind) == member):
            raise ValidationException(
                f"DeploymentConfig: TrafficRoutingConfiguration of Type {kind} "
                + (f"needs {member}." if member not in routing else f"can't have {member}.")
            )
    if kind == "ALL_AT_ONCE":
        shares = [1.0]
    else:
        share = _share(_SIZES[kind], routing[_SIZES[kind]], counts)
        shares = [share, 1.0] if kind == "CANARY" else _even(share)
    steps = [Step(share, wait) for share in shares[:-1]]
    # The last baking period: before the old fleet is terminated.
    steps.append(Step(1.0, float(policy.get("TerminationWaitInSeconds", 0))))
    return _limited(policy, TrafficPlan(tuple(steps), alarms))


def _rolling(policy: Mapping[str, Any], counts: Mapping[str, int], alarms: tuple[str, ...]) -> TrafficPlan:
    share = _share("MaximumBatchSize", policy["MaximumBatchSize"], counts)
    if len(counts) > 1:  # Developer Guide, Exclusions: then it is blue/green, all at once, without baking
        return TrafficPlan()
    wait = float(policy["WaitIntervalInSeconds"])
    steps = tuple(Step(each, wait) for each in _even(share))
    return _limited(policy, TrafficPlan(steps, alarms, batch=share))


def _limited(policy: Mapping[str, Any], plan: TrafficPlan) -> TrafficPlan:
    limit = policy.get("MaximumExecutionTimeoutInSeconds")
    waits = sum(step.bake_seconds for step in plan.steps)
    if limit is None:
        return plan
    if limit <= waits:
        raise ValidationException(
            f"DeploymentConfig: MaximumExecutionTimeoutInSeconds is {limit}, and must be more than all waiting"
            f" together, which is {waits:g} seconds."
        )
    return TrafficPlan(plan.steps, plan.alarms, float(limit), plan.batch)


def _even(share: float) -> list[float]:
    count = math.ceil(1 / share - 1e-9)
    return [min(1.0, share * number) for number in range(1, count)] + [1.0]


def _share(member: str, size: Mapping[str, Any], counts: Mapping[str, int]) -> float:
    """The size of a step as a share of each variant's instances: of the smallest, where it is a number of them."""
    low, high = LIMITS[member]
    value, total = size["Value"], min(counts.values())
    percent = value if size["Type"] == "CAPACITY_PERCENT" else 100 * value / total
    if not low <= percent <= high:
        allowed = f"from {low} % to {high} %" if low else f"up to {high} %"
        got = f"{value} %" if size["Type"] == "CAPACITY_PERCENT" else f"{value} of {total}"
        raise ValidationException(
            f"DeploymentConfig: {member} must be {allowed} of a variant's instances, got {got}."
        )
    return float(percent) / 100
