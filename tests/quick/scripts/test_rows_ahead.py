"""Rows of periods to come: what is known ahead, put together as known rows are; nothing else of them counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from calendar_grid import Duration, period_index, period_start, read_day
from job_failure import JobFailure
from period_rows import LAST, SUM, PeriodRule
from raw_data import RawCity, read_city
from row_reader import Limits
from rows_ahead import RowsAhead
from time_columns import TimeColumns

AS_OF = datetime(2015, 8, 1, tzinfo=UTC)
PLAN = Limits(low=0, high=100)
HEAD = "date,sales,plan\n2015-07-31,5,1\n"


def read(folder: Path, frequency: str = "day", until: str = "2015-08-10", **more: Any) -> RawCity:
    given: dict[str, Any] = {
        "time": TimeColumns(("date",), None, frequency),
        "limits": {"sales": Limits(), "plan": PLAN},
        "as_of": AS_OF,
        "available_after": Duration.parse("PT1H" if "hour" in frequency else "P1D"),
        "ahead": RowsAhead({"plan": PLAN}, period_index(read_day(until), frequency)),
        **more,
    }
    return read_city(folder, "s3://bucket/raw/", **given)


def ahead(city: RawCity, frequency: str = "day") -> dict[str, float | None]:
    return {
        period_start(index, frequency).isoformat(): row["plan"] for index, row in sorted(city.ahead.items())
    }


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")


def test_only_what_is_known_ahead_counts_and_only_so_far(tmp_path: Path) -> None:
    later = "2015-08-01,9999,2\n2015-08-02,no number,\n2015-08-03,,4\n2015-08-11,,no number\n"
    write(tmp_path, a=HEAD + later)
    city = read(tmp_path)
    assert ahead(city) == {"2015-08-01": 2, "2015-08-03": 4}
    assert [row.values for row in city.rows] == [{"sales": 5, "plan": 1}]
    assert (city.later, city.inputs[0]["rows_used"]) == (4, 1)
    assert read(tmp_path, ahead=None).ahead == {}


def test_several_rows_of_a_period_become_one_as_known_ones_do(tmp_path: Path) -> None:
    write(tmp_path, a=HEAD + "2015-08-01,,2\n2015-08-02,,3\n", b=HEAD + "2015-08-01,,7\n2015-08-02,,3\n")
    with pytest.raises(
        JobFailure, match=r"b.csv, row 3: the day of 2015-08-01 .* with another 'plan': '2' there"
    ):
        read(tmp_path)
    order = {"rule": PeriodRule(duplicates=LAST), "order": ["b.csv", "a.csv"]}
    assert ahead(read(tmp_path, **order)) == {"2015-08-01": 2, "2015-08-02": 3}
    assert ahead(read(tmp_path, rule=PeriodRule(duplicates=SUM))) == {"2015-08-01": 9, "2015-08-02": 6}
    added = PeriodRule({"sales": "sum", "plan": "max"}, duplicates=SUM)
    city = read(tmp_path, rule=added)
    assert ahead(city) == {"2015-08-01": 7, "2015-08-02": 3}
    # Transactions until the first of August, none of the plan's days among those without a row.
    assert [row.values["sales"] for row in city.rows] == [10]
    write(tmp_path, b=HEAD + "2015-08-01,,99\n2015-08-01,,99\n")
    with pytest.raises(JobFailure, match=r"the sum of column 'plan' .* of 2015-08-01 is 200; allowed: "):
        read(tmp_path, rule=PeriodRule({"sales": "sum", "plan": "sum"}, duplicates=SUM))


def test_a_plan_may_be_one_of_hours_and_have_a_decimal_comma(tmp_path: Path) -> None:
    rows = (
        "date;sales;plan\n2015-07-31T22:00:00Z;5;1\n2015-08-01T02:00:00+02:00;;1,5\n2015-08-01T01:00:00Z;;2\n"
    )
    write(tmp_path, a=rows)
    city = read(tmp_path, "hour", "2015-08-01T12:00:00Z", decimal_comma=True)
    assert ahead(city, "hour") == {"2015-08-01T00:00:00+00:00": 1.5, "2015-08-01T01:00:00+00:00": 2}
