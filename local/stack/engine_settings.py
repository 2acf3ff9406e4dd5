"""Airflow's settings that follow from a stack's engine: its database, its executor, and each worker's own folders."""

from __future__ import annotations

from collections.abc import Mapping

from local.stack.layout import HOST, Layout

DATABASE_USER = DATABASE_NAME = "airflow"
# Two workers on two cores: what runs is mostly starting a job or looking at one, and then it is deferred.
TASKS_PER_WORKER = 4
# A message that no worker has acknowledged comes again after this time. Tasks are acknowledged when they have ended,
# so it must be longer than any task runs in one piece; those of City Fleet end within minutes, since jobs are waited
# for in a triggerer. Celery's own default would be an hour, the provider's a day.
VISIBILITY_TIMEOUT_SECONDS = 3600


def variables(layout: Layout, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return Airflow's variables of the engine.

    :param secrets: as :func:`local.stack.secrets_file.stack_secrets` returns them
    """
    return {
        **_database(layout, secrets),
        **(_celery(layout, secrets) if layout.engine.celery else _local()),
    }


def database_url(layout: Layout, secrets: Mapping[str, str]) -> str:
    """Return the URL of the stack's PostgreSQL, without a driver's name: Airflow takes the one that is installed."""
    user = f"{DATABASE_USER}:{secrets['database_password']}"
    return f"postgresql://{user}@{HOST}:{layout.database_port}/{DATABASE_NAME}"


def broker_url(layout: Layout, secrets: Mapping[str, str]) -> str:
    """Return the URL of the stack's Redis."""
    return f"redis://:{secrets['broker_password']}@{HOST}:{layout.broker_port}/0"


def _database(layout: Layout, secrets: Mapping[str, str]) -> dict[str, str]:
    if layout.engine.postgres:
        url = database_url(layout, secrets)
        return {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url.replace("postgresql:", "postgresql+asyncpg:"),
        }
    # Several processes write; SQLite's own 5 seconds of patience are too few.
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{layout.database}?timeout=60",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"sqlite+aiosqlite:///{layout.database}?timeout=60",
    }


def _local() -> dict[str, str]:
    return {"AIRFLOW__CORE__EXECUTOR": "local.stack.executor.ResumeSafeLocalExecutor"}


def _celery(layout: Layout, secrets: Mapping[str, str]) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": broker_url(layout, secrets),
        # Without it Celery keeps results where Airflow keeps its own, by a driver that may not be installed.
        "AIRFLOW__CELERY__RESULT_BACKEND": "db+"
        + database_url(layout, secrets).replace("postgresql:", "postgresql+psycopg2:"),
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(TASKS_PER_WORKER),
        # A worker takes no task that it can't start, and gives one back only when it has ended.
        "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
        "AIRFLOW__CELERY__TASK_ACKS_LATE": "True",
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT_SECONDS),
    }


def worker_variables(layout: Layout, component: str) -> dict[str, str]:
    """Return what a Celery worker has for itself, as on a machine of its own; empty for other components."""
    if not component.startswith("worker-"):
        return {}
    home = layout.state_dir / "workers" / component
    return {"AIRFLOW_HOME": str(home), "CITY_FLEET_COMPILED": str(home / "compiled_fleets")}
