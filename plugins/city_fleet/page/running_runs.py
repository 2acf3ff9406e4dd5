"""What of a fleet is running in Airflow, from Airflow's own database; a few rows, whatever the size of the fleet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from sqlalchemy import select

_FRESH_SECONDS = 3.0
#: No more runs are under way at a time than this: Airflow starts so many of all DAGs.
_MOST = 5_000
_lock = threading.Lock()
_known: dict[str, tuple[float, dict[str, Running]]] = {}


@dataclass(frozen=True)
class Running:
    """A run that is under way.

    :param cities: those of a cohort that somebody has named for it, by slug or name; empty for all of its DAG.
    """

    run_id: str
    cities: frozenset[str] = frozenset()


def of_fleet(fleet: str) -> dict[str, Running]:
    """Return the runs of a fleet's DAGs that are under way, by the DAG's id; of several the newest."""
    with _lock:
        known = _known.get(fleet)
        if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
    query = (
        select(DagRun.dag_id, DagRun.run_id, DagRun.conf)
        .where(DagRun.state == DagRunState.RUNNING, DagRun.dag_id.startswith(f"{fleet}.", autoescape=True))
        .order_by(DagRun.id)
        .limit(_MOST)
    )
    with create_session() as session:
        found = {
            str(dag_id): Running(str(run_id), _named(conf)) for dag_id, run_id, conf in session.execute(query)
        }
    with _lock:
        _known[fleet] = (time.monotonic(), found)
    return found


def _named(conf: Any) -> frozenset[str]:
    cities = conf.get("cities") if isinstance(conf, dict) else None
    given = [cities] if isinstance(cities, str) and cities else cities
    return frozenset(str(each) for each in given) if isinstance(given, list) else frozenset()


def cities(runs: dict[str, Running], of: Iterable[tuple[str, str, str]]) -> frozenset[str]:
    """Return the cities that a run is about.

    :param of: slug, name and DAG's id of each city.
    """
    return frozenset(
        slug
        for slug, name, dag_id in of
        if (run := runs.get(dag_id)) is not None and (not run.cities or run.cities & {slug, name})
    )
