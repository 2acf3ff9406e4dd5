"""A city's tasks are copies of another's: nothing of the other is in them, and neither changes with the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.serialization.serialized_objects import DagSerialization

from city_fleet.config import load_fleet
from city_fleet.orchestration import city_dags as built
from city_fleet.orchestration.dag_parts import common_arguments
from city_fleet.plan import plan_city
from tests.support.fleets import SMALL
from tests.support.paths import ROOT

#: Cities whose tasks may be copies of each other's, and one of each kind whose tasks may not.
CITIES = """\
cities:
  austin:
  waco:
  dallas: {retries: 7}
  paris: {approval: manual}
  lyon: {approval: manual, retry_delay_seconds: 5}
"""


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleets")
    (folder / "small.yaml").write_text(SMALL + CITIES, encoding="utf-8")
    return folder


def text_of(dag: Any) -> str:
    found: str = json.dumps(DagSerialization.to_dict(dag), sort_keys=True)
    return found


@pytest.mark.parametrize("folder", ["texas", "small"])
def test_a_city_is_the_same_alone_and_among_others(folder: str, fleets: Path) -> None:
    where = ROOT / "include" / "fleets" if folder == "texas" else fleets
    together = {dag.dag_id: dag for dag in built.city_dags(where)}
    for dag_id, dag in together.items():
        plans = [task.plan for task in dag.tasks if hasattr(task, "plan")]
        assert len(plans) >= 8
        assert {plan.city.slug for plan in plans} == {dag_id.partition(".")[2]}
    some = sorted(together)[:: 1 if folder == "small" else 9]
    assert len(some) >= 5
    for dag_id in some:
        (alone,) = built.city_dags(where, dag_id)
        assert text_of(together[dag_id]) == text_of(alone), dag_id


def test_a_copy_is_what_its_own_init_would_have_made(fleets: Path) -> None:
    fleet = load_fleet(fleets / "small.yaml", {})
    patterns: built.Patterns = {}
    for slug in fleet.cities:
        built._city_dag(f"small.{slug}", fleet, slug, patterns)
    for slug in ("austin", "waco"):
        plan = plan_city(fleet, slug)
        for step in built.plan.steps("auto"):
            key = (step.task_id, plan.city.owner, plan.city.retries, plan.city.retry_delay_seconds, "auto")
            own = built._task(step.task_id, plan, common_arguments(plan.city))
            copied = built.copy_of(patterns[key], plan)
            assert type(copied) is type(own)
            assert set(vars(copied)) == set(vars(own)), step.task_id
            for name in ("plan", "package_group_name", "config", "region_name", "conditions"):
                assert getattr(copied, name, None) == getattr(own, name, None), (step.task_id, name)
            assert getattr(copied, "plan", plan) is plan, step.task_id
            told = vars(copied)["_BaseOperator__init_kwargs"]
            assert "plan" not in told or told["plan"] is plan, "what `airflow tasks` would build it anew from"


def test_a_change_of_one_city_is_not_another_s(fleets: Path) -> None:
    """A cluster policy changes tasks one by one."""
    dags = {dag.dag_id: dag for dag in built.city_dags(fleets)}
    one, other = dags["small.austin"], dags["small.waco"]
    before = text_of(other)
    for task in one.tasks:
        assert isinstance(task, BaseOperator)
        twin = other.get_task(task.task_id)
        for name, value in vars(task).items():
            if isinstance(value, (dict, list, set)):
                assert value is not vars(twin)[name], (task.task_id, name)
        task.queue, task.retries = "elsewhere", 9
        task.executor_config["pod"] = "large"
        task.params["more"] = 1
        task.add_outlets(["somewhere"])
        assert task.dag is one
        assert twin.dag is other
    assert text_of(other) == before
    assert text_of(one) != before
