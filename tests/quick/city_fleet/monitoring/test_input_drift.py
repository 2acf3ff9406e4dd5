"""A broken column is named with what is wrong; seasons, zeros, gaps and trends are not broken."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from city_fleet.monitoring import input_drift

MONTHS = [f"{year}-{month:02}-01" for year in range(2000, 2005) for month in range(1, 13)]


def series(values: Sequence[float | None]) -> dict[str, dict[str, float | None]]:
    return {"sales": dict(zip(MONTHS, values, strict=False))}


def season(count: int = 24, seed: int = 3) -> list[float | None]:
    drawn = random.Random(seed)
    return [500 + 200 * math.sin(at * math.pi / 6) + at + drawn.gauss(0, 15) for at in range(count)]


def test_a_broken_column_is_noticed_within_three_periods(subtests: Any) -> None:
    fine = [round(value or 0, 1) for value in season(27)]
    broken: dict[str, tuple[str, list[float | None]]] = {
        "empty": ("missing", [None] * 3),
        "stands still": ("constant", [fine[23]] * 3),
        "and was between": ("far", [1000 * (value or 0) for value in fine[24:]]),
    }
    for words, (why, newest) in broken.items():
        with subtests.test(why):
            (found,) = input_drift.look(series([*fine[:24], *newest]), 2)
            assert found.why == why
            assert words in found.sentence
            assert "column 'sales'" in found.sentence
            assert found.since == MONTHS[24]


def test_what_was_always_so_is_not_broken(subtests: Any) -> None:
    cases: dict[str, list[float | None]] = {
        "a season": season(36),
        "a trend": [100.0 * 1.02**at for at in range(36)],
        "closed days": [0.0 if at % 7 > 3 else 40.0 + at for at in range(35)],
        "gaps": [None if at % 3 else float(at + 5) for at in range(36)],
        "always the same": [7.0] * 36,
        "too few": [1.0] * 8 + [1000.0] * 3,
        "nothing": [None] * 30,
        "gaps in rows": [*season(12), *[None] * 4, *season(20), *[None] * 4, 500.0, *[None] * 4],
        "two repeats": [*season(57), *[431.5] * 3],
        "it often repeats": [round(4 + at / 8, 0) for at in range(40)] + [9.0] * 4,
    }
    for name, values in cases.items():
        with subtests.test(name):
            assert input_drift.look(series(values), 2) == []


def test_a_feed_that_was_broken_once_is_noticed_again() -> None:
    (found,) = input_drift.look(series([*season(14), *[None] * 5, *season(20), *[None] * 4]), 2)
    assert (found.why, found.since) == ("missing", MONTHS[39])


def test_it_stands_until_the_column_is_like_before() -> None:
    fine = season(40)
    bad = [1000 * (value or 0) for value in fine[24:34]]
    (first,) = input_drift.look(series([*fine[:24], *bad[:3]]), 2)
    standing = {first.column: first.since}
    (later,) = input_drift.look(series([*fine[:24], *bad]), 2, standing)
    assert later.since == first.since
    assert input_drift.look(series([*fine[:24], *bad, *fine[34:37]]), 2, standing) == []


def test_columns_that_are_well_alarm_rarely() -> None:
    drawn = random.Random(5)
    alarms = 0
    for _ in range(100):
        values, level = list[float | None](), 1000.0
        for at in range(44):
            level *= math.exp(drawn.gauss(0, 0.05))
            values.append(level * (1.2 if at % 12 == 11 else 1))
            if at >= 24:
                alarms += bool(input_drift.look(series(values), 2))
    assert alarms <= 2, f"{alarms} in 2,000 city-periods"
