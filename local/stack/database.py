"""Airflow's database of a stack: a SQLite file, copied from an empty one that is kept per Airflow version."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local import ROOT
from local.stack import environment, processes
from local.stack.environment import Layout
from local.stack.errors import StackError

AIRFLOW = [sys.executable, "-m", "airflow"]
MIGRATE_TIMEOUT_SECONDS = 300.0
_VERSION_FILE = "airflow-version"

Say = Callable[[str], None]


def lay_down(layout: Layout, log: Path, say: Say) -> None:
    """Make sure that the stack has a database of this Airflow's schema.

    :param log: where `airflow db migrate` writes
    :raises StackError: the migration failed; with the end of its log
    """
    version = importlib.metadata.version("apache-airflow-core")
    kept = ROOT / ".local" / "cache" / f"airflow-{version}.db"
    database, noted = layout.database, layout.airflow_home / _VERSION_FILE
    if database.exists() and noted.exists() and noted.read_text() == version:
        return
    fresh = not database.exists()
    if fresh and kept.exists():
        shutil.copyfile(kept, database)
    else:
        say("laying down Airflow's database")
        _migrate(layout, log)
        if fresh:
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Two stacks may get here at once; the last complete copy wins.
            scratch = kept.with_name(f"{kept.name}.{os.getpid()}")
            shutil.copyfile(database, scratch)
            scratch.replace(kept)
    noted.write_text(version)


def _migrate(layout: Layout, log: Path) -> None:
    with log.open("wb") as output:
        try:
            code = subprocess.call(
                [*AIRFLOW, "db", "migrate"],
                env=environment.process_environment(layout),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=MIGRATE_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            code = -1
    if code != 0:
        raise StackError(f"`airflow db migrate` failed. The end of {log}:\n{processes.tail(log)}")
