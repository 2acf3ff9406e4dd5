"""What chance makes does not go live, and what can be forecast does: a short run of ``make bench-walks``."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

from city_fleet.champions.gate import decide
from city_fleet.config import Gate
from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import random_walks

Texas = dict[str, list[list[str]]]
MONTHS = 2


def test_no_walk_passes_the_gate_and_the_homes_of_houston_do(tmp_path: Path, texas: Texas) -> None:
    homes = [float(row[5]) for row in texas["houston"][1:]]
    draws = random.Random("a short one")
    made = {kind: random_walks.values(kind, len(homes), draws) for kind in random_walks.KINDS}
    for slug, values in {**made, "houston": homes}.items():
        rows = [
            (random_walks.FIRST_YEAR + at // 12, at % 12 + 1, round(value, 2))
            for at, value in enumerate(values)
        ]
        random_walks.write(tmp_path / f"city={slug}", [("year", "month", "value"), *rows])
    asked = random_walks.question(
        str(tmp_path),
        cities=[*made, "houston"],
        as_of=random_walks.as_ofs(len(homes), MONTHS, 1),
        dataset=random_walks.DATASET,
        candidates=random_walks.texas_candidates(),
        metric="mape",
    )
    decided: dict[str, list[Any]] = {}
    for each in random_walks.nights(asked):
        assert each["report"]["rows"] == 60
        decided.setdefault(each["city"], []).append(decide(each["report"], Gate()))
    promoted = {city: [decision.promote for decision in each] for city, each in decided.items()}
    assert promoted.pop("houston") == [True, True]
    assert set(promoted) == set(random_walks.KINDS)
    assert not any(any(each) for each in promoted.values())
    assert all("does not beat" in decision.reasons[0] for decision in decided["walk"])
