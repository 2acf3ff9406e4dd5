"""A look at a fleet of tables: outcomes meet captured predictions once, and tell whose model is no longer right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from city_fleet.config import load_fleet
from city_fleet.config.lint import fleet_warnings
from city_fleet.errors import FleetFileError
from city_fleet.monitoring.look import Look, look
from city_fleet.prediction import prediction_id
from city_fleet.state import captured, live_scores, monitored
from city_fleet.state.live_scores import LiveScores
from city_fleet.state.objects import ObjectStore
from tests.quick.city_fleet.state.test_captured import SEEN
from tests.support.paths import ROOT

MONITORED = "\nmonitor: {schedule: '@daily'}\n"
MADE = datetime(2021, 1, 1, tzinfo=UTC)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


def test_outcomes_meet_what_was_captured(s3: object, tmp_path: Path) -> None:
    text = (ROOT / "include" / "fleets" / "house_sales.yaml").read_text()
    file = tmp_path / "house_sales.yaml"
    file.write_text(text + MONITORED)
    with pytest.raises(
        FleetFileError, match=r"null, or capture\.share above 0, because dataset\.kind is table"
    ):
        load_fleet(file)
    file.write_text(text + MONITORED + "capture: {share: 0.5}\n")
    fleet = load_fleet(file)
    assert not [line for line in fleet_warnings(fleet) if "forecasts.schedule" in line]
    city, keys = next(iter(fleet.cities)), fleet.keys
    store = ObjectStore(s3, fleet.bucket)  # type: ignore[arg-type]
    store.client.create_bucket(Bucket=fleet.bucket)
    made = [
        replace(SEEN, prediction_id=f"{city}.20210101T{n // 60:02d}{n % 60:02d}00Z.{n:012x}", city=city,
                at=MADE + timedelta(minutes=n), answer={"prediction": 100.0}, target_model="m")
        for n in range(100)
    ]  # fmt: skip
    store.put(keys.capture(city, MADE, "a"), captured.lines(made))
    notes = {"held_out": {"m": {"mae": 8.0, "rmse": 10.0}}}
    live_scores.update(store, keys, city, lambda before: LiveScores(city, notes=notes))

    def say_outcomes(name: str, values: dict[str, object]) -> None:
        lines = [json.dumps({"prediction_id": key, "outcome": value}) for key, value in values.items()]
        store.put(keys.outcomes_prefix() + name, "\n".join(lines).encode())

    def looked(run: str) -> Look:
        return look(store, fleet, run, datetime(2021, 2, 1, tzinfo=UTC))

    lost = prediction_id.new(city, MADE)
    first = {each.prediction_id: 110.0 for each in made[:40]}
    say_outcomes("by-hand.jsonl", {**first, lost: 1, f"nowhere{lost[len(city) :]}": 1})
    looked_once = looked("one")
    (problem,) = looked_once.problems
    assert "by-hand.jsonl: 1 rows are wrong" in problem
    health = looked_once.found.cities[city]
    assert (health.periods, health.alarm) == (40, None)
    assert health.error == pytest.approx(10 / 110)
    assert health.notes == ("1 outcomes have no captured prediction: capture.share is 0.5",)
    rows = live_scores.read(store, keys, city)
    # Read again, as the files are young: what is there counts once, and a wrong row is told of once.
    again = looked("two")
    assert live_scores.read(store, keys, city) == rows
    assert again.problems == ()
    # Late ones, as a table, with one that is corrected.
    late = "".join(f"{each.prediction_id},160\n" for each in made[40:])
    store.put(
        keys.outcomes_prefix() + "late.csv",
        f"prediction_id,outcome\n{made[0].prediction_id},111\n{late}".encode(),
    )
    store.put(keys.outcomes_prefix() + "notes.txt", b"x")
    done = looked("three")
    health = done.found.cities[city]
    assert (health.periods, health.alarm, done.new) == (100, "2021-01-01", (city,))
    assert health.reasons == ("mean absolute error of the last 100 predictions: 40.01, 8 on held-out rows",)
    first_row = live_scores.read(store, keys, city).rows[0]
    assert (first_row.actual, first_row.corrected) == (111, 1)
    assert monitored.read(store, keys).cities[city].alarm == "2021-01-01"
