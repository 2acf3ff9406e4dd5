"""The requirements resolve as plain pip sees them, without the override that the locks are made with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def resolved(path: str, python: str) -> dict[str, str]:
    """The versions that a requirements file comes to, on a version of Python."""
    program = [sys.executable, ROOT / "local" / "stack" / "bootstrap.py", "--print-uv"]
    uv = subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()
    command = [uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--python-version", python]
    done = subprocess.run(
        [*command, "--python-platform", "x86_64-manylinux_2_28", str(ROOT / path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{path} on Python {python}: {done.stderr}"
    return dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)


# The oldest and the newest that are supported.
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_requirements_resolve_on_every_python(python: str) -> None:
    found = resolved("requirements.txt", python)
    assert found["apache-airflow"] == "3.3.2"
    assert {"apache-airflow-providers-amazon", "xgboost-cpu", "pandas", "pytest"} <= set(found)
    # Never an SDK of before the table of images, which is what an unpinned one falls back to.
    assert found.get("sagemaker-core") == ("2.27.0" if python == "3.11" else None)
    assert resolved("requirements/sdk.txt", python)["sagemaker-core"] == "2.27.0"
