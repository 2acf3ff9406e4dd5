"""What `make package` writes for Amazon MWAA: the same bytes each time, of this project alone, and never a laptop's."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from city_fleet.config import places
from local.stack import mwaa_package
from local.stack.errors import StackError, UsageError
from tests.support.fleets import SMALL
from tests.support.paths import ROOT

MINE = {
    "CITY_FLEET_ENVIRONMENT": "production",
    "CITY_FLEET_BUCKET": "mine",
    "CITY_FLEET_ROLE": "arn:aws:iam::123456789012:role/x",
}
VARIABLES = "environment: ${CITY_FLEET_ENVIRONMENT:-laptop}\nregion: ${AWS_DEFAULT_REGION:-us-east-1}\n"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "city_fleet-0.1.0-py3-none-any.whl"
    path.write_bytes(b"a wheel")
    return path


@pytest.fixture
def fleets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the fleet files, with one fleet."""
    folder = tmp_path / "fleets"
    folder.mkdir()
    (folder / "small.yaml").write_text(f"{SMALL}{VARIABLES}cities: {{from: lists/cities.csv}}\n")
    (folder / "lists").mkdir()
    (folder / "lists" / "cities.csv").write_text("name\nAustin\nWaco\n")
    (folder / ".env").write_text("PASSWORD=x\n")
    monkeypatch.setenv(places.FLEETS_VARIABLE, str(folder))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_sources_and_variables_give_the_same_bytes(
    wheel: Path, fleets: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    mwaa_package.build(wheel, first, MINE, "3.3.1")
    (second / "dags").mkdir(parents=True)
    (second / "dags" / "old.py").write_text("what an earlier package has left")
    mwaa_package.build(wheel, second, {**MINE, "HOME": "/elsewhere"}, "3.3.1")
    assert files(first) == files(second)
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "fleets", wheel.name}


def test_it_holds_dag_files_fleet_files_and_scripts_and_nothing_else(
    wheel: Path, fleets: Path, tmp_path: Path
) -> None:
    mwaa_package.build(wheel, tmp_path / "out", MINE, "3.3.1")
    found = files(tmp_path / "out")
    loaders = {f"dags/city_fleet_dags/{path.name}" for path in (ROOT / "dags").glob("*.py")}
    scripts = {
        f"dags/city_fleet_project/{path.relative_to(ROOT)}"
        for path in (ROOT / "include" / "scripts").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    project = {
        f"dags/city_fleet_project/{name}"
        for name in (".airflowignore", "include/fleets/small.yaml", "include/fleets/lists/cities.csv")
    }
    beside = {"plugins.zip", "requirements.txt", "startup.sh", "airflow-options.json"}
    assert set(found) == loaders | scripts | project | beside
    with zipfile.ZipFile(tmp_path / "out" / "plugins.zip") as archive:
        assert archive.namelist() == [wheel.name, mwaa_package.CONSTRAINTS]
        assert archive.read(mwaa_package.CONSTRAINTS) == b"apache-airflow==3.3.1\n"
    requirements = found["requirements.txt"].decode()
    # As MWAA looks for it before it takes its own.
    assert re.search(r"-c |--constraint ", requirements)
    assert "city-fleet==0.1.0" in requirements
    startup = found["startup.sh"].decode()
    assert """export CITY_FLEET_ENVIRONMENT=production\n""" in startup
    assert "AWS_DEFAULT_REGION" not in startup, "MWAA's own, which no startup script can set"
    assert "export CITY_FLEET_PROJECT=/usr/local/airflow/dags/city_fleet_project\n" in startup


def test_a_fleet_with_holidays_brings_their_package_as_it_is_locked(
    wheel: Path, fleets: Path, tmp_path: Path
) -> None:
    path = fleets / "small.yaml"
    path.write_text(
        path.read_text().replace("  time:", "  holidays: {country: US}\n  time:", 1)
        if "\n  time:" in path.read_text()
        else path.read_text().replace("dataset: {", "dataset: {holidays: {country: US}, ", 1)
    )
    mwaa_package.build(wheel, tmp_path / "out", MINE, "3.3.1")
    assert "city-fleet[holidays]==0.1.0" in (tmp_path / "out" / "requirements.txt").read_text()
    with zipfile.ZipFile(tmp_path / "out" / "plugins.zip") as archive:
        assert re.search(rb"^holidays==\d", archive.read(mwaa_package.CONSTRAINTS), re.MULTILINE)


def test_options_are_those_of_which_so_many_cities_need_more(
    wheel: Path, fleets: Path, tmp_path: Path
) -> None:
    for cities, wanted in (
        (2, {}),
        (
            3000,
            {
                "dag_processor.dag_file_processor_timeout": "80",
                "dag_processor.min_file_process_interval": "80",
                "scheduler.max_dagruns_per_loop_to_schedule": "500",
            },
        ),
    ):
        rows = "".join(f"C{number}\n" for number in range(cities))
        (fleets / "lists" / "cities.csv").write_text(f"name\n{rows}")
        mwaa_package.build(wheel, tmp_path / "out", MINE, "3.3.1")
        assert json.loads((tmp_path / "out" / "airflow-options.json").read_text()) == wanted, cities


def test_what_can_not_go_to_mwaa_is_refused_and_leaves_the_last_package(
    wheel: Path, fleets: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    out = tmp_path / "out"
    mwaa_package.build(wheel, out, MINE, "3.3.1")
    before, good = files(out), (fleets / "small.yaml").read_text()
    (fleets / ".hidden.csv").write_text("name\nAustin\n")
    cases: list[tuple[str, str, dict[str, str], str]] = [
        ("3.0.6", good, MINE, "'3.0.6'; allowed: 3.3.1"),
        ("3.3.1", good, {}, "Not set: CITY_FLEET_ENVIRONMENT"),
        ("3.3.1", good, {**MINE, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "leads to a local stack"),
        ("3.3.1", f"{good}nonsense: 1\n", MINE, "mistakes, which `./fleet lint` shows"),
        ("3.3.1", good.replace("lists/cities.csv", ".hidden.csv"), MINE, "list of cities beside it"),
    ]
    for airflow, text, environ, words in cases:
        with subtests.test(words):
            (fleets / "small.yaml").write_text(text)
            with pytest.raises(StackError) as caught:
                mwaa_package.build(wheel, out, environ, airflow)
            assert words in str(caught.value)
            assert isinstance(caught.value, UsageError) == (airflow == "3.0.6")
            assert files(out) == before
    assert not list(tmp_path.glob(".out*"))
