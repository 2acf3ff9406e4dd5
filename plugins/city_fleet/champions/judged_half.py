"""The half of an artifact that was judged: ``backtest.json``, read without trusting it. Pure.

``include/scripts/backtest.py`` writes it, and says what it is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from city_fleet.champions.data_checks import finite
from city_fleet.periods import begin_text

FORMAT_VERSION = 1
MOST_ROWS = 200_000


@dataclass(frozen=True)
class JudgedHalf:
    """What the models that judged a champion have answered.

    :param known_until: an ISO date: the newest period that its serving model has learned; empty of an earlier version,
        which has learned everything but its newest block.
    :param rows: member (of a parent's row: the city; else None), period and how many ahead → the answer.
    """

    known_until: str = ""
    rows: Mapping[tuple[str | None, str, int], float] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any) -> JudgedHalf:
        """Read what an artifact holds; None for one that holds nothing.

        :raises ValueError: it is not as train.py writes it.
        """
        if value is None:
            return cls()
        if not isinstance(value, Mapping) or value.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version: allowed: {FORMAT_VERSION}")
        rows = value.get("rows")
        if not isinstance(rows, list) or len(rows) > MOST_ROWS:
            raise ValueError(f"rows: allowed: a list of up to {MOST_ROWS}")
        found: dict[tuple[str | None, str, int], float] = {}
        for each in rows:
            member, day, step, predicted = each
            number = finite(predicted)
            if number is None or not isinstance(step, int) or isinstance(step, bool):
                raise ValueError("rows: allowed: lists of member, period, step and prediction")
            if member is not None and not isinstance(member, str):
                raise ValueError("rows: member: allowed: a slug, or null")
            found[member, begin_text(day), step] = number
        return cls(begin_text(value["known_until"]), found)

    def answer(self, row: Mapping[str, Any]) -> float | None:
        """Return what was answered for a held-out row; None where it was not judged by it."""
        return self.rows.get((row.get("member"), row["period"], row["step"]))

    def may_be_asked(self, row: Mapping[str, Any], newest: int) -> bool:
        """Tell whether the serving model can't have learned a row.

        :param newest: number of the newest block.
        """
        if not self.known_until:
            return bool(row.get("block", newest) == newest)
        return bool(row.get("known_until", "") >= self.known_until)
