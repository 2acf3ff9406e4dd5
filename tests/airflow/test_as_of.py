"""As of which moment a run sees data, by how it was started: docs/airflow-commands.md."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from city_fleet.champions.gate import newer_champion
from city_fleet.config import load_fleet
from city_fleet.naming import ARRIVAL_RUN, as_of_stamp
from city_fleet.orchestration.run_context import as_of
from city_fleet.plan import plan_city
from tests.support.paths import ROOT

NOW = datetime(2026, 11, 26, 18, tzinfo=UTC)
LAST = datetime(2015, 8, 1, tzinfo=UTC)
EARLIER = datetime(2014, 1, 1, tzinfo=UTC)
AUSTIN = plan_city(load_fleet(ROOT / "include" / "fleets" / "texas_housing.yaml", environ={}), "austin")


def moment_of(
    run_type: str,
    logical_date: datetime | None,
    param: str | None = None,
    *,
    run_id: str = "r",
    champion: Any = lambda: None,
) -> datetime:
    dag_run = SimpleNamespace(run_id=run_id, run_type=run_type, logical_date=logical_date, run_after=NOW)
    context: Any = {"dag_run": dag_run, "params": {"as_of": param}}
    return as_of(AUSTIN, context, champion)


@pytest.mark.parametrize(
    ("run_type", "logical_date", "param", "expected"),
    [
        # The form gives a run the logical date of now, REST and the command line give it none.
        ("manual", NOW, None, LAST),
        ("manual", None, None, LAST),
        ("manual", None, "", LAST),
        ("operator_triggered", NOW, None, LAST),
        # Whoever says a moment gets it.
        ("manual", NOW, "2016-01-01", datetime(2016, 1, 1, tzinfo=UTC)),
        ("manual", NOW, "2014-01-01T06:00:00.000Z", datetime(2014, 1, 1, 6, tzinfo=UTC)),
        ("manual", EARLIER, None, EARLIER),
        # The scheduler's runs are about their dates.
        ("scheduled", LAST, None, LAST),
        ("backfill", EARLIER, None, EARLIER),
        ("backfill", datetime(2016, 1, 1, tzinfo=UTC), None, datetime(2016, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_run_that_was_started_without_a_moment_stays_within_the_schedule(
    run_type: str, logical_date: datetime | None, param: str | None, expected: datetime
) -> None:
    assert moment_of(run_type, logical_date, param) == expected


def test_an_asset_says_itself_to_which_moment_its_data_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("city_fleet.orchestration.assets.newest_moment", lambda *_: NOW)
    assert moment_of("asset_triggered", None) == NOW


def test_data_that_arrive_after_the_schedule_has_ended_are_seen() -> None:
    """The function `retrain` starts its runs by REST, as a person does; their id says what they are."""
    dag_run = SimpleNamespace(
        run_id=f"{ARRIVAL_RUN}20261126T180000Z", run_type="manual", logical_date=None, run_after=NOW
    )
    context: Any = {"dag_run": dag_run, "params": {"as_of": None}}
    assert as_of(AUSTIN, context) == NOW


def test_the_log_says_which_moment_it_is_and_how_to_choose_another(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        moment_of("manual", NOW)
    (record,) = caplog.records
    assert "has ended on 2015-08-01" in record.getMessage()
    assert "known by its last tick, 20150801T000000Z. Start it with the param as_of" in record.getMessage()


def test_the_schedules_own_last_run_is_not_superseded_by_one_that_was_triggered_with_defaults() -> None:
    """It was: a champion as of today kept out every run of a schedule that has ended."""
    champion = {"as_of": as_of_stamp(moment_of("manual", NOW))}
    assert newer_champion({"as_of": as_of_stamp(moment_of("scheduled", LAST))}, champion) is None
    assert newer_champion({"as_of": as_of_stamp(EARLIER)}, champion) is not None  # that one is older


def test_no_run_sees_the_future() -> None:
    with pytest.raises(AirflowFailException, match="lies in the future"):
        moment_of("manual", NOW, "2999-01-01")
