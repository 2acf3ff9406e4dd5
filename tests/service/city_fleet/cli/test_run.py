"""./fleet run, pause and unpause as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from city_fleet.cli import run_progress
from city_fleet.naming import Keys
from city_fleet.state import run_records
from tests.service.city_fleet.cli.conftest import Fleet
from tests.support.airflow_server import MONTHS, AirflowServer, FakeDag
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.states import record


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_progress, "POLL_SECONDS", 0)


@pytest.fixture
def bucket(aws: LocalSageMaker) -> Keys:
    s3 = aws.client("s3")
    if "small-data" not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket="small-data")
    return Keys("small-data", "small", "laptop")


def test_a_run_is_watched_and_its_record_read(
    airflow_fleet: Fleet,
    server: AirflowServer,
    aws: LocalSageMaker,
    bucket: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ends_with_a_record(looked: object) -> None:
        s3 = aws.client("s3")
        for city, outcome in (("a", "live"), ("c", "held")):
            found = record(
                city=city,
                run_id=server.triggered[f"small.{city}"]["dag_run_id"],
                outcome=outcome,
                metrics={"challenger": {"mape": 0.021}},
                package_version=7,
            )
            run_records.write(s3, bucket, found, as_of=MONTHS[0], key_of_run="0" * 10)

    watched = run_progress.watch
    monkeypatch.setattr(
        run_progress, "watch", lambda *given, **named: watched(*given, **named, sleep=ends_with_a_record)
    )
    done = airflow_fleet(
        "run", "a", "fort knox", "--as-of", "2014-01-01", "--force", AWS_ENDPOINT_URL=aws.url
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "a: live, version 7, MAPE 2.1%",
        "    MAPE 9% does not beat 5%",
        "c: held, version 7, MAPE 2.1%",
        "    MAPE 9% does not beat 5%",
    ]
    assert "train          running" in done.stderr
    assert {run["conf"]["as_of"] for run in server.triggered.values()} == {"20140101T000000Z"}
    assert all(run["conf"]["force"] for run in server.triggered.values())


def test_what_can_not_run_is_said_and_the_others_run(airflow_fleet: Fleet, server: AirflowServer) -> None:
    server.dags["small.b"].paused = True
    done = airflow_fleet("run", "--all", "--no-wait")
    assert done.exit_code == 1
    assert set(server.triggered) == {"small.a", "small.c"}
    assert "b: its DAG is paused, so the run would not begin: add --unpause" in done.stderr
    assert "d: Airflow does not have its DAG yet" in done.stderr
    assert "2 cities begun as run run__" in done.stdout
    assert airflow_fleet("run", "b", "--unpause", "--no-wait").exit_code == 0
    assert server.dags["small.b"].paused is False


def test_a_run_that_failed_is_an_error(
    airflow_fleet: Fleet, server: AirflowServer, aws: LocalSageMaker, bucket: Keys
) -> None:
    server.dags["small.a"].fails = {MONTHS[0]}
    done = airflow_fleet("run", "a", "--json", AWS_ENDPOINT_URL=aws.url)
    assert done.exit_code == 1
    (end,) = json.loads(done.stdout)
    assert (end["outcome"], end["reasons"]) == ("failed", ["it left no record"])


WRONG = ("run", "run --all a", "pause", "unpause a --all", "run nowhere", "run a --as-of soon")


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_2(airflow_fleet: Fleet, server: AirflowServer, arguments: str) -> None:
    assert airflow_fleet(*arguments.split()).exit_code == 2
    assert not server.triggered


def test_cities_are_paused_by_name_by_tag_and_all(airflow_fleet: Fleet, server: AirflowServer) -> None:
    for city, tags in {"a": ("housing",), "b": ("housing",), "c": ()}.items():
        server.dags[f"small.{city}"] = FakeDag(paused=True, tags=("fleet:small", *tags))
    server.dags["small._reaper"] = FakeDag(paused=True, tags=("fleet:small",))

    def paused() -> set[str]:
        return {dag_id.removeprefix("small.") for dag_id, dag in server.dags.items() if dag.paused}

    done = airflow_fleet("unpause", "Fort Knox")
    assert (done.exit_code, done.stdout) == (0, "1 city unpaused: c.\n")
    assert paused() == {"a", "b", "_reaper"}
    assert airflow_fleet("unpause", "--tag", "housing").stdout == "2 cities unpaused: a, b.\n"
    assert paused() == {"_reaper"}
    everything = airflow_fleet("pause", "--all")
    assert everything.exit_code == 1
    assert "d: Airflow does not have its DAG yet" in everything.stderr
    assert paused() == {"a", "b", "c", "_reaper"}
    again = json.loads(airflow_fleet("pause", "a", "--json").stdout)
    assert again == [{"city": "a", "result": "paused already"}]
    assert (
        "no city has 'hosing'; their tags: fleet:small, housing."
        in airflow_fleet("pause", "--tag", "hosing").stderr
    )


def test_cities_of_a_cohort_are_one_run_and_its_dag_is_paused_as_a_whole(
    airflow_fleet: Fleet, server: AirflowServer, tmp_path: Path
) -> None:
    cities = "cities: {a: , b: , c: {name: Fort Knox}, d: {cohort: null}}\n"
    (tmp_path / "small.yaml").write_text(SMALL + "defaults: {cohort: 100}\n" + cities, encoding="utf-8")
    tagged = {"tags": ("fleet:small",)}
    server.dags = {"small._cohort_001": FakeDag(**tagged), "small.d": FakeDag(**tagged)}
    done = airflow_fleet("run", "a", "fort knox", "d", "--no-wait")
    assert done.exit_code == 0, done.output
    asked = {name: run["conf"].get("cities") for name, run in server.triggered.items()}
    assert asked == {"small._cohort_001": ["a", "c"], "small.d": None}
    done = airflow_fleet("run", "--all", "--no-wait")
    assert done.exit_code == 0, done.output
    assert "cities" not in server.triggered["small._cohort_001"]["conf"]
    done = airflow_fleet("pause", "a", "d")
    assert done.exit_code == 1
    assert "a: it is one of 3 cities of cohort_001, whose DAG would be paused as a whole" in done.stderr
    assert (server.dags["small._cohort_001"].paused, server.dags["small.d"].paused) == (False, True)
    assert airflow_fleet("pause", "a", "b", "c").exit_code == 0
    assert server.dags["small._cohort_001"].paused
