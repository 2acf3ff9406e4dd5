"""Airflow's own dag-processor over this project's DAG files, in an Airflow home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

# What the UI asks for: import errors, and which DAGs are scheduled.
ASK = """
import json
from sqlalchemy import select
from airflow.models.dag import DagModel
from airflow.models.errors import ParseImportError
from airflow.utils.session import create_session
with create_session() as session:
    errors = [(one.filename, one.stacktrace) for one in session.scalars(select(ParseImportError))]
    dags = [
        (one.dag_id, one.is_stale, one.has_import_errors, one.timetable_summary, one.relative_fileloc)
        for one in session.scalars(select(DagModel))
    ]
print("ANSWER " + json.dumps([errors, dags]))
"""


def home(folder: Path) -> Path:
    """Make an Airflow home with a database and a folder ``fleets``."""
    (folder / "fleets").mkdir()
    airflow(folder, sys.executable, "-m", "airflow", "db", "migrate")
    return folder


def airflow(home: Path, *command: str, **variables: str) -> str:
    """Run a command with this Airflow, and return what it says."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "CITY_FLEET_FLEETS": str(home / "fleets"),
        "CITY_FLEET_COMPILED": str(home / "compiled"),
        **variables,
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def looked(home: Path, **variables: str) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Let the dag-processor look once.

    :return: the import errors by file; of each DAG whether it is stale, whether it has import errors, its schedule and
        its file.
    """
    airflow(home, sys.executable, "-m", "airflow", "dag-processor", "--num-runs", "1", **variables)
    said = airflow(home, sys.executable, "-c", ASK)
    errors, dags = json.loads(said.partition("ANSWER ")[2])
    return dict(errors), {dag_id: rest for dag_id, *rest in dags}
