"""Fleet files that load: the Texas fleet, defaults, merging, variables, several fleets in one folder."""

from __future__ import annotations

import copy
import json
import string
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from city_fleet import naming
from city_fleet.config import City, Duration, Fleet, load_fleet, load_fleets
from city_fleet.config.cities import merge
from city_fleet.config.variables import MORE_VARIABLE, interpolate
from city_fleet.errors import ConfigError, FleetFileError
from tests.support.fleets import SMALL, TEXAS, texas
from tests.support.paths import ROOT


def load(folder: Path, text: str, environ: dict[str, str] | None = None, name: str = "f.yaml") -> Fleet:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_fleet(path, environ or {})


def test_the_texas_fleet_has_every_city_of_the_data() -> None:
    with (ROOT / "include" / "data" / "txhousing.csv").open(encoding="utf-8") as file:
        names = {line.split(",")[0] for line in file} - {"city"}
    fleet = texas()
    assert not fleet.broken
    assert {city.name for city in fleet.with_raw_data.values()} == names
    assert len(fleet.with_raw_data) == 46
    assert set(fleet.cities) - set(fleet.with_raw_data) == {"texas"} == set(fleet.children)
    assert all(city.slug == slug == naming.slug(city.name) for slug, city in fleet.cities.items())
    assert list(fleet.cities) == sorted(fleet.cities)
    assert fleet.cities["bryan_college_station"].name == "Bryan-College Station"
    assert fleet.path == TEXAS


def test_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    fleet = load(tmp_path, SMALL + "cities: {a: }\n")
    city = fleet.cities["a"]
    assert (fleet.environment, fleet.region) == ("laptop", "us-east-1")
    assert (fleet.owner, fleet.tags) == ("airflow", ())
    assert (city.schedule, city.end_date, city.name) == ("@daily", None, "a")
    assert city.dataset.target.transform == "none"
    assert city.dataset.target.window is None
    assert (city.gate.metric, city.gate.tolerance, city.gate.minimum_rows) == (None, 0.02, 6)
    assert fleet.endpoint.name is None
    assert (fleet.pools.jobs, fleet.jobs_pool) == (None, "city_fleet_laptop")
    assert city.training.instance_type == "ml.m5.large"
    assert city.processing.instance_type == "ml.t3.medium"


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        texas().cities["austin"].retries = 9  # type: ignore[misc]


def test_a_city_overrides_what_it_names_and_inherits_the_rest(tmp_path: Path) -> None:
    text = SMALL + (
        "schedule: null\n"
        "defaults:\n"
        "  algorithm: {hyperparameters: {eta: 0.1, max_depth: 4}}\n"
        "  gate: {tolerance: 0.1, limits: {mape: 0.3, r2: 0.5}}\n"
        "cities:\n"
        "  a: {}\n"
        "  b:\n"
        "    algorithm: {hyperparameters: {max_depth: null, gamma: 1}}\n"
        "    gate: {limits: {mape: null}, must_beat_naive: false}\n"
        "    dataset: {target: {lags: [7]}, holdout_periods: 30}\n"
        '    schedule: "0 3 * * 1"\n'
        "    tags: [special]\n"
    )
    fleet = load(tmp_path, text)
    a, b = fleet.cities["a"], fleet.cities["b"]
    assert b.algorithm.hyperparameters == {"eta": 0.1, "gamma": 1}
    assert b.gate.limits == {"r2": 0.5}
    assert (b.gate.tolerance, b.gate.must_beat_naive) == (0.1, False)
    assert (b.dataset.target.lags, b.dataset.holdout_periods) == ((7,), 30)
    assert (b.schedule, b.tags) == ("0 3 * * 1", ("special",))
    assert (a.schedule, a.algorithm.hyperparameters) == (None, {"eta": 0.1, "max_depth": 4})
    assert a.gate is fleet.defaults.gate, "what is not overridden is not made anew"
    assert b.training is fleet.defaults.training


def test_a_city_is_what_full_validation_would_make_of_it() -> None:
    for city in texas().cities.values():
        assert City.model_validate(city.model_dump()) == city


@pytest.mark.parametrize(
    ("transform", "window", "expected"),
    [
        ("log_ratio_to_mean", "", "log_ratio_to_mean:12"),
        ("log_ratio_to_mean", ", window: 6", "log_ratio_to_mean:6"),
        ("log", ", window: 6", "log"),
        ("none", "", "none"),
    ],
)
def test_the_window_belongs_to_one_transform(
    tmp_path: Path, transform: str, window: str, expected: str
) -> None:
    text = SMALL.replace("lags: [1]", f"lags: [1], transform: {transform}{window}")
    target = load(tmp_path, text + "cities: {a: }\n").dataset.target
    assert target.transform_argument == expected
    assert (target.window is None) == (transform != "log_ratio_to_mean")


def test_dataset_arguments_are_those_of_the_script() -> None:
    arguments = texas().dataset.arguments()
    assert arguments[:4] == ["--time-column", "year", "--time-column", "month"]
    pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
    assert ("--target-max", "10000000") in pairs
    assert ("--available-after", "P1M") in pairs
    features = [json.loads(value) for name, value in pairs if name == "--feature"]
    assert [feature["column"] for feature in features] == [
        feature.column for feature in texas().dataset.features
    ]
    assert all(len(argument) <= 256 for argument in arguments)


def test_a_column_that_begins_with_a_dash_stays_a_value(tmp_path: Path) -> None:
    fleet = load(tmp_path, SMALL.replace("column: y", "column: -y") + "cities: {a: }\n")
    assert "--target=-y" in fleet.dataset.arguments()


# Variables -------------------------------------------------------------------------------------------


def test_variables_are_read_as_the_fields_type(tmp_path: Path) -> None:
    text = SMALL.replace("small-data", "${BUCKET}-${STAGE:-dev}") + (
        "end_date: ${END:-2021-01-01}\n"
        "schedule: ${SCHEDULE:-null}\n"
        "defaults:\n"
        "  retries: ${RETRIES:-2}\n"
        "  gate: {tolerance: '${TOLERANCE}', must_beat_naive: '${NAIVE:-false}'}\n"
        "  algorithm: {version: '${VERSION:-3.2-0}', hyperparameters: {max_depth: '${DEPTH:-6}'}}\n"
        "cities: {a: }\n"
    )
    names = "BUCKET STAGE END SCHEDULE RETRIES TOLERANCE NAIVE VERSION DEPTH"
    values = {"BUCKET": "b", "TOLERANCE": "0.5", "RETRIES": "", "DEPTH": "8"}
    fleet = load(tmp_path, text, {**values, MORE_VARIABLE: names})
    assert (fleet.bucket, fleet.end_date, fleet.schedule) == ("b-dev", date(2021, 1, 1), None)
    assert fleet.defaults.retries == 2, "an empty variable takes the default"
    assert (fleet.defaults.gate.tolerance, fleet.defaults.gate.must_beat_naive) == (0.5, False)
    assert fleet.defaults.algorithm.hyperparameters == {"max_depth": 8}
    assert fleet.defaults.algorithm.version == "3.2-0"


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A", "${A:-${B}}", "${A-b}"])
def test_a_malformed_variable_is_a_mistake(text: str) -> None:
    _, problem = interpolate(text, {"A": "a", "B": "b", MORE_VARIABLE: "A,B"})
    assert problem is not None
    assert "${NAME:-default}" in (problem.allowed or "")


@given(st.text(alphabet=string.printable.replace("$", ""), max_size=30))
def test_text_without_variables_is_left_alone(text: str) -> None:
    assert interpolate(text, {}) == (text, None)


def test_yaml_follows_version_1_2_where_1_1_surprises(tmp_path: Path) -> None:
    text = SMALL + (
        "owner: no\n"
        "defaults: {algorithm: {hyperparameters: {a: 1e-3, b: 12:30, c: 010, d: yes, e: true, f: .5}}}\n"
        "cities:\n  no: {name: NO}\n  on: {}\n"
    )
    fleet = load(tmp_path, text)
    assert fleet.owner == "no"
    assert sorted(fleet.cities) == ["no", "on"]
    values = fleet.defaults.algorithm.hyperparameters
    assert values == {"a": 0.001, "b": "12:30", "c": 10, "d": "yes", "e": True, "f": 0.5}


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = SMALL + (
        "cities:\n"
        "  a: &strict {gate: {tolerance: 0}, retries: 5}\n"
        "  b: {<<: *strict, retries: 1}\n"
        "  c: *strict\n"
    )
    cities = load(tmp_path, text).cities
    assert [(city.gate.tolerance, city.retries) for city in cities.values()] == [(0, 5), (0, 1), (0, 5)]


# Properties ------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
_MAPPINGS = st.dictionaries(st.sampled_from("abcd"), _JSON, max_size=4)


@given(_MAPPINGS, _MAPPINGS)
def test_merging_takes_what_the_override_says_and_keeps_the_rest(
    base: dict[str, Any], override: dict[str, Any]
) -> None:
    before = copy.deepcopy((base, override))
    merged = merge(base, override)
    assert (base, override) == before, "neither input is changed"
    assert set(merged) == set(base) | set(override)
    for key, value in merged.items():
        if key not in override:
            assert value == base[key]
        elif isinstance(override[key], dict) and isinstance(base.get(key), dict):
            assert value == merge(base[key], override[key])
        else:
            assert value == override[key]
    assert merge(merged, override) == merged
    assert merge(base, {}) == base


@given(st.text(max_size=40))
def test_a_slug_is_made_of_any_name_or_refused(name: str) -> None:
    try:
        made = naming.slug(name)
    except ValueError:
        return
    assert naming.is_slug(made)
    assert naming.slug(made) == made


@given(
    st.builds(
        Duration,
        **dict.fromkeys(("years", "months", "weeks", "days", "hours"), st.integers(0, 9999)),
    )
)
def test_a_duration_reads_what_it_writes(duration: Duration) -> None:
    assert Duration.parse(str(duration)) == duration


def test_what_is_no_duration(subtests: pytest.Subtests) -> None:
    for text in ["", "P", "1M", "P1H", "PT", "P1DT", "PT1M", "P1D1M", "P-1D", "P1.5M", "p1m", "P1M "]:
        with subtests.test(text=text), pytest.raises(ValueError, match="ISO 8601"):
            Duration.parse(text)


# Folders ---------------------------------------------------------------------------------------------


def test_a_broken_fleet_does_not_stop_the_others(tmp_path: Path) -> None:
    good = SMALL + "cities: {a: }\n"
    (tmp_path / "b.yaml").write_text(good, encoding="utf-8")
    (tmp_path / "a.yaml").write_text("fleet: [", encoding="utf-8")
    (tmp_path / "c.yml").write_text(good.replace("fleet: small", "fleet: other"), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a fleet", encoding="utf-8")
    loaded = load_fleets(tmp_path, {})
    assert isinstance(loaded[0], FleetFileError)
    assert [fleet.fleet for fleet in loaded if isinstance(fleet, Fleet)] == ["small", "other"]


@pytest.mark.parametrize(
    ("second", "line", "field"),
    [
        ("fleet: small\nendpoint: {name: second}\n", 1, "fleet"),
        ("fleet: other\nendpoint: {name: small--laptop}\n", 2, "endpoint.name"),
    ],
)
def test_a_name_used_twice_is_the_second_files_mistake(
    tmp_path: Path, second: str, line: int, field: str
) -> None:
    good = SMALL + "cities: {a: }\n"
    (tmp_path / "a.yaml").write_text(good, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(second + good.replace("fleet: small\n", ""), encoding="utf-8")
    first, error = load_fleets(tmp_path, {})
    assert isinstance(first, Fleet)
    assert isinstance(error, FleetFileError)
    (mistake,) = error.errors
    assert isinstance(mistake, ConfigError)
    assert (mistake.file, mistake.line, mistake.field) == (str(tmp_path / "b.yaml"), line, field)
    assert str(tmp_path / "a.yaml") in mistake.got


def test_a_folder_that_is_not_there_has_no_fleets(tmp_path: Path) -> None:
    assert load_fleets(tmp_path / "nowhere", {}) == []
