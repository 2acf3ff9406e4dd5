"""Whose fault it is, and what follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from city_fleet.errors import AlgorithmError, JobError, PlatformError
from city_fleet.jobs.job_faults import Ending, error_of, judge
from city_fleet.jobs.job_logs import last_words
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING

START = datetime(2026, 1, 1, tzinfo=UTC)


def training(status: str, **more: Any) -> dict[str, Any]:
    return {"TrainingJobName": "austin-train-1", "TrainingJobStatus": status, **more}


@pytest.mark.parametrize(
    ("description", "ending", "error", "words"),
    [
        (
            training("Failed", FailureReason="AlgorithmError: x < 0"),
            Ending.ALGORITHM,
            AlgorithmError,
            "x < 0",
        ),
        (
            training("Failed", FailureReason="ClientError: no image"),
            Ending.REQUEST,
            AlgorithmError,
            "no image",
        ),
        (training("Failed", FailureReason="InternalServerError: oh"), Ending.PLATFORM, PlatformError, "oh"),
        (training("Failed"), Ending.PLATFORM, PlatformError, "no reason given"),
        (training("Failed", FailureReason="CapacityError: none"), Ending.NO_SPOT_CAPACITY, JobError, "none"),
        (training("Stopped", SecondaryStatus="Stopped"), Ending.STOPPED, JobError, "before it was done"),
        (
            training(
                "Stopped",
                SecondaryStatus="MaxWaitTimeExceeded",
                StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
            ),
            Ending.NO_SPOT_CAPACITY,
            JobError,
            "on_demand_fallback",
        ),
        (
            training(
                "Stopped", SecondaryStatus="MaxRuntimeExceeded", StoppingCondition={"MaxRuntimeInSeconds": 60}
            ),
            Ending.OVERTIME,
            AlgorithmError,
            r"max_runtime_seconds \(60\)",
        ),
    ],
)
def test_how_a_training_job_ended(
    description: dict[str, Any], ending: Ending, error: type[Exception], words: str
) -> None:
    verdict = judge(TRAINING, description)
    assert verdict.ending is ending
    with pytest.raises(error, match=words) as caught:
        raise error_of(verdict, city="austin")
    assert type(caught.value) is error
    assert "austin-train-1" in str(caught.value)
    assert caught.value.city == "austin"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("seconds", "ending"), [(60, Ending.OVERTIME), (20, Ending.STOPPED)])
def test_a_stopped_processing_job_says_by_its_times_why(seconds: int, ending: Ending) -> None:
    description = {
        "ProcessingJobName": "austin-preprocess-1",
        "ProcessingJobStatus": "Stopped",
        "ProcessingStartTime": START,
        "ProcessingEndTime": START + timedelta(seconds=seconds),
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    assert judge(PROCESSING, description).ending is ending


def test_the_words_of_the_script_come_first() -> None:
    description = {
        "ProcessingJobName": "austin-preprocess-1",
        "ProcessingJobStatus": "Failed",
        "FailureReason": "AlgorithmError: , exit code: 1",
        "ExitMessage": "row 30: sales is -5",
    }
    assert judge(PROCESSING, description).sentence.endswith("row 30: sales is -5")


COMMAND = 'AlgorithmError: ExecuteUserScriptError:\nCommand "/miniconda3/bin/python3 -m train --city a", exit code: 1'
AT = "[2026-11-27:07:00:00:ERROR] "


def test_a_reason_that_is_no_reason_gives_way_to_the_last_line_of_the_log(subtests: pytest.Subtests) -> None:
    said = "a: 3 rows are left, allowed: at least 24"
    cases = {
        "of sagemaker-containers": [
            said,
            f"{AT}ExecuteUserScriptError:",
            'Command "/miniconda3/bin/python3 -m train"',
        ],
        "of sagemaker-training": [
            said,
            "Reporting training FAILURE",
            "ExecuteUserScriptError:",
            "ExitCode 1",
        ],
        "of no toolkit": ["round 1", "", f"{said}  ", " "],
    }
    for what, lines in cases.items():
        with subtests.test(what):
            verdict = judge(TRAINING, training("Failed", FailureReason=COMMAND), last_words(lines))
            assert verdict.ending is Ending.ALGORITHM
            assert verdict.sentence == (
                f"Job austin-train-1 ended as Failed: {said} (the last line of its log; AlgorithmError, exit code: 1)"
            )
    assert last_words([]) == last_words([f"{AT}ExecuteUserScriptError:", 'Command "x"']) == ""
    assert judge(TRAINING, training("Failed", FailureReason=COMMAND)).sentence.endswith(
        'ExecuteUserScriptError: Command "/miniconda3/bin/python3 -m train --city a", exit code: 1'
    )


def test_a_reason_that_says_why_stays(subtests: pytest.Subtests) -> None:
    for reason in (
        "AlgorithmError: no rows, exit code: 1",
        "AlgorithmError: , exit code: 137",
        "ClientError: no image",
        "InternalServerError: oh",
    ):
        with subtests.test(reason):
            assert reason in judge(TRAINING, training("Failed", FailureReason=reason), "round 9").sentence
    failed = {
        "ProcessingJobName": "p",
        "ProcessingJobStatus": "Failed",
        "FailureReason": "AlgorithmError: , exit code: 1",
    }
    assert (
        "ModuleNotFoundError: x (the last line"
        in judge(PROCESSING, failed, "ModuleNotFoundError: x").sentence
    )
    failed["ExitMessage"] = "row 30: sales is -5"
    assert judge(PROCESSING, failed, "round 9").sentence.endswith("row 30: sales is -5")


def test_a_completed_job_is_nobodys_fault() -> None:
    assert judge(TRAINING, training("Completed")).ending is Ending.COMPLETED
