"""Raw data arrive and a new model serves: by the queue that S3 tells, and by an asset that DAGs of others update."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.conftest import BUCKET, RUN_DEADLINE_SECONDS, Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

CITY = "bike_rides.harbour"
ARRIVALS = "bike_rides._arrivals"
QUEUE = "bike-rides--laptop--arrivals"
RAW = "bike_rides/raw/city="


def runs(fleet: Fleet, dag_id: str) -> list[dict[str, Any]]:
    """The runs of a DAG that an asset has started, the oldest first."""
    found = fleet.stack.airflow.request("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "run_after"})
    return [run for run in found["dag_runs"] if run["run_type"] == "asset_triggered"]


def left(fleet: Fleet) -> int:
    """How many messages the queue holds, seen or not."""
    sqs = fleet.client("sqs")
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(map(int, found.values()))


def more_rides(fleet: Fleet, month: int) -> bytes:
    """A month of rides after those that are there."""
    s3 = fleet.client("s3")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{RAW}harbour/")["Contents"]
    lines = s3.get_object(Bucket=BUCKET, Key=listed[0]["Key"])["Body"].read().decode().splitlines()
    head = lines[0].split(",")
    days = [dict(zip(head, line.split(","), strict=True)) for line in lines[1:32]]
    for number, day in enumerate(days[:28], start=1):
        day["day"] = f"{number:02}.{month:02}.2026"
    rows = [",".join(day[name] for name in head) for day in days[:28]]
    return "\n".join([lines[0], *rows]).encode()


def test_files_that_arrive_become_one_run_and_a_new_live_model(fleet: Fleet) -> None:
    assert fleet.ended(CITY) == "success", fleet.states(CITY)
    before = fleet.pointer("bike_rides", "harbour")
    assert before is not None
    fleet.stack.airflow.set_paused("others_score", False)
    s3 = fleet.client("s3")
    # What a loader does: several files, nothing else. One is of a city that the fleet does not have.
    s3.put_object(Bucket=BUCKET, Key=f"{RAW}harbour/2026-01.csv", Body=more_rides(fleet, 1))
    s3.put_object(Bucket=BUCKET, Key=f"{RAW}nowhere/2026-01.csv", Body=b"day,rides\n")
    s3.put_object(Bucket=BUCKET, Key=f"{RAW}harbour/2026-02.csv", Body=more_rides(fleet, 2))

    (run,) = wait_until(lambda: runs(fleet, CITY), RUN_DEADLINE_SECONDS, "the city has a run")
    assert run["logical_date"] is None
    assert fleet.ended(CITY, run["dag_run_id"]) == "success", fleet.states(CITY, run["dag_run_id"])
    after = fleet.pointer("bike_rides", "harbour")
    assert after is not None
    assert after["sequence"] == before["sequence"] + 1, fleet.record(CITY, run["dag_run_id"])["reasons"]
    assert (before["data_until"], after["data_until"]) == ("2025-12-30", "2026-02-28")
    assert after["as_of"] > before["as_of"]
    assert len(runs(fleet, CITY)) == 1
    (arrival,) = runs(fleet, ARRIVALS)
    assert fleet.ended(ARRIVALS, arrival["dag_run_id"]) == "success"
    assert "no city nowhere" in fleet.task_log(ARRIVALS, "announce", arrival["dag_run_id"])
    assert left(fleet) == 0

    (score,) = wait_until(lambda: runs(fleet, "others_score"), RUN_DEADLINE_SECONDS, "others' DAG has a run")
    assert fleet.ended("others_score", score["dag_run_id"]) == "success"
    said = fleet.result("others_score", "score", score["dag_run_id"])
    known = {name: after[name] for name in ("target_model", "sequence", "as_of")}
    # Airflow tells the events in no order; the newest is the one with the highest sequence.
    assert max(said, key=lambda event: event["sequence"]) == known, json.dumps(said)
    assert len(said) == len({event["sequence"] for event in said})


def test_a_dag_of_others_retrains_a_city_unless_it_is_paused(fleet: Fleet) -> None:
    assert fleet.ended(CITY) == "success", fleet.states(CITY)
    known = {run["dag_run_id"] for run in runs(fleet, CITY)}
    fleet.stack.airflow.set_paused(CITY, True)
    assert fleet.ended("others_load", fleet.start("others_load")) == "success"
    fleet.stack.airflow.set_paused(CITY, False)
    # Airflow keeps the event and starts no run for it, then or later.
    assert fleet.ended("others_load", fleet.start("others_load")) == "success"

    def new() -> list[str]:
        # One that has not begun has no start, and Airflow 3.3.2 can't tell the events of such a run.
        begun = [run for run in runs(fleet, CITY) if run["start_date"]]
        return [run["dag_run_id"] for run in begun if run["dag_run_id"] not in known]

    (run_id,) = wait_until(new, RUN_DEADLINE_SECONDS, "the city has a run")
    path = f"/dags/{CITY}/dagRuns/{quote(run_id, safe='')}/upstreamAssetEvents"
    events = fleet.stack.airflow.request("GET", path)
    sources = [event["source_dag_id"] for event in events["asset_events"]]
    assert sources.count("others_load") >= 1
    assert new() == [run_id]
    # It would end as the one before; nobody waits for it.
    run = f"/dags/{CITY}/dagRuns/{quote(run_id, safe='')}"
    fleet.stack.airflow.request("PATCH", run, json={"state": "failed"})
