"""The fleet, the faults of the local SageMaker and the settings of Airflow under which a chaos run takes place."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

from local import ROOT
from tests.e2e.chaos import blows

FLEET = "texas_housing"
CITIES = ("dallas", "el_paso", "fort_worth", "houston", "san_antonio")

#: Airflow notices a loss within seconds instead of minutes. The relations are those of its defaults: heartbeats come
#: several times within the time after which they are missed.
AIRFLOW = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(blows.TASK_HEARTBEAT_TIMEOUT_SECONDS),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(blows.SCHEDULER_THRESHOLD_SECONDS),
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(blows.TRIGGERER_THRESHOLD_SECONDS),
    "AIRFLOW__TRIGGERER__RUNNER_HEALTH_CHECK_THRESHOLD": str(blows.TRIGGERER_THRESHOLD_SECONDS),
}


#: It takes an offset of its clock.
SAGEMAKER_MODULE = "tests.support.skewed_sagemaker"
# AWS refuses requests whose times are further off.
_LONGEST_CLOCK_OFFSET_SECONDS = 300


def clock_offset_seconds(seed: int) -> int:
    """Return by how much the local SageMaker's clock is ahead of Airflow's, or behind it, in the night of a seed."""
    longest = _LONGEST_CLOCK_OFFSET_SECONDS
    return random.Random(f"clock/{seed}").randint(-longest, longest)


def sagemaker_options(start_delay_seconds: float, clock_offset: int = 0) -> tuple[str, ...]:
    """Return the options of the local SageMaker.

    :param start_delay_seconds: how long a job waits for its instance. Most of a task's life is waiting for its job;
        with jobs that last a second no blow would meet a task that waits.
    """
    # More jobs than processors: one that waits holds up no other.
    return (
        "--max-running-jobs=16",
        f"--start-delay-seconds={start_delay_seconds}",
        f"--clock-offset-seconds={clock_offset}",
    )


def write_fleet(folder: Path, cities: tuple[str, ...]) -> Path:
    """Write the fleet file: the Texas fleet with a few cities and spot training. Retries are as many as by default.

    :return: its path.
    """
    document = yaml.safe_load((ROOT / "include" / "fleets" / f"{FLEET}.yaml").read_text())
    document["schedule"] = None
    # The reaper looks often, and at young jobs: it must leave alone what a task still waits for.
    document["reaper"] = {"schedule": "* * * * *", "grace_minutes": 1}
    document["cities"] = {city: document["cities"][city] for city in cities}
    defaults = document["defaults"]
    # As many tries as by default, a little sooner.
    del defaults["retries"]
    defaults["retry_delay_seconds"] = 2
    defaults["algorithm"]["hyperparameters"]["num_boost_round"] = 150
    # On spot instances a training job can lose its instance and wait for another.
    defaults["training"] |= {"spot": True, "max_wait_seconds": 3600}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{FLEET}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def faults(seed: int, *, long: bool) -> dict[str, Any]:
    """Return the local SageMaker's faults of a run, as POST /_local/faults takes them.

    :param long: a job in ten waits for an instance for longer than the reaper's grace; throttling does not end.

    None of them makes a job fail: a job that fails is made anew, which is right and would hide one that is not.
    """
    slow_spot = {
        "kind": "spot_interruption",
        "probability": 0.1,
        "after_seconds": 0.3,
        "capacity_after_seconds": 100,
    }
    return {
        "seed": seed,
        "faults": [
            *([slow_spot] if long else []),
            {
                "kind": "throttling",
                "operation": "Create*Job",
                "probability": 0.5,
                "count": None if long else 8,
            },
            {"kind": "throttling", "operation": "sagemaker:Describe*", "probability": 0.3},
            {"kind": "throttling", "operation": "sagemaker:List*", "probability": 0.3},
            {
                "kind": "dropped_connection",
                "operation": "sagemaker:Create*",
                "when": "after",
                "probability": 0.2,
            },
            {"kind": "dropped_connection", "operation": "sagemaker:*", "probability": 0.05},
            {"kind": "internal_error", "operation": "sagemaker:Create*", "when": "after", "probability": 0.1},
            {"kind": "internal_error", "operation": "s3:*", "probability": 0.03},
            {"kind": "dropped_connection", "operation": "s3:PutObject", "when": "after", "probability": 0.1},
            {"kind": "conditional_conflict", "probability": 0.2},
            {"kind": "latency", "distribution": "exponential", "mean_seconds": 0.2, "probability": 0.3},
            {
                "kind": "spot_interruption",
                "probability": 0.6,
                "after_seconds": 0.3,
                "capacity_after_seconds": 8,
            },
        ],
    }
