"""The closed form of a night: what decides, what adds up, and that its advice keeps its own promises."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from city_fleet.night import night_calls
from city_fleet.night.measured import MEASURED
from city_fleet.night.night_advice import needs, settings
from city_fleet.night.night_model import Limits, NightModel, predict
from city_fleet.night.prices import list_prices
from city_fleet.night.service_quotas import Quotas, known_codes
from city_fleet.night.workload import Workload, even_sizes, imagined, of_fleet
from tests.support.fleets import texas
from tests.support.paths import ROOT

TRAIN, PREPARE = "ml.m5.large for training job usage", "ml.t3.medium for processing job usage"


def night_of(cities: int, cohort: int | None = None, limits: Limits | None = None) -> NightModel:
    return predict(imagined(texas(), cities, MEASURED, cohort=cohort), MEASURED, list_prices(), limits)


def test_the_calls_of_a_city_are_those_that_are_counted() -> None:
    page = (ROOT / "docs" / "internals" / "jobs.md").read_text(encoding="utf-8")
    counted = dict(re.findall(r"^\| `([a-z0-9-]+:\w+)` \| (\d+) \| ", page, re.MULTILINE))
    assert {name: int(count) for name, count in counted.items()} == night_calls.OF_A_CITY


def test_a_night_of_one_city_is_one_chain() -> None:
    night = night_of(1)
    assert night.seconds == night.chain_seconds
    assert night.bounded_by == "one run's own jobs"
    assert (night.jobs, night.dag_runs, night.peak) == (3, 1, {TRAIN: 1, PREPARE: 1})
    # Three starts of AWS are most of it.
    assert 3 * MEASURED.start_up_seconds < night.seconds < 6 * MEASURED.start_up_seconds


def test_each_scarce_thing_decides_when_it_is_the_scarcest() -> None:
    assert night_of(3000).bounded_by == "starts in Airflow"
    assert night_of(3000, limits=Limits(pool=10)).bounded_by == "the pool of jobs"
    assert night_of(3000, limits=Limits(quotas={TRAIN: 5})).bounded_by == f"the quota {TRAIN!r}"
    fast = replace(MEASURED, starts_per_second=1000)
    work = imagined(texas(), 3000, fast, cohort=None)
    assert predict(work, fast, list_prices()).bounded_by == "the pace of CreateProcessingJob"
    spread = imagined(texas(), 300, MEASURED, cohort=None, spread_minutes=600)
    assert predict(spread, MEASURED, list_prices()).bounded_by == "spread_minutes"
    assert math.isinf(night_of(3, limits=Limits(quotas={TRAIN: 0})).seconds)


def test_a_quota_of_half_the_jobs_takes_two_rounds() -> None:
    one, two = (night_of(60 * 50, 50, Limits(quotas={TRAIN: quota})) for quota in (60, 30))
    round_of_jobs = MEASURED.start_up_seconds + one.billable_seconds[TRAIN] / 60
    free = replace(MEASURED, starts_per_second=1e9, creates_per_second=1e9)
    work = imagined(texas(), 3000, free, cohort=50)
    seconds = [
        predict(work, free, list_prices(), Limits(quotas={TRAIN: quota})).seconds for quota in (60, 30, 20)
    ]
    assert [later - seconds[0] for later in seconds] == pytest.approx([0, round_of_jobs, 2 * round_of_jobs])
    assert two.seconds >= one.seconds


@pytest.mark.parametrize("cohort", [None, 2, 50, 500])
def test_more_of_anything_makes_no_night_longer(cohort: int | None) -> None:
    for name in (TRAIN, PREPARE):
        seconds = [
            night_of(1000, cohort, Limits(quotas={name: quota})).seconds for quota in (1, 2, 7, 50, 999)
        ]
        assert seconds == sorted(seconds, reverse=True)
    pools = [night_of(1000, cohort, Limits(pool=pool)).seconds for pool in (1, 3, 30, 3000)]
    assert pools == sorted(pools, reverse=True)


def test_cohorts_pay_for_fewer_starts() -> None:
    each, together = night_of(3000), night_of(3000, 50)
    assert (each.jobs, together.jobs) == (9000, 60)
    of_a_job = MEASURED.download_seconds + MEASURED.upload_seconds + MEASURED.interpreter_seconds
    billed = [sum(night.billable_seconds.values()) for night in (each, together)]
    scripts = MEASURED.preprocess_seconds + MEASURED.train_seconds + MEASURED.evaluate_seconds
    assert billed == pytest.approx(
        [9000 * of_a_job + 3000 * scripts, 60 * of_a_job + 3000 * MEASURED.city_seconds]
    )
    assert together.dollars < each.dollars
    assert each.calls_of_sagemaker / 3000 <= 16
    # Of a cohort's job there is one create and one look for all its cities.
    assert together.calls["sagemaker:CreateTrainingJob"] == together.calls["logs:GetLogEvents"] == 60


@pytest.mark.parametrize(
    ("cities", "cohort", "hours"),
    [
        (46, None, 0.5),
        (3000, None, 3),
        (3000, None, 20),
        (3000, 50, 0.5),
        (3000, 50, 6),
        (10_000, 500, 6),
        (7, 2, 1),
    ],
)
def test_with_what_it_asks_for_a_night_is_over_in_time(cities: int, cohort: int | None, hours: float) -> None:
    work = imagined(texas(), cities, MEASURED, cohort=cohort)
    free = predict(work, MEASURED, list_prices())
    needed = needs(work, free, MEASURED, within_seconds=hours * 3600, quotas=Quotas(), fleet=texas())
    quotas = {need.name: need.needed for need in needed}
    night = predict(work, MEASURED, list_prices(), Limits(quotas=quotas))
    assert night.seconds <= hours * 3600
    # And no more: with a third of it the night would be longer than that, or as long as it must be.
    fewer = {name: max(1, number // 3) for name, number in quotas.items()}
    tight = predict(work, MEASURED, list_prices(), Limits(quotas=fewer))
    assert tight.seconds > night.seconds or fewer == quotas or set(quotas.values()) == {1}


def test_advice_goes_by_what_the_account_has() -> None:
    work = imagined(texas(), 3000, MEASURED, cohort=None)
    night = predict(work, MEASURED, list_prices())
    quotas = Quotas({TRAIN: 4, PREPARE: 500}, {TRAIN: "L-0"})
    needed = needs(work, night, MEASURED, within_seconds=4 * 3600, quotas=quotas, fleet=texas())
    fits = {need.name: need.fits for need in needed}
    assert fits == {TRAIN: False, PREPARE: True, "ml.m5.large for endpoint usage": None}
    lines = list(settings(work, night, MEASURED, list_prices(), needed=needed, fleet=texas(), cohort=None))
    prepare = next(need.needed for need in needed if need.name == PREPARE)
    # The pool is what there is of the quota that is too small, and what is needed of the other.
    assert lines[0].startswith(f"airflow pools set city_fleet_laptop {4 + prepare} ")
    assert any(line.startswith("training: {keep_alive_seconds") for line in lines)
    assert next(need.code for need in needed if need.name == PREPARE) == known_codes()[PREPARE]


def test_a_fleet_as_it_is_counts_each_citys_own_instances() -> None:
    fleet = texas()
    large = fleet.cities["dallas"].training.model_copy(update={"instance_type": "ml.m5.4xlarge"})
    cities = {**fleet.cities, "dallas": fleet.cities["dallas"].model_copy(update={"training": large})}
    fleet = fleet.model_copy(update={"cities": cities})
    cohorts = {"000": [slug for slug in cities if slug != "dallas"][:40]}
    work = of_fleet(fleet, MEASURED, cohorts=cohorts)
    night = predict(work, MEASURED, list_prices())
    assert (night.cities, night.cohorts, night.dag_runs) == (len(cities), 1, len(cities) - 39)
    assert night.peak["ml.m5.4xlarge for training job usage"] == 1
    # One cohort and the cities that are in none train on the usual type.
    assert night.peak[TRAIN] == 1 + len(cities) - 41


def test_the_tasks_of_a_cohorts_cities_have_slots_of_the_pool_beside_the_jobs() -> None:
    work = imagined(texas(), 3000, MEASURED, cohort=50)
    night = predict(work, MEASURED, list_prices())
    needed = needs(work, night, MEASURED, within_seconds=2 * 3600, quotas=Quotas(), fleet=texas())
    (line, *_) = settings(work, night, MEASURED, list_prices(), needed=needed, fleet=texas(), cohort=50)
    slots = int(line.split()[4])
    jobs = next(need.needed for need in needed if need.name == TRAIN)
    assert slots > jobs + 20
    # With a slot for each job alone the cities would wait for each other.
    roomy, tight = (
        night_of(3000, 50, Limits(pool=pool, quotas={TRAIN: jobs})).seconds for pool in (slots, jobs)
    )
    assert roomy <= 2 * 3600 < tight


@pytest.mark.parametrize(("cities", "size", "sizes"), [(0, 50, []), (49, 50, [49]), (101, 50, [34, 34, 33])])
def test_cohorts_are_as_many_as_are_needed_and_alike(cities: int, size: int, sizes: list[int]) -> None:
    assert even_sizes(cities, size) == sizes


def test_an_unknown_price_is_not_taken_for_nothing() -> None:
    work = imagined(texas(), 10, MEASURED, cohort=None)
    prices = replace(list_prices(), instance_hour={"ml.t3.medium": 0.05})
    night = predict(work, MEASURED, prices)
    assert night.cost["jobs: ml.m5.large for training job"] is None
    assert night.cost["jobs: ml.t3.medium for processing job"]


def test_a_workload_knows_its_own_numbers() -> None:
    work: Workload = imagined(texas(), 1001, MEASURED, cohort=50)
    assert (work.cities, work.in_cohorts, work.cohorts) == (1001, 1001, 21)
    assert work.starts == 21 * 4 + 1001
