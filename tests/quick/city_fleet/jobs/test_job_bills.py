"""What a job is paid for by, out of what SageMaker says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from city_fleet.jobs import job_bills
from city_fleet.jobs.job_attempts import Memory
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING

START = datetime(2026, 11, 27, 2, tzinfo=UTC)


def training(name: str = "t-1", status: str = "Completed", **more: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "TrainingJobStatus": status,
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 30},
        "TrainingStartTime": START,
        # As botocore gives it: by the clock of this host's place.
        "TrainingEndTime": (START + timedelta(seconds=500)).astimezone(timezone(timedelta(hours=-6))),
        "TrainingTimeInSeconds": 500,
        "BillableTimeInSeconds": 100,
        "EnableManagedSpotTraining": True,
        **more,
    }


def processing(**more: Any) -> dict[str, Any]:
    cluster = {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
    return {
        "ProcessingJobName": "p-1",
        "ProcessingJobStatus": "Failed",
        "ProcessingResources": {"ClusterConfig": cluster},
        "ProcessingStartTime": START,
        "ProcessingEndTime": START + timedelta(seconds=41.2),
        **more,
    }


def test_a_bill_has_seconds_and_instances_and_no_money() -> None:
    assert job_bills.bill_of(TRAINING, training(), "train") == {
        "step": "train",
        "job": "t-1",
        "status": "Completed",
        "kind": "Training",
        "instance_type": "ml.m5.large",
        "instance_count": 2,
        "volume_gb": 30,
        "billable_seconds": 100,
        "training_seconds": 500,
        "spot": True,
        "ended_at": "2026-11-27T02:08:20+00:00",
    }
    bill = job_bills.bill_of(PROCESSING, processing(), "evaluate")
    assert (bill["billable_seconds"], bill["instance_type"], bill["volume_gb"]) == (42, "ml.t3.medium", 5)
    assert "training_seconds" not in bill


def test_a_job_that_never_had_an_instance_costs_nothing_and_one_that_goes_on_what_it_has_cost_so_far() -> (
    None
):
    never = processing(ProcessingStartTime=None, ProcessingEndTime=None, ProcessingJobStatus="Stopped")
    assert job_bills.bill_of(PROCESSING, never, "evaluate")["billable_seconds"] == 0
    headers = {"HTTPHeaders": {"date": "Fri, 27 Nov 2026 02:01:00 GMT"}}
    going = processing(ProcessingEndTime=None, ProcessingJobStatus="InProgress", ResponseMetadata=headers)
    bill = job_bills.bill_of(PROCESSING, going, "evaluate")
    assert (bill["billable_seconds"], "ended_at" in bill) == (60, False)


def test_jobs_paid_for_in_vain_are_counted_once_and_named_by_what_made_them_so() -> None:
    bills = [
        job_bills.bill_of(TRAINING, training(f"t-{number}", status), "train")
        for number, status in enumerate(("Failed", "Stopped", "Completed", "Completed"), start=1)
    ]
    before = [job_bills.wasted(bill) for bill in bills[:3]]
    found = list(job_bills.each([{**bills[3], job_bills.BEFORE: before}, *bills[3:]]))
    assert [(bill["job"], bill.get("waste")) for bill in found] == [
        ("t-1", "failed"),
        ("t-2", "stopped"),
        ("t-3", "duplicated"),
        ("t-4", None),
    ]
    # The job that a task has failed with is waste as well.
    assert next(job_bills.each([bills[0]]))["waste"] == "failed"
    memory = Memory("t-4", 4, 2, before=tuple(before))
    assert Memory.from_dict(memory.to_dict()) == memory


def test_the_shares_of_a_cohorts_cities_are_exactly_the_whole() -> None:
    facts = {
        "job": "c",
        "billable_seconds": 100,
        "training_seconds": 501,
        job_bills.BEFORE: [{"billable_seconds": 7}],
    }
    for weights in (
        {"austin": 3.1, "bryan": 1.7, "waco": 0.0},
        dict.fromkeys(("austin", "bryan", "waco"), 0.0),
    ):
        shares = [job_bills.shared(facts, slug, weights) for slug in weights]
        assert sum(share["billable_seconds"] for share in shares) == 100
        assert sum(share["training_seconds"] for share in shares) == 501
        assert sum(share[job_bills.BEFORE][0]["billable_seconds"] for share in shares) == 7
