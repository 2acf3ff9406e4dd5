"""Runs Airflow backfills of many cities, a few at the same time, until each has ended.

Airflow backfills one DAG per request and keeps what it has done, so no state is kept here: a command that was stopped
is typed again and continues from what Airflow has.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from city_fleet import clock, naming
from city_fleet.airflow_rest.airflow_client import AirflowRest, Backfill
from city_fleet.errors import AirflowError

NONE = "none"
REPROCESS = (NONE, "failed", "completed")
#: Jobs of a run that goes all the way.
JOBS_PER_RUN = 3

DONE = "done"
NOTHING = "nothing to do"
FAILED = "failed"
PLANNED = "planned"

# Airflow 3.3.2 may create only some runs of a backfill when its database is locked (503) meanwhile. It counts such a
# backfill as completed when those runs have ended, or after two minutes if there are none. So it is created again.
_CREATIONS = 5
# HTTP statuses that a retry does not change. A locked database, an api-server that restarts and a backfill that is
# running after all (409) are tried again at the next poll.
_FINAL = frozenset({400, 401, 403, 404, 422})
_QUESTIONS = 120
_PARALLEL_QUESTIONS = 4
_PAUSED = "its DAG is paused, so its runs would not start; unpause it, or add --unpause"


@dataclass(frozen=True)
class BackfillOrder:
    """Which runs to backfill, and how.

    :param first: first logical date, with a time zone.
    :param last: last logical date, with a time zone.
    :param reprocess: which existing runs are run again: ``none``, ``failed`` ones, or all (``completed``).
    :param runs_per_city: runs of one city at the same time.
    :param resume: skip cities for which the same backfill has been completed.
    :param unpause: unpause paused DAGs.
    :param repeat: pay for all jobs, though the same have been paid for.
    :param conf: DAG id → values of its params for each run, where only some of its cities are meant.
    :param one_job: ids of the DAGs whose run is one job: those of cohorts.
    """

    first: datetime
    last: datetime
    reprocess: str = "none"
    runs_per_city: int = 1
    resume: bool = False
    unpause: bool = False
    repeat: bool = False
    conf: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    one_job: frozenset[str] = frozenset()

    def jobs(self, dag_id: str, runs: int) -> int:
        """Return how many jobs so many runs of a DAG have at most."""
        return runs if dag_id in self.one_job else runs * JOBS_PER_RUN

    def is_about(self, backfill: Backfill) -> bool:
        return (self.first, self.last) == (backfill.first, backfill.last)

    def is_of(self, backfill: Backfill) -> bool:
        return self.is_about(backfill) and self.reprocess == backfill.reprocess


@dataclass(frozen=True)
class CityBackfill:
    """The result for one city.

    :param state: ``planned`` (a dry run), ``done``, ``nothing to do`` or ``failed``.
    :param runs: how many runs were, or would be, started.
    :param failed_runs: how many runs between the dates have failed.
    :param repeats: how many of them would pay for jobs again that have been paid for.
    :param superseded: how many of them are of an older moment than the model that serves, which they never replace.
    :param note: what went wrong, or why there was nothing to do.
    :param jobs: that the runs have at most.
    """

    dag_id: str
    state: str
    runs: int = 0
    failed_runs: int = 0
    repeats: int = 0
    superseded: int = 0
    note: str = ""
    jobs: int = field(default=0, compare=False)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "note": self.note or None}


def window(first: str, last: str) -> tuple[datetime, datetime]:
    """Read the first and the last logical date; a last date without a time includes the whole day.

    :raises ValueError: with what was got and what is allowed.
    """
    begin, end = naming.parse_as_of(first), naming.parse_as_of(last)
    if clock.is_day(last):
        end += timedelta(days=1) - timedelta(seconds=1)
    if begin > end:
        raise ValueError(f"the first date, {first}, is after the last one, {last}")
    return begin, end


def plan(
    airflow: AirflowRest,
    order: BackfillOrder,
    dag_ids: Sequence[str],
    champions: Mapping[str, datetime] = MappingProxyType({}),
) -> Iterator[CityBackfill]:
    """Yield what a backfill of each DAG would start, in the order of the DAGs, and start nothing.

    :param champions: DAG id → the as_of of the model that serves its city, where one does.
    :raises AirflowError: Airflow does not answer at all.
    """

    def one(dag_id: str) -> CityBackfill:
        try:
            dag = airflow.dag(dag_id)
            if dag is None or dag.stale:
                return _without_dag(dag_id)
            done = _done_before(order, airflow.backfills(dag_id))
            reprocess = NONE if done else order.reprocess
            dates = airflow.dates_of_backfill(dag_id, order.first, order.last, reprocess)
            # A run that is there already is cleared, and a clear is a repetition.
            new = (
                dates
                if reprocess == NONE
                else airflow.dates_of_backfill(dag_id, order.first, order.last, NONE)
            )
        except AirflowError as error:
            if error.status is None:
                raise
            return CityBackfill(dag_id, FAILED, note=str(error))
        if not dates:
            return CityBackfill(dag_id, NOTHING)
        champion = champions.get(dag_id)
        return CityBackfill(
            dag_id,
            PLANNED,
            len(dates),
            repeats=len(dates) if order.repeat else len(dates) - len(new),
            superseded=0 if champion is None else sum(date < champion for date in dates),
            note=_PAUSED if dag.paused and not order.unpause else "",
            jobs=order.jobs(dag_id, len(dates)),
        )

    with ThreadPoolExecutor(_PARALLEL_QUESTIONS) as pool:
        yield from pool.map(one, dag_ids)


def run(
    airflow: AirflowRest,
    order: BackfillOrder,
    dag_ids: Iterable[str],
    *,
    at_once: int,
    tell: Callable[[RunEnd], None] = lambda _: None,
    poll_seconds: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[CityBackfill]:
    """Backfill DAGs and yield each result when its backfill has ended.

    A caller that stops iterating stops no backfill.

    :param at_once: how many DAGs are backfilled at the same time.
    :param tell: is told of each of their runs that has ended.
    """
    waiting, under_way = deque(dag_ids), list[_Task]()
    while waiting or under_way:
        while waiting and len(under_way) < at_once:
            under_way.append(_Task(airflow, order, waiting.popleft()))
        for task in list(under_way):
            result = task.go_on()
            for ended in task.newly_ended():
                tell(ended)
            if result is not None:
                under_way.remove(task)
                yield result
        if under_way and (not waiting or len(under_way) == at_once):
            sleep(poll_seconds)


@dataclass(frozen=True)
class RunEnd:
    """A run of a backfill that has ended.

    :param state: Airflow's: ``success`` or ``failed``.
    """

    dag_id: str
    run_id: str
    state: str
    logical_date: datetime


class _Task:
    """The backfill of one DAG, step by step."""

    def __init__(self, airflow: AirflowRest, order: BackfillOrder, dag_id: str) -> None:
        self._airflow, self._order, self._dag_id = airflow, order, dag_id
        self._newest_before: int | None = None
        self._runs = 0
        self._waits_for: int | None = None
        self._unanswered = 0
        self._told: set[str] | None = None

    def newly_ended(self) -> Iterator[RunEnd]:
        """Yield the runs that have ended since this was asked last; those that had before the backfill are not told."""
        if self._waits_for is None and self._told is None:
            return
        try:
            ended = self._airflow.ended_runs(self._dag_id, self._order.first, self._order.last)
        except AirflowError:
            return  # whoever watches misses a line; the backfill itself asks again, and counts what it is refused
        if self._told is not None:
            for run in ended:
                if run.id not in self._told:
                    yield RunEnd(self._dag_id, run.id, run.state, run.logical_date)
        self._told = {run.id for run in ended}

    def go_on(self) -> CityBackfill | None:
        """Do the next step; None means that it has not ended."""
        try:
            result = self._step()
        except AirflowError as error:
            self._unanswered += 1
            if error.status in _FINAL or self._unanswered >= _QUESTIONS:
                return self._end(FAILED, note=str(error))
            return None
        self._unanswered = 0
        return result

    def _step(self) -> CityBackfill | None:
        if self._newest_before is None:
            problem = self._look_at_dag()
            if problem is not None:
                return problem
        if self._waits_for is not None:
            awaited = self._airflow.backfill(self._waits_for)
            if awaited is not None and awaited.completed is None:
                return self._paused(awaited) if awaited.paused else None
            self._waits_for = None
        known = self._airflow.backfills(self._dag_id)
        if self._newest_before is None:
            # A running backfill of the same order counts as created here: the command was stopped and typed again.
            others = (each.id for each in known if each.completed is not None or not self._order.is_of(each))
            self._newest_before = max(others, default=0)
        under_way = [each for each in known if each.completed is None]
        if under_way:
            self._waits_for = under_way[-1].id
            return self._paused(under_way[-1]) if under_way[-1].paused else None
        return self._create_or_end(known, self._newest_before)

    def _look_at_dag(self) -> CityBackfill | None:
        dag = self._airflow.dag(self._dag_id)
        if dag is None or dag.stale:
            return _without_dag(self._dag_id)
        if dag.paused and not self._order.unpause:
            return self._end(FAILED, note=_PAUSED)
        if dag.paused:
            self._airflow.set_paused(self._dag_id, False)
        return None

    def _create_or_end(self, known: Sequence[Backfill], newest_before: int) -> CityBackfill | None:
        order = self._order
        # Created backfills are counted from Airflow's list, since the response to a creation may have been lost.
        created = sum(each.id > newest_before and order.is_about(each) for each in known)
        done_before = _done_before(order, [each for each in known if each.id <= newest_before])
        # After a backfill has ended, only runs that it left out are added: its creation may have been interrupted.
        reprocess = NONE if created or done_before else order.reprocess
        runs = len(self._airflow.dates_of_backfill(self._dag_id, order.first, order.last, reprocess))
        if runs == 0:
            if not created and done_before is None:
                return self._end(NOTHING)
            failed = self._airflow.failed_runs(self._dag_id, order.first, order.last)
            note = f"backfill {done_before.id} has done this before" if done_before and not created else ""
            return self._end(FAILED if failed else DONE, failed, note)
        if created >= _CREATIONS:
            return self._end(FAILED, note=f"{runs} runs are still missing after {created} backfills")
        self._runs = self._runs or runs
        self._waits_for = self._airflow.create_backfill(
            self._dag_id,
            order.first,
            order.last,
            reprocess,
            order.runs_per_city,
            conf={**({"repeat": True} if order.repeat else {}), **order.conf.get(self._dag_id, {})} or None,
        ).id
        return None

    def _paused(self, backfill: Backfill) -> CityBackfill:
        return self._end(
            FAILED, note=f"its backfill {backfill.id} is paused; unpause or cancel it in Airflow"
        )

    def _end(self, state: str, failed_runs: int = 0, note: str = "") -> CityBackfill:
        jobs = self._order.jobs(self._dag_id, self._runs)
        return CityBackfill(self._dag_id, state, self._runs, failed_runs, note=note, jobs=jobs)


def _done_before(order: BackfillOrder, known: Iterable[Backfill]) -> Backfill | None:
    """Return the newest completed backfill of the same order, if the order says to skip those."""
    if not order.resume:
        return None
    same = [each for each in known if order.is_of(each) and each.completed is not None]
    return same[-1] if same else None


def _without_dag(dag_id: str) -> CityBackfill:
    return CityBackfill(dag_id, FAILED, note="Airflow does not have this DAG; is the city in the fleet file?")
