"""./fleet backfill as a person runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from city_fleet.airflow_rest.login_channel import PASSWORD, URL
from city_fleet.cli import backfill_runner
from city_fleet.cli.app import app
from city_fleet.config import Fleet as Settings
from city_fleet.config import load_fleets
from city_fleet.naming import Keys, target_model
from city_fleet.state import budget_question, live
from city_fleet.state.index_state import Index, RunSummary
from city_fleet.state.objects import ObjectStore
from tests.support.airflow_server import MONTHS, AirflowServer, FakeDag
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.states import pointer

WINDOW = ("--from", "2014-01-01", "--to", "2014-06-01")
Fleet = Callable[..., Result]


@pytest.fixture
def fleet(airflow_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """./fleet backfill; nobody waits between two looks."""
    inner = backfill_runner.run
    monkeypatch.setattr(
        backfill_runner, "run", lambda *given, **named: inner(*given, **named, poll_seconds=0)
    )
    return lambda *arguments, **environ: airflow_fleet("backfill", *arguments, **environ)


def test_a_dry_run_says_how_many_runs_and_jobs(fleet: Fleet, server: AirflowServer) -> None:
    server.dags["small.b"].runs = dict.fromkeys(MONTHS, "success")
    done = fleet(*WINDOW, "a", "b", "c", "--dry-run", "--max-active", "2")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "small.a: 6 runs, up to 18 jobs",
        "small.b: nothing to do: every run exists already, or the schedule has no run between these dates",
        "small.c: 6 runs, up to 18 jobs",
        "3 cities: 12 runs, up to 36 jobs; at most 2 cities at the same time.",
    ]
    assert server.backfills == []


def test_an_airflow_of_another_environment_is_refused(fleet: Fleet, server: AirflowServer) -> None:
    server.dags["small._endpoint"] = FakeDag(tags=("fleet:small", "environment:production"))
    done = fleet(*WINDOW, "a")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Airflow at {server.url} runs environment 'production' of the fleet")
    assert "and here it is environment 'laptop'. Nothing was done." in done.stderr
    assert server.backfills == []
    server.dags["small._endpoint"] = FakeDag(tags=("environment:laptop",))
    assert fleet(*WINDOW, "a", "--dry-run").exit_code == 0


def test_a_dry_run_says_what_would_be_paid_for_again(fleet: Fleet, server: AirflowServer) -> None:
    server.dags["small.b"].runs = {MONTHS[0]: "success", MONTHS[1]: "failed"}
    for more, repeats in (
        (("--reprocess", "completed"), 2),
        (("--reprocess", "failed"), 1),
        (("--repeat",), 4),
        ((), 0),
    ):
        lines = fleet(*WINDOW, "b", "--dry-run", *more).stdout.splitlines()
        (planned,) = json.loads(fleet(*WINDOW, "b", "--dry-run", "--json", *more).stdout)
        assert planned["repeats"] == repeats
        assert (f", {repeats} of the runs again" in lines[0]) is bool(repeats)
        assert lines[2:] == (
            [
                f"{repeats} of the runs are repetitions: they pay again for jobs that have been paid for. The others "
                "take up what was paid for with the same raw data, settings and scripts."
            ]
            if repeats
            else []
        )
    assert server.backfills == []


def test_a_repetition_is_asked_of_every_run(fleet: Fleet, server: AirflowServer) -> None:
    for more, conf in (((), None), (("--repeat",), {"repeat": True})):
        server.dags["small.a"].runs = {}
        assert fleet(*WINDOW, "a", *more).exit_code == 0
        assert server.backfills[-1]["dag_run_conf"] == conf


def test_the_hint_goes_by_the_last_runs(fleet: Fleet, aws: LocalSageMaker) -> None:
    run = RunSummary(
        "20140101T000000Z", "0" * 10, "2014-01-01", "r", "live", seconds=(("ml.m5.large", 1800),)
    )
    s3 = aws.client("s3")
    if "small-data" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket="small-data")
    body = Index().with_runs([("a", run)]).to_bytes()
    s3.put_object(Bucket="small-data", Key=Keys("small-data", "small", "laptop").index(), Body=body)
    text = fleet(*WINDOW, "a", "--dry-run", AWS_ENDPOINT_URL=aws.url).stdout
    assert (
        "1 city: 6 runs, up to 18 jobs, about 3.0 billed instance hours, estimated from the last runs" in text
    )


def test_a_dry_run_says_what_a_newer_model_would_supersede(fleet: Fleet, aws: LocalSageMaker) -> None:
    s3, keys = aws.client("s3"), Keys("small-data", "small", "laptop")
    if "small-data" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket="small-data")
    champion = pointer("b", 1, fleet="small")
    model = target_model("b", MONTHS[3], champion.artifact_sha256)
    champion = replace(champion, as_of="20140401T000000Z", target_model=model)
    live.move(s3, keys, champion, None)
    text = fleet(*WINDOW, "a", "b", "--dry-run", AWS_ENDPOINT_URL=aws.url).stdout
    assert "small.a: 6 runs, up to 18 jobs\n" in text
    assert "small.b: 6 runs, up to 18 jobs, 3 of them superseded\n" in text
    assert "3 of the runs will end as superseded: a newer model serves" in text
    assert "`./fleet promote CITY --as-of DATE` afterwards" in text


def test_cities_are_backfilled_one_line_each(fleet: Fleet, server: AirflowServer) -> None:
    server.dags["small.b"].fails = {MONTHS[0]}
    server.dags["small.c"].paused = True
    done = fleet(*WINDOW, "--all", "--max-active", "1", "--max-active-runs", "3")
    assert done.exit_code == 1
    # The fake one has a run end at each look, so the first had ended before its backfill was looked at.
    ended = [f"  a 2014-{month:02}-01: success" for month in range(1, 7)]
    assert [line for line in done.stdout.splitlines() if line.startswith("  a ")] == ended
    assert [line for line in done.stdout.splitlines() if not line.startswith("  ")] == [
        "small.a: done: 6 runs [1 of 4]"
    ]
    assert "  b 2014-01-01: failed" in done.stdout
    assert done.stderr.splitlines() == [
        "small.b: done, but 1 of the runs between these dates failed [2 of 4]",
        "small.c: not done; its DAG is paused, so its runs would not start; unpause it, or add --unpause [3 of 4]",
        "small.d: not done; Airflow does not have this DAG; is the city in the fleet file? [4 of 4]",
    ]
    assert {each["max_active_runs"] for each in server.backfills} == {3}
    again = fleet(*WINDOW, "b", "c", "--reprocess", "failed", "--unpause", "--json")
    server.dags["small.b"].fails = set()
    assert [each["state"] for each in json.loads(again.stdout)] == ["failed", "done"]


def test_wrong_usage_is_named(fleet: Fleet, tmp_path: Path) -> None:
    for arguments, said in {
        ("a", "--from", "2014-06-01", "--to", "2014-01-01"): "is after the last one",
        ("a", "--from", "soon", "--to", "2014-01-01"): "got 'soon'",
        WINDOW: "name cities, or give --all",
        (*WINDOW, "--all", "a"): "name cities, or give --all",
        (*WINDOW, "a", "--reprocess", "all"): "allowed: none, failed, completed",
        (*WINDOW, "a", "--max-active", "0"): "allowed: a number from 1 on",
    }.items():
        done = fleet(*arguments)
        assert done.exit_code == 2, done.output
        assert said in " ".join(done.stderr.split()), done.stderr
    unknown = fleet(*WINDOW, "bb")
    assert unknown.exit_code == 2
    assert "has no city 'bb'" in unknown.stderr
    (tmp_path / "other.yaml").write_text(SMALL.replace("small", "other") + "cities: {a: }\n")
    assert "--all needs --fleet" in " ".join(fleet(*WINDOW, "--all").stderr.split())


def test_an_airflow_that_is_missing_stops_it_before_anything(fleet: Fleet, server: AirflowServer) -> None:
    assert f"Set {URL}" in fleet(*WINDOW, "a", **{URL: ""}).stderr
    assert "does not answer" in fleet(*WINDOW, "a", **{URL: "http://127.0.0.1:9"}).stderr
    wrong = fleet(*WINDOW, "a", "--json", **{PASSWORD: "wrong"})
    assert wrong.exit_code == 1
    assert "refused the login of 'admin'" in json.loads(wrong.stdout)["message"]
    assert server.backfills == []


def test_help_has_examples() -> None:
    text = CliRunner().invoke(app, ["backfill", "--help"], prog_name="./fleet").stdout
    assert "./fleet backfill --from 2014-01-01 --to 2014-06-01 --all" in text
    assert "twenty or more running scheduled runs" in " ".join(text.split())


def test_a_backfill_beyond_the_budget_asks_first_and_a_yes_allows_the_night(
    fleet: Fleet, server: AirflowServer, aws: LocalSageMaker, tmp_path: Path
) -> None:
    path = tmp_path / "small.yaml"
    # 18 runs cost five cents by the model of ./fleet plan.
    text = path.read_text(encoding="utf-8").replace("bucket: ", "budget: {night: 0.02}\nbucket: ")
    path.write_text(text, encoding="utf-8")
    unheard = fleet(*WINDOW, "a")
    assert (unheard.exit_code, "the budget can't be judged" in unheard.stderr) == (0, True)
    (item,) = [each for each in load_fleets(tmp_path) if isinstance(each, Settings)]
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=item.bucket)
    server.backfills.clear()
    asked = fleet(*WINDOW, "b", "c", **aws.variables)
    assert asked.exit_code == 1
    assert "of 12 runs to come" in asked.stderr
    assert "Begin 12 runs, and allow the night until " in asked.stdout
    assert fleet(*WINDOW, "b", "c", "--json", **aws.variables).exit_code == 2
    assert server.backfills == []
    assert budget_question.read(ObjectStore(s3, item.bucket), item.keys) is None
    done = fleet(*WINDOW, "b", "c", "--yes", **aws.variables)
    assert done.exit_code == 0, done.output
    kept = budget_question.read(ObjectStore(s3, item.bucket), item.keys)
    assert kept is not None
    assert (kept.asks, kept.note) == (False, "backfill of 12 runs")
