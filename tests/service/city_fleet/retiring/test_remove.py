"""Taking a city out of service, and back: real S3, a registry, and Airflow's REST API."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from click.testing import Result
from typer.testing import CliRunner

from city_fleet.airflow_rest.airflow_client import AirflowRest
from city_fleet.airflow_rest.login_channel import TOKEN, URL, airflow_at
from city_fleet.champions import champion_history, rebuild
from city_fleet.cli.app import app
from city_fleet.errors import AirflowError, BrokenPointer, PointerMoved, PublishError
from city_fleet.retiring import remove
from city_fleet.retiring.remove import CityDag, Removal
from city_fleet.state import live
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Outcome
from tests.support.airflow_server import MONTHS, AirflowServer, FakeDag, running_airflow
from tests.support.factors import KEYS, Aws, City
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.town import BUCKET, Town


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    with running_airflow() as airflow:
        yield airflow


@pytest.fixture
def airflow(server: AirflowServer) -> Iterator[AirflowRest]:
    with airflow_at(server.url, token="given") as rest:
        yield rest


@pytest.fixture
def town(aws: LocalSageMaker, server: AirflowServer) -> Town:
    """A city that has served two models, with its DAG."""
    made = Town(aws, f"f{uuid.uuid4().hex[:8]}", "waco")
    made.publish(0)
    made.publish(1)
    server.dags[dag_id(made)] = FakeDag(runs={MONTHS[0]: "success", MONTHS[1]: "failed"})
    return made


def dag_id(town: Town) -> str:
    return f"{town.keys.fleet}.{town.slug}"


def take_out(
    town: Town,
    airflow: AirflowRest | None,
    *,
    s3: Any = None,
    reason: str = "",
    dry_run: bool = False,
    **waiting: Any,
) -> Removal:
    city = town.context()
    if s3 is not None:
        city = replace(city, aws=Aws(s3, town.sagemaker, None))
    dag = None if airflow is None else CityDag(airflow, dag_id(town), **waiting)
    return remove.remove(city, Author("ann", reason), dag, dry_run=dry_run)


def states(town: Town) -> list[tuple[int, str, str]]:
    found = champion_history.history(town.s3, town.keys, town.slug)
    return [(each.sequence, each.state.move, each.state.target_model) for each in found.states if each.state]


def test_the_dag_is_paused_and_the_pointer_is_in_the_history(
    town: Town, server: AirflowServer, airflow: AirflowRest
) -> None:
    served = live.read(town.s3, town.keys, town.slug)
    assert served is not None
    done = take_out(town, airflow, reason="the office is closed")
    assert (done.outcome, done.before, done.dag) == (Outcome.REMOVED, served.pointer, "its DAG is paused")
    assert live.read(town.s3, town.keys, town.slug) is None
    assert server.dags[dag_id(town)].paused is True
    found = champion_history.history(town.s3, town.keys, town.slug)
    assert found.problem is None
    last = found.states[-1].state
    assert last is not None
    assert (last.sequence, last.move, last.moved_by, last.reason) == (
        3,
        "remove",
        "ann",
        "the office is closed",
    )
    assert (last.target_model, last.restores) == (town.target(1), 2)
    assert found.states[-2].until == last.moved_at


def test_removing_twice_changes_nothing(town: Town, airflow: AirflowRest) -> None:
    take_out(town, airflow)
    before = states(town)
    again = take_out(town, airflow)
    assert (again.outcome, again.note, again.dag) == (
        Outcome.UNCHANGED,
        "it serves nothing",
        "its DAG is paused already",
    )
    assert states(town) == before
    never = remove.remove(replace(town.context(), slug="never"), Author("ann"), None)
    assert never.outcome == Outcome.UNCHANGED


def test_a_run_that_has_not_ended_refuses_and_nothing_changes(
    town: Town, server: AirflowServer, airflow: AirflowRest
) -> None:
    dag = server.dags[dag_id(town)]
    dag.runs[MONTHS[2]] = "running"
    with pytest.raises(AirflowError, match=r"run__2014-03-01T00:00:00\+00:00 \(running\).*--wait") as caught:
        take_out(town, airflow)
    assert "Nothing was changed" in str(caught.value)
    assert dag.paused is False
    dag.paused = True
    with pytest.raises(AirflowError, match="The DAG is paused, so they will not end by themselves"):
        take_out(town, airflow, wait_seconds=600, sleep=lambda _: None)
    assert live.read(town.s3, town.keys, town.slug) is not None


def test_it_waits_for_runs_and_drops_what_they_published(
    town: Town, server: AirflowServer, airflow: AirflowRest
) -> None:
    dag = server.dags[dag_id(town)]
    dag.runs[MONTHS[2]] = "running"

    def publish_and_end(_: float) -> None:
        town.publish(2)
        dag.runs[MONTHS[2]] = "success"

    done = take_out(town, airflow, wait_seconds=600, sleep=publish_and_end)
    assert done.before is not None
    assert done.before.target_model == town.target(2)
    assert [state[1] for state in states(town)] == ["publish", "publish", "publish", "remove"]


def test_a_run_that_begins_while_the_dag_is_paused_is_waited_for(
    town: Town, server: AirflowServer, airflow: AirflowRest
) -> None:
    dag = server.dags[dag_id(town)]
    begun: list[bool] = []
    answer = server.answer

    def begin_a_run(method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
        if method == "PATCH" and body == {"is_paused": True} and not begun:
            begun.append(True)
            dag.runs[MONTHS[3]] = "queued"
        return answer(method, path, query, body)

    server.answer = begin_a_run  # type: ignore[method-assign]
    ended: list[bool] = []

    def end(_: float) -> None:
        assert dag.paused is False, "it would never end"
        ended.append(True)
        dag.runs[MONTHS[3]] = "success"

    take_out(town, airflow, wait_seconds=600, sleep=end)
    assert (begun, ended, dag.paused) == ([True], [True], True)


def test_a_city_that_left_the_fleet_file_has_no_dag(
    town: Town, server: AirflowServer, airflow: AirflowRest
) -> None:
    del server.dags[dag_id(town)]
    done = take_out(town, airflow)
    assert (done.outcome, done.dag) == (Outcome.REMOVED, "Airflow has no DAG of it")


def test_a_dry_run_changes_nothing(town: Town, server: AirflowServer, airflow: AirflowRest) -> None:
    done = take_out(town, airflow, dry_run=True)
    assert (done.outcome, done.dag) == (Outcome.PLANNED, "its DAG would be paused")
    assert done.before is not None
    assert server.dags[dag_id(town)].paused is False
    assert live.read(town.s3, town.keys, town.slug) is not None


def test_a_pointer_that_moves_meanwhile_leaves_everything_as_it_was(
    town: Town, server: AirflowServer, airflow: AirflowRest, aws: LocalSageMaker
) -> None:
    s3 = watching(aws, "DELETE", lambda: town.move(0))
    with pytest.raises(PointerMoved, match="changed since it was read"):
        take_out(town, airflow, s3=s3)
    assert server.dags[dag_id(town)].paused is False
    current = live.read(town.s3, town.keys, town.slug)
    assert current is not None
    assert current.pointer.target_model == town.target(0)
    assert [state[1] for state in states(town)] == ["publish"] * 3
    assert take_out(town, airflow).outcome == Outcome.REMOVED


def test_a_model_that_is_published_right_after_the_end_is_said(
    town: Town, airflow: AirflowRest, aws: LocalSageMaker
) -> None:
    s3 = watching(aws, "PUT", lambda: town.move(0), "/history/waco/00000003")
    with pytest.raises(PointerMoved, match="serves again"):
        take_out(town, airflow, s3=s3)
    assert [state[1] for state in states(town)] == ["publish"] * 3


def test_a_removal_that_died_halfway_is_ended_by_the_next_one(
    town: Town, airflow: AirflowRest, aws: LocalSageMaker
) -> None:
    class Killed(Exception):
        pass

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        take_out(town, airflow, s3=watching(aws, "PUT", die, "/history/waco/00000003"))
    assert live.read(town.s3, town.keys, town.slug) is None
    done = take_out(town, airflow)
    assert (done.outcome, done.before) == (Outcome.REMOVED, None)
    assert states(town)[-1][:2] == (3, "remove")


def test_a_pointer_that_is_broken_or_out_of_step_is_left_to_rebuild(town: Town) -> None:
    town.put(town.keys.live(town.slug), b"no pointer")
    with pytest.raises(BrokenPointer, match=r"\./fleet rebuild"):
        take_out(town, None)
    old = live.read_kept(town.s3, town.keys, town.slug, 1)
    town.put(town.keys.live(town.slug), old.to_json())
    with pytest.raises(PublishError, match=r"history goes up to sequence 2.*`./fleet rebuild waco`"):
        take_out(town, None)


def watching(aws: LocalSageMaker, method: str, act: Callable[[], None], part: str = "/live/") -> Any:
    """A client before whose first such request something happens."""
    s3 = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=aws.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    done: list[bool] = []

    def look(request: Any, **_: Any) -> None:
        if request.method == method and part in request.url and not done:
            done.append(True)
            act()

    s3.meta.events.register("before-send.s3", look)
    return s3


def test_publishing_again_goes_on_with_the_history(town: Town) -> None:
    take_out(town, None)
    town.publish(2)
    current = live.read(town.s3, town.keys, town.slug)
    assert current is not None
    assert current.pointer.sequence == 4
    assert [state[1] for state in states(town)] == ["publish", "publish", "remove", "publish"]


# -- as a person types it ---------------------------------------------------------------------------------


@pytest.fixture
def fleet(town: Town, server: AirflowServer, aws: LocalSageMaker, tmp_path: Path) -> Callable[..., Result]:
    text = SMALL.replace("fleet: small", f"fleet: {town.keys.fleet}").replace("small-data", BUCKET)
    (tmp_path / "f.yaml").write_text(text + "cities: {waco: , austin: }\n", encoding="utf-8")

    def run(*arguments: str, **environ: str) -> Result:
        clean = {name: None for name in os.environ if name.startswith(("AWS_", "AIRFLOW", "CITY_FLEET"))}
        own = {
            "CITY_FLEET_FLEETS": str(tmp_path),
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            URL: server.url,
            TOKEN: "given",
        }
        result = CliRunner().invoke(app, arguments, env={**clean, **own, **environ}, prog_name="./fleet")
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    return run


def test_an_airflow_of_another_environment_is_refused(
    fleet: Callable[..., Result], town: Town, server: AirflowServer
) -> None:
    server.dags[f"{town.keys.fleet}._endpoint"] = FakeDag(tags=("environment:production",))
    done = fleet("remove", "waco", "--by", "ann")
    assert done.exit_code == 1
    assert "runs environment 'production' of the fleet" in done.stderr
    assert live.read(town.s3, town.keys, "waco") is not None


def test_the_command_says_what_is_left_and_how_to_delete_it(
    fleet: Callable[..., Result], town: Town, aws: LocalSageMaker
) -> None:
    town.put(f"{town.keys.raw('waco')}data.csv")
    would = fleet("remove", "waco", "--dry-run")
    assert would.exit_code == 0, would.output
    assert f"waco: would be removed; {town.target(1)} serves; its DAG would be paused." in would.stdout
    done = fleet("remove", "waco", "--by", "ann", "--reason", "closed")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"waco: removed; {town.target(1)} serves no more; its DAG is paused."
    assert "waco:   it is still in the fleet file; take it out there, and its DAG goes." in lines
    assert f"waco:   left: raw data, 1 object, 100 B: s3://{BUCKET}/{town.keys.raw('waco')}" in lines
    assert f"waco:   left: 2 versions in the registry: {town.group}" in lines
    history = fleet("history", "waco")
    assert history.exit_code == 0
    assert "remove, by ann: closed" in history.stdout
    again = fleet("remove", "waco", "--json")
    (report,) = json.loads(again.stdout)
    assert (report["outcome"], report["in_file"], len(report["versions"])) == ("unchanged", True, 2)
    assert [each["objects"] for each in report["left"]] == [1, 2, 6, 0, 3, 0]


def test_what_it_prints_deletes_everything(
    fleet: Callable[..., Result], town: Town, aws: LocalSageMaker
) -> None:
    (report,) = json.loads(fleet("remove", "waco", "--json").stdout)
    binary = Path(__file__).resolve().parents[4] / ".venv" / "bin"
    script = "set -e\n" + "\n".join(report["to_delete"])
    environ = {**aws.environment, "PATH": f"{binary}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script], env=environ, check=True, capture_output=True, text=True, timeout=300)
    assert not [key for key in town.keys_below(f"{town.keys.fleet}/") if "waco" in key]
    groups = aws.client("sagemaker").list_model_package_groups(NameContains=town.group)
    assert groups["ModelPackageGroupSummaryList"] == []


def test_a_removed_city_comes_back_only_by_its_name(fleet: Callable[..., Result], town: Town) -> None:
    """This one's artifact is only a few letters, so there is nothing that could serve."""
    fleet("remove", "waco")
    assert fleet("rebuild").exit_code == 0
    assert live.read(town.s3, town.keys, "waco") is None
    named = fleet("rebuild", "waco", "--by", "ann")
    assert "nothing can be restored" in named.stderr
    kept = live.read_kept(town.s3, town.keys, "waco", 3)
    assert kept.move == live.REMOVE
    unchanged = rebuild.rebuild(town.context(), Author("ann"))
    assert (unchanged.outcome, unchanged.after) == ("unchanged", None)
    assert "was removed by" in unchanged.notes[0]


def test_without_an_answer_of_airflow_nothing_is_done(
    fleet: Callable[..., Result], town: Town, server: AirflowServer
) -> None:
    for environ in ({URL: "http://127.0.0.1:9"}, {URL: ""}, {TOKEN: "wrong"}):
        done = fleet("remove", "waco", **environ)
        assert done.exit_code == 1
        assert "Nothing was done; --without-airflow does it" in done.stderr
    assert live.read(town.s3, town.keys, "waco") is not None
    done = fleet("remove", "waco", "--without-airflow", **{URL: ""})
    assert done.exit_code == 0
    assert "its DAG was left alone" in done.stdout
    assert server.dags[dag_id(town)].paused is False


def test_one_city_that_cannot_be_removed_does_not_keep_the_other(
    fleet: Callable[..., Result], town: Town, server: AirflowServer, aws: LocalSageMaker
) -> None:
    austin = Town(aws, town.keys.fleet, "austin")
    austin.publish(0)
    server.dags[dag_id(town)].runs[MONTHS[5]] = "queued"
    done = fleet("remove", "waco", "austin")
    assert done.exit_code == 1
    assert "(queued)" in done.stderr
    assert "austin: removed" in done.stdout
    assert live.read(town.s3, town.keys, "waco") is not None


def test_a_city_of_no_file_is_found_by_its_pointer(
    fleet: Callable[..., Result], aws: LocalSageMaker, town: Town
) -> None:
    gone = Town(aws, town.keys.fleet, "zavala")
    gone.publish(0)
    done = fleet("remove", "zavala")
    assert done.exit_code == 0
    assert "Airflow has no DAG of it" in done.stdout
    assert "still in the fleet file" not in done.stdout
    assert "has no city 'zavalla'" in fleet("remove", "zavalla").stderr


def test_a_city_that_was_removed_by_mistake_serves_again_as_it_did(aws: LocalSageMaker) -> None:
    city = City(aws)
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    current = live.read(city.s3, KEYS, city.slug)
    live.move(city.s3, KEYS, replace(second, sequence=3, pinned=True, restores=2), current)
    remove.remove(city.context(), Author("ann"), None)
    assert city.pointer is None
    done = rebuild.rebuild(city.context(), Author("bob"), undo_removal=True)
    assert done.outcome == "moved"
    pointer = city.pointer
    assert pointer is not None
    assert (pointer.sequence, pointer.move, pointer.moved_by) == (5, live.REBUILD, "bob")
    assert (pointer.target_model, pointer.pinned, pointer.restores) == (second.target_model, True, 2)
