"""Starts the alert when ``fleet_mistakes.py`` turns red. The plugin registers it, Airflow's DAG processor calls it.

The alert is a process of its own: notifiers talk to mail servers and the like, and the DAG processor must neither wait
for them nor fall with them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from airflow.listeners import hookimpl

from city_fleet import outgoing_text

_LIBRARY = Path(__file__).resolve().parents[2]
_log = outgoing_text.logger(__name__)


class MistakeListener:
    """Hears of every look at a DAG file with an import error."""

    def __init__(self) -> None:
        self._told = ""
        self._running: list[subprocess.Popen[bytes]] = []

    @hookimpl
    def on_new_dag_import_error(self, filename: str, stacktrace: str) -> None:
        self._told = ""
        self._hear(filename, stacktrace)

    @hookimpl
    def on_existing_dag_import_error(self, filename: str, stacktrace: str) -> None:
        self._hear(filename, stacktrace)

    def _hear(self, filename: str, stacktrace: str) -> None:
        if Path(filename).name != "fleet_mistakes.py":
            return
        digest = hashlib.sha256(stacktrace.encode("utf-8", "replace")).hexdigest()
        if digest == self._told:
            return
        self._told = digest
        try:
            self._running = [each for each in self._running if each.poll() is None]
            self._running.append(_start())
        except Exception:
            _log.exception("Nobody is told of the mistakes in the fleet files")


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(_LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])])
    # "server": connections are read from Airflow's database, as the DAG processor itself does.
    environment = {**os.environ, "PYTHONPATH": path, "_AIRFLOW_PROCESS_CONTEXT": "server"}
    command = [sys.executable, "-m", "city_fleet.orchestration.mistake_alert"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
