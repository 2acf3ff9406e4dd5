"""What the operators are and what they replace is what docs/internals/architecture.md says of them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from airflow.sdk import BaseOperator

import city_fleet.orchestration
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.city_tasks.approve_operator import ApproveOperator
from city_fleet.orchestration.fleet_dags import fleet_dags
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "internals" / "architecture.md"
#: Airflow's entry points into an operator, which an operator may replace.
ENTRIES = ("execute", "execute_complete", "on_kill")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    parent: str
    template_fields: frozenset[str]
    replaced: frozenset[str]


def names(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`(\w+)`", cell))


def table() -> dict[str, Row]:
    """The rows of "What the operators are", by operator."""
    text = PAGE.read_text(encoding="utf-8").split("\n## What the operators are\n")[1].split("\n## ")[0]
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if line.startswith("| `"):
            (operator,), (parent,) = names(cells[1]), names(cells[2])
            found[operator] = Row(parent, names(cells[3]), names(cells[4]))
    return found


def is_ours(kind: type) -> bool:
    return kind.__module__.startswith("city_fleet.")


def our_operators() -> Iterator[type[BaseOperator]]:
    """Yield the operators of the library that make tasks, of every module of orchestration."""
    package = city_fleet.orchestration
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.endswith(".openlineage_facets"):
            continue  # it needs the provider that asks for it, and has no operator
        for kind in vars(importlib.import_module(module.name)).values():
            if isinstance(kind, type) and issubclass(kind, BaseOperator) and kind.__module__ == module.name:
                yield kind


def parent_of(kind: type) -> type:
    """The first class of an operator that is not ours, mixins of ours left out."""
    return next(each for each in kind.__mro__ if not is_ours(each))


def replaced(kind: type) -> frozenset[str]:
    """The entry points that code of ours stands for."""
    return frozenset(
        name
        for name in ENTRIES
        if (owner := next((each for each in kind.__mro__ if name in vars(each)), None)) and is_ours(owner)
    )


def test_every_operator_is_in_the_table_as_it_is() -> None:
    rows, kinds = (
        table(),
        {
            kind.__name__: kind
            for kind in our_operators()
            if kind.__name__ not in ("CityOperator", "CohortOperator", "FleetOperator")
        },
    )
    stock = {"SageMakerConditionOperator", "EmptyOperator"}
    assert set(rows) == {*kinds, *stock}
    for name, kind in kinds.items():
        assert rows[name] == Row(parent_of(kind).__name__, frozenset(kind.template_fields), replaced(kind)), (
            name
        )
        inherited = frozenset(parent_of(kind).template_fields)
        # The question holds a fleet file's names, which nobody may have rendered.
        assert frozenset(kind.template_fields) >= (
            inherited if kind is not ApproveOperator else frozenset()
        ), name
        assert not kind.operator_extra_links, f"{name} has links: say so below the table"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[BaseOperator]:
    """Every task of a city that asks a person, of a cohort, of the fleet-wide DAGs, and of a city with a mistake."""
    folder = tmp_path_factory.mktemp("fleets")
    text = (ROOT / "include" / "fleets" / "texas_housing.yaml").read_text()
    cities = (
        "cities:\n  austin: {name: Austin, approval: manual}\n  dallas: {name: Dallas, cohort: 10}\n"
        "  waco: {name: Waco, gate: {tolerance: no}}\n"
        "digest:\n  notifiers: [{notifier: airflow.providers.http.notifications.HttpNotifier}]\n"
    )
    text = re.sub(r"^(cities|digest):\n(?:[ #\n].*\n?|\n)*", "", text, flags=re.MULTILINE)
    (folder / "texas_housing.yaml").write_text(f"{text}\n{cities}")
    listed = text.replace("fleet: texas_housing", "fleet: listed").replace(
        "queue: texas-housing--", "queue: listed--"
    )
    listed += (
        "\ncities: {from: cities.csv}\ncity_list: {source: 's3://lake/cities.csv'}\n"
        "forecasts: {schedule: '0 8 * * *'}\nmonitor: {schedule: '0 9 * * *'}\n"
        "endpoints:\n  boxes:\n    kind: multi_container\n    algorithms: [linear]\n"
        "    hours: {open: '07:00', close: '20:00'}\n"
    )
    (folder / "listed.yaml").write_text(listed)
    (folder / "cities.csv").write_text("name\nWaco\n")
    every = [task for build in (city_dags, fleet_dags) for dag in build(folder) for task in dag.tasks]
    # Airflow's own, as it is: its link leads to the run that it starts.
    found = [task for task in every if task.task_type != "TriggerDagRunOperator"]
    return [task.unmap({"slug": "dallas"}) if task.is_mapped else task for task in found]


def test_the_tasks_of_the_dags_are_operators_of_the_table(tasks: list[BaseOperator]) -> None:
    rows = table()
    used = {type(task).__name__ for task in tasks}
    assert used == set(rows), "the table lists what no DAG uses, or a DAG uses what it does not list"
    for task in tasks:
        kind, row = type(task), rows[type(task).__name__]
        assert isinstance(task, parent_of(kind)), task
        assert set(task.template_fields) == row.template_fields, task
        assert not task.operator_extra_links, task
