"""The part of the endpoint section that says how UpdateEndpoint changes an endpoint while it serves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from city_fleet.config.name_types import AlarmName
from city_fleet.config.section import Section, or_refuse, repeated
from city_fleet.config.value_types import Problem, Range

#: SageMaker gives an update up at 28,800 seconds; an hour of it is for new instances.
_MOST_WAITING_SECONDS = 25_200


class Deployment(Section):
    """How UpdateEndpoint moves the traffic to the new instances: SageMaker's deployment guardrails."""

    kind: Literal["all_at_once", "canary", "linear", "rolling"] = "all_at_once"
    """canary moves percent and then the rest, linear percent after percent, rolling replaces percent after percent."""
    percent: Annotated[int, Range(True, 10, 50)] = 10
    """Of the capacity: the first step of canary, every step of linear and rolling. all_at_once has no steps."""
    wait_seconds: Annotated[int, Range(True, 0, 3600)] = 300
    """After each step; an alarm that goes off meanwhile takes the update back."""
    termination_wait_seconds: Annotated[int, Range(True, 0, 3600)] = 0
    """How long the old instances are kept after the last step; rolling keeps none."""
    alarms: Annotated[tuple[AlarmName, ...], Field(max_length=10)] = ()
    """Names of CloudWatch alarms that take the update back."""

    @property
    def waiting_seconds(self) -> int:
        """Return how long an update waits at most, beside the time that instances take to start."""
        steps = {"all_at_once": 1, "canary": 2}.get(self.kind, -(-100 // self.percent))
        return steps * self.wait_seconds + self.termination_wait_seconds

    @model_validator(mode="after")
    def _check(self) -> Deployment:
        problems = repeated("alarms", self.alarms)
        if self.kind == "rolling" and self.termination_wait_seconds:
            allowed = "0 with kind rolling, which ends old instances step by step"
            got = str(self.termination_wait_seconds)
            problems.append(Problem(got, allowed, path=("termination_wait_seconds",)))
        if self.waiting_seconds > _MOST_WAITING_SECONDS:
            got = f"{self.wait_seconds}, which makes {self.waiting_seconds:,} seconds of waiting in all"
            allowed = (
                f"at most {_MOST_WAITING_SECONDS:,} seconds in all: SageMaker gives an update eight hours"
            )
            problems.append(Problem(got, allowed, path=("wait_seconds",)))
        return or_refuse(self, problems)
