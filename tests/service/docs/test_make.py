"""``make help`` says everything that make can do."""

from __future__ import annotations

import re
import subprocess

from tests.support.paths import ROOT


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(re.findall(r"^  make ([a-z-]+)", shown, re.MULTILINE))
