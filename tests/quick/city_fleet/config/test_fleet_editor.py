"""Somebody who may only edit a fleet file: each power that stays refused, by loader and lint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from city_fleet.config import load_fleet
from city_fleet.config.lint import fleet_warnings
from city_fleet.errors import FleetFileError
from tests.support.fleets import SMALL

SECRET = "0pen-sesame"
#: What the environment of Airflow's processes holds beside what a fleet file may read.
ENVIRON = {
    "AIRFLOW__API_AUTH__JWT_SECRET": SECRET,
    "AIRFLOW_CONN_DOOR": f"http://u:{SECRET}@door",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "CITY_FLEET_AIRFLOW_PASSWORD": SECRET,
    "CITY_FLEET_BUCKET": "small-data",
}


def refusal(folder: Path, **changes: Any) -> str:
    """Return what is said of the file with changes; every mistake of it, of the file or a city."""
    path = folder / "small.yaml"
    data = yaml.safe_load(SMALL)
    for field, value in changes.items():
        node = data
        *above, last = field.split("__")
        for part in above:
            node = node.setdefault(part, {})
        node[last] = value
    data.setdefault("cities", {"lake": {}})
    path.write_text(yaml.safe_dump(data))
    try:
        return "\n".join(map(str, load_fleet(path, ENVIRON).errors))
    except FleetFileError as error:
        return str(error)


@pytest.mark.parametrize("variable", [name for name in ENVIRON if name != "CITY_FLEET_BUCKET"])
@pytest.mark.parametrize("field", ["owner", "role", "cities", "dataset__source"])
def test_no_variable_beyond_the_list_is_read_or_shown(tmp_path: Path, variable: str, field: str) -> None:
    text: Any = f"${{{variable}}}"
    said = refusal(tmp_path, **{field: {"lake": {"name": text}} if field == "cities" else text})
    assert f"${{{variable}}}, which a fleet file may not read" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "field",
    ["role", "region", "bucket", "environment", "owner", "pools__jobs", "endpoint__name", "endpoint__image"],
)
def test_no_field_that_airflow_renders_takes_a_template(tmp_path: Path, field: str) -> None:
    said = refusal(tmp_path, **{field: "{{ conn.door.password }}"})
    assert f"field '{field.replace('__', '.')}'" in said
    assert "allowed" in said


@pytest.mark.parametrize("path", ["/etc", "../..", "include/../../etc", "/proc/self/environ"])
@pytest.mark.parametrize("field", ["defaults__scripts", "endpoint__scripts", "dataset__source"])
def test_no_path_leads_out_of_the_project(tmp_path: Path, field: str, path: str) -> None:
    said = refusal(tmp_path, **{field: path})
    assert field.replace("__", ".") in said
    assert "out of the project" in said


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.run", "builtins.eval", "airflow.models.Variable", "x"]
)
def test_no_class_is_named_that_would_not_be_imported(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path, digest__notifiers=[{"notifier": name}])
    assert "digest.notifiers" in said
    assert name in said


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("999999999999.dkr.ecr.us-east-1.amazonaws.com/miner@sha256:" + "a" * 64, "999999999999"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/own:latest", "latest"),
    ],
)
def test_an_image_of_others_or_by_a_tag_is_warned_of(tmp_path: Path, image: str, words: str) -> None:
    assert refusal(tmp_path, endpoint__image=image) == ""
    found = fleet_warnings(load_fleet(tmp_path / "small.yaml", ENVIRON))
    assert any(words in each for each in found), found


def test_the_file_itself_is_fine(tmp_path: Path) -> None:
    """The refusals above are about what was changed."""
    assert refusal(tmp_path) == ""
