"""The environment in which notebooks run, and their execution there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

NOTEBOOK_PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
needs_notebooks = pytest.mark.skipif(
    not NOTEBOOK_PYTHON.exists(), reason="`make notebook-environment` makes what this test runs in"
)
TIMEOUT_SECONDS = 300
_EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
path = sys.argv[1]
notebook = nbformat.read(path, as_version=4)
nbformat.validate(notebook)
NotebookClient(notebook, timeout=240).execute()
nbformat.write(notebook, path)
"""


def in_environment(code: str, *arguments: str, cwd: Path, environ: Mapping[str, str]) -> str:
    """Run a program in the environment of notebooks; returns what it prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    done = subprocess.run(
        [str(NOTEBOOK_PYTHON), "-c", code, *arguments],
        cwd=cwd,
        env=inherited
        | {"IPYTHONDIR": str(cwd / ".ipython"), "MPLCONFIGDIR": str(cwd / ".mpl")}
        | dict(environ),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def execute(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Execute a notebook where it lies; it then holds its outputs."""
    in_environment(_EXECUTE, path.name, cwd=path.parent, environ=environ)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def texts(notebook: Mapping[str, Any]) -> list[str]:
    """What each code cell has shown as text, one text per cell."""
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            shown = [
                each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell["outputs"]
            ]
            found.append("".join("".join(each) for each in shown))
    return found


def pictures(notebook: Mapping[str, Any]) -> int:
    """How many pictures its cells have drawn."""
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", ())]
    return sum("image/png" in each.get("data", {}) for each in outputs)
