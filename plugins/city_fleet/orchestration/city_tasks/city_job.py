"""What the job operators share: start a job or adopt it, and say how it ended.

One mixin takes over the provider operators' execute, defer and kill. A job operator holds a
:class:`~city_fleet.plan.CityPlan` and builds its request when it runs. What it returns is small and plain: names,
URIs, a status; never a Describe response.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import ClientError

from city_fleet import naming
from city_fleet.errors import JobError, PlatformError
from city_fleet.jobs import job_attempts, job_faults, job_logs, job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.job_attempts import AttemptAction, Memory
from city_fleet.jobs.job_faults import Ending
from city_fleet.jobs.sagemaker_jobs import IN_PROGRESS, NameTaken
from city_fleet.orchestration.city_tasks.job_waits import JobPhases
from city_fleet.orchestration.run_context import refuse_old_layout, run_of
from city_fleet.plan import PREPROCESS, CityPlan, Run
from city_fleet.state.objects import ObjectStore, read_uri

if TYPE_CHECKING:
    from airflow.sdk import Context
    from types_boto3_s3 import S3Client

# A worker must not sit through botocore's long back-off: the triggerer waits cheaper.
_BOTOCORE_CONFIG = {"retries": {"mode": "standard", "max_attempts": 3}}
_STORE_KEY = "job"


class CityJob(JobPhases):
    """What processing and training jobs of a city share. Mixed in before the provider's operator.

    A job's name follows from its request, so the same step of the same run has one name per attempt. A retry
    adopts the job of the try before; a job that failed, or a task that a person cleared, gets the next attempt.
    """

    # The request is known only when the task runs; show it under "Rendered Templates" all the same.
    overwrite_rtif_after_execution = True

    if TYPE_CHECKING:  # given by the provider's operator
        config: dict[str, Any]

    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        kwargs.setdefault("botocore_config", _BOTOCORE_CONFIG)
        # Next in line is the provider's operator.
        super().__init__(config={}, deferrable=True, **kwargs)  # type: ignore[call-arg]
        self.plan = plan

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

    @property
    def s3(self) -> S3Client:
        return S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name).conn

    def submit(self, context: Context) -> dict[str, Any]:
        """Start the step's job, or adopt the one an earlier try of this task has started."""
        run = run_of(self.plan, context)
        ti: Any = context["ti"]
        if self.step == PREPROCESS:  # before anything is paid for
            refuse_old_layout(self.s3, self.plan.keys)
        bundle = CodeBundle.load(self.plan.scripts)
        if bundle.ensure_uploaded(self.s3, self.plan.keys):
            self.log.info("Uploaded the job scripts %s", bundle.prefix_uri(self.plan.keys))
        memory = self._memory(context)
        # A person who clears the task gets what the fleet file says, spot included.
        on_demand = memory is not None and memory.on_demand and memory.max_tries == ti.max_tries
        request = self.build_request(run, bundle, context, on_demand=on_demand)

        def named(attempt: int) -> tuple[str, dict[str, Any]]:
            return job_requests.named(request, self.plan, run, self.step, attempt)

        start = job_attempts.start_of_try(memory, ti.max_tries, lambda attempt: named(attempt)[0])
        if start.abandoned is not None:
            self._end_abandoned(start.abandoned)
        for attempt in range(start.attempt, start.attempt + job_attempts.MAX_ATTEMPTS):
            name, self.config = named(attempt)
            # A first try asks SageMaker for the job at once; a later one looks first whether it is there.
            description = None if memory is None else self._describe(name)
            if description is not None and not start.adopts:
                continue
            self._remember(context, Memory(name, attempt, ti.max_tries, on_demand))
            if description is None and self._create(name):
                self.wait_for(name, created_at=datetime.now(UTC))
            description = description or self._describe(name)
            if description is None:
                raise PlatformError(
                    f"SageMaker says that {name} exists and then that it does not; a retry looks again"
                )
            if self._adopt(description):
                return self._finish(run, description, context)
        raise AirflowFailException(
            f"{job_attempts.MAX_ATTEMPTS} attempts of step {self.step} have ended without success"
        )

    def collect(self, context: Context, event: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of the job that the trigger was waiting for."""
        told = event or {}
        memory = self._memory(context)
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
            return self._finish(run_of(self.plan, context), description, context)
        if outcome != "deadline":
            # List and Describe need not agree to the second; what Describe says is what counts.
            self.wait_for(name, created_at=self.kind.created_at(description))
        self.kind.stop(self.hook.conn, name)
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
            self.wait_until_over(name)
        if found is AttemptAction.NEXT_ATTEMPT:
            self.log.info("%s is %s and does not count; trying the next attempt", name, status)
            return False
        self.log.info("Adopted %s, which is %s", name, status)
        if status == IN_PROGRESS:
            self.wait_for(name, created_at=self.kind.created_at(description))
        return True

    def _finish(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        """Return the result of a job that completed; raise with its own words for one that did not."""
        self._print_log(description[self.kind.name_key])
        facts = self.facts(description)
        verdict = job_faults.judge(self.kind, description)
        if verdict.ending is Ending.COMPLETED:
            self.log.info("%s completed after %s billable seconds", facts["job"], facts["billable_seconds"])
            return {**facts, **self.result(run, description, context)}
        memory = self._memory(context)
        if verdict.ending is Ending.NO_SPOT_CAPACITY and memory and self._may_fall_back(description):
            self.log.warning("%s. Training on demand now, as on_demand_fallback says", verdict.sentence)
            max_tries: int = context["ti"].max_tries
            self._remember(context, Memory(memory.name, memory.attempt, max_tries, on_demand=True))
            return self.submit(context)
        context["ti"].xcom_push(key="failed_job", value=facts)
        raise job_faults.error_of(verdict, **self._fields(description))

    def _create(self, name: str) -> bool:
        """Start the job; False when the name is taken. A kill that arrived meanwhile stops the job again."""
        assert self._kill is not None  # noqa: S101 - set before every phase
        self._kill.check()
        self._kill.job = name
        try:
            self.kind.create(self.hook.conn, self.config)
        except NameTaken:
            return False
        self.log.info("Started %s", name)
        self._kill.check()
        return True

    def _describe(self, name: str) -> dict[str, Any] | None:
        return self.kind.describe(self.hook.conn, name)

    def _end_abandoned(self, name: str) -> None:
        """Make sure that a job that no task waits for any more is over: stop it, and wait until it has stopped."""
        description = self._describe(name)
        if description is None or self.kind.is_over(description):
            return
        if self.kind.stop(self.hook.conn, name):
            self.log.info("Stopped %s: another job takes its place", name)
        self.wait_until_over(name)

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
        """Return what the run record keeps of a job."""
        seconds = description.get("BillableTimeInSeconds")
        if seconds is None:
            start, end = description.get(self.kind.start_key), description.get(self.kind.end_key)
            seconds = math.ceil((end - start).total_seconds()) if start and end else 0
        return {
            "step": self.step,
            "job": description[self.kind.name_key],
            "status": self.kind.status(description),
            "instance_type": self.plan.settings(self.step).instance_type,
            "billable_seconds": int(seconds),
        }

    def _fields(self, description: dict[str, Any]) -> dict[str, Any]:
        job, status = description[self.kind.name_key], self.kind.status(description)
        return {"city": self.plan.city.slug, "step": self.step, "job": job, "status": status}

    def _print_log(self, name: str) -> None:
        """Copy the job's last log lines into the task log. Never fails the task: logs may be late or forbidden."""
        try:
            for stream, lines in job_logs.last_lines(self.hook.logs_hook.conn, self.kind, name):
                self.log.info("Last lines of %s in %s:", stream, self.kind.log_group)
                for line in lines:
                    self.log.info("  %s", line)
        except ClientError as error:
            self.log.warning("The log of %s cannot be read: %s", name, error)

    def is_in_s3(self, uri: str) -> bool:
        bucket, key = naming.split_uri(uri)
        return ObjectStore(self.s3, bucket).exists(key)

    def read_json(self, uri: str) -> Any:
        """Read a small JSON output.

        :raises PlatformError: it is missing or no JSON; a gate must never take that for a result.
        """
        try:
            body = read_uri(self.s3, uri)
            if body is None:
                raise PlatformError(f"{uri}: the job's output cannot be read: it is not there")
            return json.loads(body)
        except (ClientError, ValueError) as error:
            raise PlatformError(f"{uri}: the job's output cannot be read: {error}") from error
