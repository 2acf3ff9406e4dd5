"""Cities from a CSV list: settings by dotted path, mistakes by line, thousands in a moment."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from city_fleet.config import Fleet, load_fleet
from city_fleet.errors import FleetFileError
from tests.support.fleets import SMALL


def load(folder: Path, rows: str) -> Fleet:
    (folder / "fleet.yaml").write_text(SMALL + "cities: {from: cities.csv}\n", encoding="utf-8")
    (folder / "cities.csv").write_text(rows, encoding="utf-8")
    return load_fleet(folder / "fleet.yaml", {})


def test_settings_come_by_dotted_path(tmp_path: Path) -> None:
    rows = (
        "city,name,gate.tolerance,training.spot,training.max_wait_seconds,dataset.target.lags,end_date,"
        "algorithm.hyperparameters.eta\n"
        "austin,Austin,0.5,true,1800,\"[1, 7]\",2021-02-03,0.2\n"
        "\n"
        "waco,,,,,,null,\n"
        '"NE Tarrant County",,0.25,,,,,\n'
    )  # fmt: skip
    fleet = load(tmp_path, rows)
    assert not fleet.broken
    austin, tarrant, waco = fleet.cities.values()
    assert (austin.slug, austin.name, austin.gate.tolerance) == ("austin", "Austin", 0.5)
    assert (austin.training.spot, austin.training.max_wait_seconds) == (True, 1800)
    assert austin.dataset.target.lags == (1, 7)
    assert str(austin.end_date) == "2021-02-03"
    assert austin.algorithm.hyperparameters == {"eta": 0.2}
    assert (waco.slug, waco.name, waco.end_date) == ("waco", "waco", None)
    assert waco.gate is fleet.defaults.gate
    assert (tarrant.slug, tarrant.name) == ("ne_tarrant_county", "NE Tarrant County")


@pytest.mark.parametrize(
    ("rows", "line", "city", "field", "got", "nearest"),
    [
        ("city,gate.tolerance\na,0.1\nb,x\nc,0.1\n", 3, "b", "gate.tolerance", "'x'", None),
        ("city,gate.metric\na,\nc,\n\"b\n\",mappe\n", 4, "b", "gate.metric", "'mappe'", "mape"),
        ("city,retries\na,1\nb,1,2\nc,1\n", 3, "b", None, "3 cells", None),
        ("city,dataset.target.lags\na,\nb,\"[1,\"\nc,\n", 3, "b", "dataset.target.lags", "'[1,'", None),
        ("city,retries\na,1\nc,1\n???,1\n", 4, "???", None, "'???' as a slug", None),
        ("city,name\na,A\nc,C\nb,A\n", 4, "b", "name", "'A', which city 'a' on line 2 has already", None),
    ],
)  # fmt: skip
def test_a_bad_row_breaks_its_city_alone(
    *, tmp_path: Path, rows: str, line: int, city: str, field: str | None, got: str, nearest: str | None
) -> None:
    fleet = load(tmp_path, rows)
    assert list(fleet.cities) == ["a", "c"]
    (error,) = fleet.broken.values()
    assert error.file == str(tmp_path / "cities.csv")
    assert (error.line, error.city, error.field, error.nearest) == (line, city, field, nearest)
    assert got in error.got


def test_two_names_that_make_one_slug_are_both_named(tmp_path: Path) -> None:
    fleet = load(tmp_path, "city\nWaco\nFort Worth\nFort-Worth\n")
    assert list(fleet.cities) == ["waco"], "which of the two is fort_worth is not guessed"
    error = fleet.broken["fort_worth"]
    assert (error.line, error.city) == (4, "Fort-Worth")
    assert "slug 'fort_worth', which 'Fort Worth' on line 3 has already" in error.got


@pytest.mark.parametrize(
    ("rows", "line", "field", "got", "nearest"),
    [
        ("town\nx\n", 1, None, "the columns town", None),
        ("citty\nx\n", 1, None, "the columns citty", "city"),
        ("city,gate.tolerence\nx,1\n", 1, "gate.tolerence", "an unknown column", "gate.tolerance"),
        ("city,bucket\nx,1\n", 1, "bucket", "an unknown column", None),
        ("city,gate,gate.tolerance\nx,,1\n", 1, "gate.tolerance", "the column a second time", None),
        ("city,retries,retries\nx,1,1\n", 1, "retries", "the column a second time", None),
        ("city\nx\n\"y\n", 3, None, "a line that is not CSV", None),
        ("city\n", None, "cities", "no city", None),
    ],
)  # fmt: skip
def test_a_mistake_of_the_whole_list_refuses_the_fleet(
    *, tmp_path: Path, rows: str, line: int | None, field: str | None, got: str, nearest: str | None
) -> None:
    with pytest.raises(FleetFileError) as caught:
        load(tmp_path, rows)
    error = caught.value.errors[0]
    assert error.field == field
    assert got in error.got
    assert error.nearest == nearest
    if line is not None:
        assert (error.file, error.line) == (str(tmp_path / "cities.csv"), line)


@pytest.mark.parametrize(
    ("cities", "got"),
    [
        ("{from: citys.csv}", "'citys.csv': no such file"),
        ("{from: cities.parquet}", "'cities.parquet'"),
        ("{from: cities.csv, waco: {}}", "from together with waco"),
        ("[austin, waco]", "a list of 2"),
    ],
)
def test_a_wrong_reference_to_the_list(tmp_path: Path, cities: str, got: str) -> None:
    (tmp_path / "cities.csv").write_text("city\na\n", encoding="utf-8")
    path = tmp_path / "fleet.yaml"
    path.write_text(SMALL + f"cities: {cities}\n", encoding="utf-8")
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {})
    error = caught.value.errors[0]
    assert got in error.got
    assert (error.file, error.line) == (str(path), 11)


def test_a_city_may_be_called_from(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(SMALL + "cities: {from: {name: From}}\n", encoding="utf-8")
    assert load_fleet(path, {}).cities["from"].name == "From"


def test_five_thousand_cities_share_what_they_do_not_override(tmp_path: Path) -> None:
    rows = ["city,name,gate.tolerance,training.instance_type,algorithm.hyperparameters.eta"]
    rows += [
        f"city_{i},City {i},{i % 90 / 100},{'ml.m5.xlarge' if i % 2 else ''},{(i + 1) / 10000}"
        for i in range(5000)
    ]
    rows[2500] = "city_2499,City 2499,much,,"
    started = time.process_time()
    fleet = load(tmp_path, "\n".join(rows))
    took = time.process_time() - started
    assert len(fleet.cities) == 4999
    assert fleet.broken["city_2499"].line == 2501
    assert fleet.cities["city_7"].gate.tolerance == 0.07
    assert fleet.cities["city_7"].algorithm.hyperparameters == {"eta": 0.0008}
    assert len({id(city.dataset) for city in fleet.cities.values()}) == 1
    assert len({id(city.gate) for city in fleet.cities.values()}) <= 90, "equal overrides are validated once"
    # Takes about half a second of CPU; the bound only catches work that grows with the square of the cities.
    assert took < 10
