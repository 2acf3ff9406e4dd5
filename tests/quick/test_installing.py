"""What an Airflow installs: a short list of ranges that it satisfies already, and files that stay out of its way."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from city_fleet.config import places
from city_fleet.doctor.package_checks import AIRFLOW_NEEDS
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "docs" / "install" / "Dockerfile").read_text(encoding="utf-8")
PYTHONS = ("3.11.9", "3.12.8", "3.13.1")
#: Modules by what brings them; Airflow itself brings the last ones.
MODULES = {
    "airflow": "apache-airflow",
    "boto3": "boto3",
    "botocore": "boto3",
    "urllib3": "boto3",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic",
    "yaml": "pyyaml",
    "typer": "typer",
    "rich": "rich",
    "httpx": "httpx",
    "croniter": "croniter",
    "packaging": "packaging",
    "fastapi": "apache-airflow",
    "jinja2": "apache-airflow",
    "opentelemetry": "apache-airflow",
    "pendulum": "apache-airflow",
    "sqlalchemy": "apache-airflow",
    "starlette": "apache-airflow",
}


#: Imported by what a provider calls, which brings what it imports: Airflow's OpenLineage provider.
ASKED_FOR = {"openlineage_facets.py"}


def pins(path: str, python: str) -> dict[str, str]:
    """The versions that a lock has for a version of Python, on Linux."""
    found = {}
    marker_environment = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for line in (ROOT / path).read_text(encoding="utf-8").splitlines():
        text = line.split(" #")[0].rstrip("\\ ").strip()
        if text and not text.startswith(("#", "-")):
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate(marker_environment):
                (specifier,) = wanted.specifier
                found[canonicalize_name(wanted.name)] = specifier.version
    return found


def imports(node: ast.AST) -> Iterator[str]:
    """The top-level modules that code imports when it runs, and not for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (name.name.partition(".")[0] for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield str(child.module).partition(".")[0]
        yield from imports(child)


def test_the_doctor_and_the_wheel_name_the_same_packages() -> None:
    assert list(AIRFLOW_NEEDS) == PROJECT["dependencies"]


def test_airflows_side_imports_what_the_wheel_depends_on_and_nothing_else() -> None:

    used = {
        module
        for folder in ("plugins", "dags")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in ASKED_FOR
        for module in imports(ast.parse(path.read_text(encoding="utf-8")))
    } - sys.stdlib_module_names
    used -= {"city_fleet"}
    assert used <= set(MODULES), f"not a dependency of the wheel: {sorted(used - set(MODULES))}"
    named = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert {MODULES[module] for module in used} <= named
    assert named - {MODULES[module] for module in used} == {"apache-airflow-providers-amazon"}


def test_an_environment_like_the_official_image_satisfies_the_wheel_as_it_is() -> None:
    for python in PYTHONS:
        installed = pins("tests/support/official_image/requirements.lock", python)
        assert len(installed) > 200
        for line in PROJECT["dependencies"]:
            wanted = Requirement(line)
            version = installed[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(version), f"Python {python}: {version} is not {wanted}"
            assert not wanted.extras, "an extra brings packages that the environment may not have"
            assert not any(each.operator in ("==", "~=", "===") for each in wanted.specifier), "a pin"


def test_requirements_name_the_six_packages_and_no_sdk_beside_a_newer_airflow() -> None:
    named = pins("requirements.txt", "3.11.9")
    six = {"apache-airflow", "apache-airflow-providers-amazon", "sagemaker-core", "pandas", "pytest"}
    assert six <= set(named)
    assert any(name.startswith("xgboost") for name in named)
    for python in ("3.12.8", "3.13.1"):
        assert "sagemaker-core" not in pins("requirements.txt", python)
    # Where there is an SDK, it is the tested one.
    for path in ("requirements/sdk.txt", "requirements/dev.lock"):
        assert pins(path, "3.12.8")["sagemaker-core"] == named["sagemaker-core"], path


def test_below_another_projects_dags_only_our_dags_are_read() -> None:
    lines = (ROOT / ".airflowignore").read_text(encoding="utf-8").splitlines()
    ignored = {line.rstrip("/") for line in lines if line and not line.startswith("#")}
    folders = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("*/**/*.py")}
    assert {"plugins", "local", "tests", "include", "bench"} <= folders
    assert folders - {"dags"} <= ignored | {path.name for path in ROOT.iterdir() if path.is_symlink()}
    assert "dags" not in ignored
    assert not list(ROOT.glob("*.py"))


def test_the_dockerfile_builds_on_the_tested_airflow() -> None:
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    (base,) = (line for line in lines if line.startswith("FROM "))
    version = pins("requirements.txt", "3.11.9")["apache-airflow"]
    assert re.fullmatch(rf"FROM apache/airflow:{re.escape(version)}-python3\.1[123]", base)
    sources = [line.split()[-2] for line in lines if line.startswith("COPY ")]
    assert sources == ["dist/city_fleet-*.whl", "include/fleets"]
    assert (ROOT / "include/fleets").is_dir()
    # As the image's own user: the image refuses pip as root.
    assert not any(line.startswith("USER") for line in lines)


def test_where_a_projects_files_are(tmp_path: Path) -> None:
    carried, here = tmp_path / "carried", Path(places.__file__).resolve().parents[3]
    assert places.project_root({}, carried) == here
    assert places.project_root({"AIRFLOW_HOME": "/airflow"}, carried) == here
    assert places.project_root({"CITY_FLEET_PROJECT": "/repo", "AIRFLOW_HOME": "/airflow"}, carried) == Path(
        "/repo"
    )
    carried.mkdir()  # as in an installed wheel
    assert places.project_root({"AIRFLOW_HOME": "/airflow"}, carried) == Path("/airflow")
    assert places.project_root({"CITY_FLEET_PROJECT": ""}, carried) == Path.home() / "airflow"
    assert places.project_root({"CITY_FLEET_PROJECT": "/repo", "AIRFLOW_HOME": "/airflow"}, carried) == Path(
        "/repo"
    )


def test_what_comes_with_the_wheel_gives_way_to_the_projects_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, carried = tmp_path / "root", tmp_path / "carried"
    (carried / "include/scripts").mkdir(parents=True)
    monkeypatch.setattr(places, "PROJECT_ROOT", root)
    monkeypatch.setattr(places, "_CARRIED", carried)
    assert places.project_path("include/scripts") == carried / "include/scripts"
    assert places.project_path("include/scripts_of_waco") == root / "include/scripts_of_waco"
    (root / "include/scripts").mkdir(parents=True)
    assert places.project_path("include/scripts") == root / "include/scripts"
    assert places.command_name() == "city-fleet"
