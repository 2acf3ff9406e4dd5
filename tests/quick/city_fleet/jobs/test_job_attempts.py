"""Which attempt a try begins with, and what it does about a job of that name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from city_fleet.jobs.job_attempts import AttemptAction, Memory, Start, finding, start_of_try
from city_fleet.plan import FixedChampion


def name_of(attempt: int) -> str:
    return f"job-{attempt}"


@pytest.mark.parametrize(
    ("memory", "max_tries", "expected"),
    [
        (None, 2, Start(1, None, adopts=True, joins=True)),
        (Memory("job-1", 1, 2, key="k"), 2, Start(1, None, adopts=True)),
        (Memory("job-3", 3, 2, key="k"), 2, Start(3, None, adopts=True)),
        (Memory("job-1", 1, 2, key="k"), 5, Start(2, "job-1", adopts=False)),
        (Memory("other-4", 4, 2, key="k"), 2, Start(1, "other-4", adopts=True, joins=True)),
        (Memory("other-4", 4, 2, key="k"), 5, Start(1, "other-4", adopts=False)),
        (Memory("other-4", 4, 2, key="before"), 5, Start(1, "other-4", adopts=True, joins=True)),
    ],
    ids=[
        "first try",
        "retry",
        "retry of attempt 3",
        "clear",
        "changed request",
        "clear and changed request",
        "the run before was cleared",
    ],
)
def test_where_a_try_begins(memory: Memory | None, max_tries: int, expected: Start) -> None:
    assert start_of_try(memory, max_tries, "k", name_of) == expected


@pytest.mark.parametrize(
    ("status", "output", "expected"),
    [
        ("InProgress", False, AttemptAction.ADOPT),
        ("Completed", True, AttemptAction.ADOPT),
        ("Completed", False, AttemptAction.NEXT_ATTEMPT),
        ("Stopping", True, AttemptAction.WAIT_UNTIL_OVER),
        ("Stopped", True, AttemptAction.NEXT_ATTEMPT),
        ("Failed", True, AttemptAction.NEXT_ATTEMPT),
    ],
)
def test_what_is_done_about_a_job_of_that_name(status: str, output: bool, expected: AttemptAction) -> None:
    assert finding(status, output_exists=lambda: output) is expected


def test_a_memory_survives_the_store() -> None:
    memory = Memory("job-2", 2, 5, on_demand=True)
    judges = replace(memory, key="k", champion=FixedChampion("austin/m.tar.gz", '"etag"', "20140101T000000Z"))
    for each in (memory, judges):
        stored = json.loads(json.dumps(each.to_dict()))
        # Airflow's state store takes what JSON gives back, and refuses a tuple.
        assert repr(stored) == repr(each.to_dict())
        assert Memory.from_dict(stored) == each
    assert Memory.from_dict({"name": "job-1", "attempt": 1, "max_tries": 0}) == Memory("job-1", 1, 0)
    assert Memory.from_dict(None) is None
