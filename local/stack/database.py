"""The schema of Airflow's database of a stack. An empty one is kept per Airflow version: copying it is faster."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from local import ROOT
from local.stack import environment, postgres, processes
from local.stack.engine_settings import DATABASE_NAME, DATABASE_USER
from local.stack.errors import StackError
from local.stack.layout import HOST, Layout
from local.stack.secrets_file import stack_secrets

AIRFLOW = [sys.executable, "-m", "airflow"]
MIGRATE_TIMEOUT_SECONDS = 300.0
POSTGRES_TIMEOUT_SECONDS = 60.0
_VERSION_FILE = "airflow-version"

Say = Callable[[str], None]


def lay_down(layout: Layout, log: Path, say: Say) -> None:
    """Make sure that the stack has a database of this Airflow's schema.

    :param log: where `airflow db migrate` writes
    :raises StackError: the migration failed; with the end of its log
    """
    version = importlib.metadata.version("apache-airflow-core")
    kept = ROOT / ".local" / "cache" / f"airflow-{version}"
    if layout.engine.postgres:
        noted = layout.postgres_data.parent / _VERSION_FILE
        bin_dir = postgres.programs(layout)
        kept = kept.with_name(f"{kept.name}-postgres-{postgres.major(bin_dir)}.sql")
        _wait_for_postgres(layout)
        there = noted.exists()
    else:
        noted = layout.airflow_home / _VERSION_FILE
        kept = kept.with_name(f"{kept.name}.db")
        there = layout.database.exists()
    if there and noted.exists() and noted.read_text() == version:
        return
    fresh = not there
    if fresh and kept.exists():
        _take(layout, kept)
    else:
        say("laying down Airflow's database")
        _migrate(layout, log)
        if fresh:
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Two stacks may get here at once; the last complete copy wins.
            scratch = kept.with_name(f"{kept.name}.{os.getpid()}")
            _keep(layout, scratch)
            scratch.replace(kept)
    noted.write_text(version)


def _take(layout: Layout, kept: Path) -> None:
    if layout.engine.postgres:
        _client(layout, "psql", "--quiet", "--no-psqlrc", "--single-transaction", f"--file={kept}")
    else:
        shutil.copyfile(kept, layout.database)


def _keep(layout: Layout, scratch: Path) -> None:
    if layout.engine.postgres:
        _client(layout, "pg_dump", "--no-owner", "--no-privileges", f"--file={scratch}")
    else:
        shutil.copyfile(layout.database, scratch)


def _client(layout: Layout, program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL's against the stack's own server.

    :raises StackError: it failed; with what it said
    """
    where = ("--host", HOST, "--port", str(layout.database_port), "--username", DATABASE_USER)
    stop = ("--set", "ON_ERROR_STOP=1") if program == "psql" else ()
    done = subprocess.run(
        [postgres.programs(layout) / program, *where, *stop, *arguments, DATABASE_NAME],
        env=environment.bare_environment(layout)
        | {"PGPASSWORD": stack_secrets(layout)["database_password"], "PGPASSFILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=MIGRATE_TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise StackError(f"{program} failed ({done.returncode}): {done.stderr.strip()[-2000:]}")


def _wait_for_postgres(layout: Layout) -> None:
    """Wait until the server lets Airflow's user in.

    :raises StackError: it doesn't in time; with what it said last
    """
    deadline = time.monotonic() + POSTGRES_TIMEOUT_SECONDS
    while True:
        try:
            _client(layout, "psql", "--no-psqlrc", "--command=SELECT 1")
            return
        except StackError as error:
            if time.monotonic() > deadline:
                log = layout.logs_dir / "postgres.log"
                raise StackError(
                    f"PostgreSQL does not answer: {error}\nThe end of {log}:\n{processes.tail(log)}"
                ) from error
        time.sleep(0.1)


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
