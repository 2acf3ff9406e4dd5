"""Backfills of many cities over HTTP: bounded, taken up again, and seen through whatever Airflow answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from city_fleet.airflow_rest.airflow_client import AirflowRest
from city_fleet.airflow_rest.login_channel import PASSWORD, TOKEN, URL, USER, airflow_at, airflow_of
from city_fleet.cli import backfill_runner
from city_fleet.cli.backfill_runner import BackfillOrder, CityBackfill
from city_fleet.errors import AirflowError
from tests.support.airflow_server import MONTHS, AirflowServer, FakeDag, running_airflow

HALF_YEAR = BackfillOrder(MONTHS[0], MONTHS[5])
CITIES = [f"f.{name}" for name in ("abilene", "austin", "dallas", "houston", "waco")]


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    with running_airflow() as airflow:
        airflow.dags = {dag_id: FakeDag() for dag_id in CITIES}
        yield airflow


@pytest.fixture
def airflow(server: AirflowServer) -> Iterator[AirflowRest]:
    with airflow_at(server.url, token="given") as rest:
        yield rest


def run(
    airflow: AirflowRest, order: BackfillOrder = HALF_YEAR, cities: list[str] | None = None, at_once: int = 2
) -> Any:
    found = backfill_runner.run(airflow, order, cities or CITIES, at_once=at_once, sleep=lambda _: None)
    return {result.dag_id: result for result in found}


def test_every_city_is_backfilled_and_only_so_many_at_a_time(
    server: AirflowServer, airflow: AirflowRest
) -> None:
    results = run(airflow)
    assert results == {dag_id: CityBackfill(dag_id, backfill_runner.DONE, runs=6) for dag_id in CITIES}
    assert all(dag.runs == dict.fromkeys(MONTHS[:6], "success") for dag in server.dags.values())
    assert server.most_under_way == 2
    assert {each["max_active_runs"] for each in server.backfills} == {1}


def test_giving_the_command_again_starts_nothing(server: AirflowServer, airflow: AirflowRest) -> None:
    run(airflow)
    begun = len(server.backfills)
    assert {result.state for result in run(airflow).values()} == {backfill_runner.NOTHING}
    assert {result.state for result in run(airflow, replace(HALF_YEAR, resume=True)).values()} == {
        backfill_runner.DONE
    }
    assert len(server.backfills) == begun


def test_runs_that_failed_are_said_and_run_again_when_asked_for(
    server: AirflowServer, airflow: AirflowRest
) -> None:
    server.dags["f.waco"].fails = {MONTHS[2], MONTHS[8]}
    first = run(airflow)
    assert first["f.waco"] == CityBackfill("f.waco", backfill_runner.FAILED, runs=6, failed_runs=1)
    assert first["f.austin"].state == backfill_runner.DONE
    server.dags["f.waco"].fails = set()
    again = replace(HALF_YEAR, reprocess="failed")
    assert run(airflow, again)["f.waco"] == CityBackfill("f.waco", backfill_runner.DONE, runs=1)
    assert run(airflow, again)["f.austin"].state == backfill_runner.NOTHING


def test_everything_can_be_run_again_and_that_can_be_taken_up(
    server: AirflowServer, airflow: AirflowRest
) -> None:
    run(airflow)
    order = replace(HALF_YEAR, reprocess="completed")
    assert run(airflow, order, CITIES[:2])["f.austin"].runs == 6
    begun = len(server.backfills)
    resumed = run(airflow, replace(order, resume=True))
    assert resumed["f.austin"].note == "backfill 7 has done this before"
    assert [each["dag_id"] for each in server.backfills[begun:]] == CITIES[2:]


def test_a_backfill_that_is_under_way_is_waited_for_and_not_begun_twice(
    server: AirflowServer, airflow: AirflowRest
) -> None:
    """The command was stopped after it had begun."""
    begun = airflow.create_backfill("f.austin", HALF_YEAR.first, HALF_YEAR.last, "none", 1)
    results = run(airflow)
    assert results["f.austin"].state == backfill_runner.DONE
    assert [each["id"] for each in server.backfills if each["dag_id"] == "f.austin"] == [begun.id]


def test_another_backfill_of_the_city_comes_first(server: AirflowServer, airflow: AirflowRest) -> None:
    airflow.create_backfill("f.austin", MONTHS[8], MONTHS[11], "none", 1)
    assert run(airflow)["f.austin"] == CityBackfill("f.austin", backfill_runner.DONE, runs=6)
    assert len(server.dags["f.austin"].runs) == 10


def test_a_backfill_that_somebody_has_paused_holds_up_nobody(
    server: AirflowServer, airflow: AirflowRest
) -> None:
    airflow.create_backfill("f.austin", MONTHS[8], MONTHS[11], "none", 1)
    server.backfills[0]["is_paused"] = True
    results = run(airflow)
    assert "its backfill 1 is paused" in results["f.austin"].note
    assert results["f.waco"].state == backfill_runner.DONE


@pytest.mark.parametrize("faults", [[503] * 20, ["cut"], ["cut", 503, "cut"]])
def test_a_locked_database_loses_no_run(
    server: AirflowServer, airflow: AirflowRest, faults: list[int | str]
) -> None:
    server.faults = faults
    results = run(airflow)
    assert {result.state for result in results.values()} == {backfill_runner.DONE}
    assert all(dag.runs == dict.fromkeys(MONTHS[:6], "success") for dag in server.dags.values())


@pytest.mark.parametrize("reprocess", ["failed", "completed"])
def test_runs_that_were_taken_anew_are_not_taken_anew_again_because_an_answer_was_lost(
    server: AirflowServer, airflow: AirflowRest, reprocess: str
) -> None:
    server.dags["f.waco"].runs = {MONTHS[0]: "failed", MONTHS[1]: "failed"}
    server.dags["f.waco"].fails = {MONTHS[0], MONTHS[1]}
    server.faults = ["cut"]
    order = replace(HALF_YEAR, last=MONTHS[3], reprocess=reprocess)
    (result,) = run(airflow, order, ["f.waco"]).values()
    assert (result.state, result.failed_runs) == (backfill_runner.FAILED, 2)
    assert [each["reprocess_behavior"] for each in server.backfills] == [reprocess, "none"]
    assert set(server.dags["f.waco"].runs) == set(MONTHS[:4])


def test_a_database_that_stays_locked_is_given_up(server: AirflowServer, airflow: AirflowRest) -> None:
    server.faults = [503] * 1000
    (result,) = run(airflow, cities=["f.waco"]).values()
    assert result.state == backfill_runner.FAILED
    assert "Database is locked" in result.note


def test_an_api_server_that_restarts_is_waited_for(server: AirflowServer, airflow: AirflowRest) -> None:
    begun = backfill_runner.run(airflow, HALF_YEAR, CITIES, at_once=1, sleep=lambda _: None)
    next(begun)
    server.down = 7
    assert {result.state for result in begun} == {backfill_runner.DONE}


def test_paused_and_missing_cities_are_named_and_the_others_go_on(
    server: AirflowServer, airflow: AirflowRest
) -> None:
    server.dags["f.austin"].paused = True
    server.dags["f.dallas"].stale = True
    server.dags["f.houston"].periodic = False
    del server.dags["f.abilene"]
    results = run(airflow)
    assert {dag_id: result.state for dag_id, result in results.items()} == {
        **dict.fromkeys(CITIES[:4], backfill_runner.FAILED),
        "f.waco": backfill_runner.DONE,
    }
    assert "--unpause" in results["f.austin"].note
    assert "does not have this DAG" in results["f.dallas"].note
    assert "does not have this DAG" in results["f.abilene"].note
    assert "non-periodic schedule" in results["f.houston"].note
    assert run(airflow, replace(HALF_YEAR, unpause=True))["f.austin"].state == backfill_runner.DONE
    assert server.dags["f.austin"].paused is False


def test_a_dry_run_counts_and_starts_nothing(server: AirflowServer, airflow: AirflowRest) -> None:
    server.dags["f.austin"].runs = {MONTHS[0]: "success", MONTHS[1]: "failed"}
    server.dags["f.dallas"].paused = True
    del server.dags["f.abilene"]
    planned = {each.dag_id: each for each in backfill_runner.plan(airflow, HALF_YEAR, CITIES)}
    assert list(planned) == CITIES
    assert [each.runs for each in planned.values()] == [0, 4, 6, 6, 6]
    assert "--unpause" in planned["f.dallas"].note
    assert planned["f.abilene"].state == backfill_runner.FAILED
    failed = backfill_runner.plan(airflow, replace(HALF_YEAR, reprocess="failed"), ["f.austin"])
    assert [each.runs for each in failed] == [5]
    assert server.backfills == []


def test_a_last_day_is_meant_as_a_whole() -> None:
    first, last = backfill_runner.window("2014-01-01", "2014-06-01")
    assert (first, last) == (datetime(2014, 1, 1, tzinfo=UTC), datetime(2014, 6, 1, 23, 59, 59, tzinfo=UTC))
    assert backfill_runner.window("20140101", "2014-06-01T03:00")[1] == datetime(2014, 6, 1, 3, tzinfo=UTC)
    assert backfill_runner.window("2014-01-01", "2014-01-01")[0].day == 1
    for wrong in (("2014-06-01", "2014-01-01"), ("yesterday", "2014-01-01")):
        with pytest.raises(ValueError, match=r"2014-01-01|yesterday"):
            backfill_runner.window(*wrong)


def test_a_login_gets_a_token_and_a_new_one_when_it_has_run_out(server: AirflowServer) -> None:
    environ = {URL: server.url + "/", USER: "admin", PASSWORD: "secret"}
    with airflow_of(environ) as airflow:
        assert airflow.dag("f.waco") is not None
        server.tokens.clear()
        assert airflow.dag("f.waco") is not None


def test_who_may_not_ask_is_told(server: AirflowServer) -> None:
    wrong = {"AIRFLOW__API__BASE_URL": server.url, USER: "admin", PASSWORD: "wrong"}
    with airflow_of(wrong) as airflow, pytest.raises(AirflowError, match="refused the login"):
        airflow.dag("f.waco")
    with airflow_at(server.url, token="stale") as airflow, pytest.raises(AirflowError, match="401"):
        airflow.dag("f.waco")
    with pytest.raises(AirflowError, match=f"Set {URL}"):
        airflow_of({})
    with pytest.raises(AirflowError, match=f"Set {TOKEN}, or {USER}"):
        airflow_of({URL: server.url})


def test_an_airflow_that_does_not_answer_is_said() -> None:
    with airflow_at("http://127.0.0.1:9", token="x") as airflow:
        with pytest.raises(AirflowError, match="does not answer") as caught:
            airflow.dag("f.waco")
        assert caught.value.status is None
        with pytest.raises(AirflowError, match="does not answer"):
            list(backfill_runner.plan(airflow, HALF_YEAR, CITIES))


def test_lists_are_read_to_their_end(server: AirflowServer, airflow: AirflowRest) -> None:
    server.dags["f.waco"].runs = dict.fromkeys(MONTHS, "running")
    assert len(airflow.unfinished_runs("f.waco")) == 12
    assert airflow.dag("f.nowhere") is None
    assert airflow.backfill(7) is None
