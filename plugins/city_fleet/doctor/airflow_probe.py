"""Say what Airflow's own process sees: settings, pools, DAGs.

``python -m city_fleet.doctor.airflow_probe`` prints it as JSON.

A process of its own, because importing Airflow takes seconds and the command line does without. It reads, and it
prints no secret: of the database's URL only the dialect.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.util import find_spec
from typing import Any

from city_fleet.naming import ENVIRONMENT_TAG

#: What the doctor wants to know: section and option, and how its value is read.
SETTINGS: dict[tuple[str, str], type] = {
    ("core", "executor"): str,
    ("core", "parallelism"): int,
    ("core", "dagbag_import_timeout"): float,
    ("core", "dags_are_paused_at_creation"): bool,
    ("dag_processor", "dag_file_processor_timeout"): int,
    ("dag_processor", "min_file_process_interval"): int,
    ("scheduler", "max_dagruns_per_loop_to_schedule"): int,
    ("triggerer", "capacity"): int,
    ("api", "base_url"): str,
    ("api", "port"): int,
}
MARK = "AIRFLOW PROBE "


def facts() -> dict[str, Any]:
    """Return version, settings, what it shows to others, pools, DAGs (id → paused, environment), import errors; or the
    database's problem."""
    from airflow import __version__  # noqa: PLC0415 - this module is imported where there is no Airflow, too
    from airflow.configuration import conf  # noqa: PLC0415

    getters = {str: conf.get, int: conf.getint, float: conf.getfloat, bool: conf.getboolean}
    found: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "settings": {
            f"{section}.{option}": getters[kind](section, option, fallback=None)
            for (section, option), kind in SETTINGS.items()
        },
        "observed": _observed(conf),
        "dialect": conf.get("database", "sql_alchemy_conn").split(":", 1)[0].split("+", 1)[0],
        "problem": None,
        "pools": {},
        "dags": {},
        "environments": {},
        "import_errors": [],
    }
    try:
        found |= _from_database()
    except Exception as error:  # whatever is wrong with a database is what the doctor has to tell
        found["problem"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return found


def _observed(conf: Any) -> dict[str, Any]:
    """Return what Airflow shows to others (docs/observe.md): what is on, and what of it has somewhere to go to.

    Addresses may hold a password: of each, only whether there is one.
    """
    elsewhere = conf.get("traces", "otel_host", fallback="") not in ("", None, "localhost")
    addresses = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    # As the provider's conf.py (2.20) decides whether it is off.
    options = ("transport", "config_path", "config_conn_id")
    wanted = any(conf.get("openlineage", name, fallback="") for name in options) or any(
        name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG") or name.startswith("OPENLINEAGE__TRANSPORT")
        for name, value in os.environ.items()
        if value
    )
    off = conf.getboolean("openlineage", "disabled", fallback=False)
    off = off or os.environ.get("OPENLINEAGE_DISABLED", "").lower() in ("true", "1", "t")
    packages = ("statsd", "datadog", "airflow.providers.openlineage")
    return {
        "traces": conf.getboolean("traces", "otel_on", fallback=False),
        "traces_exporter": os.environ.get("OTEL_TRACES_EXPORTER", "otlp"),
        "traces_address": elsewhere or any(os.environ.get(name) for name in addresses),
        # In the order in which Airflow chooses.
        "metrics": [
            name
            for name in ("statsd_datadog_enabled", "statsd_on", "otel_on")
            if conf.getboolean("metrics", name, fallback=False)
        ],
        "lineage": wanted and not off,
        "installed": [name for name in packages if find_spec(name) is not None],
    }


def _from_database() -> dict[str, Any]:
    from airflow.models.dag import DagModel, DagTag  # noqa: PLC0415
    from airflow.models.errors import ParseImportError  # noqa: PLC0415
    from airflow.models.pool import Pool  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415

    with create_session() as session:
        pools = session.execute(select(Pool.pool, Pool.slots, Pool.include_deferred))
        dags = session.execute(select(DagModel.dag_id, DagModel.is_paused).where(~DagModel.is_stale))
        tags = session.execute(
            select(DagTag.dag_id, DagTag.name).where(DagTag.name.startswith(ENVIRONMENT_TAG))
        )
        errors = session.scalars(select(ParseImportError.filename))
        return {
            "pools": {name: {"slots": slots, "include_deferred": bool(all_)} for name, slots, all_ in pools},
            "dags": {dag_id: bool(paused) for dag_id, paused in dags},
            "environments": {dag_id: name.removeprefix(ENVIRONMENT_TAG) for dag_id, name in tags},
            "import_errors": [str(name) for name in errors],
        }


if __name__ == "__main__":
    sys.stdout.write(f"{MARK}{json.dumps(facts())}\n")
