"""Which fleet and which cities a demo runs; mistakes are told before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from local import ROOT
from local.stack import choice
from local.stack.errors import UsageError

FLEETS = ROOT / "include" / "fleets"
TEXAS = FLEETS / "texas_housing.yaml"


def _choose(cities: str = "", as_of: str = "", path: Path = TEXAS) -> choice.Choice:
    return choice.choose(path, cities, as_of, {})


def test_the_default_is_five_cities_that_must_be_live() -> None:
    chosen = _choose()
    assert chosen.cities == choice.DEFAULT_CITIES
    assert len(chosen.cities) == 5
    assert chosen.must_be_live
    assert chosen.params("dallas") == {"as_of": "20150801T000000Z"}
    assert chosen.endpoint == "texas-housing--laptop"


def test_cities_are_named_by_slug_or_name_in_any_number() -> None:
    assert _choose("San Antonio, waco,waco").cities == ("san_antonio", "waco")
    assert not _choose("dallas").must_be_live
    assert len(_choose("all").cities) == 47


def test_an_unknown_city_is_told_with_its_nearest_match() -> None:
    with pytest.raises(UsageError) as caught:
        _choose("austin,huston")
    assert "CITIES: " in str(caught.value)
    assert "'huston'" in str(caught.value)
    assert "Did you mean 'houston'?" in str(caught.value)


@pytest.mark.parametrize("as_of", ["soon", "2999-01-01"])
def test_a_moment_that_is_none_or_to_come_is_refused(as_of: str) -> None:
    with pytest.raises(UsageError, match="AS_OF"):
        _choose(as_of=as_of)


def test_as_of_goes_to_every_city() -> None:
    assert _choose("waco", "2014-01-01").params("waco") == {"as_of": "20140101T000000Z"}


def test_a_fleet_is_named_by_file_or_path(tmp_path: Path) -> None:
    copy = tmp_path / "other.yaml"
    copy.write_text(TEXAS.read_text().replace("fleet: texas_housing", "fleet: copy_of_texas"))
    assert choice.find_fleet("", FLEETS) == TEXAS
    assert choice.find_fleet("texas_housing", FLEETS) == TEXAS
    assert choice.find_fleet(str(copy), FLEETS) == copy
    assert choice.find_fleet("other", tmp_path) == copy
    assert choice.find_fleet("copy_of_texas", tmp_path) == copy
    with pytest.raises(UsageError, match="Did you mean 'texas_housing'"):
        choice.find_fleet("texas_housin", FLEETS)


def test_a_broken_city_is_set_aside_with_its_mistake(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    broken = TEXAS.read_text().replace("waco: {name: Waco}", "waco: {name: Waco, gate: {tolerance: much}}")
    path.write_text(broken)
    chosen = _choose("waco,austin", path=path)
    assert chosen.cities == ("austin",)
    assert "gate.tolerance" in chosen.broken["waco"]
    with pytest.raises(UsageError, match="No city can run"):
        _choose("waco", path=path)
