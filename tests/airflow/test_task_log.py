"""What tasks and triggers log, with a logger of Airflow's own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import structlog
from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger

import city_fleet.orchestration
from city_fleet.orchestration.fleet_tasks.digest_operators import NotifyOperator
from city_fleet.orchestration.task_log import PrintableLog


def ours() -> Iterator[type[Any]]:
    """Yield the library's operators and triggers."""
    package = city_fleet.orchestration
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.endswith(".openlineage_facets"):
            continue  # it needs the provider that asks for it, and has no operator
        for kind in vars(importlib.import_module(module.name)).values():
            is_kind = isinstance(kind, type) and issubclass(kind, BaseOperator | BaseTrigger)
            if is_kind and kind.__module__ == module.name:
                yield kind


def test_all_of_them_log_through_it() -> None:
    kinds = {kind.__name__: kind for kind in ours()}
    assert len(kinds) > 15
    # One that logs nothing.
    assert {name for name, kind in kinds.items() if not issubclass(kind, PrintableLog)} == {
        "FleetFileMistake"
    }


def test_others_text_is_escaped_and_numbers_stay_numbers() -> None:
    task = NotifyOperator(task_id="t", notifier="airflow.providers.x.Y", arguments={})
    with structlog.testing.capture_logs() as told:
        task.log.info("%s, line %d: %s", "\x1b[2J\u202eaustin\nforged", 3, ValueError("\x9bcell"))
        task.log.warning("\u2066all of it")
    events = [each["event"] % each.get("positional_args", ()) for each in told]
    assert events == ["\\u001b[2J\\u202eaustin\\nforged, line 3: \\u009bcell", "\\u2066all of it"]
