"""Imports what tasks and DAG files need before Airflow forks the processes that they run in.

A scheduler with the LocalExecutor forks a process for each start of a task, and the DAG processor one for each look at
a DAG file. What the parent has imported they need not: the Amazon provider alone is most of a second of CPU, twice for
each task that is deferred. Airflow itself imports beforehand only what it needs.

This library is imported with it. An installed one changes with a restart; of a checkout, which may be edited or synced
at any time, each child looks whether its parent's is still the one on disk (``edited_sources``).
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from airflow.configuration import conf
from airflow.listeners import hookimpl
from airflow.sdk import Asset

from city_fleet import outgoing_text
from city_fleet.orchestration import edited_sources

#: What building and running the DAGs needs of others.
OTHERS = (
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.amazon.aws.operators.sagemaker",
    "airflow.providers.amazon.aws.triggers.sagemaker",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.hitl",
    "airflow.sdk.execution_time.task_runner",
    "airflow.timetables.trigger",
    "boto3",
    "pydantic",
    "yaml",
)
#: What building and running them needs of this library.
OURS = (
    "city_fleet.orchestration.city_dags",
    "city_fleet.orchestration.fleet_mistakes",
    "city_fleet.orchestration.shared_forms",
)
#: How many forks below them the work is done: a scheduler's workers fork a process for each task.
_GENERATIONS = {"scheduler": 2, "dag-processor": 1}
_log = outgoing_text.logger(__name__)
# Before most of the library is imported: what changes meanwhile is found at the first fork.
_SEEN = edited_sources.sources()


class PreimportListener:
    """Hears of the start of every component of Airflow."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        # Airflow says that something starts before it says what; its command line says it.
        if not _forks(sys.argv[1:2]):
            return
        _import_all()
        from city_fleet.config.places import is_installed  # noqa: PLC0415 - every process loads the plugin

        if not is_installed():
            edited_sources.Lineage(_GENERATIONS[sys.argv[1]], _SEEN, _import_all).follow()


def _import_all() -> None:
    try:
        for name in (*OTHERS, *OURS):
            importlib.import_module(name)
        # Before the first asset Airflow imports what each provider has to say of assets.
        Asset(name="city-fleet", uri="s3://city-fleet/preimport")
        if sys.argv[1] == "scheduler":  # no DAG file asks AWS
            from city_fleet.orchestration import aws_hooks  # noqa: PLC0415 - every process loads the plugin

            aws_hooks.read_models()
    except Exception:
        # Whoever needs it imports it, and says what is wrong.
        _log.exception("Not everything that tasks need is imported beforehand")


def _forks(command: list[str]) -> bool:
    """Tell whether a command of Airflow forks processes that import the modules.

    :param command: what follows ``airflow`` on the command line, such as ``scheduler``.
    """
    if command == ["scheduler"]:
        # With workers elsewhere a scheduler needs none of it.
        return "LocalExecutor" in str(conf.get("core", "executor"))
    return command == ["dag-processor"]
