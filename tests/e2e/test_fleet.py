"""Cities retrained by a real scheduler with real jobs: how each run ends, and what it leaves behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import time
from typing import Any

import httpx
import pytest

from city_fleet.metrics import regression_metrics
from city_fleet.naming import split_uri
from local import ROOT
from tests.e2e.conftest import BUCKET, DEAR_DAG, DEAR_FLEET, Fleet
from tests.support.otlp_collector import Kept, tree
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e
LIVE_CITY = "texas_housing.abilene"


def read(fleet: Fleet, uri: str) -> bytes:
    bucket, key = split_uri(uri)
    return bytes(fleet.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def test_a_good_model_goes_live(fleet: Fleet) -> None:
    assert fleet.ended(LIVE_CITY) == "success"
    assert fleet.states(LIVE_CITY) == {
        **dict.fromkeys(["preprocess", "train", "evaluate", "decide", "register", "gate"], "success"),
        "publish": "success",
        "keep_champion": "skipped",
        "record": "success",
        "recorded": "success",
    }
    pointer = fleet.pointer("texas_housing", "abilene")
    record = fleet.record(LIVE_CITY)
    assert pointer is not None
    assert record["outcome"] == "live"
    assert pointer["target_model"] == record["target_model"]
    assert pointer["as_of"] == "20150801T000000Z"
    assert record["metrics"]["challenger"]["mape"] < record["metrics"]["naive"]["mape"]
    assert [job["step"] for job in record["jobs"]] == ["preprocess", "train", "evaluate"]
    assert all(job["billable_seconds"] > 0 for job in record["jobs"])


def test_the_live_artifact_is_the_evaluated_one_and_safe_to_load(fleet: Fleet) -> None:
    fleet.ended(LIVE_CITY)
    pointer = fleet.pointer("texas_housing", "abilene")
    assert pointer is not None
    body = read(fleet, f"s3://{BUCKET}/texas_housing/laptop/models/{pointer['target_model']}")
    assert hashlib.sha256(body).hexdigest() == pointer["artifact_sha256"]
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        names = [member.name.removeprefix("./") for member in tar if member.isfile()]
    assert [name for name in names if "/" not in name] == ["xgboost-model.ubj"]
    assert "city_fleet/model.json" in names


def test_a_trial_at_the_desk_makes_the_very_bytes_that_the_jobs_made(fleet: Fleet) -> None:
    fleet.ended(LIVE_CITY)
    pointer = fleet.pointer("texas_housing", "abilene")
    assert pointer is not None
    trial = fleet.command("try", "abilene", "--fleet", "texas_housing")
    assert trial["as_of"] == pointer["as_of"]
    assert trial["data"] == f"s3://{BUCKET}/texas_housing/raw/"
    assert trial["artifact_sha256"] == pointer["artifact_sha256"]
    assert trial["champion"] == pointer["target_model"]
    decision = trial["decision"]
    assert decision["metrics"]["champion"] == pytest.approx(decision["metrics"]["challenger"], rel=1e-12)


def test_the_endpoint_answers_prices_for_the_live_model(fleet: Fleet) -> None:
    fleet.ended(LIVE_CITY)
    pointer = fleet.pointer("texas_housing", "abilene")
    assert pointer is not None
    holdout = json.loads(read(fleet, fleet.record(LIVE_CITY)["holdout_uri"]))
    row = holdout["rows"][-1]
    named = {"instances": [dict(zip(holdout["features"], row["values"], strict=True))]}
    answer = fleet.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="texas-housing--laptop",
        TargetModel=pointer["target_model"],
        ContentType="application/json",
        Accept="application/json",
        Body=json.dumps(named),
    )
    (prediction,) = json.loads(answer["Body"].read())["predictions"]
    assert prediction == pytest.approx(row["served"], rel=1e-6)
    assert prediction != pytest.approx(row["predicted"], rel=1e-6)  # of the half that has judged it
    assert prediction == pytest.approx(row["actual"], rel=0.3)


def test_the_job_and_the_gate_compute_the_same_metrics(fleet: Fleet) -> None:
    """A champion that moved is evaluated again by the gate's own arithmetic; the job uses scikit-learn's."""
    fleet.ended(LIVE_CITY)
    record = fleet.record(LIVE_CITY)
    rows = json.loads(read(fleet, record["holdout_uri"]))["rows"]
    actual = [row["actual"] for row in rows]
    for who, column in {"challenger": "predicted", "naive": "naive"}.items():
        mine = regression_metrics(actual, [row[column] for row in rows])
        assert mine == pytest.approx(record["metrics"][who], rel=1e-9)


def test_every_model_is_a_version_with_its_lineage(fleet: Fleet) -> None:
    fleet.ended(LIVE_CITY)
    record = fleet.record(LIVE_CITY)
    package = fleet.client("sagemaker").describe_model_package(ModelPackageName=record["package_arn"])
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["ModelPackageGroupName"] == "texas-housing--laptop--abilene"
    lineage = package["CustomerMetadataProperties"]
    assert lineage["as_of"] == "20150801T000000Z"
    decision = json.loads(read(fleet, lineage["decision_uri"]))
    assert decision["promote"] is True
    manifest = json.loads(read(fleet, lineage["manifest_uri"]))
    assert [item["uri"] for item in manifest["inputs"]] == [
        f"s3://{BUCKET}/texas_housing/raw/city=abilene/txhousing.csv"
    ]
    head = fleet.client("s3").head_object(Bucket=BUCKET, Key="texas_housing/raw/city=abilene/txhousing.csv")
    assert head["ETag"].strip('"') == manifest["inputs"][0]["etag"]


def test_nothing_that_a_run_leaves_behind_names_a_folder_of_this_machine(fleet: Fleet) -> None:
    """So that it reads the same wherever the jobs ran; what jobs see is /opt/ml."""
    fleet.ended(LIVE_CITY)
    folders = [str(fleet.stack.layout.state_dir).encode(), str(ROOT).encode()]
    s3 = fleet.client("s3")
    looked = 0
    for part in ("runs/abilene/", "models/abilene/", "known/abilene/", "state/runs/abilene/"):
        for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"texas_housing/laptop/{part}")["Contents"]:
            body = read(fleet, f"s3://{BUCKET}/{item['Key']}")
            if item["Key"].endswith(".tar.gz"):
                body = gzip.decompress(body)
            looked += 1
            assert not [folder for folder in folders if folder in body], item["Key"]
    assert looked > 10


def test_the_task_log_shows_the_jobs_own_lines_and_the_request(fleet: Fleet) -> None:
    fleet.ended(LIVE_CITY)
    log = fleet.task_log(LIVE_CITY, "train")
    assert "validation mae" in log
    task = next(
        task
        for task in fleet.stack.airflow.task_instances(LIVE_CITY, fleet.runs[LIVE_CITY])
        if task["task_id"] == "preprocess"
    )
    assert "texas-housing--laptop--abilene-preprocess" in json.dumps(task["rendered_fields"])


def test_airflow_tells_a_held_run_from_a_live_one_and_leads_to_its_job(fleet: Fleet) -> None:
    """Only what is not live has a note, and so a mark in the grid; a click on a link is answered by the stand-in."""
    held, airflow = "texas_housing.waco", fleet.stack.airflow
    for dag_id, begins in ((held, "**Held.** "), (LIVE_CITY, None)):
        fleet.ended(dag_id)
        note = airflow.run(dag_id, fleet.runs[dag_id])["note"]
        assert note is None if begins is None else note.startswith(begins), note
    path = f"/dags/{held}/dagRuns/{fleet.runs[held]}/taskInstances/train/links"
    links = airflow.request("GET", path)["extra_links"]
    city = links.pop("City")
    assert city.endswith("/dags/texas_housing.waco/plugin/city"), city
    assert list(links) == ["Job log", "S3 output", "SageMaker job"]
    clicked = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for address in links.values():
        answer = httpx.get(address, headers=clicked, trust_env=False)
        assert answer.status_code == 200
        assert "-waco-train-" in answer.text


def test_a_run_is_one_trace_with_its_jobs_and_its_publication(fleet: Fleet) -> None:
    """As a collector gets it: the run, its tasks, and below them what Airflow does not know."""
    dag_id = "flights.boston"  # of whose run no test clears anything
    assert fleet.ended(dag_id) == "success"
    trace = wait_until(lambda: whole_trace(fleet, dag_id, "cityfleet.publish"), 60, "the whole trace")
    shown = "\n".join(tree(list(trace.values())))
    record = fleet.record(dag_id)
    whose = {"fleet": "flights", "environment": "laptop", "city": "boston", "as_of": "20140101T000000Z"}
    whose = {f"cityfleet.{name}": value for name, value in whose.items()}
    (run,) = [span for span in trace.values() if span.name == f"dag_run.{dag_id}"]
    assert (run.parent, run.error) == ("", ""), shown

    def above(span: Kept) -> list[str]:
        """The names of what a span is a part of, the innermost first."""
        return [] if not span.parent else [trace[span.parent].name, *above(trace[span.parent])]

    for step, kind in (("preprocess", "processing"), ("train", "training"), ("evaluate", "processing")):
        (job,) = [span for span in trace.values() if span.name == f"sagemaker.job.{step}"]
        name = fleet.result(dag_id, step)["job"]
        assert job.attributes["aws.sagemaker.job.name"] == name
        assert job.attributes["cloud.resource_id"].endswith(f":{kind}-job/{name}")
        assert (job.attributes["aws.sagemaker.job.status"], job.error) == ("Completed", "")
        assert {**job.attributes, **whose, "cityfleet.run_key": record["run_key"]} == job.attributes
        assert above(job) == [f"task_run.{step}", run.name], shown
        phases = [span for span in trace.values() if span.parent == job.id]
        assert phases, shown
        assert all(job.start <= span.start < span.end <= job.end for span in phases), shown
        # SageMaker's clock may be another one than Airflow's, but not here.
        assert run.start < job.start < job.end < run.end, shown
    (published,) = [span for span in trace.values() if span.name == "cityfleet.publish"]
    assert above(published) == ["task_run.publish", run.name], shown
    pointer = fleet.pointer("flights", "boston")
    assert pointer is not None
    assert {**published.attributes, **whose, "cityfleet.outcome": "live"} == published.attributes
    assert published.attributes["cityfleet.target_model"] == pointer["target_model"]
    spans = [span for span in fleet.collector.spans if span.name == "cityfleet.endpoint"]
    endpoint = next(span for span in spans if span.attributes["cityfleet.fleet"] == "flights")
    assert endpoint.attributes["cityfleet.serves"] == endpoint.attributes["cityfleet.endpoint"]


def test_a_job_that_failed_is_an_error_in_its_runs_trace(fleet: Fleet) -> None:
    dag_id = "texas_housing.galveston"
    assert fleet.ended(dag_id) == "failed"
    trace = wait_until(lambda: whole_trace(fleet, dag_id, "sagemaker.job.preprocess"), 60, "the whole trace")
    found = {span.name: span for span in trace.values()}
    job, task = found["sagemaker.job.preprocess"], found["task_run.preprocess"]
    assert job.parent == task.id
    assert job.attributes["aws.sagemaker.job.status"] == "Failed"
    assert job.error.startswith("Failed: ")
    assert "txhousing.csv" in job.error
    assert "sagemaker.job.train" not in found


def whole_trace(fleet: Fleet, dag_id: str, last: str) -> dict[str, Kept] | None:
    """Return the spans of a run's trace by their ids, once its own has come: Airflow sends them in batches.

    :param last: name of a span that has to be among them.
    """
    found = {span.id: span for span in fleet.collector.trace_of(dag_id, fleet.runs[dag_id])}
    whole = all(span.parent in found for span in found.values() if span.parent)
    names = {span.name for span in found.values()}
    return found if whole and {f"dag_run.{dag_id}", last} <= names else None


def allow_the_dear_night(fleet: Fleet) -> dict[str, Any]:
    """Allow the night of the fleet with a budget, as a person does; twice changes nothing."""
    return dict(fleet.command("cost", "--allow-night", "--fleet", DEAR_FLEET, "--yes", "--reason", "a try"))


def test_a_night_beyond_the_budget_waits_for_a_person(fleet: Fleet) -> None:
    """In the triggerer: it takes no slot, and nothing is paid for."""
    wait_until(lambda: fleet.states(DEAR_DAG)["preprocess"] == "deferred", 120, "the run waits")
    log = fleet.task_log(DEAR_DAG, "preprocess")
    assert "budget.night is 0.01" in log
    assert f"./fleet cost --allow-night --fleet {DEAR_FLEET}" in log
    jobs = fleet.client("sagemaker").list_processing_jobs(NameContains="dear-rides--")
    assert jobs["ProcessingJobSummaries"] == []
    (status,) = fleet.command("status", "--fleet", DEAR_FLEET)
    assert any("runs wait for a person until" in each for each in status["problems"])
    said = allow_the_dear_night(fleet)
    assert (said["fleet"], said["changed"]) == (DEAR_FLEET, True)
    # What follows is the last test of this file: the triggerer looks once a minute.


def test_a_model_that_breaks_a_limit_is_held_with_its_reason(fleet: Fleet) -> None:
    dag_id = "texas_housing.waco"
    assert fleet.ended(dag_id) == "success"
    states = fleet.states(dag_id)
    assert (states["publish"], states["keep_champion"]) == ("skipped", "success")
    record = fleet.record(dag_id)
    assert record["outcome"] == "held"
    assert "breaks the limit" in record["reasons"][0]
    assert fleet.pointer("texas_housing", "waco") is None
    package = fleet.client("sagemaker").describe_model_package(ModelPackageName=record["package_arn"])
    assert package["ModelApprovalStatus"] == "Rejected"


def test_too_little_data_ends_with_a_sentence(fleet: Fleet) -> None:
    dag_id = "texas_housing.el_paso"
    assert fleet.ended(dag_id) == "success"
    states = fleet.states(dag_id)
    assert states["preprocess"] == states["train"] == states["publish"] == "skipped"
    record = fleet.record(dag_id)
    assert record["outcome"] == "too_little_data"
    assert re.search(r"\d+ .*usable.* 60", record["reasons"][0]), record["reasons"]


def test_bad_data_fails_the_run_at_once_with_the_scripts_words(fleet: Fleet) -> None:
    dag_id = "texas_housing.galveston"
    assert fleet.ended(dag_id) == "failed"
    tasks = fleet.stack.airflow.task_instances(dag_id, fleet.runs[dag_id])
    preprocess = next(task for task in tasks if task["task_id"] == "preprocess")
    assert (preprocess["state"], preprocess["try_number"]) == ("failed", 1)
    log = fleet.task_log(dag_id, "preprocess")
    assert "txhousing.csv" in log
    assert "-5" in log
    assert "sales" in log
    record = fleet.record(dag_id)
    assert record["outcome"] == "failed"
    assert record["failed_task"] == "preprocess"
    assert [job["status"] for job in record["jobs"]] == ["Failed"]


def test_a_mistyped_city_fails_alone_and_names_the_mistake(fleet: Fleet) -> None:
    dag_id = "texas_housing.tyler"
    assert fleet.ended(dag_id) == "failed"
    log = fleet.task_log(dag_id, "fleet_file_mistake")
    assert "texas_housing.yaml:" in log
    assert "tolerence" in log
    assert "tolerance" in log


def test_another_data_set_is_a_fleet_by_its_file_alone(fleet: Fleet) -> None:
    dag_id = "bike_rides.harbour"
    assert fleet.ended(dag_id) == "success"
    record = fleet.record(dag_id)
    assert record["outcome"] == "live", record["reasons"]
    pointer = fleet.pointer("bike_rides", "harbour")
    assert pointer is not None
    assert pointer["target_model"].startswith("harbour/")


def test_the_endpoint_dag_run_twice_changes_nothing(fleet: Fleet) -> None:
    sagemaker = fleet.client("sagemaker")
    before = sagemaker.describe_endpoint(EndpointName="texas-housing--laptop")
    run_id = fleet.start("texas_housing._endpoint")
    assert fleet.ended("texas_housing._endpoint", run_id) == "success"
    after = sagemaker.describe_endpoint(EndpointName="texas-housing--laptop")
    assert after["LastModifiedTime"] == before["LastModifiedTime"]
    assert len(sagemaker.list_models(NameContains="texas-housing")["Models"]) == 1


def test_an_as_of_in_the_future_is_refused(fleet: Fleet) -> None:
    dag_id = "texas_housing.lubbock"
    run_id = fleet.start(dag_id, as_of="2999-01-01")
    assert fleet.ended(dag_id, run_id) == "failed"
    assert "lies in the future" in fleet.task_log(dag_id, "preprocess", run_id)


def test_a_cleared_step_runs_anew_and_publishing_the_same_artifact_is_harmless(fleet: Fleet) -> None:
    fleet.ended(LIVE_CITY)
    before = fleet.pointer("texas_housing", "abilene")
    first_job = fleet.result(LIVE_CITY, "evaluate")["job"]
    fleet.clear(LIVE_CITY, "evaluate", downstream=True)
    deadline = time.monotonic() + 60
    while fleet.stack.airflow.run(LIVE_CITY, fleet.runs[LIVE_CITY])["state"] == "success":
        assert time.monotonic() < deadline, "the cleared run does not start again"
        time.sleep(0.2)
    assert fleet.ended(LIVE_CITY) == "success"
    assert fleet.result(LIVE_CITY, "evaluate")["job"] != first_job
    assert fleet.pointer("texas_housing", "abilene") == before
    versions = fleet.client("sagemaker").list_model_packages(
        ModelPackageGroupName="texas-housing--laptop--abilene"
    )
    assert len(versions["ModelPackageSummaryList"]) == 1


def test_a_backfill_trains_on_what_was_known_and_leaves_the_newest_live(fleet: Fleet) -> None:
    dag_id = "texas_housing.austin"
    fleet.stack.airflow.set_paused(dag_id, False)
    create_backfill(fleet, dag_id, "2014-01-01", "2014-02-01")
    runs = backfill_runs(fleet, dag_id)
    assert [run["logical_date"][:10] for run in runs] == ["2014-01-01", "2014-02-01"]
    rows = []
    for run in runs:
        assert fleet.ended(dag_id, run["dag_run_id"]) == "success"
        record = fleet.record(dag_id, run["dag_run_id"])
        assert record["outcome"] in ("live", "superseded", "held"), record
        rows.append(fleet.result(dag_id, "preprocess", run["dag_run_id"])["rows"]["train"])
        holdout = json.loads(read(fleet, record["evaluation_uri"]))["holdout"]
        assert holdout["last"] < run["logical_date"][:10]
    assert rows == [rows[0], rows[0] + 1]
    live = [run for run in runs if fleet.record(dag_id, run["dag_run_id"])["outcome"] == "live"]
    pointer = fleet.pointer("texas_housing", "austin")
    assert pointer is not None
    assert pointer["as_of"] == live[-1]["logical_date"][:10].replace("-", "") + "T000000Z"


def test_an_allowed_night_goes_on(fleet: Fleet) -> None:
    allow_the_dear_night(fleet)
    assert fleet.ended(DEAR_DAG) == "success"
    assert fleet.record(DEAR_DAG)["outcome"] == "too_little_data"
    log = fleet.task_log(DEAR_DAG, "preprocess")
    assert "; allowed by " in log
    jobs = fleet.client("sagemaker").list_processing_jobs(NameContains="dear-rides--")
    assert len(jobs["ProcessingJobSummaries"]) == 1


def create_backfill(fleet: Fleet, dag_id: str, first: str, last: str) -> None:
    """Create a backfill; where SQLite refuses because others write at the moment, do what docs/local.md says."""
    arguments = [
        "--dag-id",
        dag_id,
        "--from-date",
        first,
        "--to-date",
        last,
        "--reprocess-behavior",
        "failed",
    ]
    for _ in range(3):
        done = fleet.airflow_cli("backfill", "create", *arguments)
        if done.returncode == 0:
            return
        assert "database is locked" in done.stderr, done.stderr[-2000:]
        found = fleet.stack.airflow.request("GET", "/backfills", params={"dag_id": dag_id})["backfills"]
        for backfill in found:
            if backfill["completed_at"] is None:
                fleet.stack.airflow.request("PUT", f"/backfills/{backfill['id']}/cancel")
    raise AssertionError("the database was locked three times")


def backfill_runs(fleet: Fleet, dag_id: str) -> list[dict[str, Any]]:
    """Wait until the scheduler has made the backfill's runs."""
    deadline = time.monotonic() + 120
    while True:
        runs = fleet.stack.airflow.request("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 50})["dag_runs"]
        found = sorted(
            (run for run in runs if run["run_type"] == "backfill"), key=lambda run: run["logical_date"]
        )
        if len(found) == 2:
            return found
        assert time.monotonic() < deadline, runs
        time.sleep(0.5)
