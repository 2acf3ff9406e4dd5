"""One row per period: transactions put together, corrections, parts, and what is later; checked against pandas."""

from __future__ import annotations

import io
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from calendar_grid import Duration, period_start
from job_failure import JobFailure
from period_rows import AGGREGATES, PeriodRule
from raw_data import RawCity, read_city
from row_reader import Limits
from time_columns import TimeColumns

URI = "s3://bucket/fleet/raw/city=waco/"
AS_OF = datetime(2015, 8, 1, tzinfo=UTC)
FREE = {"sales": Limits()}


def read(folder: Path, **more: Any) -> RawCity:
    """Read a folder as a job would: days of a column 'date', and 'sales'."""
    given: dict[str, Any] = {
        "time": TimeColumns(("date",), None, more.pop("frequency", "day")),
        "limits": FREE,
        "as_of": AS_OF,
        "available_after": Duration.parse("P1D"),
        **more,
    }
    return read_city(folder, URI, **given)


def values(city: RawCity, frequency: str = "day", column: str = "sales") -> dict[str, float | None]:
    return {period_start(row.index, frequency).isoformat(): row.values[column] for row in city.rows}


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def transactions(seed: int, rows: int = 400) -> pd.DataFrame:
    """Sales at random moments of some weeks of two years' ends, most of them on Monday to Friday; some are missing."""
    rng = random.Random(seed)
    begin = datetime(2014, 12, 1)
    moments = [begin + timedelta(seconds=rng.randrange(60 * 86_400)) for _ in range(rows)]
    weekdays = [moment - timedelta(days=max(0, moment.weekday() - 4)) for moment in moments]
    sales = [None if rng.random() < 0.05 else round(rng.gauss(20, 15), 2) for _ in range(rows)]
    return pd.DataFrame({"date": weekdays, "sales": sales, "note": [f"n{at}" for at in range(rows)]})


@pytest.mark.parametrize("kind", AGGREGATES)
@pytest.mark.parametrize(
    ("frequency", "rule", "after"),
    [
        ("hour", "h", "PT1H"),
        ("6 hour", "6h", "PT6H"),
        ("day", "D", "P1D"),
        ("business_day", "B", "P3D"),
        ("week", "W-SUN", "P1W"),
        ("month", "MS", "P1M"),
        ("2 month", "", "P2M"),
    ],
)
def test_what_transactions_make_is_what_pandas_makes_of_them(
    tmp_path: Path, kind: str, frequency: str, rule: str, after: str
) -> None:
    frame = transactions(len(kind) + len(frequency))
    half = len(frame) // 2
    for name, part in (("a", frame[:half]), ("b", frame[half:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    city = read(
        tmp_path, frequency=frequency, available_after=Duration.parse(after), rule=PeriodRule({"sales": kind})
    )
    series = frame.sort_values("date", kind="stable").set_index("date")["sales"]
    if frequency == "2 month":
        grouped = series.groupby((series.index.year * 12 + series.index.month - 1) // 2)
    elif frequency == "week":
        grouped = series.groupby(series.index.to_period("W-SUN"))
    else:
        grouped = series.groupby(series.index.floor("D") if rule in "BD" else series.index.to_period("M") if rule == "MS" else series.index.floor(rule))  # fmt: skip # noqa: E501
    expected = grouped.agg((lambda each: each.sum(min_count=1)) if kind == "sum" else kind)
    found = [row for row in city.rows if row.number]  # those with transactions
    assert len(found) == len(expected)
    for row, there in zip(found, expected.tolist(), strict=True):
        mine = math.nan if row.values["sales"] is None else row.values["sales"]
        assert mine == pytest.approx(there, rel=1e-12, nan_ok=True)
    # Periods without one: nothing was sold, where the rows are added up or counted.
    gaps = city.rows[-1].index - city.rows[0].index + 1 - len(expected)
    assert city.filled == (gaps if kind in ("sum", "count") else 0)
    assert {row.values["sales"] for row in city.rows if not row.number} <= {0.0}


def test_a_period_that_is_not_over_is_not_put_together(tmp_path: Path) -> None:
    write(
        tmp_path,
        data="date,sales\n2015-07-30T10:00,1\n2015-07-31T10:00,2\n2015-07-31T11:00,3\n2015-08-01T00:00,9\n",
    )
    city = read(tmp_path, rule=PeriodRule({"sales": "sum"}))
    assert values(city) == {"2015-07-30": 1.0, "2015-07-31": 5.0}
    assert (city.later, city.inputs[0]["rows_later"], city.inputs[0]["rows_used"]) == (1, 1, 3)
    city = read(tmp_path, rule=PeriodRule({"sales": "sum"}), as_of=AS_OF - timedelta(seconds=1))
    assert (values(city), city.later) == ({"2015-07-30": 1.0}, 3)


def test_no_row_is_zero_only_where_zero_is_possible_and_between_the_first_and_the_last(
    tmp_path: Path,
) -> None:
    write(tmp_path, data="date,sales\n2015-07-01,4\n2015-07-04,6\n")
    rule = PeriodRule({"sales": "sum"})
    assert list(values(read(tmp_path, rule=rule)).values()) == [4.0, 0.0, 0.0, 6.0]
    under_logarithm = read(tmp_path, rule=rule, limits={"sales": Limits(above_zero=True)})
    assert list(values(under_logarithm).values()) == [4.0, 6.0]
    mean = read(tmp_path, rule=PeriodRule({"sales": "mean"}))
    assert list(values(mean).values()) == [4.0, 6.0]


def test_limits_are_those_of_what_the_rows_make_together(tmp_path: Path) -> None:
    write(tmp_path, data="date,sales\n2015-07-01,-4\n2015-07-01,6\n2015-07-02,-1\n")
    limits = {"sales": Limits(low=0)}
    with pytest.raises(JobFailure, match=r"the sum of column 'sales' in the day of 2015-07-02 is -1; allowed: a number of at least 0"):  # fmt: skip # noqa: E501
        read(tmp_path, rule=PeriodRule({"sales": "sum"}), limits=limits)
    assert len(read(tmp_path, rule=PeriodRule({"sales": "max"})).rows) == 2


def test_counted_cells_may_be_any_text(tmp_path: Path) -> None:
    write(tmp_path, data="date,sales\n2015-07-01,order 1\n2015-07-01,order 2\n2015-07-01,\n2015-07-03,x\n")
    city = read(tmp_path, rule=PeriodRule({"sales": "count"}))
    assert list(values(city).values()) == [2.0, 0.0, 1.0]


def test_exports_that_overlap_hold_a_transaction_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["2015-07-01,1,a", "2015-07-01,1,a", "2015-07-01,2,b", "2015-07-02,5,c"]
    write(
        tmp_path,
        older="date,sales,id\n" + "\n".join(rows[:3]),
        newer="id,date,sales\n" + "\n".join(f"{row[-1]},{row[:-2]}" for row in rows),
    )
    assert list(values(read(tmp_path, rule=PeriodRule({"sales": "sum"}))).values()) == [4.0, 5.0]
    assert "3 rows are in another file too" in capsys.readouterr().out
    every = PeriodRule({"sales": "sum"}, duplicates="sum")
    assert list(values(read(tmp_path, rule=every)).values()) == [8.0, 5.0]


def test_a_correction_takes_the_place_of_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "date,sales\n"
    write(tmp_path, a=f"{head}2015-07-01,10\n2015-07-02,20\n", b=f"{head}2015-07-01,11\n")
    with pytest.raises(
        JobFailure, match=r"b.csv, row 2: the day of 2015-07-01 is there already, in row 2 of .*a.csv"
    ):
        read(tmp_path)
    last = PeriodRule(duplicates="last")
    assert list(values(read(tmp_path, rule=last)).values()) == [11.0, 20.0]
    assert "sorted by name" in capsys.readouterr().out
    assert list(values(read(tmp_path, rule=last, order=["b.csv", "a.csv"])).values()) == [10.0, 20.0]
    assert "sorted by age in S3; newest: a.csv" in capsys.readouterr().out
    parts = PeriodRule(duplicates="sum")
    assert list(values(read(tmp_path, rule=parts)).values()) == [21.0, 20.0]
    # Of transactions the newest file's alone count, in the periods that it has any of.
    write(tmp_path, b=f"{head}2015-07-01,3\n2015-07-01,4\n")
    of_transactions = PeriodRule({"sales": "sum"}, duplicates="last")
    assert list(values(read(tmp_path, rule=of_transactions)).values()) == [7.0, 20.0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_stands_between_the_cells_is_told_by_the_header(tmp_path: Path, delimiter: str) -> None:
    frame = pd.DataFrame(
        {"date": ["2015-07-01", "2015-07-02"], "sales": [1.5, 2.5], "a, b; c": ["x;y", "p,q"]}
    )
    text = io.StringIO()
    frame.to_csv(text, index=False, sep=delimiter, lineterminator="\r\n")
    write(tmp_path, data=text.getvalue())
    assert list(values(read(tmp_path)).values()) == [1.5, 2.5]


def test_a_header_that_nothing_makes_columns_of_is_named(tmp_path: Path) -> None:
    write(tmp_path, data="date|sales\n2015-07-01|1\n")
    with pytest.raises(JobFailure, match=r"column 'date' is missing; columns found: date\|sales\."):
        read(tmp_path)


def test_a_decimal_comma_is_named_or_read(tmp_path: Path) -> None:
    write(tmp_path, data="date;sales\n2015-07-01;1.234,5\n2015-07-02;-0,25\n2015-07-03;17\n")
    with pytest.raises(JobFailure, match=r"row 3, column 'sales': got '-0,25'.* dataset.decimal to"):
        read(tmp_path)
    assert list(values(read(tmp_path, decimal_comma=True)).values()) == [1234.5, -0.25, 17.0]
    write(tmp_path, data="date;sales\n2015-07-01;1234.5\n")
    with pytest.raises(JobFailure, match=r"got '1234.5'.* dataset.decimal is"):
        read(tmp_path, decimal_comma=True)


def test_folders_name_columns_that_the_files_lack(tmp_path: Path) -> None:
    for month, content in (("06", "day,sales\n1,10\n"), ("07", "day,sales\n1,20\n2,21\n")):
        folder = tmp_path / "city=S%C3%A3o Paulo" / "year=2015" / f"month={month}"
        folder.mkdir(parents=True)
        (folder / "part-0.csv").write_text(content, encoding="utf-8")
    pd.DataFrame({"day": [3], "sales": [30.0]}).to_parquet(folder / "part-1.parquet")
    city = read(tmp_path, time=TimeColumns(("year", "month", "day"), None, "day"))
    assert values(city) == {"2015-06-01": 10.0, "2015-07-01": 20.0, "2015-07-02": 21.0, "2015-07-03": 30.0}


def test_rows_of_several_years_stand_where_their_periods_begin(tmp_path: Path) -> None:
    write(tmp_path, data="date,sales\n1952,1\n1957.0,2\n1962,3\n")
    after = Duration.parse("P5Y")
    with pytest.raises(JobFailure, match=r"got '1952'; allowed: the first year of a 5-year period, such as 1950-01-01; dataset.anchor"):  # fmt: skip # noqa: E501
        read(tmp_path, frequency="5 year", available_after=after)
    city = read(tmp_path, frequency="5 year+2", available_after=after)
    assert list(values(city, "5 year+2")) == ["1952-01-01", "1957-01-01", "1962-01-01"]
    assert np.diff([row.index for row in city.rows]).tolist() == [1, 1]


def test_a_weekend_among_business_days_is_named(tmp_path: Path) -> None:
    write(tmp_path, data="date,sales\n2015-07-31,1\n2015-08-01,2\n")
    with pytest.raises(
        JobFailure, match=r"row 3, column 'date': got '2015-08-01'; allowed: a day from Monday to Fri"
    ):
        read(tmp_path, frequency="business_day")


def test_a_mistyped_year_does_not_fill_the_memory(tmp_path: Path) -> None:
    write(tmp_path, data="date,sales\n0215-07-31T10:00,1\n2015-07-31T11:00,2\n")
    with pytest.raises(JobFailure, match=r"row 2: the first hour is 0215-.*Is a date mistyped\?"):
        read(
            tmp_path,
            frequency="hour",
            rule=PeriodRule({"sales": "sum"}),
            available_after=Duration.parse("PT1H"),
        )
