"""Artifacts of tables of every task, made once in the image's Python, and what XGBoost itself answers with them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.paths import IMAGE_PYTHON, ROOT, SCRIPTS


def make(folder: Path) -> Path:
    """Make extracted artifacts, each with rows and answers in ``<name>.expected.json``; return the folder."""
    script = ROOT / "tests" / "support" / "make_table_artifacts.py"
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    subprocess.run([IMAGE_PYTHON, script, SCRIPTS, folder], check=True, env=environment, timeout=120)
    return folder


def expected(folder: Path, name: str) -> dict[str, Any]:
    """Return ``features``, ``rows`` in their order, and the answers as ``csv`` and ``json``."""
    return dict(json.loads((folder / f"{name}.expected.json").read_text()))


def inputs(folder: Path, name: str) -> list[dict[str, str]]:
    """Return what a live pointer says of a model's features."""
    schema = json.loads((folder / name / "city_fleet" / "model.json").read_text())["schema"]
    return [{"name": each["name"], "kind": each["kind"]} for each in schema["features"]]
