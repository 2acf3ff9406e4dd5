"""A demo that is asked for wrongly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from local import ROOT


def test_the_command_ends_with_2_and_starts_nothing(tmp_path: Path) -> None:
    state = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "local.stack", "demo", "--cities", "huston", "--state-dir", str(state)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: CITIES: ")
    assert not state.exists()
