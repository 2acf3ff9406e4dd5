"""The metrics and capture sections of the fleet file: what is counted and kept of predictions, see docs/traffic.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from city_fleet.config.name_types import CitySlug, Column
from city_fleet.config.section import Section, or_refuse, repeated
from city_fleet.config.value_types import Flag, Problem, Range
from city_fleet.traffic_rules import MOST_CHARACTERS


class TrafficMetrics(Section):
    """CloudWatch metrics of predictions, which the predict function writes into its log."""

    enabled: Flag = True
    """Whether the predict function counts predictions, errors, latency and cold loads of the fleet."""
    cities: tuple[CitySlug, ...] = ()
    """Cities that are counted each on its own too: up to five CloudWatch metrics more for each, which cost."""

    @model_validator(mode="after")
    def _check(self) -> TrafficMetrics:
        return or_refuse(self, [*repeated("cities", self.cities), *_too_long("cities", self.cities)])


class Capture(Section):
    """A sample of predictions with what was asked, as JSON lines in the bucket."""

    share: Annotated[float, Range(low=0, high=1)] = 0.0
    """Share of the predictions that is kept, from 0 (none, and nothing may be written) to 1 (all)."""
    mask: tuple[Column, ...] = ()
    """Columns whose values, and those of features made of them, are never kept; the target's name masks answers too."""
    cities: tuple[CitySlug, ...] = ()
    """Cities whose predictions are kept; none for all."""
    keep_days: Annotated[int, Range(True, 1, 3650)] = 90
    """Days after which S3 deletes them, by a rule of the bucket that ./fleet deploy makes."""
    flush_seconds: Annotated[int, Range(True, 1, 3600)] = 60
    """How long predictions wait in memory to be written together: what may be lost, and what S3's requests cost."""

    @model_validator(mode="after")
    def _check(self) -> Capture:
        lists = {"mask": self.mask, "cities": self.cities}
        return or_refuse(
            self,
            [
                problem
                for name, values in lists.items()
                for problem in (*repeated(name, values), *_too_long(name, values))
            ],
        )


def _too_long(field: str, values: tuple[str, ...]) -> list[Problem]:
    """Return the problem of names that a function's variables have no room for."""
    length = sum(map(len, values))
    if length <= MOST_CHARACTERS:
        return []
    allowed = (
        f"names of at most {MOST_CHARACTERS} characters together, which a function's variables have room for"
    )
    return [Problem(f"{len(values)} names of {length} characters", allowed, path=(field,))]
