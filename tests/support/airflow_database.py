"""Airflow's empty database, which Airflow makes once for all tests; each Airflow home has a copy."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.support.paths import ROOT


def lay_down(home: Path) -> None:
    """Put a database of this Airflow's schema into an Airflow home; making one takes seconds.

    It is made once, also for the tests of other processes.
    """
    made = Path(os.environ["CITY_FLEET_TEST_RUN"]) / "airflow"
    made.mkdir(exist_ok=True)
    with (made / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "is_whole").exists():
            _migrate(made)
            (made / "is_whole").touch()
    with (
        closing(sqlite3.connect(made / "airflow.db")) as whole,
        closing(sqlite3.connect(home / "airflow.db")) as copy,
    ):
        whole.backup(copy)


def _migrate(home: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env={
            **inherited,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "none"),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
