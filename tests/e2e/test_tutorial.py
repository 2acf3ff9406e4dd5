"""docs/tutorial.md and docs/own-a-model.md as printed: every command, in its order, in a copy of this repository.

``make test-tutorial`` runs them: they take some minutes each, of which the stack's start is most.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from local.stack.layout import free_port
from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not os.environ.get("CITY_FLEET_TEST_TUTORIAL"), reason="make test-tutorial runs it"),
]
_ENVIRONMENTS = (".venv", ".venv-image", ".venv-import", ".tools")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What is in the repository, beside the environments that are there."""
    folder = tmp_path / "city-fleet"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if name in _ENVIRONMENTS:
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    for name in _ENVIRONMENTS:
        if (ROOT / name).exists():
            (folder / name).symlink_to((ROOT / name).resolve())
    return folder


def typed(copy: Path, page: str, up: str) -> subprocess.CompletedProcess[str]:
    """Type every command of a page.

    :param up: the command that starts the stack, which gets ports of its own.
    """
    text = (copy / "docs" / page).read_text(encoding="utf-8")
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("8686", str(free_port()))
    assert len(re.findall(rf"^{re.escape(up)}$", commands, re.MULTILINE)) == 1
    with_ports = f"{up} UI_PORT={free_port()} SAGEMAKER_PORT={free_port()}"
    script = "set -e -m\n" + re.sub(rf"^{re.escape(up)}$", with_ports, commands, flags=re.MULTILINE)
    try:
        return subprocess.run(
            ["bash", "-c", script], cwd=copy, capture_output=True, text=True, check=False, timeout=900
        )
    finally:
        subprocess.run(["make", "down"], cwd=copy, capture_output=True, check=False, timeout=120)


def test_every_command_of_the_tutorial_does_what_it_says(copy: Path) -> None:
    done = typed(copy, "tutorial.md", "make up FLEET=bike_rides")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for station in ("Central Park", "Harbour", "Old Town"):
        assert re.search(rf"^  {station} +live  ", done.stdout, re.MULTILINE), said
    assert '"city": "central_park", "forecasts"' in done.stdout
    assert re.search(r"^harbour: (?:live|held), version 2", done.stdout, re.MULTILINE), said
    assert "today.csv" in done.stdout
    assert "The stack is down." in done.stdout


def test_every_command_on_owning_a_model_does_what_it_says(copy: Path) -> None:
    _as_a_clone(copy)
    done = typed(copy, "own-a-model.md", "make up")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.search(r"^this trial +3\.4%", done.stdout, re.MULTILINE), said
    assert "Austin as of 2013-09-01: the new model would go live (linear)" in done.stdout, said
    assert re.search(r"^this trial +2\.9%", done.stdout, re.MULTILINE), said
    assert "austin-linear is the better one" in done.stdout, said
    assert re.search(r"^austin: live, version 2", done.stdout, re.MULTILINE), said
    assert "The stack is down." in done.stdout


def _as_a_clone(copy: Path) -> None:
    """The page brings a file back by git."""
    for words in (("init", "-q"), ("add", "include/fleets"), ("commit", "-q", "-m", "a clone")):
        subprocess.run(
            ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *words], cwd=copy, check=True
        )
