"""Tells an experiment tracker how a run has ended, where the fleet file asks for it; no run ever fails of that."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from city_fleet import outgoing_text
from city_fleet.orchestration.mlflow_runs import Mlflow, TrackedRun
from city_fleet.plan import CityPlan

if TYPE_CHECKING:
    from airflow.sdk import Connection

#: The Airflow connection that says where the tracker is, and who writes to it.
CONNECTION = "city_fleet_mlflow"

log = outgoing_text.logger(__name__)


def track(plan: CityPlan, record: Mapping[str, Any]) -> str | None:
    """Write a run to the fleet's tracker.

    :param record: of the run.
    :return: the run's id there; None where the fleet has no tracker, or it could not be written: a warning says why.
    """
    if plan.fleet.tracker is None:
        return None
    try:
        from airflow.sdk import BaseHook  # noqa: PLC0415 - of a fleet with a tracker alone

        run_id = mlflow_of(BaseHook.get_connection(CONNECTION)).write(TrackedRun.of(plan, record))
    except Exception as error:
        log.warning(
            "The run is not in the experiment tracker: %s: %s. Is there a connection %s in Airflow? "
            "docs/fleet-file.md says what it holds.",
            *(type(error).__name__, error, CONNECTION),
        )
        return None
    log.info("The run is %s in the experiment tracker.", run_id)
    return run_id


def mlflow_of(connection: Connection) -> Mlflow:
    """Return the server that a connection names: with login and password, or a password alone, which is a token.

    :raises ValueError: it names none.
    """
    host = (connection.host or "").rstrip("/")
    scheme, _, there = host.rpartition("://")
    scheme = scheme or connection.schema or "https"
    if not there or scheme not in ("http", "https"):
        raise ValueError(f"connection {connection.conn_id}: allowed: a host, and http or https as its schema")
    port = f":{connection.port}" if connection.port else ""
    name, _, path = there.partition("/")
    headers = {}
    if connection.password and connection.login:
        both = base64.b64encode(f"{connection.login}:{connection.password}".encode()).decode()
        headers["Authorization"] = f"Basic {both}"
    elif connection.password:
        headers["Authorization"] = f"Bearer {connection.password}"
    return Mlflow(f"{scheme}://{name}{port}{'/' + path if path else ''}", headers)
