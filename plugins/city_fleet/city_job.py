"""What the job operators share: start a job or adopt it, defer while SageMaker works, say how it ended.

A job operator holds a :class:`~city_fleet.plan.CityPlan` and builds its request when it runs. What it returns is
small and plain: names, URIs, a status; never a Describe response.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.providers.amazon.aws.triggers.sagemaker import SageMakerTrigger
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import ClientError

from city_fleet import job_requests, naming
from city_fleet.code_bundle import CodeBundle
from city_fleet.plan import CityPlan, Run

if TYPE_CHECKING:
    from airflow.sdk import Context

# Starting an instance and downloading the image do not count against a job's own time limit.
START_MARGIN_SECONDS = 1800
_LOG_LINES = 40
_MAX_ATTEMPTS = 100
_STORE_KEY = "job"


def run_of(plan: CityPlan, context: Context) -> Run:
    """Return the run a task belongs to. as_of is the run's param, else its logical date, else its run_after.

    :raises AirflowFailException: as_of is no instant, or lies in the future.
    """
    dag_run = context["dag_run"]
    text = context["params"].get("as_of")
    try:
        moment = naming.parse_as_of(text) if text else dag_run.logical_date or dag_run.run_after
        return plan.run(dag_run.run_id, moment, force=bool(context["params"].get("force")))
    except ValueError as error:
        raise AirflowFailException(str(error)) from error


def upstream(context: Context, task_id: str) -> dict[str, Any]:
    """Return the result of an upstream task of the same run.

    :raises AirflowFailException: it has none, for example because only part of the run was cleared.
    """
    value = context["ti"].xcom_pull(task_ids=task_id)
    if not isinstance(value, dict):
        raise AirflowFailException(
            f"Task {task_id!r} of this run has no result; clear it together with everything downstream"
        )
    return value


@dataclass(frozen=True)
class JobKind:
    """How SageMaker spells one kind of job."""

    name_key: str
    status_key: str
    trigger_type: str
    log_group: str


PROCESSING = JobKind(
    "ProcessingJobName",
    "ProcessingJobStatus",
    "Processing",
    "/aws/sagemaker/ProcessingJobs",
)
TRAINING = JobKind("TrainingJobName", "TrainingJobStatus", "Training", "/aws/sagemaker/TrainingJobs")


class CityJob:
    """What processing and training jobs of a city share. Mixed in before the provider's operator.

    A job's name follows from its request, so the same step of the same run has one name per attempt. A retry
    adopts the job of the try before; a job that failed, or a task that a person cleared, gets the next attempt.
    """

    kind: JobKind
    step: str
    plan: CityPlan
    # The request is known only when the task runs; show it under "Rendered Templates" all the same.
    overwrite_rtif_after_execution = True

    if TYPE_CHECKING:  # given by the provider's operator
        hook: SageMakerHook
        config: dict[str, Any]
        log: Any
        aws_conn_id: str | None
        region_name: str | None
        verify: bool | str | None
        botocore_config: dict[str, Any] | None

        def defer(self, **kwargs: Any) -> NoReturn: ...

    @abstractmethod
    def build_request(self, run: Run, bundle: CodeBundle, context: Context) -> dict[str, Any]:
        """Return the request with ``job_requests.JOB_NAME`` in place of the job's name."""

    @abstractmethod
    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        """Return what downstream tasks need of a completed job."""

    @property
    def s3(self) -> Any:
        """Return a boto3 S3 client of the task's connection."""
        return S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name).conn

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        bundle = CodeBundle.load(self.plan.scripts)
        if bundle.ensure_uploaded(self.s3, self.plan.keys):
            self.log.info("Uploaded the job scripts %s", bundle.prefix_uri(self.plan.keys))
        name = self._submit_or_adopt(run, self.build_request(run, bundle, context), context)
        description = self._describe(name)
        if description is not None and self._is_over(description):
            return self._finish(run, description, context)
        delay = self.plan.city.waiter_delay_seconds
        limit = self._time_limit_seconds()
        self.defer(
            trigger=SageMakerTrigger(
                job_name=name,
                job_type=self.kind.trigger_type,
                waiter_delay=delay,
                waiter_max_attempts=math.ceil(limit / delay) + 1,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=limit + 10 * delay),
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        if not event or "job_name" not in event:
            raise AirflowException(f"The trigger of step {self.step} sent no job name: {event!r}")
        description = self._describe(event["job_name"])
        if description is None:
            raise AirflowException(f"Job {event['job_name']} is gone; clear this task to start it anew")
        self.config = {
            key: description[key]
            for key in ("AppSpecification", "ProcessingInputs", "ProcessingOutputConfig", "HyperParameters")
            if key in description
        } | {self.kind.name_key: event["job_name"]}
        if not self._is_over(description):
            raise AirflowException(
                f"Job {event['job_name']} is still {description[self.kind.status_key]} after "
                f"{self._time_limit_seconds()} seconds; a retry goes on waiting for the same job"
            )
        return self._finish(run_of(self.plan, context), description, context)

    def _submit_or_adopt(self, run: Run, request: dict[str, Any], context: Context) -> str:
        """Start the step's job, or adopt the one an earlier try of this task has started.

        A person's clear raises the task's max_tries and an automatic retry does not, which tells the two apart:
        a retry adopts, a clear starts the next attempt.
        """
        ti: Any = context["ti"]
        store = context["task_state_store"]
        before: Any = store.get(_STORE_KEY) or {}
        cleared = bool(before) and before["max_tries"] != ti.max_tries
        changed = bool(before) and before["name"] != self._name(run, request, before["attempt"])
        if cleared or changed:
            self._stop_unfinished(before["name"])
        first = before["attempt"] + 1 if cleared else 1
        for attempt in range(first, first + _MAX_ATTEMPTS):
            name, self.config = job_requests.named(request, self.plan, run, self.step, attempt)
            store.set(_STORE_KEY, {"name": name, "attempt": attempt, "max_tries": ti.max_tries})
            description = self._describe(name)
            if description is None and self._create():
                self.log.info("Started %s", name)
                return name
            description = description or self._describe(name) or {}
            status = description.get(self.kind.status_key)
            if status in ("InProgress", "Completed"):
                self.log.info("Adopted %s, which is %s", name, status)
                return name
            self.log.info("%s is %s; trying the next attempt", name, status)
        raise AirflowFailException(f"{_MAX_ATTEMPTS} attempts of step {self.step} have ended without success")

    def _name(self, run: Run, request: dict[str, Any], attempt: int) -> str:
        return job_requests.named(request, self.plan, run, self.step, attempt)[0]

    def _create(self) -> bool:
        """Send the create request; False when the name was taken in the meantime."""
        create = (
            self.hook.conn.create_training_job
            if self.kind is TRAINING
            else self.hook.conn.create_processing_job
        )
        try:
            create(**self.config)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceInUse":
                return False
            raise
        return True

    def _describe(self, name: str) -> dict[str, Any] | None:
        describe = (
            self.hook.describe_training_job if self.kind is TRAINING else self.hook.describe_processing_job
        )
        try:
            return dict(describe(name))
        except ClientError as error:
            # SageMaker has no code of its own for "not found".
            if error.response["Error"]["Code"] == "ValidationException":
                return None
            raise

    def _stop_unfinished(self, name: str) -> None:
        """Stop a job nobody waits for any more: its task was cleared, or its inputs have changed since."""
        description = self._describe(name)
        if description is None or description[self.kind.status_key] != "InProgress":
            return
        stop = (
            self.hook.conn.stop_training_job if self.kind is TRAINING else self.hook.conn.stop_processing_job
        )
        stop(**{self.kind.name_key: name})
        self.log.info("Stopped %s: another job takes its place", name)

    def _is_over(self, description: dict[str, Any]) -> bool:
        return description[self.kind.status_key] in ("Completed", "Failed", "Stopped")

    def _time_limit_seconds(self) -> int:
        settings = self.plan.settings(self.step)
        longest = getattr(settings, "max_wait_seconds", None) or settings.max_runtime_seconds
        return int(longest) + START_MARGIN_SECONDS

    def _finish(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        """Return the result of a job that completed; raise with its own words for one that did not."""
        name = description[self.kind.name_key]
        status = description[self.kind.status_key]
        self._print_log(name)
        facts = self.facts(description)
        if status == "Completed":
            self.log.info("%s completed after %s billable seconds", name, facts["billable_seconds"])
            return {**facts, **self.result(run, description, context)}
        context["ti"].xcom_push(key="failed_job", value=facts)
        reason = description.get("ExitMessage") or description.get("FailureReason") or "no reason given"
        sentence = f"Job {name} ended as {status}: {reason}"
        if status == "Failed" and str(description.get("FailureReason", "")).startswith("AlgorithmError"):
            # The script or its data are at fault: another attempt would be paid for and fail the same way.
            raise AirflowFailException(sentence)
        raise AirflowException(sentence)

    def facts(self, description: dict[str, Any]) -> dict[str, Any]:
        settings = self.plan.settings(self.step)
        seconds = description.get("BillableTimeInSeconds")
        if seconds is None:
            start = description.get(self.kind.name_key.replace("JobName", "StartTime"))
            end = description.get(self.kind.name_key.replace("JobName", "EndTime"))
            seconds = math.ceil((end - start).total_seconds()) if start and end else 0
        return {
            "step": self.step,
            "job": description[self.kind.name_key],
            "status": description[self.kind.status_key],
            "instance_type": settings.instance_type,
            "billable_seconds": int(seconds),
        }

    def _print_log(self, name: str) -> None:
        """Copy the job's last log lines into the task log. Never fails the task: logs may be late or forbidden."""
        try:
            logs = self.hook.logs_hook.conn
            streams = logs.describe_log_streams(
                logGroupName=self.kind.log_group, logStreamNamePrefix=f"{name}/"
            )
            for stream in streams["logStreams"]:
                events = logs.get_log_events(
                    logGroupName=self.kind.log_group,
                    logStreamName=stream["logStreamName"],
                    limit=_LOG_LINES,
                    startFromHead=False,
                )["events"]
                self.log.info("Last lines of %s in %s:", stream["logStreamName"], self.kind.log_group)
                for event in events:
                    self.log.info("  %s", event["message"])
        except ClientError as error:
            self.log.warning("The log of %s cannot be read: %s", name, error)

    def read_json(self, uri: str) -> Any:
        """Read a small JSON output.

        :raises AirflowException: it is missing or no JSON; a gate must never take that for a result.
        """
        bucket, key = naming.split_uri(uri)
        try:
            return json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except (ClientError, ValueError) as error:
            raise AirflowException(f"{uri}: the job's output cannot be read: {error}") from error
