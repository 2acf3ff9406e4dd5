"""The part of the endpoint section that says how Application Auto Scaling changes the number of instances."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from city_fleet.config.section import Section, or_refuse
from city_fleet.config.value_types import Problem, Range


class Scaling(Section):
    """How the number of instances follows the requests, by a target-tracking policy."""

    min_instances: Annotated[int, Range(True, 1, 1000)]
    """Never fewer."""
    max_instances: Annotated[int, Range(True, 1, 1000)]
    """Never more, which bounds what the endpoint costs."""
    invocations_per_instance: Annotated[int, Range(True, 1, 10_000_000)]
    """Requests a minute that one instance is to answer; instances come and go to keep it so."""
    scale_in_cooldown_seconds: Annotated[int, Range(True, 0, 86_400)] = 300
    """Wait after an instance has gone before the next one goes."""
    scale_out_cooldown_seconds: Annotated[int, Range(True, 0, 86_400)] = 300
    """Wait after an instance has come before the next one comes."""

    @model_validator(mode="after")
    def _check(self) -> Scaling:
        problems = []
        if self.max_instances < self.min_instances:
            allowed = f"a whole number from min_instances ({self.min_instances}) to 1000"
            problems.append(Problem(str(self.max_instances), allowed, path=("max_instances",)))
        return or_refuse(self, problems)
