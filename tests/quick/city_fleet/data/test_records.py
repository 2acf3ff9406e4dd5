"""The desk reads a row's period as the job scripts do: what is one period there is one text here."""

from __future__ import annotations

import math
import sys
from datetime import UTC, date, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.config import Series, series
from city_fleet.config.data_section import PARTS
from city_fleet.data.csv_rows import DELIMITERS, delimiter_of
from city_fleet.data.records import RecordReader
from city_fleet.periods import FREQUENCIES, MOST_EVERY, Grid, Span, begin_text
from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

ISO = [
    "2024-06-09",
    "2024-06-09T23:59:00",
    "2024-06-09T23:59:00-05:00",
    "2024-06-09 00:30+02:00",
    "2024-06",
    "2024",
    "1950.0",
    "20240609",
    "2024-W23-7",
    "2024W23",
    " 2024-02-29 ",
    "2024-12-31",
    *(
        "1981 Q1",
        "1981Q1",
        "Q1 1981",
        "1981-Q4",
        "q3/1981",
        "1981 Q5",
        "1717010100000",
        "1_14",
        "2024-13",
        "",
    ),
]
EVERY = ["hour", "day", "business_day", "week", "month", "quarter", "year"]


@pytest.mark.parametrize(
    ("columns", "parts", "written", "frequencies", "rows"),
    [
        (["d"], None, None, EVERY, [[text] for text in ISO]),
        (["d"], None, "%d.%m.%Y", ["day", "week", "month"], [["09.06.2024"], ["31.12.1999"], ["31.02.1999"]]),
        (["d"], None, "%d.%m.%Y %H:%M%z", EVERY, [["09.06.2024 01:00+0200"]]),
        (
            ["year", "month"],
            None,
            None,
            ["month", "quarter", "year"],
            [["2024", "6"], ["2024.0", "12"], ["1999", "01"], ["1999", "13"], ["1e30", "1"]],
        ),
        (
            ["year", "quarter"],
            None,
            None,
            ["quarter", "year"],
            [["2024", "1"], ["2024", "Q4"], ["2024", "5"]],
        ),
        (["y", "q"], ["year", "quarter"], None, ["quarter", "year"], [["2024", "1"], ["2024", "4.0"]]),
        (
            ["y", "kw"],
            ["year", "week"],
            None,
            ["week", "month"],
            [["2024", "1"], ["2020", "W53"], ["2021", "53"]],
        ),
        (["year", "week"], None, None, ["week"], [["2024", "1"]]),
        (
            ["year", "month", "day"],
            None,
            None,
            ["day", "business_day", "week"],
            [["2024", "6", "9"], ["2024.0", "2.0", "29.0"]],
        ),
        (
            ["d", "hr"],
            ["date", "hour"],
            None,
            EVERY,
            [["2024-06-07", "23"], ["2024-06-09", "24"], ["x", "1"]],
        ),
        (["a", "b", "c", "d"], None, None, EVERY, [["2024", "6", "7", "0"], ["2024", "6", "31", "0"]]),
    ],
)
@pytest.mark.parametrize(("every", "anchor"), [(1, None), (5, None), (6, "1952-02-03")])
def test_a_period_is_the_one_that_the_job_scripts_read(  # noqa: PLR0917
    columns: list[str],
    parts: list[str] | None,
    written: str | None,
    frequencies: list[str],
    rows: list[list[str]],
    every: int,
    anchor: str | None,
) -> None:
    from calendar_grid import frequency_text, period_of, period_start
    from time_columns import TimeColumns

    for base in frequencies:
        dataset = Series.model_validate({
            "city_column": "c", "time": {"columns": columns, "format": written, "parts": parts}, "frequency": base,
            "every": every, "anchor": anchor, "available_after": "P1D", "target": {"column": "y", "lags": [1]},
        })  # fmt: skip
        frequency = frequency_text(base, every, dataset.anchor)
        assert str(dataset.grid) == frequency
        reader = RecordReader(dataset, [*columns, "y"])
        for cells in rows:
            times = TimeColumns(tuple(columns), written, frequency, tuple(parts) if parts else None)
            try:
                index = period_of(times.read_moment(cells), frequency)
                expected = period_start(index, frequency).isoformat()
            except ValueError:
                expected = " ".join(cell.strip() for cell in cells)[:100]
            assert reader.read([*cells, "1"], 2).period == expected, (base, cells)


@given(
    st.datetimes(datetime(1900, 1, 8), datetime(2200, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(FREQUENCIES),
    st.integers(1, 12),
    st.dates(date(1950, 1, 1), date(2050, 1, 1)) | st.none(),
    st.builds(Span, st.integers(0, 14), st.integers(0, 40), st.integers(0, 50)),
)
def test_the_desks_calendar_is_that_of_the_job_scripts(
    moment: datetime, base: str, every: int, anchor: date | None, span: Span
) -> None:
    from calendar_grid import Duration, begins_at, frequency_text, noun, period_of, period_start

    grid, frequency = Grid.of(base, every, anchor), frequency_text(base, every, anchor)
    assert str(grid) == frequency
    assert Grid.parse(frequency) == grid
    assert grid.noun == noun(frequency)
    try:
        index = period_of(moment, frequency)
    except ValueError:
        with pytest.raises(ValueError, match="weekend"):
            grid.index(moment)
        return
    assert grid.index(moment) == index
    assert grid.start(index) == begins_at(index, frequency)
    assert grid.text(index) == period_start(index, frequency).isoformat() == begin_text(grid.text(index))
    assert span.after(moment.replace(minute=0, second=0, microsecond=0)) == Duration(
        span.months, span.days, span.hours
    ).after(moment)


@given(st.text("1.,-+e0", max_size=12) | st.floats(allow_nan=False, allow_infinity=False).map(str))
def test_a_number_is_the_one_that_the_job_scripts_read(text: str) -> None:
    from row_reader import MISSING, read_number

    for decimal in (".", ","):
        dataset = Series.model_validate({
            "time": {"columns": ["d"]}, "frequency": "day", "available_after": "P1D", "decimal": decimal,
            "target": {"column": "y", "lags": [1]},
        })  # fmt: skip
        found = RecordReader(dataset, ["d", "y"]).read(["2024-01-01", text], 2).values[0]
        number = read_number(text.strip(), decimal == ",")
        if text.strip().lower() in MISSING:
            assert found is None
        else:
            assert found == (number if math.isfinite(number) else text.strip())


@given(
    st.lists(st.text('a;,\t" ', max_size=5), max_size=4).map(";".join),
    st.sets(st.sampled_from(["a", "aa", ""])),
)
def test_what_stands_between_cells_is_what_the_job_scripts_see(header: str, needed: set[str]) -> None:
    from csv_dialect import DELIMITERS as THERE
    from csv_dialect import delimiter_of as there

    assert THERE == DELIMITERS
    assert delimiter_of(header, needed) == there(header, needed)


def test_both_know_the_same_words() -> None:
    from calendar_grid import FREQUENCIES as BASES
    from calendar_grid import MOST_EVERY as MOST
    from period_rows import AGGREGATES, DUPLICATES
    from series_layout import CALENDAR
    from series_rows import DECIMALS
    from time_columns import PARTS as THERE

    assert PARTS == THERE
    assert BASES == FREQUENCIES == get_args(series.Frequency)
    assert MOST == MOST_EVERY
    assert set(AGGREGATES) == set(get_args(series.Aggregate))
    assert set(DUPLICATES) == set(get_args(series.Duplicates))
    assert get_args(series.Calendar) == CALENDAR
    assert set(DECIMALS) == {".", ","}


def test_what_is_no_date_or_number_keeps_its_text() -> None:
    dataset = Series.model_validate({
        "city_column": "c", "time": {"columns": ["d"]}, "frequency": "day",
        "available_after": "P1D", "target": {"column": "y", "lags": [1]},
    })  # fmt: skip
    reader = RecordReader(dataset, ["y", "d"])
    for text, value in (
        ("1_000", "1_000"),
        ("x", "x"),
        ("1e2", 100.0),
        ("NA", None),
        ("", None),
        ("inf", "inf"),
    ):
        record = reader.read([text, "9999-99-99"], 7)
        assert (record.period, record.values, record.row) == ("9999-99-99", (value,), 7)
    assert reader.read(["3"], 8).period == "", "a cell that the row lacks is empty"
