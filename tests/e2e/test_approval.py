"""Models that wait for a person, in a real Airflow: asked in its form, and decided in the registry."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.conftest import BUCKET, RUN_DEADLINE_SECONDS, Fleet

pytestmark = pytest.mark.e2e
ASKED = "texas_housing.fort_worth"
ELSEWHERE = "texas_housing.killeen_fort_hood"
POISONED = "texas_housing.longview_marshall"


def form(fleet: Fleet, dag_id: str, method: str = "GET", **options: Any) -> Any:
    run = fleet.runs[dag_id].replace("+", "%2B").replace(":", "%3A")
    path = f"/dags/{dag_id}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    return fleet.stack.airflow.request(method, path, **options)


def version(fleet: Fleet, dag_id: str) -> dict[str, Any]:
    arn = fleet.result(dag_id, "register")["package_arn"]
    return dict(fleet.client("sagemaker").describe_model_package(ModelPackageName=arn))


def recorded(fleet: Fleet, dag_id: str) -> dict[str, Any]:
    """Return what was recorded last about a run, also while it waits, and after it has ended."""
    name, slug = dag_id.split(".")
    s3 = fleet.client("s3")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{name}/laptop/state/runs/{slug}/")["Contents"]
    records = [json.loads(s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()) for item in listed]
    mine = [record for record in records if record["run_id"] == fleet.runs[dag_id]]
    return dict(max(mine, key=lambda record: str(record["finished_at"])))


def wait_for_question(fleet: Fleet, dag_id: str) -> None:
    deadline = time.monotonic() + RUN_DEADLINE_SECONDS
    while fleet.states(dag_id).get("approve") != "deferred":
        assert time.monotonic() < deadline, f"{dag_id}: {fleet.states(dag_id)}"
        time.sleep(0.5)


def city(dag_id: str) -> str:
    return dag_id.split(".")[1]


def test_a_person_is_asked_in_airflow_and_the_answer_publishes(fleet: Fleet) -> None:
    wait_for_question(fleet, ASKED)
    question = form(fleet, ASKED)
    assert question["subject"] == "May a new model of Fort Worth go live?"
    assert question["options"] == ["Approve", "Reject"]
    assert "| MAPE |" in question["body"]
    assert "beats the last known value" in question["body"]
    assert version(fleet, ASKED)["ModelApprovalStatus"] == "PendingManualApproval"
    assert fleet.pointer("texas_housing", city(ASKED)) is None
    assert recorded(fleet, ASKED)["outcome"] == "pending"
    waiting = fleet.stack.airflow.request(
        "GET", "/dags/~/dagRuns/~/hitlDetails", params={"response_received": False, "state": "deferred"}
    )
    assert ASKED in {item["task_instance"]["dag_id"] for item in waiting["hitl_details"]}
    form(fleet, ASKED, "PATCH", json={"chosen_options": ["Approve"], "params_input": {"note": "looks right"}})
    assert fleet.ended(ASKED) == "success"
    states = fleet.states(ASKED)
    assert (states["approve"], states["publish"], states["keep_champion"]) == (
        "success",
        "success",
        "skipped",
    )
    record = recorded(fleet, ASKED)
    assert record["outcome"] == "live"
    assert record["reasons"][0].startswith("approved by ")
    assert record["reasons"][0].endswith(": looks right")
    pointer = fleet.pointer("texas_housing", city(ASKED))
    assert pointer is not None
    assert pointer["target_model"] == record["target_model"]
    found = version(fleet, ASKED)
    assert (found["ModelApprovalStatus"], found["ApprovalDescription"]) == ("Approved", record["reasons"][0])
    assert found["CustomerMetadataProperties"]["settled_status"] == "Approved"


def test_a_decision_in_the_registry_ends_the_wait_and_the_form_asks_no_more(fleet: Fleet) -> None:
    wait_for_question(fleet, ELSEWHERE)
    fleet.client("sagemaker").update_model_package(
        ModelPackageArn=version(fleet, ELSEWHERE)["ModelPackageArn"],
        ModelApprovalStatus="Approved",
        ApprovalDescription="by a script of ours",
    )
    assert fleet.ended(ELSEWHERE) == "success"
    record = recorded(fleet, ELSEWHERE)
    assert (record["outcome"], record["reasons"][0]) == (
        "live",
        "approved by an unnamed person in the registry: by a script of ours",
    )
    assert fleet.pointer("texas_housing", city(ELSEWHERE)) is not None
    answered = form(fleet, ELSEWHERE)
    assert answered["response_received"] is True
    assert answered["chosen_options"] == ["Approve"]


def test_a_month_a_thousand_times_too_large_is_held_until_a_person_overrules(fleet: Fleet) -> None:
    assert fleet.ended(POISONED) == "success"
    record = recorded(fleet, POISONED)
    assert record["outcome"] == "held"
    assert record["reasons"][0].startswith("column 'sales' holds ")
    assert "robust standard deviations from its median" in record["reasons"][0]
    assert fleet.pointer("texas_housing", city(POISONED)) is None
    found = version(fleet, POISONED)
    assert found["ModelApprovalStatus"] == "Rejected"
    # The gate has judged the model on twelve months that are right, and it is good; somebody knows.
    fleet.client("sagemaker").update_model_package(
        ModelPackageArn=found["ModelPackageArn"], ModelApprovalStatus="Approved"
    )
    run_id = fleet.start("texas_housing._reconcile")
    assert fleet.ended("texas_housing._reconcile", run_id) == "success"
    pointer = fleet.pointer("texas_housing", city(POISONED))
    assert pointer is not None
    assert pointer["package_arn"] == found["ModelPackageArn"]
    record = recorded(fleet, POISONED)
    assert (record["outcome"], record["decided_by"]) == ("live", "an unnamed person in the registry")


def test_what_was_decided_is_neither_asked_nor_forgotten_when_a_run_is_cleared(fleet: Fleet) -> None:
    """The rows of the runbook's table that say so, on three runs at the same time."""
    judged = "texas_housing.waco"
    assert fleet.ended(judged) == "success"
    cleared = {ASKED: "approve", ELSEWHERE: "publish", judged: "evaluate"}
    before = {dag_id: fleet.pointer("texas_housing", city(dag_id)) for dag_id in cleared}
    versions = {dag_id: version(fleet, dag_id) for dag_id in cleared}
    for dag_id, task_id in cleared.items():
        fleet.clear(dag_id, task_id, downstream=True)
    for dag_id in cleared:
        assert fleet.ended(dag_id) == "success"
        assert fleet.pointer("texas_housing", city(dag_id)) == before[dag_id]
        now = version(fleet, dag_id)
        assert (now["ModelPackageArn"], now["ModelApprovalStatus"]) == (
            versions[dag_id]["ModelPackageArn"],
            versions[dag_id]["ModelApprovalStatus"],
        )
    assert recorded(fleet, ASKED)["outcome"] == "live"
    assert recorded(fleet, ELSEWHERE)["outcome"] == "live"
    assert recorded(fleet, judged)["outcome"] == "held"
    jobs = fleet.client("sagemaker").list_processing_jobs(NameContains="texas-housing--laptop--waco-evaluate")
    assert len(jobs["ProcessingJobSummaries"]) == 2, "the same model was judged anew"
