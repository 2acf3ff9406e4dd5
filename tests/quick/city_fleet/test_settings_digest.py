"""Which settings make a model out of date: all that make it, and a new setting until somebody says otherwise."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from city_fleet.config import Algorithm, City, Duration, Feature, Series, Target, Time
from city_fleet.config.algorithm_section import Candidate
from city_fleet.config.holidays_section import Holidays
from city_fleet.plan import MAKES_NO_MODEL, MAKES_THE_MODEL, CityPlan
from tests.support.fleets import austin

# Settings that do not make the model, and why. A new setting is put here or into a section of MAKES_THE_MODEL.
WHY_NOT = {
    "slug": "the city's identity; another slug is another city",
    "name": "how `./fleet ingest` finds the city's rows",
    "scripts": "counted file by file in the digest of the code bundle",
    "own_scripts": "counted file by file in the digest of the code bundle",
    "owner": "shown in Airflow",
    "tags": "shown in Airflow",
    "schedule": "when models are made",
    "spread_minutes": "when models are made",
    "start_date": "when models are made",
    "end_date": "when models are made",
    "processing": "where the jobs run",
    "training": "where the job runs, and how long it may take",
    "gate": "whether a model that is made goes live",
    "approval": "whether a model that is made goes live",
    "approval_expires_hours": "whether a model that is made goes live",
    "challenger": "whether a model that is made is tried before it goes live",
    "decay": "when a model that serves counts as no longer right",
    "retries": "how the tasks run",
    "retry_delay_seconds": "how the tasks run",
    "waiter_delay_seconds": "how the tasks run",
    "capacity_wait_seconds": "how the tasks run",
    "stale_after_hours": "when a city is called stale",
    "parent": "whose model answers where the city's own does not; the parent's counts its cities",
    "stale_after": "when the parent's model answers",
    "cohort": "which job trains it, and not what",
}
LEFT_OUT = {*MAKES_NO_MODEL, *WHY_NOT}
# Another value for every setting of a city, none of them that of Austin.
OTHER: dict[str, Any] = {
    "slug": "elsewhere",
    "name": "Elsewhere",
    "scripts": "elsewhere",
    "owner": "ann",
    "tags": ("other",),
    "schedule": "@hourly",
    "spread_minutes": 7,
    "start_date": date(1999, 1, 1),
    "end_date": date(2099, 1, 1),
    "approval": "manual",
    "approval_expires_hours": 1,
    "retries": 9,
    "retry_delay_seconds": 9,
    "waiter_delay_seconds": 9,
    "capacity_wait_seconds": 9,
    "stale_after_hours": 9,
    "parent": "elsewhere",
    "stale_after": 9,
    "cohort": 9,
    "processing.volume_size_gb": 9,
    "training.spot": True,
    "gate.tolerance": 0.5,
    "challenger.share": 0.5,
    "decay.limit": 9,
    "dataset.source": "elsewhere.csv",
    "dataset.city_column": "Elsewhere",
    "dataset.raw": "s3://elsewhere/{slug}/",
    "dataset.every": 2,
    "dataset.anchor": date(1999, 1, 1),
    "dataset.aggregate": "sum",
    "dataset.duplicates": "last",
    "dataset.decimal": ",",
    "dataset.time.parts": ("year", "quarter"),
    "dataset.features.aggregate": "mean",
    "own_scripts.train": "elsewhere.py",
    "entry": "none",
    "dataset.kind": "table",
    "dataset.time": Time(columns=("when",)),
    "dataset.frequency": "year",
    "dataset.available_after": Duration(days=9),
    "dataset.target": Target(column="other", lags=(1,)),
    "dataset.features": (Feature(column="other", lags=(1,)),),
    "dataset.calendar": ("week_of_year",),
    "dataset.minimum_periods": 99,
    "dataset.validation_periods": 9,
    "dataset.holdout_periods": 9,
    "dataset.backtest_periods": 36,
    "dataset.horizon": 2,
    "dataset.holidays": Holidays(country="US"),
    "dataset.time.columns": ("when",),
    "dataset.time.format": "%Y",
    "dataset.target.column": "other",
    "dataset.target.min": 2.5,
    "dataset.target.unit": "EUR",
    "dataset.target.max": 99999999.5,
    "dataset.target.transform": "log",
    "dataset.target.window": 99,
    "dataset.target.lags": (99,),
    "dataset.features.column": "other",
    "dataset.features.lags": (99,),
    "dataset.features.min": -99.5,
    "dataset.features.max": 99999999.5,
    "dataset.features.known_ahead": True,
    "algorithm.image": "other",
    "algorithm.version": "9.9-9",
    "algorithm.hyperparameters": {"eta": 0.99},
    "algorithm.name": "linear",
    "algorithm.seed": 7,
    "algorithm.refit": False,
    "algorithm.candidates": (Candidate(algorithm="linear"),),
}


def settings_of(kind: type[BaseModel], prefix: str = "") -> list[str]:
    return [prefix + name for name in kind.model_fields]


CITY = [name for name in settings_of(City) if name not in MAKES_THE_MODEL]
MODEL = [*settings_of(Series, "dataset."), *settings_of(Algorithm, "algorithm.")]
WITHIN = [
    *settings_of(Time, "dataset.time."),
    *settings_of(Target, "dataset.target."),
    *settings_of(Feature, "dataset.features."),
]


def changed(section: Any, path: list[str], value: Any) -> Any:
    """Return a section with one field changed, below it or in the first entry of a list."""
    if isinstance(section, tuple):
        return (changed(section[0], path, value), *section[1:])
    name, *rest = path
    return section.model_copy(update={name: changed(getattr(section, name), rest, value) if rest else value})


def digest_with(path: str, value: Any) -> str:
    plan = austin()
    return CityPlan(plan.fleet, changed(plan.city, path.split("."), value)).settings_digest


@pytest.mark.parametrize("path", [*MODEL, *WITHIN])
def test_a_setting_counts_unless_it_is_said_why_not(path: str) -> None:
    assert path in OTHER, f"{path} is a new setting: give it another value in OTHER"
    counts = digest_with(path, OTHER[path]) != austin().settings_digest
    assert counts == (path not in LEFT_OUT)


@pytest.mark.parametrize("path", CITY)
def test_every_other_setting_of_a_city_says_why_it_does_not_count(path: str) -> None:
    assert path in LEFT_OUT, f"does {path} make the model? Put it into MAKES_THE_MODEL or WHY_NOT"


@pytest.mark.parametrize("path", [path for path in OTHER if path.split(".")[0] not in MAKES_THE_MODEL])
def test_what_makes_no_model_does_not_count(path: str) -> None:
    assert digest_with(path, OTHER[path]) == austin().settings_digest


def test_what_is_said_to_make_no_model_exists() -> None:
    assert {*CITY, *MODEL} >= LEFT_OUT
    assert set(MAKES_THE_MODEL) <= set(City.model_fields)


def test_a_new_setting_counts_by_itself() -> None:
    class NewAlgorithm(Algorithm):
        depth_of_thought: int = 1

    plan = austin()
    digests = {
        CityPlan(
            plan.fleet, plan.city.model_copy(update={"algorithm": NewAlgorithm(depth_of_thought=depth)})
        ).settings_digest
        for depth in (1, 2)
    }
    assert len(digests) == 2
