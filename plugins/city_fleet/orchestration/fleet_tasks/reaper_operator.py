"""Airflow operator of the fleet's ``_reaper`` DAG: stop the jobs that no task waits for any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk.exceptions import AirflowException

from city_fleet import clock
from city_fleet.errors import list_names
from city_fleet.jobs import fixed_run, pacing, reaper
from city_fleet.jobs.orphans import asked_by
from city_fleet.jobs.reaper import Job, Look, LookNote, OrphanVerdict, Task
from city_fleet.jobs.sagemaker_jobs import time_at
from city_fleet.orchestration import fleet_metrics
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator, within
from city_fleet.orchestration.patience import patient
from city_fleet.outgoing_text import printable
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context
    from types_boto3_sagemaker import SageMakerClient

REAP = "reap"
# Together well below the task's execution_timeout of 15 minutes: what is left over is for the next look.
_LOOK_SECONDS = 360.0
_STOP_SECONDS = 360.0
# Run ids travel in the query of a GET request, of which a server reads 64 KB.
_RUNS_PER_REQUEST = 50
_FIRST_LOOK, _NOTE = "first_look", "note"


class ReapOperator(FleetOperator):
    """Stop the fleet's jobs in progress whose task instance waits for them no longer, and say which and why.

    Returns a list of ``{job, kind, task, reason, age_minutes}``, one entry per stopped job; with the DAG's param
    ``dry_run`` nothing is stopped and the list holds what would have been.
    """

    def sagemaker(self) -> SageMakerClient:
        """Return a SageMaker client that keeps the pace and backs off when it is throttled."""
        return pacing.keep_pace(self.client("sagemaker", pacing.RETRIES), pacing.RequestPace())

    @patient
    def execute(self, context: Context) -> list[dict[str, Any]]:
        client = self.sagemaker()
        now = time_at(client)
        found = reaper.jobs_in_progress(client, self.fleet, now, within(_LOOK_SECONDS))
        fleet_metrics.tell(self.fleet, "jobs_in_progress", len(found.jobs))
        self._say_what_is_left_alone(found)
        verdicts = self._judge(found.jobs, context, self._remembers_since(context, now))
        results, problems = self._stop(client, verdicts, now, context)
        unsure = [verdict for verdict in verdicts if verdict.orphan is None]
        for verdict in unsure:
            self.log.info("To be looked at again: %s, because %s", _told(verdict, now), verdict.reason)
        if unsure and not context["params"]["dry_run"]:
            # Not in the trigger's kwargs: `airflow dags test` forgets those.
            first = {
                "jobs": [verdict.job.to_dict() for verdict in unsure],
                "results": results,
                "problems": [*found.problems, *problems],
            }
            context["ti"].xcom_push(key=_FIRST_LOOK, value=first)
            self.defer(trigger=TimeDeltaTrigger(reaper.SECOND_LOOK_AFTER), method_name="look_again")
        return self._end(results, [*found.problems, *problems])

    @patient
    def look_again(self, context: Context, event: Any = None) -> list[dict[str, Any]]:
        """Judge the jobs whose tasks had no state once more, and for good."""
        first: Any = context["ti"].xcom_pull(task_ids=self.task_id, key=_FIRST_LOOK)
        client = self.sagemaker()
        now = time_at(client)
        jobs = [Job.from_dict(job) for job in first["jobs"]]
        verdicts = self._judge(jobs, context, self._remembers_since(context, now), second=True)
        results, problems = self._stop(client, verdicts, now, context)
        return self._end([*first["results"], *results], [*first["problems"], *problems])

    def _judge(
        self, jobs: Sequence[Job], context: Context, since: datetime, *, second: bool = False
    ) -> list[OrphanVerdict]:
        """Judge jobs by the tasks that have started them, and where those do not want them, by the other DAG runs."""
        look = Look(task_states(context, [job.task for job in jobs]), remembers_since=since, second=second)
        verdicts = reaper.judge(jobs, look)
        unwanted = [
            verdict.job for verdict in verdicts if verdict.orphan is not False and verdict.job.run_key
        ]
        if not unwanted:
            return verdicts
        store, keys = ObjectStore(self.client("s3", pacing.RETRIES), self.fleet.bucket), self.fleet.keys
        others: dict[str, list[Task]] = {}
        for job in unwanted:
            run_ids = fixed_run.attached(store, keys.attached_prefix(job.city, job.run_key))
            others[job.name] = [job.task._replace(run_id=each) for each in run_ids if each != job.task.run_id]
        states = task_states(context, [task for tasks in others.values() for task in tasks])
        return reaper.judge(jobs, replace(look, states={**look.states, **states}, others=others))

    def _remembers_since(self, context: Context, now: datetime) -> datetime:
        """Return since when Airflow's database knows of the fleet's runs without a gap; each look leaves a note."""
        ti: Any = context["ti"]
        # With the map index Airflow answers the newest one, without it all that there are.
        asked = {"key": _NOTE, "map_indexes": -1, "include_prior_dates": True}
        kept = ti.xcom_pull(task_ids=self.task_id, **asked)
        note = reaper.note_of_look(LookNote(**kept) if kept else None, self.fleet.reaper.schedule, now)
        if note.since == note.look:
            self.log.info(
                "This Airflow remembers no look before this one: jobs of runs it does not know are left alone"
            )
        ti.xcom_push(key=_NOTE, value=asdict(note))
        return clock.parse(note.since)

    def _say_what_is_left_alone(self, found: reaper.Found) -> None:
        self.log.info(
            "%d jobs of this fleet and environment are in progress and older than %d minutes",
            len(found.jobs),
            self.fleet.reaper.grace_minutes,
        )
        if found.elsewhere:
            self.log.info("Jobs of other fleets or environments: %s", list_names(found.elsewhere))
        if found.unmarked:
            self.log.info(
                "Named like this fleet's jobs, but without City Fleet's tags, so left alone: %s",
                list_names(found.unmarked),
            )
        if found.unread:
            self.log.warning(
                "Left to the next look, whose they are is not known yet: %s", list_names(found.unread)
            )

    def _stop(
        self, client: SageMakerClient, verdicts: Sequence[OrphanVerdict], now: datetime, context: Context
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Stop the orphans among the judged jobs, or say what would be stopped.

        :return: the results of those that were stopped, and the problems.
        """
        doomed = [verdict for verdict in verdicts if verdict.orphan]
        if not doomed:
            self.log.info(
                "Nothing to stop%s", ": a task waits, or may wait, for each of them" if verdicts else ""
            )
        if context["params"]["dry_run"]:
            for verdict in doomed:
                self.log.info("Would stop %s, because %s", _told(verdict, now), verdict.reason)
            return [reaper.result_of(verdict, now) for verdict in doomed], []
        done = reaper.stop(client, doomed, within(_STOP_SECONDS))
        for verdict in done.stopped:
            self.log.warning("Stopped %s, because %s", _told(verdict, now), verdict.reason)
        for verdict in done.over:
            self.log.info("%s has ended by itself in the meantime", _told(verdict, now))
        for verdict in done.left:
            self.log.warning("Left to the next look: %s, because %s", _told(verdict, now), verdict.reason)
        return [reaper.result_of(verdict, now) for verdict in done.stopped], done.problems

    def _end(self, results: list[dict[str, Any]], problems: list[str]) -> list[dict[str, Any]]:
        """Return the results; fail when something went wrong that needs attention.

        :raises AirflowException: with every problem.
        """
        if problems:
            raise AirflowException(
                f"{len(problems)} jobs could not be dealt with: " + printable(" ".join(problems))
            )
        return results


def task_states(context: Context, tasks: Iterable[Task]) -> dict[Task, str | None]:
    """Return the states of those of some task instances that exist.

    Airflow answers nothing for a DAG, run or task instance that it does not have, and None for one without a state.
    An answer that does not come is an error of the task: what is not known must not look like what is not there.

    :param context: of the running task, which asks.
    """
    ti: Any = context["ti"]
    wanted: dict[str, set[Task]] = {}
    for task in tasks:
        wanted.setdefault(task.dag_id, set()).add(task)
    states: dict[Task, str | None] = {}
    for dag_id, of_dag in wanted.items():
        task_ids = sorted({asked_by(task.task_id) for task in of_dag})
        run_ids = sorted({task.run_id for task in of_dag})
        for start in range(0, len(run_ids), _RUNS_PER_REQUEST):
            batch = run_ids[start : start + _RUNS_PER_REQUEST]
            answer = ti.get_task_states(dag_id=dag_id, task_ids=task_ids, run_ids=batch)
            for run_id, of_run in answer.items():
                for task_id, state in of_run.items():
                    states[Task(dag_id, run_id, task_id)] = None if state is None else str(state)
    return states


def _told(verdict: OrphanVerdict, now: datetime) -> str:
    job = verdict.job
    return f"{job.kind.lower()} job {job.name} of {job.task}, {job.age_minutes(now)} minutes old"
