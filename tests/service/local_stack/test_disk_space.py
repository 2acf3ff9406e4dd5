"""Too little room for a stack is said before anything is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local import ROOT
from local.stack.disk_space import lack_of_room
from tests.support.small_disk import can_mount


def test_enough_room_is_nothing_to_speak_of(tmp_path: Path) -> None:
    assert lack_of_room(tmp_path / "not" / "there" / "yet") == ""


@pytest.mark.parametrize("small", ["state", "TMPDIR"])
def test_a_small_disk_is_named_and_nothing_is_written(tmp_path: Path, small: str) -> None:
    if not can_mount():
        pytest.skip("this machine allows no mount namespaces")
    state, other = (
        (tmp_path / "disk" / "up", "/tmp") if small == "state" else (tmp_path / "up", tmp_path / "disk")
    )
    (tmp_path / "disk").mkdir()
    size = "8m" if small == "state" else "64k"
    mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && export TMPDIR="$1" && shift && exec "$@"'
    command = [sys.executable, "-m", "local.stack", "up", "--state-dir", str(state)]
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount, str(tmp_path / "disk"), str(other), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    if small == "state":
        assert "MB are free on the disk of" in done.stderr
        assert "make clean" in done.stderr
    else:
        assert "There is no room for temporary files" in done.stderr
    assert not (state / "sagemaker").exists()
