"""The section ``budget``: how much a fleet's jobs may cost before somebody is asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from city_fleet.config.section import Section
from city_fleet.config.value_types import Problem, Range, refuse

_Dollars = Annotated[float, Range(False, 0.01, 100_000_000)]


class Budget(Section):
    """What jobs may cost, in US dollars at list prices; runs that would go beyond it wait for a person."""

    night: _Dollars | None = None
    """What the jobs of a night may cost; null: any amount."""
    month: _Dollars | None = None
    """What the jobs of a calendar month, UTC, may cost; null: any amount."""

    @property
    def limits(self) -> dict[str, float | None]:
        return {"night": self.night, "month": self.month}

    @model_validator(mode="after")
    def _check(self) -> Budget:
        if self.night is None and self.month is None:
            raise refuse(Problem("neither night nor month", "one of them, or both; null for no budget"))
        if self.night is not None and self.month is not None and self.month < self.night:
            raise refuse(Problem(f"{self.month:g}", f"at least night, {self.night:g}", path=("month",)))
        return self
