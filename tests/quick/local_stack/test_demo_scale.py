"""The demo of many customers: its fleet, and what it says of costs."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from city_fleet.config import load_fleet
from city_fleet.state.index_state import RunSummary
from local.stack import demo_scale


def test_every_customer_is_in_a_cohort_of_about_the_size_that_the_file_names(tmp_path: Path) -> None:
    fleet = load_fleet(demo_scale.make_fleet(tmp_path / "fleet", 1200))
    assert not fleet.broken
    assert fleet.defaults.cohort == 500
    assert len(fleet.members) == 3
    assert sum(map(len, fleet.members.values())) == len(fleet.cities) == 1200
    assert max(map(len, fleet.members.values())) < 600


def test_costs_stand_beside_those_of_three_jobs_for_each(tmp_path: Path) -> None:
    fleet = load_fleet(demo_scale.make_fleet(tmp_path / "fleet", 60))
    runs = [
        RunSummary(
            "20260101T000000Z",
            "0123456789",
            "2026-01-01T01:00:00+00:00",
            "",
            "live",
            seconds=(("ml.m5.large", 60),),
        )
        for _ in fleet.cities
    ]
    text = io.StringIO()
    Console(file=text, width=100).print(demo_scale.costs(fleet, runs, jobs=1))
    rows = {
        row[0]: row[1:] for row in (re.split(r" {2,}", line.strip()) for line in text.getvalue().splitlines())
    }
    assert rows["jobs"] == ["1", "1", "180"]
    here, together, apart = map(float, rows["hours of instances billed"])
    assert here == 1.0
    assert together < apart
