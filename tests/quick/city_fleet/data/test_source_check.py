"""What lint finds by comparing a fleet file with its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import Fleet, load_fleet
from city_fleet.data.source_check import source_mistakes
from tests.support.fleets import SMALL, TEXAS, texas

DATA = "city,date,y,extra\nFort Worth,2020-01-01,1,1\nWaco,2020-01-01,2,1\n"
CITIES = "cities:\n  fort_worth: {name: Fort Worth}\n  waco: {}\n"


def fleet(folder: Path, old: str = "", new: str = "") -> Fleet:
    """A fleet with a source beside it, in which something is written otherwise."""
    (folder / "data.csv").write_text(DATA, encoding="utf-8")
    text = SMALL.replace("dataset:\n", "dataset:\n  source: data.csv\n") + CITIES
    assert old in text
    (folder / "small.yaml").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    return load_fleet(folder / "small.yaml", {})


def test_a_fleet_that_fits_its_data_has_no_mistake(tmp_path: Path) -> None:
    assert source_mistakes(texas()) == []
    assert source_mistakes(fleet(tmp_path)) == []
    assert source_mistakes(fleet(tmp_path, "  source: data.csv\n")) == [], "nothing to compare with"


@pytest.mark.parametrize(
    ("old", "new", "field", "city", "nearest"),
    [
        ("data.csv", "dat.csv", "dataset.source", None, "data.csv"),
        ("data.csv", "none/at/all.csv", "dataset.source", None, None),
        ("city_column: city", "city_column: City", "dataset.city_column", None, "city"),
        ("columns: [date]", "columns: [dat]", "dataset.time.columns[0]", None, "date"),
        ("column: y", "column: yy", "dataset.target.column", None, "y"),
        ("lags: [1]}\n", "lags: [1]}\n  features: [{column: extr, lags: [1]}]\n", "dataset.features[0].column", None,
         "extra"),
        ("name: Fort Worth", "name: Fort Wort", "name", "fort_worth", "Fort Worth"),
        ("name: Fort Worth", "name: FORT WORTH", "name", "fort_worth", "Fort Worth"),
        ("waco: {}", "atlantis: {}", "name", "atlantis", None),
        ("waco: {}", "waco: {dataset: {target: {column: extrb}}}", "dataset.target.column", "waco", "extra"),
    ],
)  # fmt: skip
def test_each_mistake_is_said_once_on_its_own_line(
    *, tmp_path: Path, old: str, new: str, field: str, city: str | None, nearest: str | None
) -> None:
    (error,) = source_mistakes(fleet(tmp_path, old, new))
    assert (error.field, error.city, error.nearest) == (field, city, nearest)
    assert error.line is not None
    line = (tmp_path / "small.yaml").read_text(encoding="utf-8").splitlines()[error.line - 1]
    assert new.strip().splitlines()[-1].strip() in line.strip()


def test_a_column_that_own_features_make_is_no_mistake(tmp_path: Path) -> None:
    asked = "lags: [1]}\n  features: [{column: warmth, lags: [1]}]\n"
    (error,) = source_mistakes(fleet(tmp_path, "lags: [1]}\n", asked))
    assert error.field == "dataset.features[0].column"
    hook = "include/scripts/job_failure.py"  # any file of the project
    text = (tmp_path / "small.yaml").read_text(encoding="utf-8")
    own = text.replace("waco: {}", f"waco: {{own_scripts: {{features: {hook}}}}}")
    (tmp_path / "small.yaml").write_text(own, encoding="utf-8")
    assert source_mistakes(load_fleet(tmp_path / "small.yaml", {})) == []
    target = own.replace("column: y", "column: yy")
    (tmp_path / "small.yaml").write_text(target, encoding="utf-8")
    (error,) = source_mistakes(load_fleet(tmp_path / "small.yaml", {}))
    assert error.field == "dataset.target.column", "the target is no feature"


def test_a_mistake_between_settings_of_the_whole_fleet_is_one_error(tmp_path: Path) -> None:
    """Not one for each of the 47 cities that inherit it; a city that sets it itself is another matter."""
    text = TEXAS.read_text(encoding="utf-8")
    (end,) = [line for line in text.splitlines() if line.startswith("end_date:")]
    text = text.replace(end, "end_date: 2009-01-01")
    text = text.replace("{name: Waco}", "{name: Waco, end_date: 2008-01-01}")
    text = text.replace("{name: Tyler}", "{name: Tyler, end_date: 2020-01-01}")
    path = tmp_path / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load_fleet(path, {})
    assert sorted(loaded.cities) == ["tyler"]
    assert len(loaded.broken) == 46
    assert [(error.city, error.field) for error in loaded.errors] == [
        (None, "end_date"),
        ("waco", "end_date"),
    ]
    lines = text.splitlines()
    assert [lines[(error.line or 0) - 1].split(":")[0].strip() for error in loaded.errors] == [
        "end_date",
        "waco",
    ]
    path.write_text(
        TEXAS.read_text(encoding="utf-8").replace("holdout_periods: 12", "holdout_periods: 3"),
        encoding="utf-8",
    )
    (error,) = load_fleet(path, {}).errors
    assert (error.city, error.field) == (None, "defaults.gate.minimum_rows")
