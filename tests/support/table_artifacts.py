"""Artifacts of tables of every task, made once in the image's Python, and what XGBoost itself answers with them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from city_fleet.champions.artifact import parse
from city_fleet.state.live import LivePointer
from tests.support.paths import IMAGE_PYTHON, ROOT, SCRIPTS
from tests.support.serving import Serving, archive_of, city_name


def make(folder: Path) -> Path:
    """Make extracted artifacts, each with rows and answers in ``<name>.expected.json``; return the folder."""
    script = ROOT / "tests" / "support" / "make_table_artifacts.py"
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    subprocess.run([IMAGE_PYTHON, script, SCRIPTS, folder], check=True, env=environment, timeout=120)
    return folder


def expected(folder: Path, name: str) -> dict[str, Any]:
    """Return ``features``, ``rows`` in their order, and the answers as ``csv`` and ``json``."""
    return dict(json.loads((folder / f"{name}.expected.json").read_text()))


def publish(serving: Serving, folder: Path, name: str, city: str | None = None) -> LivePointer:
    """Make a model the one that is live, on the endpoint that its pointer names."""
    body = archive_of(folder / name)
    artifact = parse(body, name)
    return serving.publish(
        city or city_name(), body, features=artifact.features, endpoint=serving.endpoint, **artifact.says
    )
