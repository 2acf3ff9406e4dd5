"""The bootstrap's choices and its sentences, with interpreters that only tell a version."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local import ROOT
from local.stack import bootstrap
from local.stack.bootstrap import BootstrapError


@pytest.fixture
def pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what the test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _put(folder: Path, name: str, version: str, exit_code: int = 0) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version}\nexit {exit_code}\n")
    path.chmod(0o755)
    return path


def test_it_is_readable_by_python_3_6() -> None:
    source = (ROOT / "local" / "stack" / "bootstrap.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported <= set(sys.stdlib_module_names)


def test_the_first_that_suits_is_taken(pythons: Path) -> None:
    _put(pythons, "python3", "3 9 2")
    _put(pythons, "python3.13", "3 13 1", exit_code=127)
    _put(pythons, "python3.12", "3 12 1")
    _put(pythons, "python3.11", "3 11 2")
    _, version = bootstrap.find_python("")
    assert version == (3, 12, 1)


def test_none_that_suits_says_what_was_found_and_what_is_needed(pythons: Path) -> None:
    _put(pythons, "python3", "3 14 0")
    with pytest.raises(BootstrapError) as caught:
        bootstrap.find_python("")
    message = str(caught.value)
    assert "needs Python 3.11, 3.12 or 3.13" in message
    assert "found: python3 is 3.14.0" in message
    assert "make PYTHON=" in message


@pytest.mark.parametrize(
    ("wish", "said"), [("python3.10", "python3.10 is 3.10.4"), ("python4", "there is no such command")]
)
def test_a_wish_that_can_not_be_met_is_refused_by_name(pythons: Path, wish: str, said: str) -> None:
    _put(pythons, "python3", "3 11 2")
    _put(pythons, "python3.10", "3 10 4")
    with pytest.raises(BootstrapError, match=f"PYTHON={wish}: {said}"):
        bootstrap.find_python(wish)


def test_no_way_to_fetch_packages_says_what_to_install(
    pythons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    bare = _put(pythons, "python3", "3 11 2", exit_code=1)
    with pytest.raises(BootstrapError, match=r"neither pip nor ensurepip.*apt-get install python3-pip"):
        bootstrap.find_uv(str(bare))


def test_an_unreachable_index_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "has_module", lambda python, name: name == "pip")
    monkeypatch.setenv("PATH", str(tmp_path))
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")
    failing.chmod(0o755)
    with pytest.raises(BootstrapError, match=r"Fetching uv failed.*does not reach the Python package index"):
        bootstrap.find_uv(str(failing))


def test_an_environment_is_made_once_and_again_when_the_lock_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv is the machine's own; the environment holds no package, so the network is not needed."""
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    version = (sys.version_info[0], sys.version_info[1], sys.version_info[2])
    uv = subprocess.run(
        [sys.executable, ROOT / "local" / "stack" / "bootstrap.py", "--print-uv"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    monkeypatch.setattr(bootstrap, "find_uv", lambda python: uv)
    lock = tmp_path / bootstrap.ENVIRONMENTS[".venv"]
    lock.parent.mkdir(parents=True)
    lock.write_text("# nothing\n")
    python = bootstrap.resolve_interpreter(sys.executable)
    assert bootstrap.make_environment(".venv", python, version)
    assert not bootstrap.make_environment(".venv", python, version)
    inside = tmp_path / ".venv" / "bin" / "python"
    assert bootstrap.python_version(str(inside)) == version
    lock.write_text("# nothing, but newer\n")
    assert bootstrap.make_environment(".venv", python, version)
    inside.unlink()
    assert bootstrap.make_environment(".venv", python, version), (
        "an environment without its Python is made anew"
    )


def test_make_says_it_too(tmp_path: Path) -> None:
    _put(tmp_path, "python3.10", "3 10 4")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "environments", "PYTHON=python3.10"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert (
        "PYTHON=python3.10: python3.10 is 3.10.4. City Fleet needs Python 3.11, 3.12 or 3.13" in done.stderr
    )


def test_what_is_used_of_sagemaker_core_works_with_the_overridden_version() -> None:
    """requirements/overrides.txt breaks one of its bounds on Python 3.12 and later."""
    from sagemaker.core import image_uris

    uri = image_uris.retrieve("xgboost", "us-east-1", version="3.2-0")
    assert uri.endswith("sagemaker-xgboost:3.2-0")
