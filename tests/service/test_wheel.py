"""The wheel: what is in it, that the same sources give the same bytes, and that it works from where pip puts it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from city_fleet.infrastructure.policies import FILES
from tests.support.paths import ROOT

SOURCES = ("pyproject.toml", "LICENSE", "plugins", "dags", "include", "docs/policies")


def uv() -> str:
    command = [sys.executable, ROOT / "local" / "stack" / "bootstrap.py", "--print-uv"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def build(folder: Path) -> Path:
    """Build a copy of the sources, whose times of change are all now."""
    folder.mkdir()
    for name in SOURCES:
        source, copy = ROOT / name, folder / name
        copy.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, copy, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile
            )
        else:
            shutil.copyfile(source, copy)
    command = [
        uv(),
        "build",
        "--quiet",
        "--wheel",
        "--python",
        sys.executable,
        "--out-dir",
        folder / "dist",
        folder,
    ]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel") / "one")


def test_the_same_sources_give_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, build(tmp_path / "two"))}
    assert len(digests) == 1


def test_it_holds_library_plugin_dags_and_scripts_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    library = {
        f"city_fleet/{path.relative_to(ROOT / 'plugins/city_fleet')}"
        for path in (ROOT / "plugins/city_fleet").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".airflowignore"
    }
    scripts = {
        f"city_fleet/carried/{path.relative_to(ROOT)}"
        for folder in ("include/scripts", "include/importer")
        for path in (ROOT / folder).rglob("*.*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    dags = {f"city_fleet/carried/dags/{path.name}" for path in (ROOT / "dags").glob("*.py")}
    rest = {"city_fleet_plugin.py", "city_fleet/carried/include/fleets/fleet.schema.json"}
    rest |= {f"city_fleet/carried/{path}" for path in FILES.values()}
    found = {name for name in names if ".dist-info/" not in name}
    assert found == library | scripts | dags | rest
    assert "city_fleet = city_fleet_plugin:CityFleetPlugin" in points


def test_installing_it_changes_no_package_that_is_there(wheel: Path) -> None:
    """This environment has pinned versions of everything that the wheel depends on."""
    command = [uv(), "pip", "install", "--dry-run", "--python", sys.executable, str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    changes = [line.strip() for line in done.stderr.splitlines() if line.startswith((" +", " -", " ~"))]
    assert len(changes) == 1, done.stderr
    assert changes[0].startswith("+ city-fleet")


def test_it_works_from_where_pip_puts_it(wheel: Path, tmp_path: Path) -> None:
    home, packages = tmp_path / "home", tmp_path / "packages"
    (home / "include/fleets").mkdir(parents=True)
    (home / "dags").mkdir()
    shutil.copy(ROOT / "include/fleets/texas_housing.yaml", home / "include/fleets")
    shutil.copytree(ROOT / "include/data", home / "include/data")  # lint compares a fleet file with its data
    command = [uv(), "pip", "install", "--quiet", "--no-deps", "--target", str(packages), str(wheel)]
    subprocess.run(command, check=True, timeout=300)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CITY_FLEET"))}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, packages / "bin" / "city-fleet", *arguments],
            env={**clean, "PYTHONPATH": str(packages), "AIRFLOW_HOME": str(home)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first, again = run("install", str(home / "dags")), run("install", str(home / "dags"))
    assert (first.count(": written"), again.count(": up to date")) == (18, 18)
    written = {path.name: path.read_bytes() for path in (home / "dags/city_fleet_dags").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (ROOT / "dags").glob("*.py")}
    # The scripts, the schema and the fleet file are found without a checkout.
    assert "47 cities, no mistakes" in run("lint")
    assert "Usage: city-fleet" in run("--help")
    found = run("doctor", "--no-aws", "--no-airflow")
    assert "packages are installed in versions that City Fleet works with" in found
