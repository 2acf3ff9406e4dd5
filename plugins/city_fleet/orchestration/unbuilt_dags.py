"""Which DAGs could not be built, told by the DAG files that build them to the one that is red on Airflow's home.

A DAG that stands for one that can't be built never fails by itself, and the file that built it must not raise: that
would take its other DAGs along. Each DAG file keeps a small file of its own on this machine. Standard library only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from city_fleet import outgoing_text
from city_fleet.config.places import compiled_folder

# A DAG file that is not looked at any more has nothing to say.
_OUTDATED_SECONDS = 3600
_log = outgoing_text.logger(__name__)


def report(dag_file: str, reasons: Mapping[str, str]) -> None:
    """Keep which DAGs of a DAG file could not be built; nothing is kept where all could.

    :param dag_file: its name, without a suffix.
    :param reasons: by DAG id.
    """
    path = _folder() / f"{dag_file}.json"
    try:
        if not reasons:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(dict(reasons)), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        # The log of the DAG file has the reason all the same.
        _log.debug("%s can't be written: %s", path, error)


def reported() -> dict[str, str]:
    """Return why DAGs could not be built, by DAG id, as the DAG files have said within the last hour."""
    found: dict[str, str] = {}
    for path in sorted(_folder().glob("*.json")):
        try:
            if path.stat().st_mtime > time.time() - _OUTDATED_SECONDS:
                found |= json.loads(path.read_bytes())
        except (OSError, ValueError, TypeError):
            continue
    return found


def _folder() -> Path:
    return compiled_folder() / "unbuilt"
