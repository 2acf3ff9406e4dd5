"""Shells that are set up for something else: another project's PYTHONPATH, a user without a name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local import ROOT
from local.stack import environment
from local.stack.layout import Layout

#: Modules that all of our programs import, as another project may call its own.
NAMES = ("typer", "yaml", "rich", "uvicorn", "boto3", "pydantic", "city_fleet", "local")
PROGRAMS = {
    "the stack": [sys.executable, "-m", "local.stack", "status", "--state-dir"],
    "the local SageMaker": [sys.executable, "-m", "local.sagemaker", "--port", "70000", "--data-dir"],
    "the command line": [str(ROOT / "bin" / "fleet"), "cities", "--help"],
}
SAYS = {
    "the stack": (1, "Nothing is up."),
    "the local SageMaker": (2, "got '70000'; allowed: a number from 0 to 65535"),
    "the command line": (0, "Usage"),
}


def _run(program: str, folder: Path, variables: dict[str, str], *within: str) -> tuple[int, str]:
    command = [*within, *PROGRAMS[program]]
    if command[-1].endswith("-dir"):
        command.append(str(folder))
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _whole(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("program", PROGRAMS)
def test_another_projects_pythonpath_stays_out(program: str, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the other {name}')\n")
    code, said = _run(program, tmp_path / "state", {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert "the other" not in said
    assert (code, SAYS[program][1] in _whole(said)) == (SAYS[program][0], True), said


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_user_without_a_name_or_a_home_may_use_it(program: str, tmp_path: Path) -> None:
    within = ("unshare", "-U", "--map-user=54321", "--map-group=54321")
    try:
        allowed = subprocess.run([*within, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this machine lets no test be another user")
    nameless = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    code, said = _run(program, tmp_path / "state", nameless, *within)
    assert (code, SAYS[program][1] in _whole(said)) == (SAYS[program][0], True), said


def test_doctor_asks_for_no_home(tmp_path: Path) -> None:
    within = ("unshare", "-U", "--map-user=54321", "--map-group=54321")
    if subprocess.run([*within, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets no test be another user")
    done = subprocess.run(
        [*within, sys.executable, "-m", "city_fleet.cli.app", "doctor"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "plugins"),
            "CITY_FLEET_FLEETS": str(tmp_path),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "home directory" not in done.stderr
    assert "Traceback" not in done.stderr


def test_airflow_gets_a_name_and_a_home_for_such_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    whole = environment.process_environment(Layout(state_dir=tmp_path))
    assert whole["USER"] == whole["LOGNAME"] == "user-54321"
    assert Path(whole["HOME"]).is_dir()


def test_the_command_line_without_an_environment_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    fleet = tmp_path / "bin" / "fleet"
    fleet.write_text((ROOT / "bin" / "fleet").read_text())
    fleet.chmod(0o755)
    bare = tmp_path / "path"
    bare.mkdir()
    (bare / "python3").write_text("#!/bin/sh\nexit 1\n")
    (bare / "python3").chmod(0o755)
    variables = {"PATH": f"{bare}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([str(fleet), "lint"], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make environments" in done.stderr
    assert "Traceback" not in done.stderr
