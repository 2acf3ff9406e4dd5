"""What the job operators share: start a job or adopt it, and say how it ended.

One mixin takes over the provider operators' execute, defer and kill. A job operator holds the plan of a city or of a
cohort, and builds its request when it runs. What it returns is small and plain: names, URIs, a status; never a Describe
response.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import naming
from city_fleet.errors import JobError, PlatformError, list_names
from city_fleet.jobs import fixed_run, job_attempts, job_bills, job_faults, job_logs, job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.cohort_plan import CohortPlan
from city_fleet.jobs.job_attempts import AttemptAction, Memory
from city_fleet.jobs.job_faults import Ending, JobEnding
from city_fleet.jobs.job_files import JobFile
from city_fleet.jobs.job_spans import job_span
from city_fleet.jobs.sagemaker_jobs import IN_PROGRESS, NameTaken
from city_fleet.orchestration import lineage, spans
from city_fleet.orchestration.aws_hooks import JobsHook
from city_fleet.orchestration.city_tasks.city_operator import OfCity
from city_fleet.orchestration.city_tasks.job_waits import JobPhases
from city_fleet.orchestration.console_pages import say_job
from city_fleet.orchestration.run_context import STARTED_JOB, refuse_old_layout
from city_fleet.orchestration.task_clients import CLIENT_SETTINGS, TaskClients
from city_fleet.plan import COHORT, JOB_STEPS, PREPROCESS, CityPlan, FixedChampion, Run
from city_fleet.state.objects import ObjectStore, json_of, read_uri

if TYPE_CHECKING:
    from airflow.sdk import Context
    from types_boto3_s3 import S3Client

_STORE_KEY, _LOST_KEY, _TRACED_KEY = "job", "lost_jobs", "traced_job"
# So many jobs that AWS has ended are made anew in one try; each pause is twice as long as the one before.
_LOST_JOBS = 5
_LOST_PAUSE_SECONDS, _CAPACITY_PAUSE_SECONDS = 5.0, 60.0


class CityJob(OfCity, JobPhases):
    """What the jobs of a city, and of a cohort, share. Mixed in before the provider's operator.

    A job's name follows from its run's key and its request, so the same step of the same run has one name per attempt.
    A retry adopts the job of the try before, and another DAG run about the same the newest; a job that failed, or a
    task that a person cleared, gets the next attempt.
    """

    # The request is known only when the task runs; show it under "Rendered Templates" all the same.
    overwrite_rtif_after_execution = True
    aws_hook_class = JobsHook

    if TYPE_CHECKING:  # given by the provider's operator
        config: dict[str, Any]

    def __init__(self, *, plan: CityPlan | CohortPlan, **kwargs: Any) -> None:
        kwargs.setdefault("botocore_config", CLIENT_SETTINGS)
        # Next in line is the provider's operator.
        super().__init__(config={}, deferrable=True, **kwargs)  # type: ignore[call-arg]
        self.plan = plan
        self._at_work: Run | None = None
        # Bills of the jobs that the task has paid for in vain, by name.
        self._before: dict[str, dict[str, Any]] = {}

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render, as Airflow does before a task runs; ``airflow tasks render``, where none runs, shows the request."""
        super().render_template_fields(context, jinja_env)  # type: ignore[misc]
        if context["ti"].state is None:
            self.config = self.shown(context)

    def shown(self, context: Context) -> dict[str, Any]:
        """Return the request that the task would send now, where it does not run; nothing where nobody can say."""
        return {}

    @abstractmethod
    def bundle(self) -> CodeBundle:
        """Return the job scripts."""

    @abstractmethod
    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        """Return the request with ``job_requests.JOB_NAME`` in place of the job's name.

        :param on_demand: leave spare capacity alone, whatever the fleet file says.
        """

    @abstractmethod
    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        """Return what downstream tasks need of a completed job."""

    @abstractmethod
    def output_exists(self, description: dict[str, Any]) -> bool:
        """Tell whether a completed job's output is still in S3."""

    @abstractmethod
    def files(self, run: Run) -> list[JobFile]:
        """Return what the job reads beside data and code."""

    @cached_property
    def s3(self) -> S3Client:
        # One for the task: to make a client takes as long as ten requests.
        return TaskClients(self.aws_conn_id, self.region_name, self.plan.fleet.kms_key).s3

    @property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.s3, self.plan.keys.bucket)

    @abstractmethod
    def begin(self, context: Context) -> Run:
        """Return the run whose step this is."""

    @abstractmethod
    def resumed(self, context: Context) -> Run:
        """Return the same when the job is over."""

    def champion_of_clear(self, run: Run) -> FixedChampion | None:
        """Return what a job judges against that a person has asked for by clearing its task."""
        return run.champion

    @property
    def attached_uri(self) -> str:
        return self.plan.keys.uri(self._attached_prefix(self._at_work.key)) if self._at_work else ""

    def others(self, key: str = "") -> list[str]:
        """Return the ids of the other DAG runs that work on the same run.

        :param key: of another run than the task's own.
        """
        run = self._at_work
        if run is None:
            return []
        marked = fixed_run.attached(self.objects, self._attached_prefix(key or run.key))
        return [each for each in marked if each != run.run_id]

    def _attached_prefix(self, key: str) -> str:
        return self.plan.keys.attached_prefix(self.plan.who, key)

    def submit(self, context: Context) -> dict[str, Any]:
        """Start the step's job, or adopt that of an earlier try or of another DAG run about the same."""
        ti: Any = context["ti"]
        if self.step in (PREPROCESS, COHORT):  # before anything is written or paid for
            refuse_old_layout(self.s3, self.plan.keys)
        run, memory = self.begin(context), self._memory(context)
        self._at_work = run
        self._recall(memory)
        bundle = self.bundle()
        if bundle.ensure_uploaded(self.s3, self.plan.keys):
            self.log.info("Uploaded the job scripts %s", bundle.prefix_uri(self.plan.keys))
        cleared = memory is not None and memory.max_tries != ti.max_tries
        # A person who clears the task gets what the fleet file says, spot included.
        on_demand = memory is not None and memory.on_demand and not cleared
        if memory is not None and memory.key == run.key:
            run = replace(run, champion=self.champion_of_clear(run) if cleared else memory.champion)
        for file in self.files(run):
            self.objects.create(file.key, file.body)
        request = self.build_request(run, bundle, context, on_demand=on_demand)

        def named(attempt: int) -> tuple[str, dict[str, Any]]:
            return job_requests.named(request, self.plan, run, self.step, attempt)

        start = job_attempts.start_of_try(memory, ti.max_tries, run.key, lambda attempt: named(attempt)[0])
        if memory is not None and start.abandoned is not None:
            self._end_abandoned(memory)
        for attempt in range(start.attempt, start.attempt + job_attempts.MAX_ATTEMPTS):
            name, self.config = named(attempt)
            # A first try asks SageMaker for the job at once; a later one looks first whether it is there.
            description = None if memory is None else self._describe(name)
            if description is not None and not start.adopts:
                self._note(description)
                continue
            paid = tuple(self._before.values())
            now = Memory(name, attempt, ti.max_tries, on_demand, run.key, run.champion, paid)
            self._remember(context, now)
            if description is None and (answer := self._create(name)) is not None:
                self._say_links(context, run, name)
                self.wait_for(name, answer)
            description = description or self._describe(name)
            if description is None:
                raise PlatformError(
                    f"SageMaker says that {name} exists and then that it does not; a retry looks again"
                )
            if start.joins and self._describe(named(attempt + 1)[0]) is not None:
                self._note(description)
                continue
            self._say_links(context, run, name)
            if self._adopt(description):
                return self._finish(run, description, context)
        raise AirflowFailException(
            f"{job_attempts.MAX_ATTEMPTS} attempts of step {self.step} have ended without success"
        )

    def collect(self, context: Context, event: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of the job that the trigger was waiting for."""
        run = self._at_work = self.resumed(context)
        told = event or {}
        memory = self._memory(context)
        self._recall(memory)
        name = told.get("job_name") if memory is None else memory.name
        if name is None:
            raise AirflowException(f"The trigger of step {self.step} sent no job name: {event!r}")
        outcome = told.get("outcome")
        if told.get("job_name") != name:
            # A triggerer that was frozen may wake another task than the one it waited for: SQLite gives the number of
            # a trigger that was deleted to the next one (Airflow 3.3.2 finds the task by that number alone).
            self.log.warning("Woken by an event that is not about %s: %s", name, event)
            outcome = None
        if outcome == "error":
            raise PlatformError(
                f"Waiting for {name} failed; the job goes on and a retry adopts it: {told['message']}"
            )
        description = self._describe(name)
        if description is None:
            raise AirflowFailException(f"Job {name} is gone; clear this task to start it anew")
        self.config = {
            key: description[key]
            for key in ("AppSpecification", "ProcessingInputs", "ProcessingOutputConfig", "HyperParameters")
            if key in description
        } | {self.kind.name_key: name}
        if self.kind.is_over(description):
            return self._finish(run, description, context)
        if outcome != "deadline":
            # List and Describe need not agree to the second; what Describe says is what counts.
            self.wait_for(name, description)
        self.kind.stop(self.hook.conn, name)
        context["ti"].xcom_push(key="failed_job", value=self.facts(description))
        raise JobError(
            f"Job {name} is still {self.kind.status(description)} {self.time_limit_seconds} seconds after it was "
            "created, which is longer than it may run and wait; it was asked to stop, and a retry starts another",
            **self._fields(description),
        )

    def _adopt(self, description: dict[str, Any]) -> bool:
        """Decide about a job that has an attempt's name already.

        :return: True when it has completed and counts; False when the next attempt's turn has come. A job that is
            not over is waited for instead.
        """
        name, status = description[self.kind.name_key], self.kind.status(description)
        found = job_attempts.finding(status, output_exists=lambda: self.output_exists(description))
        if found is AttemptAction.WAIT_UNTIL_OVER:
            self.wait_until_over(name, description)
        if found is AttemptAction.NEXT_ATTEMPT:
            self._note(description)
            self.log.info("%s is %s and does not count; trying the next attempt", name, status)
            return False
        self.log.info("Adopted %s, which is %s", name, status)
        if status == IN_PROGRESS:
            self.wait_for(name, description)
        return True

    def _finish(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        """Return the result of a job that completed; raise with its own words for one that did not."""
        last_lines = self._print_log(description[self.kind.name_key])
        facts = self.facts(description)
        self._trace(run, description, context)
        verdict = job_faults.judge(self.kind, description, job_logs.last_words(last_lines))
        if verdict.ending is Ending.COMPLETED:
            self.log.info("%s completed after %s billable seconds", facts["job"], facts["billable_seconds"])
            raw = self.step == PREPROCESS
            self.lineage = partial(lineage.of_job, self.plan, run, description, raw=raw, job=facts["job"])
            return {**facts, **self.result(run, description, context)}
        memory = self._memory(context)
        if verdict.ending is Ending.NO_SPOT_CAPACITY and memory and self._may_fall_back(description):
            self.log.warning("%s. Training on demand now, as on_demand_fallback says", verdict.sentence)
            max_tries: int = context["ti"].max_tries
            self._remember(context, replace(memory, max_tries=max_tries, on_demand=True))
            return self.submit(context)
        self._start_anew(verdict, description, context)
        if verdict.ending is Ending.REQUEST:
            self.look_at_inputs(description, context)
            verdict = replace(verdict, sentence=". ".join([verdict.sentence, *self.gone_inputs(description)]))
        context["ti"].xcom_push(key="failed_job", value=facts)
        raise job_faults.error_of(verdict, **self._fields(description))

    def _trace(self, run: Run, description: dict[str, Any], context: Context) -> None:
        """Write the job's span, once per task: the try before may have, and ended in another way."""
        if not spans.is_traced(context):
            return
        store, name = context["task_state_store"], description[self.kind.name_key]
        if store.get(_TRACED_KEY) != name:
            spans.emit(
                context,
                job_span(self.kind, description, self.facts(description), spans.about(self.plan, run)),
            )
            store.set(_TRACED_KEY, name)

    def look_at_inputs(self, description: dict[str, Any], context: Context) -> None:
        """Raise where a job could not begin because what it was to read has changed since, and a retry helps."""

    def gone_inputs(self, request: dict[str, Any]) -> list[str]:
        """Return a sentence about each input that another step of the run has made and that is gone.

        :param request: or the job's description.
        """
        sentences = []
        for bucket, key in map(naming.split_uri, lineage.input_uris(request)):
            step = next((step for step in JOB_STEPS if f"/{step}/" in key), None)
            if step and next(ObjectStore(self.s3, bucket).items(key, limit=1), None) is None:
                sentences.append(
                    f"s3://{bucket}/{key} is gone; clear the task {step!r} with everything downstream"
                )
        return sentences

    def _start_anew(self, verdict: JobEnding, description: dict[str, Any], context: Context) -> None:
        """Come back for the next attempt after a pause, in this very try, where AWS has ended the job; a few times."""
        spot = bool(description.get("EnableManagedSpotTraining"))
        capacity = verdict.ending is Ending.NO_SPOT_CAPACITY and not spot
        if verdict.ending is not Ending.PLATFORM and not capacity:
            return
        store, max_tries = context["task_state_store"], context["ti"].max_tries
        kept: Any = store.get(_LOST_KEY) or {}
        lost = list(kept.get("jobs", ())) if kept.get("max_tries") == max_tries else []
        name = description[self.kind.name_key]
        if name not in lost:
            lost.append(name)
        if len(lost) > _LOST_JOBS:
            return
        store.set(_LOST_KEY, {"max_tries": max_tries, "jobs": lost})
        pause = (_CAPACITY_PAUSE_SECONDS if capacity else _LOST_PAUSE_SECONDS) * 2 ** (len(lost) - 1)
        self.log.warning("%s. The next attempt starts in %d seconds", verdict.sentence, pause)
        self.wait_a_while(pause, "lost job", phase="execute")

    def _create(self, name: str) -> dict[str, Any] | None:
        """Start the job; None when the name is taken. A kill that arrived meanwhile stops the job again."""
        assert self._kill is not None  # noqa: S101 - set before every phase
        self._kill.check()
        self._kill.job = name
        try:
            answer = self.kind.create(self.hook.conn, self.config)
        except NameTaken:
            return None
        self.log.info("Started %s", name)
        self._kill.check()
        return answer

    def _say_links(self, context: Context, run: Run, job: str) -> None:
        folder = self.plan.keys.uri(self.plan.keys.step(self.plan.who, run.key, self.step))
        say_job(context, self.hook.conn, self.kind, job, folder)
        # By it the run's record finds a job whose task ends before anybody has described it.
        context["ti"].xcom_push(key=STARTED_JOB, value=job)

    def _describe(self, name: str) -> dict[str, Any] | None:
        return self.kind.describe(self.hook.conn, name)

    def _end_abandoned(self, memory: Memory) -> None:
        """Make sure that a job that no task waits for any more is over: stop it, and wait until it has stopped."""
        assert self._kill is not None  # noqa: S101 - set before every phase
        name, description = memory.name, self._describe(memory.name)
        if description is None:
            return
        if self.kind.is_over(description):
            self._note(description)
            return
        if waiting := self._kill.waiting(self.others(memory.key)):
            self.log.info("%s goes on for %s", name, list_names(waiting))
            return
        if self.kind.stop(self.hook.conn, name):
            self.log.info("Stopped %s: another job takes its place", name)
        self.wait_until_over(name, description)

    def _memory(self, context: Context) -> Memory | None:
        value: Any = context["task_state_store"].get(_STORE_KEY)
        return Memory.from_dict(value)

    def _remember(self, context: Context, memory: Memory) -> None:
        context["task_state_store"].set(_STORE_KEY, memory.to_dict())

    def _may_fall_back(self, description: dict[str, Any]) -> bool:
        settings = self.plan.settings(self.step)
        return bool(
            description.get("EnableManagedSpotTraining") and getattr(settings, "on_demand_fallback", False)
        )

    def facts(self, description: dict[str, Any]) -> dict[str, Any]:
        """Return what the run record keeps of a job, and of those that the task has paid for in vain before it."""
        bill = job_bills.bill_of(self.kind, description, self.step)
        before = [each for name, each in self._before.items() if name != bill["job"]]
        return {**bill, **({job_bills.BEFORE: before} if before else {})}

    def _note(self, description: dict[str, Any]) -> None:
        """Keep the bill of a job in whose place another one comes; what goes on is the matter of who waits for it."""
        if self.kind.is_over(description):
            bill = job_bills.wasted(job_bills.bill_of(self.kind, description, self.step))
            self._before[bill["job"]] = bill

    def _recall(self, memory: Memory | None) -> None:
        """Take up the bills that the phases and tries before have kept."""
        for bill in memory.before if memory is not None else ():
            self._before.setdefault(str(bill["job"]), dict(bill))

    def _fields(self, description: dict[str, Any]) -> dict[str, Any]:
        job, status = description[self.kind.name_key], self.kind.status(description)
        return {"city": self.plan.who, "step": self.step, "job": job, "status": status}

    def _print_log(self, name: str) -> list[str]:
        """Copy the job's last log lines into the task log, and return those of its last stream.

        Never fails the task: logs may be late or forbidden.
        """
        lines: list[str] = []
        try:
            for stream, lines in job_logs.last_lines(self.hook.logs_hook.conn, self.kind, name):
                self.log.info("Last lines of %s in %s:", stream, self.kind.log_group)
                for line in lines:
                    self.log.info("  %s", line)
        except (ClientError, BotoCoreError) as error:
            self.log.warning("The log of %s cannot be read: %s", name, error)
        return lines

    def is_in_s3(self, uri: str) -> bool:
        bucket, key = naming.split_uri(uri)
        return ObjectStore(self.s3, bucket).exists(key)

    def read_json(self, uri: str) -> Any:
        """Read a small JSON output.

        :raises PlatformError: it is missing or no JSON; a gate must never take that for a result.
        """
        return self.json_of(self.read_output(uri), uri)

    def read_output(self, uri: str) -> bytes:
        """Read a small output.

        :raises PlatformError: it is missing.
        """
        try:
            body = read_uri(self.s3, uri)
        except (ClientError, ValueError) as error:
            raise PlatformError(f"{uri}: the job's output cannot be read: {error}") from error
        if body is None:
            raise PlatformError(
                f"{uri}: the job's output cannot be read: it is not there. Clear the task {self.step!r} with "
                "everything downstream"
            )
        return body

    def json_of(self, body: bytes, uri: str) -> Any:
        """Return what an output says.

        :raises PlatformError: it is no JSON.
        """
        try:
            return json_of(body)
        except ValueError as error:
            raise PlatformError(f"{uri}: the job's output cannot be read: {error}") from error
