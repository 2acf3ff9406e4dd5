"""Chaos over the real stack, short and seeded; its plan and its judgement are tested by themselves."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local.stack.processes import Recorded
from tests.e2e.chaos import blows, full_disk, settings
from tests.e2e.chaos.evidence import Remembered
from tests.e2e.chaos.judgement import KINDS, Evidence, Job, Run, judge
from tests.e2e.chaos.runner import ChaosRun, chaos_stack
from tests.support.local_sagemaker import running_server
from tests.support.waiting import wait_until

MEAN_PAUSE_SECONDS = 3.0
START_DELAY_SECONDS = 4.0


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("seed", "count", "cities"),
    [
        # The local SageMaker is killed and finds its disk full, and a worker is killed.
        pytest.param(104345, 3, settings.CITIES[:1], id="short"),
        # A worker, a task and the scheduler are killed, a triggerer is frozen for longer than Airflow waits for it, the
        # local SageMaker is killed three times in a row and finds its disk full for a while, and S3 refuses most of
        # what is asked for half a minute. Each city's jobs wait while the other's are struck.
        pytest.param(469774, 7, settings.CITIES[:2], id="two cities", marks=pytest.mark.long),
    ],
)
def test_every_city_ends_as_it_should_whatever_dies(
    tmp_path: Path, seed: int, count: int, cities: tuple[str, ...]
) -> None:
    said: list[str] = []
    plan = blows.plan(seed, count, mean_pause_seconds=MEAN_PAUSE_SECONDS)
    offset = settings.clock_offset_seconds(seed)
    with chaos_stack(
        tmp_path,
        cities,
        said.append,
        start_delay_seconds=START_DELAY_SECONDS,
        clock_offset_seconds=offset,
    ) as stack:
        result = ChaosRun(
            stack,
            cities,
            plan,
            seed=seed,
            timeout_seconds=300,
            clock_offset_seconds=offset,
            say=said.append,
        ).run()
    assert not result.wrong, json.dumps(result.to_dict(), indent=2) + "\n" + "\n".join(said)
    # A blow that finds nothing to strike for long is passed over; on a slow machine that may happen.
    assert len(result.dealt) >= len(plan) - count // 2, result.to_dict()
    assert blows.DISK in {each["target"] for each in result.dealt}
    assert result.restarts, "no component had to be started again"
    assert result.restarts["sagemaker"] > 0, "no outage"
    assert result.faults["throttling"] > 0
    assert result.faults["dropped_connection"] > 0


# -- the plan of blows ------------------------------------------------------------------------------------------------


def test_a_seed_gives_one_plan_and_every_kind_comes_before_any_comes_again() -> None:
    thrice = (blows.STAND_IN, blows.THRICE)
    once = set(blows.KINDS) - {thrice}
    one = blows.plan(7, len(blows.KINDS), mean_pause_seconds=8)
    assert one == blows.plan(7, len(blows.KINDS), mean_pause_seconds=8)
    assert one != blows.plan(8, len(blows.KINDS), mean_pause_seconds=8)
    kinds = [(blow.target, blow.action) for blow in one]
    assert set(kinds) == once
    assert len(kinds) == len(once) + 3, "one kind is three blows in a row"
    assert kinds.count((blows.STAND_IN, blows.KILL)) == 4
    assert all(4 <= blow.pause_seconds <= 12 for blow in one)
    assert all((blow.freeze_seconds > 0) == (blow.action in blows.LASTS) for blow in one)


# -- the judgement ----------------------------------------------------------------------------------------------------


def line(*models: str) -> list[dict[str, object]]:
    """A history: each model after the one before."""
    return [
        {"sequence": number, "target_model": model, "predecessor": before}
        for number, (model, before) in enumerate(zip(models, [None, *models], strict=False), 1)
    ]


def good() -> Evidence:
    """Two runs of one city, both live, as they should be left."""
    runs, jobs = [], []
    for run_id, sha in {"r1": "aa", "r2": "bb"}.items():
        record = {"outcome": "live", "target_model": f"waco/{sha}", "reasons": []}
        runs.append(Run("waco", run_id, as_of=run_id, state="success", records=[record]))
        for step in ("preprocess", "train", "evaluate"):
            artifact = sha if step == "evaluate" else None
            jobs.append(Job(f"waco-{step}-{run_id}-1", "waco", step, run_id, "Completed", artifact))
    first, second = line("waco/aa", "waco/bb")
    return Evidence(
        jobs=jobs,
        runs=runs,
        versions={"waco": ["aa", "bb"]},
        pointers={"waco": second},
        histories={"waco": [first]},
        models=frozenset({"waco/aa", "waco/bb"}),
    )


def test_nothing_is_wrong_with_what_is_right() -> None:
    assert not any(judge(good()).values())


def job(name: str, status: str, run_id: str = "r1") -> Job:
    return Job(name, "waco", "train", run_id, status)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"jobs": [*good().jobs, job("again", "Completed")]}, "step train needs one job that completed"),
        ({"jobs": [*good().jobs, job("old", "Stopped")]}, "step train needs one job that completed"),
        ({"jobs": [*good().jobs, job("lost", "InProgress")]}, "lost is still InProgress: an orphan"),
        ({"jobs": [*good().jobs, job("stray", "Completed", "r9")]}, "stray (Completed) belongs to no run"),
        ({"jobs": good().jobs[1:]}, "step preprocess needs one job that completed; there are: none"),
        ({"runs": [replace(good().runs[0], state="failed"), good().runs[1]]}, "its state is failed"),
        ({"runs": [replace(good().runs[0], records=[]), good().runs[1]]}, "0 run records instead of one"),
        ({"versions": {"waco": ["aa", "aa", "bb"]}}, "artifact aa has 2 versions"),
        ({"versions": {"waco": ["bb"]}}, "artifact aa is not registered"),
        ({"versions": {"waco": ["aa", "bb", "cc"]}}, "version of an unknown artifact cc"),
        ({"pointers": {}}, "2 runs went live, but there is no live pointer"),
        (
            {"pointers": {"waco": line("waco/aa")[0]}, "histories": {}},
            "waco/aa is live; the newest promoted run is r2",
        ),
        ({"histories": {}}, "the history has the sequences [2]"),
        ({"histories": {"waco": line("waco/cc")}}, "a predecessor in the history is not what served before"),
        ({"models": frozenset({"waco/aa"})}, "waco/bb has served, but is not there"),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, object], sentence: str) -> None:
    found = judge(replace(good(), **change))  # type: ignore[arg-type]
    assert set(found) == set(KINDS)
    assert sentence in "\n".join(each for sentences in found.values() for each in sentences)


def test_a_job_that_an_outage_has_ended_may_be_made_anew() -> None:
    lost = replace(job("lost", "Failed"), failure="InternalServerError: We encountered an internal error.")
    assert not any(judge(replace(good(), jobs=[*good().jobs, lost])).values())
    own = replace(lost, failure="AlgorithmError: x")
    assert judge(replace(good(), jobs=[*good().jobs, own]))["jobs_paid_twice"]


def test_what_a_green_run_did_is_looked_at() -> None:
    idle = replace(good().runs[0], records=[])
    assert judge(replace(good(), runs=[idle, good().runs[1]]))["green_runs_that_did_nothing"]
    assert judge(replace(good(), jobs=good().jobs[1:]))["green_runs_that_did_nothing"]


def test_a_run_ends_as_it_does_undisturbed() -> None:
    assert not any(judge(good(), {("waco", "r1"): "live", ("waco", "r2"): "live"}).values())
    (sentence,) = judge(good(), {("waco", "r1"): "held"})["other_ends_than_undisturbed"]
    assert sentence == "waco r1 ended as live; undisturbed it is held"


def test_a_night_that_is_started_again_is_one_run() -> None:
    known = Remembered(renamed={("waco", "a"): "b", ("waco", "b"): "c", ("hico", "a"): "x"})
    assert [known.now("waco", run_id) for run_id in "abcd"] == ["c", "c", "c", "d"]


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_a_full_disk_takes_nothing_for_a_while(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bucket")
        found = Recorded(
            "sagemaker", server.process.pid, psutil.Process(server.process.pid).create_time(), ""
        )
        stack: Any = SimpleNamespace(records=[found])
        full_disk.fill_stand_in(stack, 4.0)
        with pytest.raises(ClientError, match="the disk of the local SageMaker is full"):
            s3.put_object(Bucket="bucket", Key="lost", Body=b"x")

        def takes_again() -> bool:
            try:
                s3.put_object(Bucket="bucket", Key="kept", Body=b"x")
            except ClientError:
                return False
            return True

        wait_until(takes_again, 60, "there is room again")
        assert [each["Key"] for each in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["kept"]


def test_the_clock_of_a_night_follows_from_its_seed() -> None:
    offsets = [settings.clock_offset_seconds(seed) for seed in range(50)]
    assert offsets == [settings.clock_offset_seconds(seed) for seed in range(50)]
    assert min(offsets) < -200
    assert max(offsets) > 200
    assert all(abs(offset) <= 300 for offset in offsets)
