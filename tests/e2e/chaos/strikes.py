"""Blows that strike no process: a function each, which is given the stack and the blow.

A new kind is one such function, its line in STRIKES, and its kind in blows.KINDS.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from local.stack.stack import Stack
from tests.e2e.chaos import blows, full_disk, lost_database
from tests.e2e.chaos.blows import Blow

FAULTS_PATH = "/_local/faults"


def storm(stack: Stack, blow: Blow) -> str:
    """Let S3 refuse most of what is asked, for as long as the blow lasts: half a storm of 409, half one of 503."""
    window = {"start_seconds": 0.0, "end_seconds": blow.freeze_seconds}
    found = [
        {"kind": "conditional_conflict", "probability": 0.7 + 0.3 * blow.pick, "window": window},
        {"kind": "slow_down", "operation": "s3:*", "probability": 0.7, "window": window},
    ]
    httpx.post(
        stack.layout.sagemaker_url + FAULTS_PATH, json={"faults": found}, trust_env=False
    ).raise_for_status()
    return "S3"


def fill_disk(stack: Stack, blow: Blow) -> str:
    """Let the local SageMaker find no room for what it writes, for as long as the blow lasts."""
    full_disk.fill_stand_in(stack, blow.freeze_seconds)
    return "the local SageMaker's disk"


def lose_database(stack: Stack, _blow: Blow) -> str:
    """Lose Airflow's database, and start Airflow with a new one, which knows of no run."""
    if dead := stack.dead():
        raise ProcessLookupError(f"{dead[0].name} is to be started first")
    lost_database.lose_database(stack)
    return "Airflow's database"


#: Target of a blow → how it is struck. It returns what the report calls it, and raises httpx.HTTPError or OSError where
#: it can't be struck at the moment.
STRIKES: dict[str, Callable[[Stack, Blow], str]] = {
    blows.S3: storm,
    blows.DISK: fill_disk,
    blows.DATABASE: lose_database,
}
