"""Moves an endpoint's traffic to its new fleet step by step, and says when it has to go back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from local.sagemaker.endpoints.traffic_plan import TrafficPlan

#: Between two looks at the alarms.
LOOK_SECONDS = 0.25


class Interrupted(Exception):
    """The server is about to end; the next one goes on."""


class Traffic(Protocol):
    """What an update does, and what it waits for."""

    def activate(self, share: float) -> None:
        """Let the new fleet have this share of the traffic; 0 takes it back."""

    def tripped(self) -> Sequence[str]:
        """Names of the update's alarms that are in ALARM."""

    def wait(self, seconds: float) -> None:
        """Wait.

        :raises Interrupted: when the server is about to end.
        """


def shift(
    plan: TrafficPlan, traffic: Traffic, begun: float, clock: Callable[[], float] = time.monotonic
) -> str | None:
    """Take the steps of a plan. Alarms are looked at before the first step, and as long as the new fleet bakes.

    :param plan: the steps.
    :param traffic: what to do.
    :param begun: when the update began, by the clock.
    :param clock: seconds that only grow.
    :return: None when the new fleet has all the traffic for good; else why it was rolled back, for FailureReason.
    :raises Interrupted: when the server is about to end; the traffic is as it is then.
    """
    reason = _bake(plan, traffic, begun, 0.0, clock)
    for step in plan.steps if reason is None else ():
        traffic.activate(step.share)
        reason = _bake(plan, traffic, begun, step.bake_seconds, clock)
        if reason is not None:
            break
    if reason is not None:
        traffic.activate(0.0)
    return reason


def _bake(
    plan: TrafficPlan, traffic: Traffic, begun: float, seconds: float, clock: Callable[[], float]
) -> str | None:
    until = clock() + seconds
    while True:
        if tripped := traffic.tripped():
            return f"One or more configured alarm(s) went into alarm state during deployment: [{', '.join(tripped)}]"
        now = clock()
        if plan.limit_seconds is not None and now - begun >= plan.limit_seconds:
            return (
                f"The deployment took longer than MaximumExecutionTimeoutInSeconds ({plan.limit_seconds:g} seconds) "
                "and was rolled back."
            )
        if now >= until:
            return None
        traffic.wait(min(LOOK_SECONDS, until - now))
