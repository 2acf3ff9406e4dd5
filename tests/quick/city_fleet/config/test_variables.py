"""What a fleet file may read of the environment, and that nobody is shown what it has read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from city_fleet.config import Fleet, load_fleet, load_fleets
from city_fleet.config.lint import fleet_warnings
from city_fleet.config.variables import MORE_VARIABLE, READABLE, interpolate
from city_fleet.data.source_check import source_mistakes
from city_fleet.errors import FleetFileError
from tests.support.fleets import SMALL

SECRET = "s3cr3t_Of-the.Api"
HIDDEN = "AIRFLOW__API_AUTH__JWT_SECRET"
GOOD = SMALL + "cities: {a: {name: Alpha}}\n"


def _with(path: str, value: str) -> str:
    """Return the good file with one more field, written as flow mappings."""
    parts = path.split(".")
    inner = json.dumps(value)
    for part in reversed(parts[1:]):
        inner = f"{{{part}: {inner}}}"
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"{parts[0]}:")]
    return "\n".join([*lines, f"{parts[0]}: {inner}"]) + "\n"


#: A field of every kind of value, and of every kind of place.
FIELDS = (
    "fleet", "environment", "bucket", "role", "region", "owner", "schedule", "start_date", "end_date",
    "spread_minutes", "endpoint.name", "endpoint.image", "endpoint.instance_type", "endpoint.model_cache",
    "endpoint.scripts", "pools.jobs", "defaults.scripts", "defaults.gate.metric", "defaults.gate.tolerance",
    "defaults.gate.data.max_age", "defaults.algorithm.version", "defaults.approval", "defaults.retries",
    "defaults.algorithm.hyperparameters.eta", "digest.schedule", "cities.from", "cities.a.name",
    "cities.a.owner", "cities.a.dataset.target.min", "cities.a.end_date", "cities.a.gate.minimum_rows", "ownr",
    "cities.a.nme", "cities.a",
)  # fmt: skip


def _said(path: Path, environ: dict[str, str]) -> str:
    """Return all that is said about a fleet file."""
    try:
        fleet = load_fleet(path, environ)
    except FleetFileError as error:
        return str(error) + json.dumps(error.to_dict(), default=str)
    texts = [*map(str, fleet.errors), *map(str, source_mistakes(fleet)), *fleet_warnings(fleet)]
    return "\n".join([*texts, *(city.shown_name for city in fleet.cities.values())])


@pytest.mark.parametrize("field", FIELDS)
def test_another_variable_is_refused_by_its_name_wherever_it_stands(tmp_path: Path, field: str) -> None:
    path = tmp_path / "small.yaml"
    for text in (f"${{{HIDDEN}}}", f"x ${{{HIDDEN}:-default}} y"):
        path.write_text(_with(field, text), encoding="utf-8")
        with pytest.raises(FleetFileError) as caught:
            load_fleet(path, {HIDDEN: SECRET})
        error = next(error for error in caught.value.errors if HIDDEN in error.got)
        assert "may not read" in error.got
        assert MORE_VARIABLE in str(error.hint)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [SECRET, "7777777777", "2999-12-31", "0.77777", "P9777Y"])
def test_nobody_is_shown_what_a_variable_holds(tmp_path: Path, field: str, value: str) -> None:
    path = tmp_path / "small.yaml"
    for text in ("${CITY_FLEET_BUCKET}", "${CITY_FLEET_BUCKET}.csv"):
        path.write_text(_with(field, text), encoding="utf-8")
        said = _said(path, {"CITY_FLEET_BUCKET": value})
        assert value.lower() not in said.lower(), said
        assert "s3cr3t" not in said.lower()


def test_a_value_that_fails_a_check_between_fields_is_shown_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD.replace("cities:", "tags: [x]\ncities:").replace(
        "columns: [", "columns: ['${CITY_FLEET_BUCKET}', '${CITY_FLEET_BUCKET}', ", 1), encoding="utf-8")  # fmt: skip
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {"CITY_FLEET_BUCKET": SECRET})
    assert SECRET not in str(caught.value)
    assert "'${CITY_FLEET_BUCKET}', as the environment fills it in" in str(caught.value)


def test_what_is_allowed_beside_a_number_of_the_environment_does_not_say_it(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    spot = "training: {max_runtime_seconds: '${CITY_FLEET_WAITER_DELAY_SECONDS}', spot: true, max_wait_seconds: 600}"
    path.write_text(GOOD + f"defaults: {{{spot}}}\n", encoding="utf-8")
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {"CITY_FLEET_WAITER_DELAY_SECONDS": "777"})
    assert "at least max_runtime_seconds (${CITY_FLEET_WAITER_DELAY_SECONDS})" in str(caught.value)
    assert "777" not in str(caught.value)


def test_two_cities_of_one_name_and_two_fleets_of_one_name_do_not_say_it(tmp_path: Path) -> None:
    environ = {"CITY_FLEET_ENVIRONMENT": "s3cr3t"}
    cities = "cities: {a: {name: '${CITY_FLEET_ENVIRONMENT}'}, b: {name: '${CITY_FLEET_ENVIRONMENT}'}}\n"
    (tmp_path / "a.yaml").write_text(SMALL + cities, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(
        SMALL.replace("fleet: small", "fleet: '${CITY_FLEET_ENVIRONMENT}'") + "cities: {a: }\n",
        encoding="utf-8",
    )
    (tmp_path / "c.yaml").write_text((tmp_path / "b.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    first, _, third = load_fleets(tmp_path, environ)
    assert isinstance(first, Fleet)
    assert isinstance(third, FleetFileError)
    assert first.errors
    assert "b.yaml has already" in str(third)
    assert "s3cr3t" not in str(first.errors[0]) + str(third)


def test_the_installation_extends_the_list_by_exact_names() -> None:
    environ = {"SHOP": "x", "SHOP_2": "y", MORE_VARIABLE: "SHOP, TILL"}
    assert interpolate("${SHOP}", environ) == ("x", None)
    for name in ("SHOP_2", "SHO", MORE_VARIABLE, "PATH"):
        _, problem = interpolate(f"${{{name}}}", {**environ, "PATH": "/"})
        assert problem is not None, name
    for pattern in ("SHOP*", "*", ".*", ""):
        _, problem = interpolate("${SHOP_2}", {**environ, MORE_VARIABLE: pattern})
        assert problem is not None, pattern
    assert not [name for name in READABLE if "PASSWORD" in name or "SECRET" in name]


def test_people_see_a_name_as_the_file_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + "cities: {a: {name: 'At ${AWS_REGION}'}, b: {name: Bert}}\n", encoding="utf-8")
    cities = load_fleet(path, {"AWS_REGION": "home"}).cities
    assert [(city.name, city.shown_name) for city in cities.values()] == [
        ("At home", "At ${AWS_REGION}"),
        ("Bert", "Bert"),
    ]


def test_what_the_code_stumbles_over_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD.replace("Alpha", "'${AWS_REGION}'"), encoding="utf-8")

    def stumbles(city: object, network: object) -> list[object]:
        raise RuntimeError(f"no rule for {city}")

    monkeypatch.setattr("city_fleet.config.cities.city_problems", stumbles)
    try:
        said = str(load_fleet(path, {"AWS_REGION": SECRET}).errors)
    except FleetFileError as error:
        said = str(error)
    assert "RuntimeError at test_variables.py:" in said
    assert SECRET not in said
