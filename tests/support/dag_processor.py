"""Airflow's own dag-processor over this project's DAG files, in an Airflow home of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.airflow_database import lay_down
from tests.support.paths import ROOT


def home(folder: Path) -> Path:
    """Make an Airflow home with a database and a folder ``fleets``."""
    (folder / "fleets").mkdir()
    lay_down(folder)
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
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def looked(home: Path, **variables: str) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Let the dag-processor look once.

    :return: the import errors by file; of each DAG whether it is stale, whether it has import errors, its schedule and
        its file.
    """
    airflow(home, sys.executable, "-m", "airflow", "dag-processor", "--num-runs", "1", **variables)
    return found(home)


def found(home: Path) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Return what Airflow's database knows of the DAG files, as :func:`looked` does."""
    # What the UI asks for: import errors, and which DAGs are scheduled.
    with closing(sqlite3.connect(home / "airflow.db")) as database:
        errors = database.execute("SELECT filename, stacktrace FROM import_error").fetchall()
        dags = database.execute(
            "SELECT dag_id, is_stale, has_import_errors, timetable_summary, relative_fileloc FROM dag"
        ).fetchall()
    return dict(errors), {
        dag_id: [bool(stale), bool(red), schedule, file] for dag_id, stale, red, schedule, file in dags
    }
