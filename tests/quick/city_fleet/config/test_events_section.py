"""The events section: what it takes, refuses and warns of."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import load_fleet
from city_fleet.config.events_section import Events
from city_fleet.config.lint import fleet_warnings
from city_fleet.errors import FleetFileError
from tests.support.fleets import SMALL


def fleet_with(folder: Path, events: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(
        f"{SMALL}  calendar: [day_of_week]\nevents: {{{events}}}\ncities:\n  austin: {{name: Austin}}\n"
    )
    return path


def test_a_fleet_that_says_nothing_hears_of_nothing() -> None:
    assert Events() == Events(assets=False, queue=None, quiet_seconds=60, longest_seconds=600)


def test_what_is_refused_is_said_with_what_is_allowed(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for events, words in {
        "queue: arrivals.fifo": "no FIFO queue. Did you mean 'arrivals'?",
        "queue: 'https://sqs.us-east-1.amazonaws.com/123456789012/mine'": "Did you mean 'mine'?",
        f"queue: {'q' * 74}": "got 74 characters",
        "quiet_seconds: 0": "from 1 to 3600",
        "quiet_seconds: 100, longest_seconds: 99": "at least quiet_seconds (100)",
        "asset: true": "Did you mean 'assets'?",
    }.items():
        with subtests.test(events), pytest.raises(FleetFileError) as caught:
            load_fleet(fleet_with(tmp_path, events), {})
        assert words in str(caught.value), str(caught.value)


def test_a_queue_whose_arrivals_retrain_nobody_is_warned_of(tmp_path: Path) -> None:
    warnings = fleet_warnings(load_fleet(fleet_with(tmp_path, "queue: q"), {}))
    (warning,) = [text for text in warnings if "field 'events.queue': " in text]
    assert "no city runs on its own" in warning
    assert "events.queue" not in str(
        fleet_warnings(load_fleet(fleet_with(tmp_path, "queue: q, assets: true"), {}))
    )
