"""The steps of an update's DeploymentConfig, and how they are taken: without a server, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from local.sagemaker.endpoints.traffic_plan import Step, TrafficPlan, traffic_plan
from local.sagemaker.endpoints.traffic_shift import shift
from local.sagemaker.errors import ValidationException


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def count(value: int) -> dict[str, Any]:
    return {"Type": "INSTANCE_COUNT", "Value": value}


def blue_green(kind: str, wait: int = 60, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait}
    routing |= {member: more.pop(member) for member in ("CanarySize", "LinearStepSize") if member in more}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **more}}


def rolling(size: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 10, **more}}


def test_a_deployment_config_becomes_steps(subtests: pytest.Subtests) -> None:
    last = Step(1.0, 0.0)
    for config, instances, steps in [
        (None, 1, [last]),
        (blue_green("ALL_AT_ONCE"), 1, [last]),
        (blue_green("ALL_AT_ONCE", TerminationWaitInSeconds=30), 1, [Step(1.0, 30.0)]),
        (blue_green("CANARY", CanarySize=percent(25)), 1, [Step(0.25, 60.0), last]),
        (blue_green("CANARY", CanarySize=count(1)), 4, [Step(0.25, 60.0), last]),
        (
            blue_green("LINEAR", 5, LinearStepSize=percent(40), TerminationWaitInSeconds=7),
            1,
            [Step(0.4, 5.0), Step(0.8, 5.0), Step(1.0, 7.0)],
        ),
        (rolling(count(1)), 2, [Step(0.5, 10.0), Step(1.0, 10.0)]),
        (rolling(percent(50)), 1, [Step(0.5, 10.0), Step(1.0, 10.0)]),
    ]:
        with subtests.test(config=config, instances=instances):
            assert traffic_plan(config, {"all": instances}).steps == tuple(steps)


def test_what_does_not_fit_is_refused(subtests: pytest.Subtests) -> None:
    for config, instances, words in [
        (blue_green("CANARY"), 1, "of Type CANARY needs CanarySize."),
        (blue_green("ALL_AT_ONCE", CanarySize=percent(5)), 1, "of Type ALL_AT_ONCE can't have CanarySize."),
        (blue_green("CANARY", CanarySize=percent(51)), 1, "CanarySize must be up to 50 %"),
        (blue_green("CANARY", CanarySize=count(1)), 1, "got 1 of 1."),
        (blue_green("LINEAR", LinearStepSize=percent(9)), 1, "LinearStepSize must be from 10 % to 50 %"),
        (rolling(percent(4)), 1, "MaximumBatchSize must be from 5 % to 50 %"),
        (
            blue_green("ALL_AT_ONCE", TerminationWaitInSeconds=600, MaximumExecutionTimeoutInSeconds=600),
            1,
            "must be more than all waiting together, which is 600 seconds.",
        ),
        ({**rolling(percent(5)), **blue_green("ALL_AT_ONCE")}, 1, "can't be given both"),
    ]:
        with subtests.test(config=config), pytest.raises(ValidationException) as caught:
            traffic_plan(config, {"all": instances})
        assert words in caught.value.message


def test_a_rolling_update_of_several_variants_is_one_all_at_once() -> None:
    assert traffic_plan(rolling(percent(50)), {"a": 1, "b": 1}).at_once


class Recorded:
    """Notes what an update does, and when.

    :param tripped: names of the alarms in ALARM from a moment on.
    """

    def __init__(self, tripped: Sequence[str] = (), after: float = 0.0) -> None:
        self.now = 0.0
        self.shares: list[tuple[float, float]] = []
        self._tripped, self._after = tripped, after

    def activate(self, share: float) -> None:
        self.shares.append((self.now, share))

    def tripped(self) -> Sequence[str]:
        return self._tripped if self.now >= self._after else ()

    def wait(self, seconds: float) -> None:
        self.now += seconds


PLAN = TrafficPlan((Step(0.1, 20.0), Step(1.0, 30.0)), ("errors",), limit_seconds=600.0)


def test_the_traffic_moves_step_by_step() -> None:
    traffic = Recorded()
    assert shift(PLAN, traffic, 0.0, lambda: traffic.now) is None
    assert traffic.shares == [(0.0, 0.1), (20.0, 1.0)]
    assert traffic.now == 50.0


def test_an_alarm_takes_it_back(subtests: pytest.Subtests) -> None:
    for after, shares in [
        (0.0, [(0.0, 0.0)]),  # before the first step: the new fleet is never asked
        (10.0, [(0.0, 0.1), (10.0, 0.0)]),
        (45.0, [(0.0, 0.1), (20.0, 1.0), (45.0, 0.0)]),
    ]:
        with subtests.test(after=after):
            traffic = Recorded(("errors", "latency"), after)
            reason = shift(PLAN, traffic, 0.0, lambda traffic=traffic: traffic.now)
            assert reason is not None
            assert reason.endswith("during deployment: [errors, latency]")
            assert traffic.shares == shares


def test_the_time_limit_takes_it_back() -> None:
    traffic = Recorded()
    reason = shift(PLAN, traffic, -590.0, lambda: traffic.now)
    assert reason is not None
    assert "longer than MaximumExecutionTimeoutInSeconds (600 seconds)" in reason
    assert traffic.shares == [(0.0, 0.1), (10.0, 0.0)]
