"""Files that nobody means, met at the desk: file and row are named, as a run would name them."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest

from city_fleet.config import load_fleet
from city_fleet.data.csv_rows import csv_rows
from city_fleet.data.source_check import source_mistakes
from city_fleet.data.source_split import split_by_city
from city_fleet.errors import DataError
from tests.support.fleets import SMALL

HEADER = "city,date,y,extra\n"
GOOD = "Waco,2020-01-01,1,1\n"
CITIES = "cities:\n  waco: {name: Waco}\n"

BAD: dict[str, tuple[bytes, int, str]] = {
    "a cell of 5 MB": (b"Waco,2020-01-02," + b"9" * 5_000_000 + b",1\n", 12, "more than 1000000 characters"),
    "a cell of 200 KB": (b"Waco,2020-01-02," + b"9" * 200_000 + b",1\n", 12, "field larger than field limit"),
    "an open quote": (
        b'Waco,2020-01-02,"1,1\n' + GOOD.encode() * 20_000,
        12,
        "field larger than field limit",
    ),
    "an open quote near the end": (
        b'Waco,2020-01-02,1,"x\n' + GOOD.encode() * 3,
        12,
        "unexpected end of data",
    ),
    "a row of many lines": (
        b'Waco,2020-01-02,1,"\n"' + b',"\n"' * 300_000,
        12,
        "more than 1000000 characters",
    ),
    "a line without end": (b"Waco," + b"x," * 2_000_000, 12, "more than 1000000 characters"),
    "another encoding": (b"W\xe9co,2020-01-02,1,1\n", 12, "not UTF-8"),
    "another encoding far behind": (GOOD.encode() * 60_000 + b"Waco,\xff\xfe,1,1\n", 60_012, "not UTF-8"),
    "half a character at the end": (b"Waco,2020-01-02,1,\xe2\x82", 12, "not UTF-8"),
}


def content(bad: bytes) -> bytes:
    return (HEADER + GOOD * 10).encode() + bad


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_with_its_row(tmp_path: Path, what: str) -> None:
    """The same by who reads the rows, by ingest, and by lint."""
    bad, row, words = BAD[what]
    (tmp_path / "data.csv").write_bytes(content(bad))
    text = SMALL.replace("dataset:\n", "dataset:\n  source: data.csv\n") + CITIES
    (tmp_path / "small.yaml").write_text(text, encoding="utf-8")
    fleet = load_fleet(tmp_path / "small.yaml", {})
    with pytest.raises(DataError, match=words) as by_rows:
        list(csv_rows(io.BytesIO(content(bad)), "data.csv"))
    with pytest.raises(DataError, match=words) as by_ingest:
        split_by_city(fleet, tmp_path / "data.csv")
    assert by_rows.value.row == by_ingest.value.row == row
    assert "data.csv" in str(by_ingest.value)
    assert len(str(by_ingest.value)) < 600
    (mistake,) = source_mistakes(fleet)
    assert mistake.field == "dataset.source"
    assert f"row {row}: " in str(mistake)
    assert words in str(mistake)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_rows_are_counted_as_an_editor_does(ends: str) -> None:
    lines = ["a,b", "1,2", "", '"x', 'y",3', "4,5"]
    found = list(csv_rows(io.BytesIO(ends.join(lines).encode("utf-8-sig")), "f"))
    assert [(number, len(row)) for number, row in found] == [(1, 2), (2, 2), (3, 0), (4, 2), (6, 2)]
    assert found[0][1] == ["a", "b"], "the mark is no part of a name"


def test_a_long_name_is_refused_and_long_cells_are_cut_where_they_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL + CITIES, encoding="utf-8")
    fleet = load_fleet(tmp_path / "small.yaml", {})
    path = tmp_path / "data.csv"
    path.write_text(HEADER + "x" * 100_000 + ",2020-01-01,1,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="of 100000 characters") as found:
        split_by_city(fleet, path)
    assert found.value.row == 2
    path.write_text(HEADER + GOOD + f"Waco,{'9' * 100_000},{'y' * 100_000},1\n", encoding="utf-8")
    rows, _ = split_by_city(fleet, path)
    period = "9" * 100
    assert rows["Waco"].records[period].values == ("y" * 100,)
    assert bytes(rows["Waco"].content).count(b"9") == 100_000, "the values stay as they are written"


def test_ingest_holds_a_file_about_once(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL + CITIES, encoding="utf-8")
    fleet = load_fleet(tmp_path / "small.yaml", {})
    path = tmp_path / "data.csv"
    path.write_text(HEADER + "".join(f"Waco,{year}-01-01,1,{'z' * 100_000}\n" for year in range(1950, 2020)))
    tracemalloc.start()
    try:
        split_by_city(fleet, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * path.stat().st_size
