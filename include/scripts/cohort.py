"""Prepares, trains and judges many cities one after the other in one container: three jobs of each are one job of all.

Runs in SageMaker's script mode (docs/steps.md): channels ``settings``, ``raw``, ``champions`` and ``parents``;
everything is left in SM_MODEL_DIR, ``outcome.json`` last. What becomes of one city, be it bad data, too little memory
or a crash, is no other city's.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked_worker import Worker, WorkerLost
from job_failure import JobFailure, run, sentence_of
from job_settings import JobSettings, read_job_settings

FORMAT_VERSION = 1
OUTCOME_FILE = "outcome.json"
#: What all cities of a job, and one of several, may take of its time; the rest is for what comes before and after.
ALL_SHARE, ONE_SHARE = 0.9, 0.25
_FAILED = "failed"
_TABLES = ("train", "validation", "test")


class Clock:
    """Shares the time that a job may take, so that one city that never ends costs no other its turn.

    :param seconds: when SageMaker stops the job; None where nobody says, and every city may take any time.
    :param cities: how many there are.
    """

    def __init__(self, seconds: float | None, cities: int) -> None:
        self._end = None if seconds is None else time.monotonic() + ALL_SHARE * seconds
        self._most = math.inf if seconds is None or cities == 1 else ONE_SHARE * seconds
        self.sentence = (
            f"The job may run for {seconds or 0:g} seconds: all its cities may take {ALL_SHARE:.0%} of that, one of "
            f"several {ONE_SHARE:.0%}. Raise training.max_runtime_seconds, or make the cohort smaller."
        )

    def seconds_for_one(self) -> float | None:
        """Return how long the next city may take; None for any time, 0 or less where there is none left."""
        return None if self._end is None else min(self._most, self._end - time.monotonic())


def cohort() -> None:
    """Do every city of the settings, and say in outcome.json what has come of each.

    :raises JobFailure: the settings can't be read, or every city has failed.
    """
    settings = read_job_settings(_folder("settings"))
    results = Path(os.environ.get("SM_MODEL_DIR") or "/opt/ml/model")
    for part in (*(_TABLES if settings.keep_tables else ()), "report", "training", "evaluation"):
        (results / part).mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, Any] = {}
    clock = Clock(settings.max_runtime_seconds, len(settings.cities))
    worker = Worker(_steps(settings, results))
    try:
        for slug in settings.cities:
            started = time.monotonic()
            outcomes[slug] = _outcome(worker, slug, clock)
            outcomes[slug]["seconds"] = round(time.monotonic() - started, 3)
            _tidy(results, slug, settings, outcomes[slug]["status"])
    finally:
        worker.close()
    text = json.dumps({"format_version": FORMAT_VERSION, "cities": outcomes}, indent=2, ensure_ascii=False)
    (results / OUTCOME_FILE).write_bytes(f"{text}\n".encode("utf-8", "backslashreplace"))
    failed = {slug: each["reason"] for slug, each in outcomes.items() if each["status"] == _FAILED}
    print(f"{len(outcomes)} cities: {len(failed)} failed", flush=True)
    if len(failed) == len(outcomes):
        sentences = list(failed.values())
        alone = len(sentences) == 1
        raise JobFailure(
            sentences[0] if alone else " ".join(f"{slug}: {reason}" for slug, reason in failed.items())
        )


def _steps(settings: JobSettings, results: Path) -> Callable[[str, Callable[[str], None]], dict[str, Any]]:
    """Return what does one city, in the worker's process."""
    raw = _folder("raw")

    def work(slug: str, begin: Callable[[str], None]) -> dict[str, Any]:
        # Here and not above: libraries with threads of their own, which the process that forks must not have.
        from city_steps import Places, run_steps  # noqa: PLC0415

        places = Places(raw, results, _channel("champions"), _channel("parents"))
        step = "preprocess"

        def begun(name: str) -> None:
            nonlocal step
            step = name
            begin(name)

        try:
            return run_steps(settings, settings.cities[slug], places, begun)
        except Exception as error:  # such as a disk that is full
            reason = sentence_of(error)
            print(f"{slug}: {reason}", file=sys.stderr, flush=True)
            return {"status": _FAILED, "step": step, "reason": reason}

    return work


def _outcome(worker: Worker, slug: str, clock: Clock) -> dict[str, Any]:
    seconds = clock.seconds_for_one()
    try:
        if seconds is not None and seconds <= 0:
            raise WorkerLost("The job's time was over before its turn.", None, late=True)
        found: dict[str, Any] = worker.do(slug, seconds)
    except WorkerLost as lost:
        reason = f"{lost.reason} {clock.sentence}" if lost.late else lost.reason
        print(f"{slug}: {reason}", file=sys.stderr, flush=True)
        return {"status": _FAILED, "step": lost.said or "preprocess", "reason": reason}
    return found


def _tidy(results: Path, slug: str, settings: JobSettings, status: str) -> None:
    """Take away what is no result: tables that are not wanted, and the half of an evaluation."""
    unwanted = () if settings.keep_tables else _TABLES
    for part in (*unwanted, *(("evaluation",) if status == _FAILED else ())):
        shutil.rmtree(results / part / f"city={slug}", ignore_errors=True)


def _channel(name: str) -> Path | None:
    value = os.environ.get(f"SM_CHANNEL_{name.upper()}")
    return Path(value) if value else None


def _folder(name: str) -> Path:
    found = _channel(name)
    if found is None:
        raise JobFailure(
            f"SM_CHANNEL_{name.upper()} is not set; the job needs a channel '{name}', whose folder SageMaker's script "
            "mode puts there."
        )
    return found


if __name__ == "__main__":
    output = os.environ.get("SM_OUTPUT_DIR")
    sys.exit(run(cohort, Path(output) / "failure" if output else None))
