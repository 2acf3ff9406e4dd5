"""Rows of the table of forecasts: what an answer becomes, which night it is of, and that the page tells the columns."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from city_fleet import naming
from city_fleet.config import load_fleet
from city_fleet.errors import BadRequest, ConfigError, FleetFileError, NotReady, ServingError, UnknownCity
from city_fleet.plan import forecast_cities, forecast_night
from city_fleet.prediction.endpoint_answer import Forecast, Prediction
from city_fleet.prediction.night_forecasts import rows_of
from city_fleet.state import forecast_table
from city_fleet.state.forecast_table import COLUMNS
from tests.support.fleets import SMALL, pooled_texas, texas
from tests.support.paths import ROOT, SCRIPTS

KEYS = naming.Keys("city-fleet", "houses", "laptop")
NOW = datetime(2015, 8, 1, 8, 0, 0, 123456, tzinfo=UTC)
STEPS = [
    {"period": "2015-08-01", "step": 1, "prediction": 2.5, "intervals": {"80": [2.0, 3.0], "95": None}},
    {"period": "2015-08-01T05:00:00+00:00", "step": 2, "prediction": 3.5, "intervals": {}},
]
ANSWER = Prediction(
    city="austin",
    prediction=2.5,
    target_model="austin/x.tar.gz",
    package_arn="arn:x/3",
    package_version=3,
    as_of="2015-08-01T00:00:00Z",
    latency_ms=1.0,
    forecast=Forecast(STEPS, "US$", "too few", "2015-07-01", 1, "old", "austin"),
)


def test_each_period_is_a_row_and_an_interval_that_is_withheld_is_null() -> None:
    first, second = rows_of(KEYS, "austin", "Austin", ANSWER, NOW)
    assert set(first) <= {column.name for column in COLUMNS}
    assert (first["lower_80"], first["upper_80"]) == (2.0, 3.0)
    assert {"lower_95", "upper_95"}.isdisjoint(first)
    assert first["period"] == datetime(2015, 8, 1, tzinfo=UTC)
    assert second["period"] == datetime(2015, 8, 1, 5, tzinfo=UTC)
    assert first["as_of"] == datetime(2015, 8, 1, tzinfo=UTC)
    assert first["known_until"] == datetime(2015, 7, 1, tzinfo=UTC)
    assert first["made_at"] == NOW.replace(microsecond=0)
    assert (first["fleet"], first["environment"], first["city_name"]) == ("houses", "laptop", "Austin")
    assert (first["by_parent"], first["late_periods"], first["warning"]) == (False, 1, "old")


def test_who_answered_for_a_city_is_said() -> None:
    assert ANSWER.forecast is not None
    for served_by, by_parent in (("austin", False), ("texas", True), ("baseline", False)):
        answer = replace(ANSWER, forecast=replace(ANSWER.forecast, served_by=served_by))
        row = rows_of(KEYS, "austin", "Austin", answer, NOW)[0]
        assert (row["served_by"], row["by_parent"]) == (served_by, by_parent)
    # What a person has written into a pointer is no moment.
    assert rows_of(KEYS, "austin", "Austin", replace(ANSWER, as_of="lately"), NOW)[0]["as_of"] is None


def test_a_city_without_a_forecast_is_one_row_that_says_why() -> None:
    for error, status in (
        (UnknownCity("no model", city="austin", nearest=None), "no_model"),
        (BadRequest("needs rain", mistakes=[]), "refused"),
        (ServingError("broken", city="austin"), "failed"),
        (NotReady("no answer", retry_after_seconds=5, attempts=2), "no_answer"),
    ):
        (row,) = rows_of(KEYS, "austin", "Austin", error, NOW)
        assert (row["status"], row["problem"], row["city"]) == (status, str(error), "austin")
        assert {"prediction", "period", "step", "target_model"}.isdisjoint(row)


def test_the_night_is_the_newest_tick_of_the_fleets_schedule(tmp_path: Path) -> None:
    assert forecast_night(texas(), datetime(2014, 3, 5, 8, tzinfo=UTC)) == "2014-03-01"  # monthly
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + "cities: {a: , b: {nonsense: 1}}\n")
    fleet = load_fleet(path, {})
    assert forecast_night(fleet, datetime(2021, 5, 6, 8, tzinfo=UTC)) == "2021-05-06"
    assert forecast_night(fleet, datetime(2019, 5, 6, 8, tzinfo=UTC)) == "2019-05-06"  # before its first tick
    assert (
        forecast_night(fleet.model_copy(update={"end_date": date(2021, 1, 1)}), NOW.replace(year=2022))
        == "2021-01-01"
    )
    # One whose settings are broken may be served; a parent has no data to go on from.
    assert forecast_cities(fleet) == {"a": "a", "b": "b"}
    assert "texas" not in forecast_cities(pooled_texas())


def test_tables_of_rows_have_no_next_period(tmp_path: Path) -> None:
    houses = (ROOT / "include" / "fleets" / "house_sales.yaml").read_text()
    for line, field in (('schedule: "0 8 * * *"', "schedule"), ("catalog: true", "catalog")):
        path = tmp_path / "houses.yaml"
        path.write_text(houses.replace("\nendpoint:", f"\nforecasts: {{{line}}}\nendpoint:"))
        with pytest.raises(
            FleetFileError, match=f"'forecasts.{field}'.*dataset.kind is table.*no next period"
        ):
            load_fleet(path, {})


def test_the_page_has_every_column_in_its_order() -> None:
    page = (ROOT / "docs" / "forecasts.md").read_text()
    told = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert told == [f"| `{each.name}` | {each.kind} | {each.meaning} |" for each in COLUMNS]


def test_the_intervals_are_those_that_models_answer() -> None:
    text = (SCRIPTS / "intervals.py").read_text()
    assert f"LEVELS = {forecast_table.LEVELS}" in text


def test_without_pyarrow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"extra \[parquet\].*pip install 'pyarrow>=16'"):
        forecast_table.TableWriter()
    package_checks = importlib.import_module("city_fleet.doctor.package_checks")
    assert package_checks.PARQUET_NEED == forecast_table.NEED
