"""The days of ``dataset.holidays`` in a run's settings; without the package a sentence that names it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import pytest

from city_fleet.config.holidays_section import Holidays
from city_fleet.errors import ConfigError
from city_fleet.jobs import holiday_days, job_files
from city_fleet.plan import PREPROCESS, CityPlan
from tests.support.fleets import austin, january_run


def plan(country: str, subdivision: str | None = None) -> CityPlan:
    """Austin with holidays."""
    made = austin()
    dataset = made.city.dataset.model_copy(
        update={"holidays": Holidays(country=country, subdivision=subdivision)}
    )
    return CityPlan(made.fleet, made.city.model_copy(update={"dataset": dataset}))


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    holiday_days._days.cache_clear()
    monkeypatch.setitem(sys.modules, "holidays", None)


@pytest.mark.usefixtures("no_package")
def test_only_a_fleet_that_asks_needs_the_package() -> None:
    assert "holidays" not in job_files.settings(austin(), january_run(), PREPROCESS)["cities"][0]["dataset"]
    with pytest.raises(ConfigError, match=r"city 'austin', field 'dataset.holidays'") as caught:
        job_files.settings(plan("US"), january_run(), PREPROCESS)
    assert "the extra [holidays] of City Fleet's wheel or by pip install 'holidays>=0.60'" in str(
        caught.value
    )


def test_the_settings_hold_days_and_names_around_as_of() -> None:
    first = job_files.settings_file(plan("US", "TX"), january_run(), PREPROCESS)
    said = json.loads(first.body)["cities"][0]["dataset"]["holidays"]
    assert (said["country"], said["subdivision"]) == ("US", "TX")
    assert (said["first"], said["last"]) == ("1964-01-01", "2019-12-31")
    assert ["2014-07-04", "Independence Day"] in said["days"]
    assert ["2014-12-25", "Christmas Day"] in said["days"]
    assert ["2014-12-26", "Day After Christmas"] in said["days"]  # Texas alone
    assert said["days"] == sorted(said["days"])
    assert len(first.body) < 100_000
    # Equal work has an equal file, so that a run that is repeated pays for no job.
    holiday_days._days.cache_clear()
    assert job_files.settings_file(plan("US", "TX"), january_run(), PREPROCESS) == first
    nationwide = holiday_days.holidays_of(plan("US"), datetime(2014, 1, 1, tzinfo=UTC))
    assert nationwide is not None
    assert ["2014-12-26", "Day After Christmas"] not in nationwide["days"]


@pytest.mark.parametrize(
    ("frequency", "every", "horizon", "last"),
    [
        ("year", 5, 4, 2039),
        ("month", 1, 24, 2021),
        ("day", 1, 30, 2019),
        ("hour", 1, 72, 2019),
        ("hour", 876, 100, 2029),
    ],
)
def test_days_reach_as_far_as_a_forecast(
    monkeypatch: pytest.MonkeyPatch, frequency: str, every: int, horizon: int, last: int
) -> None:
    made = plan("US")
    dataset = made.city.dataset.model_copy(
        update={"frequency": frequency, "every": every, "horizon": horizon}
    )
    seen = []
    monkeypatch.setattr(holiday_days, "_days", lambda *asked: seen.append(asked) or ("", "", ()))
    holiday_days.holidays_of(
        CityPlan(made.fleet, made.city.model_copy(update={"dataset": dataset})),
        datetime(2014, 1, 1, tzinfo=UTC),
    )
    assert seen == [("US", None, 1964, last)]


def test_a_place_that_the_package_does_not_know_is_named(subtests: pytest.Subtests) -> None:
    for country, subdivision, got in (("XX", None, "XX"), ("US", "TEXAS", "TEXAS")):
        with subtests.test(country), pytest.raises(ConfigError) as caught:
            holiday_days.holidays_of(plan(country, subdivision), january_run().as_of)
        assert caught.value.got == got
        assert "what the package holidays knows" in str(caught.value)
