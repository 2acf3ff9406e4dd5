"""The events section of the fleet file: retraining when raw data arrive, see docs/events.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from city_fleet.config.name_types import QueueName
from city_fleet.config.section import Section
from city_fleet.config.value_types import Flag, Problem, Range, refuse


class Events(Section):
    """Retraining a city when its raw data change, beside its schedule."""

    assets: Flag = False
    """A city's DAG runs on the asset of its raw data too, and publishing updates the asset of its live pointer."""
    queue: QueueName | None = None
    """SQS queue that S3 notifies of raw data; null for no arrivals DAG."""
    quiet_seconds: Annotated[int, Range(True, 1, 3600)] = 60
    """A burst of arrivals has ended when nothing has come for so long."""
    longest_seconds: Annotated[int, Range(True, 1, 21_600)] = 600
    """A burst ends after this time, whatever still comes."""

    @model_validator(mode="after")
    def _check(self) -> Events:
        if self.longest_seconds < self.quiet_seconds:
            allowed = f"at least quiet_seconds ({self.quiet_seconds})"
            raise refuse(Problem(str(self.longest_seconds), allowed, path=("longest_seconds",)))
        return self
