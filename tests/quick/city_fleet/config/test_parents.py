"""Parents in a fleet file: one level, rows that fit together, and the same in every part of a compiled file."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import Fleet, load_fleet
from city_fleet.config.compiled_form import compile_form
from city_fleet.config.fleet_file import read_fleet
from city_fleet.config.lint import fleet_warnings
from city_fleet.config.open_form import open_form
from city_fleet.config.parts import Part
from city_fleet.config.usable_fleets import _narrowed
from city_fleet.plan import plan_city

HEAD = """
fleet: example
bucket: city-fleet
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2010-01-01
dataset:
  city_column: city
  time: {columns: [year, month]}
  frequency: month
  available_after: P1M
  target: {column: median, min: 1000, transform: log_ratio_to_mean, lags: [1, 12], unit: US$}
  features: [{column: sales, lags: [1]}]
defaults: {parent: texas}
cities:
"""


def load(folder: Path, cities: str, head: str = HEAD) -> Fleet:
    path = folder / "fleet.yaml"
    path.write_text(head + cities, encoding="utf-8")
    return load_fleet(path, {})


def test_the_defaults_parent_is_everybodys_but_its_own(tmp_path: Path) -> None:
    fleet = load(tmp_path, "  austin:\n  hawaii: {parent: null}\n  texas:\n  waco: {stale_after: 3}\n")
    assert not fleet.broken
    assert fleet.children == {"texas": ("austin", "waco")}
    assert [city.parent for city in fleet.cities.values()] == ["texas", None, None, "texas"]
    assert [city.stale_periods for city in fleet.cities.values()] == [12, None, None, 3]
    assert set(fleet.with_raw_data) == {"austin", "hawaii", "waco"}
    texas, austin = plan_city(fleet, "texas"), plan_city(fleet, "austin")
    assert texas.raw.folder == "example/raw/"
    assert austin.raw.folder == "example/raw/city=austin/"
    # Another city makes another model; of a city that has none the settings alone do.
    fewer = load(tmp_path, "  austin:\n  texas:\n")
    assert plan_city(fewer, "texas").settings_digest != texas.settings_digest
    assert plan_city(fewer, "austin").settings_digest == austin.settings_digest


@pytest.mark.parametrize(
    ("cities", "broken", "words"),
    [
        ("  austin:\n  waco:\n", {"austin", "waco"}, r"fleet.yaml:\d+: field 'defaults.parent': got 'texas'"),
        ("  austin: {parent: taxes}\n  texas:\n", {"austin"}, "got 'taxes'.* Did you mean 'texas'"),
        (
            "  austin: {parent: north}\n  north:\n  texas:\n",
            {"austin"},
            "got 'north', whose own parent is 'texas'; allowed: a city without a parent: there is one level",
        ),
        ("  a: {parent: b}\n  b: {parent: a}\n  texas:\n", {"a", "b"}, "whose own parent is"),
        ("  austin: {dataset: {frequency: quarter}}\n  texas:\n", {"austin"}, "dataset.frequency is 'month'"),
        (
            "  austin: {dataset: {target: {unit: EUR}}}\n  texas:\n",
            {"austin"},
            "whose dataset.target.unit is 'US.'",
        ),
        (
            "  austin: {dataset: {features: [{column: rent, lags: [1]}]}}\n  texas:\n",
            {"austin"},
            "needs column sales, which this city's dataset lacks",
        ),
        (
            "  austin: {parent: '${AWS_REGION}'}\n  texas:\n",
            {"austin"},
            "got '.{AWS_REGION}', as the environment fills it in; allowed: a slug that is written out",
        ),
    ],
)
def test_a_parent_that_a_city_cant_have_is_named(
    tmp_path: Path, cities: str, broken: set[str], words: str
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(HEAD + cities, encoding="utf-8")
    fleet = load_fleet(path, {"AWS_REGION": "texas"})
    assert set(fleet.broken) == broken
    for slug in broken:
        with pytest.raises(Exception, match=words):
            raise fleet.broken[slug]
    assert set(fleet.children) <= {"texas"}


def test_rows_that_are_read_in_place_or_become_other_periods_are_not_pooled(tmp_path: Path) -> None:
    for own, field in (
        ("raw: 's3://lake/{slug}/'", "dataset.raw of this city is 's3://lake/{slug}/'"),
        ("every: 2", "dataset.every"),
        ("aggregate: sum", "dataset.aggregate"),
        ("duplicates: last", "dataset.duplicates"),
    ):
        fleet = load(tmp_path, f"  austin: {{dataset: {{{own}}}}}\n  texas:\n")
        assert field in str(fleet.broken["austin"]), own
    everybody = HEAD.replace("  city_column", "  raw: 's3://lake/{slug}/'\n  city_column")
    assert "below the fleet's own prefix" in str(
        load(tmp_path, "  austin:\n  texas:\n", everybody).broken["austin"]
    )


def test_a_parent_with_a_mistake_of_its_own_breaks_no_child(tmp_path: Path) -> None:
    fleet = load(tmp_path, "  austin:\n  texas: {retries: -1}\n")
    assert (set(fleet.broken), set(fleet.cities)) == ({"texas"}, {"austin"})


def test_a_part_of_a_fleet_knows_all_children_of_its_parents(tmp_path: Path) -> None:
    cities = "".join(f"  city_{number}:\n" for number in range(300)) + "  texas:\n  wrong: {parent: texass}\n"
    fleet = load(tmp_path, cities)
    reading = read_fleet(fleet.path, {})
    form = compile_form(fleet.path, reading, "0" * 40)
    assert form is not None
    opened = open_form(form.manifest, lambda number: form.shards[number])
    for part in (Part(slug="texas"), Part(slug="city_7"), Part(1, 2)):
        for found in (opened.fleet(fleet.path, {}, part), _narrowed(reading, part)):
            assert found.children == fleet.children
            assert len(found.cities) < 302
    whole = opened.fleet(fleet.path, {})
    assert whole.children == fleet.children
    assert set(whole.broken) == {"wrong"} == set(fleet.broken)
    digests = {
        plan_city(each, "texas").settings_digest
        for each in (fleet, opened.fleet(fleet.path, {}, Part(slug="texas")))
    }
    assert len(digests) == 1


def test_lint_warns_of_rows_that_have_a_scale_and_of_a_city_that_keeps_too_little(tmp_path: Path) -> None:
    warned = fleet_warnings(
        load(
            tmp_path,
            "  austin:\n  waco: {dataset: {target: {lags: [1]}}}\n"
            "  texas: {dataset: {target: {transform: none, lags: [1, 24]}}, gate: {metric: mae}}\n",
        )
    )
    said = [each for each in warned if "texas" in each and "parent" in each]
    assert any("has the scale of each city" in each for each in said)
    assert any("mae is in the target's own unit" in each for each in said)
    assert any("city" in each and "looks 24 periods back, and the city keeps 12" in each for each in said)
    clean = fleet_warnings(load(tmp_path, "  austin:\n  texas:\n"))
    assert not [each for each in clean if "is a parent" in each]
