"""Find jobs of a fleet that no task waits for any more, and stop them. The rule is pure; a boto3 client is passed in.

A look at a fleet has three parts: list the jobs in progress that are older than the grace period and read whose they
are from their tags (:func:`jobs_in_progress`); judge each by its task instance, and by those of the other DAG runs that
work on the same run (:func:`judge`); stop the orphans (:func:`stop`). A job that a part could not settle is left to the
next look, and never keeps it from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock, naming
from city_fleet.config import Fleet
from city_fleet.jobs import orphans
from city_fleet.jobs.job_requests import TAG_CITY, TAG_COHORT, TAG_DAG_RUN, TAG_RUN, TAG_STEP
from city_fleet.jobs.sagemaker_jobs import IN_PROGRESS, KINDS, JobKind
from city_fleet.naming import TAG_ENVIRONMENT, TAG_FLEET
from city_fleet.state import installation
from city_fleet.ticks import last_tick

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

#: A task without a state is looked at again after this time: see :func:`judge`.
SECOND_LOOK_AFTER = timedelta(minutes=10)
_PAGE_SIZE = 100
# So many looks may be late; when more are missing, something has happened to Airflow.
_LOOKS_MISSED = 2


class Task(NamedTuple):
    """A task instance: what a job's tags say about where it came from; a mapped one with its index, ``city_7``."""

    dag_id: str
    run_id: str
    task_id: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True)
class Job:
    """A job in progress.

    :param kind: ``Processing`` or ``Training``.
    :param created: when it was created, with a time zone.
    :param task: the task instance that has started it.
    :param city: slug, or what stands for a cohort; ``run_key`` of the run that it is a step of.
    """

    kind: str
    name: str
    created: datetime
    task: Task
    city: str = ""
    run_key: str = ""

    def age_minutes(self, now: datetime) -> int:
        return int((now - self.created).total_seconds() // 60)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain data, for the time between two looks."""
        return {**vars(self), "created": self.created.isoformat(), "task": list(self.task)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Job:
        return cls(**{**value, "created": clock.parse(value["created"]), "task": Task(*value["task"])})


@dataclass(frozen=True)
class OrphanVerdict:
    """What the rule says about a job.

    :param orphan: True: no task waits for it; False: its task may come back for it; None: look again later.
    :param reason: the rest of a sentence after "because".
    """

    job: Job
    orphan: bool | None
    reason: str


@dataclass(frozen=True)
class LookNote:
    """What a look leaves in Airflow's database for the next one.

    :param since: ISO instant since which the database knows of the fleet's runs without a gap.
    :param look: ISO instant of the look.
    """

    since: str
    look: str


def note_of_look(before: LookNote | None, schedule: str | None, now: datetime) -> LookNote:
    """Return the note of a look now.

    A database that was made anew has no note, and the newest one in a backup that was restored is too old: what the
    database knows without a gap begins with this look. So it does after a time in which Airflow was down.

    :param before: note of the newest look that the database knows of.
    :param schedule: of the looks; None for never.
    """
    due: datetime | None = now
    for _ in range(_LOOKS_MISSED):
        due = last_tick(schedule, due - timedelta(minutes=1)) if due else None
    gap = before is None or (due is not None and clock.parse(before.look) < due)
    return LookNote(now.isoformat() if before is None or gap else before.since, now.isoformat())


@dataclass(frozen=True)
class Look:
    """What is known beside the jobs when they are judged.

    :param states: the states of those of their task instances that exist, read after the jobs were listed. A state
        that this library does not know keeps the job.
    :param others: job name → the task instances of other DAG runs that work on the same run and may come for the job.
    :param remembers_since: since when Airflow's database knows of the fleet's runs without a gap; None where nobody can
        say.
    :param second: the jobs' tasks had no state at the first look.
    """

    states: Mapping[Task, str | None]
    others: Mapping[str, Sequence[Task]] = field(default_factory=dict)
    remembers_since: datetime | None = None
    second: bool = False


def judge(jobs: Sequence[Job], look: Look) -> list[OrphanVerdict]:
    """Say of each job whether a task still waits for it.

    A task instance without a state needs a second look. If it was cleared, its next try stops the job; in a paused DAG
    that try may never come, and the job bills until its time limit. If a scheduler has reset it after a restart, its
    next try adopts the job a moment later. Neither the job's age nor Airflow tells which it is. A task without a state
    at two looks, ``SECOND_LOOK_AFTER`` apart, is not about to start, so its job is stopped; if it had not been cleared
    after all, the next try starts a new job, which costs money but breaks nothing.

    A job that is older than Airflow's memory is left alone: a database that was lost, and made anew or restored, knows
    not all runs of before, and who runs the same again needs the job. It ends by itself, at the latest at its time
    limit.

    :param jobs: jobs in progress.
    """
    newest: dict[Task, Job] = {}
    for job in jobs:
        if job.task not in newest or newest[job.task].created < job.created:
            newest[job.task] = job
    verdicts = []
    for job in jobs:
        tasks = (job.task, *look.others.get(job.name, ()))
        of_tasks = [_judge(job, task, newest.get(task, job), look) for task in tasks]
        # One task that waits is enough; one that may wait comes second.
        verdicts.append(min(of_tasks, key=lambda verdict: (False, None, True).index(verdict.orphan)))
    return verdicts


def _judge(job: Job, task: Task, newest: Job, look: Look) -> OrphanVerdict:
    state = look.states.get(task)
    minutes = int(SECOND_LOOK_AFTER.total_seconds() // 60)
    whose = "its task" if task == job.task else f"the task of {task.run_id}, which works on the same run,"
    orphan: bool | None = True
    if task not in look.states:
        reason = f"{whose} does not exist any more: the task, its run or its DAG was deleted"
        if look.remembers_since is not None and job.created < look.remembers_since:
            orphan, reason = False, "it is older than all that this Airflow remembers"
    elif state in orphans.ENDED:
        reason = f"{whose} has ended as {state}"
    elif newest.created > job.created:
        reason = f"{whose} waits for a newer job, {newest.name}"
    elif state is not None:
        orphan, reason = False, f"{whose} is {state}"
    elif look.second:
        reason = f"{whose} was without a state twice, {minutes} minutes apart: cleared, and not scheduled"
    else:
        orphan, reason = None, f"{whose} has no state: it was cleared, or is about to be scheduled"
    return OrphanVerdict(job, orphan, reason)


@dataclass
class Found:
    """The jobs in progress whose names begin like the fleet's.

    :param jobs: those of this fleet and environment.
    :param elsewhere: names of City Fleet's jobs of another fleet or environment.
    :param unmarked: names of jobs that do not say which task they belong to.
    :param unread: names of jobs whose tags could not be read this time.
    :param problems: sentences about errors that will not go away by themselves.
    """

    jobs: list[Job] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def jobs_in_progress(
    client: SageMakerClient, fleet: Fleet, now: datetime, in_time: Callable[[], bool] = lambda: True
) -> Found:
    """Find the fleet's jobs in progress that are older than its grace period.

    Only for those are tags read, one request each. When time runs out, the others are left to the next look, which
    takes them in another order.

    :param client: a SageMaker client; see :func:`city_fleet.jobs.pacing.keep_pace`.
    :param now: by SageMaker's clock, as are the jobs' times.
    :param in_time: says whether there is time for another request.
    :raises ClientError: the jobs could not even be listed.
    """
    before = now - timedelta(minutes=fleet.reaper.grace_minutes)
    listed = [(kind, summary) for kind in KINDS.values() for summary in _listed(client, kind, fleet, before)]
    found = Found()
    for kind, summary in sorted(listed, key=lambda each: _turn(each[0], each[1], now)):
        name = str(summary[kind.name_key])
        if not in_time():
            found.unread.append(name)
            continue
        try:
            tags = installation.tags_of(client, str(summary[kind.arn_key]))
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and aws_errors.is_missing(error):
                continue  # deleted in the meantime
            found.unread.append(name)
            if not aws_errors.is_passing(error):
                found.problems.append(f"The tags of {name} cannot be read: {error}")
            continue
        task = task_of_tags(tags)
        if task is None:
            found.unmarked.append(name)
        elif (tags[TAG_FLEET], tags[TAG_ENVIRONMENT]) != (fleet.fleet, fleet.environment):
            found.elsewhere.append(name)
        else:
            of_run = tags.get(TAG_CITY) or naming.cohort_home(tags[TAG_COHORT]), tags.get(TAG_RUN, "")
            found.jobs.append(Job(kind.name, name, kind.created_at(summary), task, *of_run))
    return found


def task_of_tags(tags: Mapping[str, str]) -> Task | None:
    """Return the task instance that a job's tags name, or None when one of City Fleet's tags is missing."""
    if not all(tags.get(key) for key in (TAG_FLEET, TAG_ENVIRONMENT, TAG_STEP, TAG_DAG_RUN)):
        return None
    fleet, run_id = tags[TAG_FLEET], naming.run_id_of_tag(tags[TAG_DAG_RUN])
    if tags.get(TAG_COHORT):  # its DAG runs it, also where it is of one city
        return Task(naming.cohort_dag_id(fleet, tags[TAG_COHORT]), run_id, tags[TAG_STEP])
    if not tags.get(TAG_CITY):
        return None
    return Task(naming.city_dag_id(fleet, tags[TAG_CITY]), run_id, tags[TAG_STEP])


def _listed(
    client: SageMakerClient, kind: JobKind, fleet: Fleet, before: datetime
) -> Iterator[Mapping[str, Any]]:
    prefix = naming.job_prefix(fleet.fleet, fleet.environment)
    pages = client.get_paginator(kind.method("list")).paginate(  # type: ignore[call-overload]
        StatusEquals=IN_PROGRESS,
        NameContains=prefix,
        CreationTimeBefore=before,
        PaginationConfig={"PageSize": _PAGE_SIZE},
    )
    for page in pages:
        for summary in page[kind.summaries_key]:
            if summary[kind.name_key].startswith(prefix):
                yield summary


def _turn(kind: JobKind, summary: Mapping[str, Any], now: datetime) -> str:
    """Return a job's place in the order of a look: another one each time, so that no job is always the last."""
    return naming.digest([kind.name, summary[kind.name_key], now.isoformat()])


@dataclass
class Stopped:
    """The orphans, by the answer to the request to stop them.

    :param stopped: those whose request SageMaker accepted.
    :param over: those that had ended in the meantime.
    :param left: those left to the next look.
    :param problems: sentences about errors that will not go away by themselves.
    """

    stopped: list[OrphanVerdict] = field(default_factory=list)
    over: list[OrphanVerdict] = field(default_factory=list)
    left: list[OrphanVerdict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def stop(
    client: SageMakerClient, verdicts: Sequence[OrphanVerdict], in_time: Callable[[], bool] = lambda: True
) -> Stopped:
    """Stop jobs, whatever becomes of the others.

    :param verdicts: orphans.
    :param in_time: says whether there is time for another request.
    """
    done = Stopped()
    for verdict in verdicts:
        if not in_time():
            done.left.append(verdict)
            continue
        try:
            asked = KINDS[verdict.job.kind].stop(client, verdict.job.name)
        except (ClientError, BotoCoreError) as error:
            done.left.append(verdict)
            if not aws_errors.is_passing(error):
                done.problems.append(f"{verdict.job.name} cannot be stopped: {error}")
            continue
        (done.stopped if asked else done.over).append(verdict)
    return done


def result_of(verdict: OrphanVerdict, now: datetime) -> dict[str, Any]:
    """Return what a look reports of an orphan, as JSON-ready data."""
    return {
        "job": verdict.job.name,
        "kind": verdict.job.kind,
        "task": str(verdict.job.task),
        "reason": verdict.reason,
        "age_minutes": verdict.job.age_minutes(now),
    }
