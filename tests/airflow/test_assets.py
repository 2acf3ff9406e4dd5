"""The DAGs of fleets that hear of raw data: schedules, outlets, and what a fleet without them is spared."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.simple import AssetTriggeredTimetable

from city_fleet.config import load_fleet
from city_fleet.orchestration import assets, run_context
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.plan import plan_city
from tests.support.fleets import SMALL

RAW = "s3://small-data/small/raw/city=austin"
JANUARY = datetime(2014, 1, 1, tzinfo=UTC)


def write(folder: Path, events: str = "", schedule: str = '"0 2 * * *"') -> Path:
    text = f"{SMALL}schedule: {schedule}\nspread_minutes: 60\nend_date: 2030-01-01\n{events}"
    (folder / "small.yaml").write_text(f"{text}\ncities:\n  austin: {{name: Austin}}\n")
    return folder


def stored(dag: Any) -> Any:
    """The DAG as the scheduler has it."""
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


def uris(timetable: Any) -> list[str]:
    return [key.uri for key, _ in timetable.asset_condition.iter_assets()]


def test_a_city_runs_by_its_schedule_or_when_its_raw_data_change(tmp_path: Path) -> None:
    (plain,) = map(stored, city_dags(write(tmp_path)))
    (dag,) = map(stored, city_dags(write(tmp_path, "events: {assets: true}")))
    assert isinstance(dag.timetable, AssetOrTimeSchedule)
    assert uris(dag.timetable) == [RAW]
    # Ticks, their window and their end are those of a fleet that hears of nothing, backfills included.
    first, last = JANUARY, datetime(2014, 1, 3, tzinfo=UTC)
    found = [list(each.iter_dagrun_infos_between(first, last)) for each in (dag, plain)]
    assert found[0] == found[1]
    assert [info.logical_date.hour for info in found[0]] == [2, 2]
    assert dag.timetable.can_be_scheduled
    assert dag.timetable.periodic  # else Airflow refuses a backfill
    assert dag.timetable.summary == f"Asset or {plain.timetable.summary}"


def test_a_city_without_a_schedule_runs_when_its_raw_data_change_and_else_never(tmp_path: Path) -> None:
    (dag,) = map(stored, city_dags(write(tmp_path, "events: {assets: true}", schedule="null")))
    assert type(dag.timetable) is AssetTriggeredTimetable
    assert uris(dag.timetable) == [RAW]
    (dag,) = map(stored, city_dags(write(tmp_path, schedule="null")))
    assert not isinstance(dag.timetable, AssetTriggeredTimetable)


def test_a_fleet_without_events_has_no_trace_of_assets(tmp_path: Path) -> None:
    write(tmp_path)
    dags = [*city_dags(tmp_path), *fleet_dags(tmp_path)]
    for dag in dags:
        assert not any(task.outlets or task.inlets for task in dag.tasks), dag.dag_id
        assert uris(stored(dag).timetable) == [], dag.dag_id
    assert "small._arrivals" not in {dag.dag_id for dag in dags}
    assert [dag.dag_id for dag in fleet_dags(tmp_path, only="small._arrivals")] == []


def test_the_queue_is_watched_by_a_dag_of_its_own_which_updates_the_cities_it_names(tmp_path: Path) -> None:
    write(tmp_path, "events: {assets: true, queue: small--laptop--arrivals, quiet_seconds: 7}")
    (dag,) = fleet_dags(tmp_path, only="small._arrivals")
    (asset,) = dag.timetable.asset_condition.objects
    assert asset.name == asset.uri == "sqs://us-east-1/small--laptop--arrivals"
    (watcher,) = asset.watchers
    trigger = watcher.trigger
    assert type(trigger)(**trigger.serialize()[1]).serialize() == trigger.serialize()
    said = trigger.serialize()[1]
    assert (said["queue"], said["fleet"], said["quiet_seconds"]) == ("small--laptop--arrivals", "small", 7)
    assert [task.task_id for task in dag.topological_sort()] == ["announce", "delete"]
    (outlet,) = dag.get_task("announce").outlets
    assert isinstance(outlet, AssetAlias)  # a plain asset is updated by every success
    assert dag.is_paused_upon_creation is False
    assert dag.max_active_runs == 1
    assert stored(dag).timetable.asset_condition


def test_who_moves_a_live_pointer_may_update_its_asset(tmp_path: Path) -> None:
    write(tmp_path, "events: {assets: true}")
    (city,) = city_dags(tmp_path)
    outlets = {task.task_id: task.outlets for task in city.tasks if task.outlets}
    assert {task: [each.name for each in found] for task, found in outlets.items()} == {
        "publish": ["small.laptop.live"]
    }
    (reconcile,) = fleet_dags(tmp_path, only="small._reconcile")
    announce = reconcile.get_task("announce")
    assert [each.name for each in announce.outlets] == ["small.laptop.live"]
    # It runs however the look has ended, and does not hide that it has failed.
    assert announce.is_teardown
    assert announce.upstream_task_ids == {"reconcile"}


def test_a_run_that_an_asset_has_started_sees_what_has_arrived_until_the_newest_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    fleet = load_fleet(write(tmp_path, "events: {assets: true}") / "small.yaml", {})
    plan = plan_city(fleet, "austin")
    events: list[Any] = []

    class Events(list[Any]):
        def __init__(self, asset_name: str, asset_uri: str) -> None:
            assert asset_name == asset_uri == RAW
            super().__init__(events)

        def ascending(self, yes: bool) -> Events:
            assert not yes
            return self

        def limit(self, most: int) -> list[Any]:
            return self[:most]

    monkeypatch.setattr(assets, "InletEventsAccessor", Events)
    queued, came = datetime(2014, 5, 1, tzinfo=UTC), datetime(2014, 5, 2, tzinfo=UTC)

    def moment(run_type: str, logical_date: datetime | None = None, as_of: str | None = None) -> datetime:
        run = SimpleNamespace(run_type=run_type, logical_date=logical_date, run_after=queued, run_id="r")
        context: Any = {"dag_run": run, "params": {"as_of": as_of}}
        return run_context.as_of(plan, context)

    with subtests.test("no event is left, as after Airflow's clean-up"):
        assert moment("asset_triggered") == queued
    events[:] = [SimpleNamespace(extra={}, timestamp=came), SimpleNamespace(extra={}, timestamp=queued)]
    with subtests.test("a DAG of others says nothing: when its task has ended"):
        assert moment("asset_triggered") == came
    events[0] = SimpleNamespace(extra={"as_of": "20140503T000000Z"}, timestamp=came)
    with subtests.test("the arrivals DAG says a moment"):
        assert moment("asset_triggered") == datetime(2014, 5, 3, tzinfo=UTC)
    with subtests.test("a person's moment counts more"):
        assert moment("asset_triggered", as_of="2014-01-01") == JANUARY
    with subtests.test("other runs do not look"):
        assert moment("scheduled", JANUARY) == JANUARY
        assert moment("manual") == queued
    events[0] = SimpleNamespace(extra={"as_of": "tomorrow"}, timestamp=came)
    with subtests.test("nonsense is refused"), pytest.raises(Exception, match="as_of: got 'tomorrow'"):
        moment("asset_triggered")
