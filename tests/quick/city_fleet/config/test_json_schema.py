"""The schema for editors, and docs/fleet-file.md: both say what the models say."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import BaseModel

from city_fleet.config import City, Fleet, load_fleet
from city_fleet.config.endpoint_section import Endpoint
from city_fleet.config.json_schema import SCHEMA_PATH, fleet_schema, schema_text
from city_fleet.config.settings import FleetSettings
from city_fleet.config.table import Table
from city_fleet.errors import show_value
from tests.support.fleets import TEXAS
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "fleet-file.md"


OF_A_TABLE = " of a table"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a field's type: itself, of a list, or of several kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in get_args(annotation) for found in models_in(each)]


def sections(kind: type[BaseModel], path: str = "") -> dict[str, type[BaseModel]]:
    """The sections of a fleet file by their dotted paths, as the models nest: dataset, dataset.features."""
    found = {path: kind}
    for name, info in kind.model_fields.items():
        for each in models_in(info.annotation):
            below = f"{path.removesuffix(OF_A_TABLE)}.{name}" if path else name
            of_a_table = path.endswith(OF_A_TABLE) or each is Table
            found |= sections(each, below + OF_A_TABLE if of_a_table else below)
    return found


def page_sections() -> dict[str, str]:
    parts = re.split(r"^(#{2,3} .*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def heading_of(path: str) -> str:
    """The heading of docs/fleet-file.md that a section stands under; it may share it with another one."""
    if not path:
        return "## The fleet"
    name, of_a_table = path.removesuffix(OF_A_TABLE), path.endswith(OF_A_TABLE)
    of_this = [heading for heading in page_sections() if f"`{name}`" in heading]
    of_both = [heading for heading in of_this if heading.endswith("of both")]
    found = of_both or [heading for heading in of_this if heading.endswith(OF_A_TABLE) == of_a_table]
    return found[0] if found else f"### `{name}`{OF_A_TABLE if of_a_table else ''}"


SECTIONS: dict[str, list[type[BaseModel]]] = {}
for _path, _kind in sections(FleetSettings).items():
    SECTIONS.setdefault(heading_of(_path), []).append(_kind)


def as_json(text: str) -> Any:
    """YAML as an editor sees it: dates are text."""
    return json.loads(json.dumps(yaml.safe_load(text), default=date.isoformat))


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def test_the_committed_schema_is_the_models() -> None:
    assert SCHEMA_PATH.read_text(encoding="utf-8") == schema_text(), "run ./fleet schema > its file"


def test_the_texas_file_is_valid_and_asks_for_its_schema() -> None:
    schema = fleet_schema()
    Draft7Validator.check_schema(schema)
    text = TEXAS.read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA_PATH.name}"
    assert SCHEMA_PATH.parent == TEXAS.parent
    assert list(Draft7Validator(schema).iter_errors(as_json(text))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("metric: mape", "metric: mpae"),
        ("tolerance: 0.02", "tolerence: 0.02"),
        ("tolerance: 0.02", "tolerance: 2"),
        ("bucket: ${CITY_FLEET_BUCKET:-city-fleet}", "bucket: s3://x"),
        ("frequency: month", ""),
        ("{name: Waco}", "{gate: {metric: mpae}}"),
        ("{name: Waco}", "{dataset: {target: {transform: logarithm}}}"),
        ("{name: Waco}", "{bucket: x}"),
        ("waco: {name: Waco}", "Waco: {}"),
    ],
)
def test_the_schema_catches_what_an_editor_can_know(old: str, new: str) -> None:
    text = TEXAS.read_text(encoding="utf-8")
    assert old in text
    assert list(Draft7Validator(fleet_schema()).iter_errors(as_json(text.replace(old, new))))


@pytest.mark.parametrize(
    "overrides",
    [
        "{gate: {tolerance: 0.1}}",
        "{dataset: {target: {lags: [1]}}}",
        "{algorithm: {hyperparameters: {eta: null}}}",
        "{retries: '${RETRIES:-3}', schedule: null}",
        "",
    ],
)
def test_the_schema_lets_a_city_override_a_part(overrides: str) -> None:
    text = TEXAS.read_text(encoding="utf-8").replace("{name: Waco}", overrides)
    assert list(Draft7Validator(fleet_schema()).iter_errors(as_json(text))) == []


@pytest.mark.parametrize("path", sections(FleetSettings))
def test_every_field_explains_itself_in_the_editor(path: str) -> None:
    silent = [
        name for name, info in sections(FleetSettings)[path].model_fields.items() if not info.description
    ]
    assert silent == [], (
        f"section {path!r}: a text below the field in config/ is what editors and errors show"
    )


# The page --------------------------------------------------------------------------------------------


def test_every_field_has_a_row_and_every_row_a_field(subtests: pytest.Subtests) -> None:
    for heading, models in SECTIONS.items():
        with subtests.test(heading=heading):
            assert heading in page_sections(), f"docs/fleet-file.md has no section {heading}"
            rows = re.findall(r"^\| `(\w+)` \|", page_sections()[heading], flags=re.MULTILINE)
            fields = {name for model in models for name in model.model_fields}
            if heading == "## The fleet":
                fields.add("cities")
            if heading == "### `endpoints`":
                fields -= set(Endpoint.model_fields)  # as the section `endpoint` says
            assert sorted(rows) == sorted(fields)


def test_the_page_gives_each_fields_default(subtests: pytest.Subtests) -> None:
    for heading, models in SECTIONS.items():
        with subtests.test(heading=heading):
            rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", page_sections()[heading], flags=re.MULTILINE)
            for name, shown in rows:
                for model in models:
                    info = model.model_fields.get(name)
                    if info is None:
                        continue
                    default = info.default
                    if info.is_required():
                        assert "required" in shown, name
                    elif isinstance(default, BaseModel):
                        assert "all defaults" in shown, name
                    elif default in ((), {}):
                        assert "none" in shown, name
                    else:
                        text = show_value(default).strip("'")
                        assert f"`{text}`" in shown or f'`"{text}"`' in shown, (name, text, shown)


def test_the_page_knows_every_setting_of_a_city() -> None:
    known = {name for models in SECTIONS.values() for model in models for name in model.model_fields}
    assert set(City.model_fields) - {"slug", "name"} <= known
    assert (
        set(Fleet.model_fields) - {"path", "cities", "broken", "errors", "last_good", "children", "members"}
        <= known
    )


@pytest.mark.parametrize("example", examples("yaml"), ids=lambda text: text.split("\n")[0])
def test_the_yaml_examples_load(tmp_path: Path, example: str) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example, encoding="utf-8")
    fleet = load_fleet(path, {})
    assert fleet.cities
    assert not fleet.broken
    assert list(Draft7Validator(fleet_schema()).iter_errors(as_json(example))) == []


def test_the_list_example_loads(tmp_path: Path) -> None:
    (table,) = examples("csv")
    example = examples("yaml")[-1]
    (tmp_path / "cities.csv").write_text(table, encoding="utf-8")
    path = tmp_path / "fleet.yaml"
    path.write_text(example[: example.index("cities:")] + "cities: {from: cities.csv}\n", encoding="utf-8")
    fleet = load_fleet(path, {})
    assert list(fleet.cities) == ["austin", "ne_tarrant_county"]
    assert fleet.cities["ne_tarrant_county"].dataset.calendar == ("month_of_year", "trend")


def test_what_the_page_promises_about_an_overriding_city(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(examples("yaml")[-1], encoding="utf-8")
    city = load_fleet(path, {}).cities["bryan_college_station"]
    assert city.algorithm.hyperparameters == {"eta": 0.05, "max_depth": 3}
    assert (city.gate.tolerance, city.gate.metric) == (0.05, None)
