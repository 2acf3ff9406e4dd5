"""What a listing of raw data says before a job is paid for."""

from __future__ import annotations

from city_fleet.config.settings import OwnScripts
from city_fleet.jobs.fixed_run import RawObject
from city_fleet.jobs.raw_check import refusal
from city_fleet.plan import CityPlan
from tests.support.fleets import austin


def files(**sizes: int) -> tuple[RawObject, ...]:
    return tuple(RawObject(name.replace("__", "."), size, "0" * 32) for name, size in sizes.items())


def test_files_that_no_job_reads_are_named_before_one_is_paid_for() -> None:
    assert refusal(austin(), files(a__csv=9, b__CSV__gz=9, c__parquet=9)) is None
    assert refusal(austin(), files(a__csv=9, sheet__xlsx=9, notes__txt=9)) == (
        "s3://city-fleet/texas_housing/raw/city=austin/: got notes.txt, sheet.xlsx; allowed: .csv, .csv.gz, .parquet "
        "files. Convert them, or move them elsewhere"
    )
    empty = refusal(austin(), files(a__csv=9, b__csv=0))
    assert empty is not None
    assert "got b.csv of 0 bytes" in empty


def test_a_preprocess_of_ones_own_may_read_anything() -> None:
    plan, odd = austin(), files(sheet__xlsx=0)
    own = plan.city.model_copy(update={"own_scripts": OwnScripts(preprocess="mine/preprocess.py")})
    assert refusal(CityPlan(plan.fleet, own), odd) is None
    folder = plan.city.model_copy(update={"scripts": "mine"})
    assert refusal(CityPlan(plan.fleet, folder), odd) is None
