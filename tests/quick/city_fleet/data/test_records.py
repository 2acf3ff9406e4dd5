"""The desk reads a row's period as the job scripts do: what is one period there is one text here."""

from __future__ import annotations

import sys

import pytest

from city_fleet.config import Series
from city_fleet.data.records import RecordReader
from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

ISO = [
    "2024-06-09",
    "2024-06-09T23:59:00",
    "2024-06",
    "2024",
    "20240609",
    "2024-W23-7",
    " 2024-02-29 ",
    "2024-12-31",
]


@pytest.mark.parametrize(
    ("columns", "written", "frequencies", "rows"),
    [
        (["d"], None, ["day", "week", "month", "quarter", "year"], [[text] for text in ISO]),
        (["d"], "%d.%m.%Y", ["day", "week", "month"], [["09.06.2024"], ["31.12.1999"]]),
        (
            ["year", "month"],
            None,
            ["month", "quarter", "year"],
            [["2024", "6"], ["2024.0", "12"], ["1999", "01"]],
        ),
        (["year", "quarter"], None, ["quarter", "year"], [["2024", "1"], ["2024", "4"]]),
        (["year", "month", "day"], None, ["day", "week"], [["2024", "6", "9"], ["2024.0", "2.0", "29.0"]]),
    ],
)
def test_a_period_is_the_one_that_the_job_scripts_read(
    columns: list[str], written: str | None, frequencies: list[str], rows: list[list[str]]
) -> None:
    from calendar_grid import period_index, period_start
    from time_columns import TimeColumns

    for frequency in frequencies:
        dataset = Series.model_validate({
            "city_column": "c", "time": {"columns": columns, "format": written}, "frequency": frequency,
            "available_after": "P1D", "target": {"column": "y", "lags": [1]},
        })  # fmt: skip
        reader = RecordReader(dataset, [*columns, "y"])
        for cells in rows:
            day = TimeColumns(tuple(columns), written, frequency).read(cells)
            expected = period_start(period_index(day, frequency), frequency).isoformat()
            assert reader.read([*cells, "1"], 2).period == expected


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
