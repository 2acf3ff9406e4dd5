"""The DAGs that Airflow sees: which there are, how tasks are ordered, which policies they keep."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import subprocess
import sys
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerConditionOperator,
    SageMakerEndpointConfigOperator,
    SageMakerEndpointOperator,
    SageMakerModelOperator,
    SageMakerProcessingOperator,
    SageMakerRegisterModelVersionOperator,
    SageMakerTrainingOperator,
)
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.definitions.param import process_params
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from city_fleet.config import load_fleet
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.run_context import PARAMS
from city_fleet.plan import PURPOSES
from tests.support.paths import ROOT

FLEETS = ROOT / "include" / "fleets"
#: The fleets of the repository, with how many cities each has.
CITIES = {"flights": 8, "house_sales": 14, "restaurants": 8, "texas_housing": 47}
OF_FLEETS = {f"{fleet}._{purpose}" for fleet in CITIES for purpose in PURPOSES} | {"texas_housing._arrivals"}
OF_FLEET = tuple(f"texas_housing._{purpose}" for purpose in PURPOSES)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing a DAG file must not talk to anybody: hundreds of processes do it every minute."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a DAG file opened a connection while it was parsed")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    return {dag.dag_id: dag for dag in [*city_dags(FLEETS), *fleet_dags(FLEETS)]}


def test_there_is_one_dag_per_city_and_a_few_per_fleet(no_network: None) -> None:
    fleets = [load_fleet(FLEETS / f"{name}.yaml", environ={}) for name in CITIES]
    found = {dag.dag_id for dag in [*city_dags(FLEETS), *fleet_dags(FLEETS)]}
    assert {f"{fleet.fleet}.{slug}" for fleet in fleets for slug in fleet.cities} | OF_FLEETS == found
    assert {fleet.fleet: len(fleet.cities) for fleet in fleets} == CITIES


def test_tasks_run_in_their_vital_order(dags: dict[str, Any]) -> None:
    dag = dags["texas_housing.austin"]
    order = ["preprocess", "train", "evaluate", "decide", "register", "gate", "publish", "record"]
    for earlier, later in itertools.pairwise(order):
        assert later in dag.get_task(earlier).downstream_task_ids
    assert dag.get_task("gate").downstream_task_ids == {"publish", "keep_champion"}
    assert dag.get_task("record").is_teardown


def test_only_the_dag_has_the_params_of_a_run(dags: dict[str, Any]) -> None:
    """Three quarters of serialising went into the copies that tasks inherit; a run gives them the DAG's anyway."""
    dag = dags["texas_housing.austin"]
    assert {task.task_id: dict(task.params) for task in dag.tasks} == {task.task_id: {} for task in dag.tasks}
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert dict(stored.params) == {"as_of": None, "force": False, "repeat": False}
    assert tuple(stored.params) == PARAMS  # what a run may be started with
    assert stored.params.get_param("force").schema["title"] == "Force"
    (dag,) = city_dags(FLEETS, only="texas_housing.austin")  # Airflow writes a run's values into these
    given = process_params(dag, dag.get_task("decide"), {"as_of": "2014-01-01"}, suppress_exception=False)
    assert given == {"as_of": "2014-01-01", "force": False, "repeat": False}
    with pytest.raises(ParamValidationError):
        process_params(dag, dag.get_task("decide"), {"force": "perhaps"}, suppress_exception=False)
    with pytest.raises(ParamValidationError, match="as_of"):
        process_params(dag, dag.get_task("decide"), {"as_of": "next tuesday"}, suppress_exception=False)


def test_the_form_shows_a_picker_and_stars_nothing(dags: dict[str, Any]) -> None:
    """As Airflow's form (3.3.2) decides: a picker for a string of format date-time, a star for what can't be null."""
    for dag in dags.values():
        stored = DagSerialization.from_dict(DagSerialization.to_dict(dag)).params
        for name in stored:
            param = stored.get_param(name)
            assert "null" in param.schema["type"], (dag.dag_id, name)
            assert param.description.endswith("."), (dag.dag_id, name)
    as_of = dags["texas_housing.austin"].params.get_param("as_of")
    shown = next(kind for kind in as_of.schema["type"] if kind != "null")
    assert (shown, as_of.schema["format"]) == ("string", "date-time")
    # What the picker sends, and what people, commands and our own requests write.
    for text in (
        "2014-01-01T06:30:00.000Z",
        "2014-01-01T06:30:00+05:00",
        "2014-01-01",
        "20140101T000000Z",
        "",
        None,
    ):
        assert copy(as_of).resolve(text) == text
    for text in ("01/02/2014", "yesterday", "2014", 20140101):
        with pytest.raises(ParamValidationError):
            copy(as_of).resolve(text)


def test_a_runs_params_are_not_those_of_another_city() -> None:
    """Airflow writes a run's values into the params of the DAG that a process has built."""
    forced, other = (next(city_dags(FLEETS, only=f"texas_housing.{city}")) for city in ("austin", "waco"))
    asked = {"as_of": "2014-01-01", "force": True, "repeat": True}
    assert process_params(forced, forced.get_task("decide"), asked, suppress_exception=False) == asked
    untouched = {"as_of": None, "force": False, "repeat": False}
    assert process_params(other, other.get_task("decide"), None, suppress_exception=False) == untouched


def test_the_text_of_a_dag_says_where_its_settings_are_and_not_each_of_them(dags: dict[str, Any]) -> None:
    shown = str(dags["texas_housing.austin"].doc_md).replace("\\", "")  # as Markdown shows it
    assert shown == (
        "Trains the model of **Austin**, and publishes it if the gate lets it.\n\n"
        "- Runs when raw data arrive, and at 00:00, on day 1 of the month (UTC), until 2015-08-01: by hand after that, "
        "with the data known by then\n"
        "- What serves: **./fleet status austin --fleet texas_housing**\n"
        "- Settings: include/fleets/texas_housing.yaml; **./fleet plan austin --fleet texas_housing --requests**\n"
    )


def test_the_text_of_a_dag_says_that_its_schedule_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITY_FLEET_REPLAY_SINCE", "2026-11-26")
    (dag,) = city_dags(FLEETS, only="texas_housing.austin")
    assert "until 2015-08-01: its last ticks here again, one a night\n" in str(dag.doc_md)


def test_lists_show_a_citys_name(dags: dict[str, Any]) -> None:
    dag = dags["texas_housing.bryan_college_station"]
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert stored.dag_display_name == "Bryan-College Station (texas_housing)"
    assert dag.dag_id == "texas_housing.bryan_college_station"


def test_operators_are_the_providers(dags: dict[str, Any]) -> None:
    dag = dags["texas_housing.austin"]
    for task_id, kind in {
        "preprocess": SageMakerProcessingOperator,
        "train": SageMakerTrainingOperator,
        "evaluate": SageMakerProcessingOperator,
        "register": SageMakerRegisterModelVersionOperator,
        "gate": SageMakerConditionOperator,
    }.items():
        assert isinstance(dag.get_task(task_id), kind)
    fleet_dag = dags["texas_housing._endpoint"]
    for task_id, kind in {
        "model": SageMakerModelOperator,
        "endpoint_config": SageMakerEndpointConfigOperator,
        "endpoint": SageMakerEndpointOperator,
    }.items():
        assert isinstance(fleet_dag.get_task(task_id), kind)


def test_every_dag_keeps_the_policies(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert {f"fleet:{dag.dag_id.partition('.')[0]}", "environment:laptop"} <= set(dag.tags)
        assert dag.doc_md
        # Where a person is asked, tonight's run does not wait behind last night's question.
        assert dag.max_active_runs == (2 if "approve" in dag.task_ids else 1)
        assert dag.catchup is False
        for task in dag.tasks:
            assert task.owner == "data-engineering"
            assert task.retries >= 1
            waits_for_a_job = getattr(task, "deferrable", False)
            # Retiring goes through thousands of cities, and ends by itself.
            longest = timedelta(hours=7) if task.task_id == "retire" else timedelta(minutes=15)
            # What waits for a person waits for as long as the city's settings say.
            no_worker = isinstance(task, EmptyOperator) or task.task_id == "approve"
            assert waits_for_a_job or no_worker or task.execution_timeout <= longest
            assert task.pool == ("city_fleet_laptop" if hasattr(task, "step") else "default_pool")


def test_a_run_ends_with_its_record(dags: dict[str, Any]) -> None:
    """publish, keep_champion and recorded say how a run counts; the record's own task is a teardown, which does not."""
    dag = dags["texas_housing.waco"]
    record, recorded = dag.get_task("record"), dag.get_task("recorded")
    assert record.is_teardown
    assert not record.on_failure_fail_dagrun
    assert record.retries >= 8
    assert (recorded.is_teardown, recorded.trigger_rule) == (False, "all_success")
    assert (recorded.upstream_task_ids, recorded.downstream_task_ids) == ({"record"}, set())


def test_serialising_twice_gives_the_same(dags: dict[str, Any]) -> None:
    """A difference from parse to parse writes a new DAG version every time."""
    again = {dag.dag_id: dag for dag in [*city_dags(FLEETS), *fleet_dags(FLEETS)]}
    for dag_id in ("texas_housing.austin", *OF_FLEET):
        first, second = (DagSerialization.to_dict(source[dag_id]) for source in (dags, again))
        assert json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def test_a_starting_task_builds_its_own_dag_only() -> None:
    assert [dag.dag_id for dag in city_dags(FLEETS, only="texas_housing.waco")] == ["texas_housing.waco"]
    assert list(city_dags(FLEETS, only="texas_housing._endpoint")) == []
    for dag_id in OF_FLEET:
        assert [dag.dag_id for dag in fleet_dags(FLEETS, only=dag_id)] == [dag_id]


def test_only_what_looks_after_the_fleet_is_switched_on_by_itself(dags: dict[str, Any]) -> None:
    """Stopping orphans, carrying out what people have decided, and hearing of raw data that arrive."""
    on = {f"{fleet}._{purpose}" for fleet in CITIES for purpose in ("reaper", "reconcile")}
    on.add("texas_housing._arrivals")
    assert {dag_id: dag.is_paused_upon_creation for dag_id, dag in dags.items()} == {
        dag_id: False if dag_id in on else None for dag_id in dags
    }


def test_where_a_person_is_asked_the_question_comes_between_gate_and_publish(fleets: Path) -> None:
    path = fleets / "texas_housing.yaml"
    path.write_text(path.read_text().replace("{name: Waco}", "{name: Waco, approval: manual}"))
    (dag,) = city_dags(fleets, only="texas_housing.waco")
    assert len(dag.tasks) == 11
    approve = dag.get_task("approve")
    assert isinstance(approve, HITLOperator)
    assert dag.get_task("gate").downstream_task_ids == {"approve", "keep_champion"}
    assert dag.get_task("gate").if_task_ids == ["approve"]
    assert approve.downstream_task_ids == {"publish", "keep_champion"}
    assert dag.get_task("keep_champion").trigger_rule == "none_failed_min_one_success"
    assert list(approve.params) == ["note"]
    assert approve.execution_timeout is None  # Airflow would take it for the time that the person has
    # Tonight's run supersedes last night's question instead of waiting behind it.
    assert dag.max_active_runs == 2
    assert dag.get_task("record").upstream_task_ids == {"publish", "keep_champion"}
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert stored.get_task("approve").operator_name == "ApproveOperator"


def test_reconcile_looks_as_the_fleet_file_says(fleets: Path) -> None:
    (dag,) = fleet_dags(FLEETS, only="texas_housing._reconcile")
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert stored.timetable.summary == "*/15 * * * *"
    assert "rolled back" not in dag.doc_md
    path = fleets / "texas_housing.yaml"
    path.write_text(path.read_text() + "\nreconcile: {schedule: null, on_live_rejected: rollback}\n")
    (dag,) = fleet_dags(fleets, only="texas_housing._reconcile")
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable.can_be_scheduled is False
    assert "its city is rolled back and named" in dag.doc_md


def test_the_reaper_looks_as_the_fleet_file_says(fleets: Path) -> None:
    (dag,) = fleet_dags(FLEETS, only="texas_housing._reaper")
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert (
        stored.timetable.summary == "*/15 * * * *"
    )  # and has no end, though the city DAGs' schedule has one
    first = stored.timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(stored.start_date, None, catchup=False)
    )
    assert abs(datetime.now(UTC) - first.run_after) <= timedelta(minutes=16)  # nothing is caught up
    assert dag.dagrun_timeout == timedelta(hours=1)
    assert dag.params["dry_run"] is False
    path = fleets / "texas_housing.yaml"
    path.write_text(path.read_text() + "\nreaper: {schedule: null, grace_minutes: 3}\n")
    (dag,) = fleet_dags(fleets, only="texas_housing._reaper")
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable.can_be_scheduled is False
    assert "for 3 minutes or more" in dag.doc_md


def test_retiring_does_as_the_fleet_file_says(fleets: Path) -> None:
    (dag,) = fleet_dags(FLEETS, only="texas_housing._retire")
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert stored.timetable.summary == "0 12 * * 0"
    assert dag.params["dry_run"] is False
    path = fleets / "texas_housing.yaml"
    path.write_text(path.read_text() + "\nretire: {schedule: null, keep_newest: 7, delete_packages: false}\n")
    (dag,) = fleet_dags(fleets, only="texas_housing._retire")
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable.can_be_scheduled is False
    assert "the newest 7" in dag.doc_md
    assert "and not its version in the registry" in dag.doc_md


@pytest.fixture
def fleets(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FLEETS, tmp_path / "fleets"))


def test_one_bad_city_becomes_a_dag_that_says_why_and_the_others_go_on(fleets: Path) -> None:
    text = (fleets / "texas_housing.yaml").read_text()
    broken = text.replace("  austin: {name: Austin", "  austin: {gate: {tolerence: 0.1}, name: Austin")
    (fleets / "texas_housing.yaml").write_text(broken)
    dags = {dag.dag_id: dag for dag in city_dags(fleets)}
    assert len(dags) == sum(CITIES.values())
    assert len(dags["texas_housing.waco"].tasks) == 10
    (task,) = dags["texas_housing.austin"].tasks
    assert "tolerence" in task.message
    assert "Did you mean 'tolerance'?" in task.message
    with pytest.raises(Exception, match="tolerence"):
        task.execute({})


def test_a_fleet_file_that_cannot_be_read_leaves_the_other_fleets(fleets: Path) -> None:
    (fleets / "broken.yaml").write_text("fleet: [\n")
    dags = {dag.dag_id: dag for dag in city_dags(fleets)}
    assert len(dags) == sum(CITIES.values()) + 1
    assert "broken.yaml" in dags["broken._fleet_file"].tasks[0].message
    assert {dag.dag_id for dag in fleet_dags(fleets)} == OF_FLEETS


def test_airflows_plugin_loader_stays_out_of_the_library() -> None:
    """Airflow executes every file below plugins/ as a module of its bare name.

    A library file named like a standard or installed module would replace it for the whole process. Checked with
    Airflow 3.3.2; cure: plugins/.airflowignore, absolute imports, and no such names.
    """
    assert "city_fleet" in (ROOT / "plugins" / ".airflowignore").read_text().split()
    installed = {name.split(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
    for other in ("include/scripts", "bench"):
        installed |= {path.stem for path in (ROOT / other).glob("*.py")}
    installed -= {"city_fleet"}
    for path in (ROOT / "plugins").rglob("*.py"):
        if path.stem != "__init__" and path.parent.name != "plugins":
            assert path.stem not in installed or path.stem.startswith("city_fleet"), path
        assert "\nfrom ." not in path.read_text(), f"{path} uses a relative import"


def test_airflow_finds_no_import_error() -> None:
    """A fresh process, because the loader changes sys.path and sys.modules."""
    code = (
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag()\n"
        "assert not bag.import_errors, bag.import_errors\n"
        f"assert len(bag.dags) == {sum(CITIES.values()) + len(OF_FLEETS)}, len(bag.dags)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
