"""./fleet and bin/airflow find their project from every folder and through every kind of link."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.support.fleets import ROOT


def run(
    command: Path | str, *arguments: str, folder: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without settings of the shell that runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CITY_FLEET"))}
    return subprocess.run(
        [str(command), *arguments],
        cwd=folder,
        env={**clean, "CITY_FLEET_STATE_DIR": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def commands(folder: Path) -> dict[str, Path | str]:
    """Return ways to start ./fleet from a folder, by what they are; the links are made in the folder."""
    inner = folder / "with space"
    inner.mkdir()
    (folder / "absolute").symlink_to(ROOT / "fleet")
    (folder / "of_a_link").symlink_to("with space/relative")
    (inner / "relative").symlink_to(os.path.relpath(ROOT / "bin" / "fleet", inner.resolve()))
    (folder / "linked_bin").symlink_to(ROOT / "bin")
    return {
        "bin/fleet": ROOT / "bin" / "fleet",
        "the project's own link": ROOT / "fleet",
        "an absolute link": folder / "absolute",
        "a relative link": inner / "relative",
        "a link to a link, relative to here": "./of_a_link",
        "a link to the folder": folder / "linked_bin" / "fleet",
    }


def test_fleet_finds_its_project(tmp_path: Path) -> None:
    listed = {}
    for name, command in commands(tmp_path).items():
        done = run(command, "cities", "--json", folder=tmp_path)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        listed[name] = {city["fleet"] for city in json.loads(done.stdout)}
    own = {path.stem for path in (ROOT / "include" / "fleets").glob("*.yaml")}
    assert "texas_housing" in own
    assert listed == dict.fromkeys(listed, own)


def test_a_link_in_a_folder_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "city-fleet").symlink_to(ROOT / "fleet")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = run("/bin/sh", "-c", "city-fleet lint", folder=tmp_path, PATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("texas_housing.yaml: 47 cities, no mistakes.\n")


def test_a_file_is_named_as_seen_from_the_working_directory(tmp_path: Path) -> None:
    done = run(ROOT / "fleet", "lint", "texas_housing.yaml", folder=ROOT / "include" / "fleets")
    assert (done.returncode, done.stdout) == (0, "texas_housing.yaml: 47 cities, no mistakes.\n")
    missing = run(ROOT / "fleet", "lint", "texas_housing.yaml", folder=tmp_path)
    assert (missing.returncode, "no such file" in missing.stdout) == (1, True)


def test_airflow_finds_its_project(tmp_path: Path) -> None:
    """Through a link that names a place from its own folder, which leads to one that names it from the root."""
    inner = tmp_path / "with space"
    inner.mkdir()
    (inner / "absolute").symlink_to(ROOT / "bin" / "airflow")
    (tmp_path / "relative").symlink_to("with space/absolute")
    (tmp_path / "stack.env").write_text(f"AIRFLOW_HOME={tmp_path / 'home'}\n", encoding="utf-8")
    done = run(tmp_path / "relative", "version", folder=tmp_path, CITY_FLEET_STATE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3.")
