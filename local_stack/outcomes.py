"""What came of a city's run, read where the library leaves it: record, live pointer, endpoint, job logs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import naming
from local_stack.choice import Choice
from local_stack.stack import Stack

LIVE = "live"
# Ends that are as the library's rules decided; anything else is a failure.
DECIDED = (LIVE, "held", "superseded", "too_little_data")
_LOG_GROUPS = ("/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs")
_LOG_LINES = 25


@dataclass(frozen=True)
class Answer:
    """The endpoint's prediction for a city's last held-out period.

    :param actual: the period's true value, in the target's unit
    :param latency_ms: of one request over HTTP, as the caller sees it
    """

    period: str
    predicted: float
    actual: float
    latency_ms: float


@dataclass
class Outcome:
    """One row of the demo's table.

    :param how: a word of DECIDED, or "failed"
    :param record: the run record, {} where there is none
    :param evidence: lines that explain a failure
    """

    city: str
    how: str
    record: dict[str, Any] = field(default_factory=dict)
    answer: Answer | None = None
    evidence: list[str] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        """Whether the run ended as the rules decided."""
        return self.how in DECIDED and not self.evidence

    @property
    def reason(self) -> str:
        """Why it ended so, in the library's words."""
        return "; ".join(self.record.get("reasons") or []).strip()

    def mape(self, whose: str) -> float | None:
        """Return the MAPE (a fraction) of "challenger" or "naive"."""
        value = ((self.record.get("metrics") or {}).get(whose) or {}).get("mape")
        return float(value) if isinstance(value, int | float) else None


class Reader:
    """Reads outcomes of one fleet from the stack's S3, endpoint and logs."""

    def __init__(self, stack: Stack, choice: Choice) -> None:
        self.stack = stack
        self.choice = choice
        self._s3 = stack.client("s3")
        self._runtime = stack.client("sagemaker-runtime")
        self._logs = stack.client("logs")

    def outcome(self, city: str, run_id: str, run_state: str) -> Outcome:
        """Return how a city's run ended, with a prediction for a model that is live.

        :param run_state: Airflow's state of the run
        """
        record = self._record(city, run_id)
        how = str(record.get("outcome", "failed"))
        outcome = Outcome(city, how, record)
        if run_state != "success" or how not in DECIDED:
            outcome.how = "failed"
            outcome.evidence = self.evidence(self.choice.dag_id(city), run_id)
        elif not record:
            outcome.evidence = [f"the run ended, but left no record below {self._records(city)}"]
        elif how == LIVE:
            try:
                outcome.answer = self._ask(city, record)
            except (ClientError, BotoCoreError, ValueError, KeyError, LookupError) as error:
                outcome.evidence = [f"endpoint {self.choice.endpoint}: {error}"]
        return outcome

    def _records(self, city: str) -> str:
        return f"{self.choice.fleet.fleet}/state/runs/{city}/"

    def _record(self, city: str, run_id: str) -> dict[str, Any]:
        """Return the newest record of a run."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.choice.fleet.bucket, Prefix=self._records(city)
        )
        objects = [item for page in pages for item in page.get("Contents", [])]
        for item in sorted(objects, key=lambda found: found["LastModified"], reverse=True):
            record = self._read_json(item["Key"])
            if record.get("run_id") == run_id:
                return record
        return {}

    def _read_json(self, key: str) -> dict[str, Any]:
        body = self._s3.get_object(Bucket=self.choice.fleet.bucket, Key=key)["Body"].read()
        value: dict[str, Any] = json.loads(body)
        return value

    def _ask(self, city: str, record: dict[str, Any]) -> Answer:
        """Ask the shared endpoint as an application would: pointer, then one row of the held-out data."""
        pointer = self._read_json(self.choice.keys.live(city))
        holdout = self._read_json(naming.split_uri(record["holdout_uri"])[1])
        row = holdout["rows"][-1]
        values = dict(zip(holdout["features"], row["values"], strict=True))
        cells = [values[name] for name in pointer["features"]]
        started = time.perf_counter()
        response = self._runtime.invoke_endpoint(
            EndpointName=self.choice.endpoint,
            TargetModel=pointer["target_model"],
            ContentType="text/csv",
            Accept="text/csv",
            Body=",".join("" if cell is None else repr(cell) for cell in cells).encode(),
        )
        predicted = float(response["Body"].read())
        latency_ms = (time.perf_counter() - started) * 1000
        return Answer(row["period"], predicted, float(row["actual"]), latency_ms)

    # -- failures -----------------------------------------------------------------------------------------

    def evidence(self, dag_id: str, run_id: str) -> list[str]:
        """Return what explains a failed run: the task, its job's own last log lines, the task log's path."""
        lines: list[str] = []
        for task in self.stack.airflow.task_instances(dag_id, run_id):
            if task["state"] != "failed":
                continue
            name, attempt = task["task_id"], task["try_number"]
            lines.append(f"task {name} failed (try {attempt})")
            log = self._task_log(dag_id, run_id, name, attempt)
            job = self.stack.airflow.xcom(dag_id, run_id, name, "failed_job")
            if isinstance(job, dict) and job.get("job"):
                lines.append(f"the last log lines of its job {job['job']}:")
                lines += [f"  {line}" for line in self.job_log(str(job["job"]))]
            else:
                lines += [f"  {line}" for line in errors_in(log)]
            lines.append(f"task log: {log}")
        return lines or [f"no task of {dag_id} failed; the scheduler's log: {self.stack.log('scheduler')}"]

    def _task_log(self, dag_id: str, run_id: str, task: str, attempt: int) -> Path:
        folder = self.stack.layout.logs_dir / "tasks" / f"dag_id={dag_id}" / f"run_id={run_id}"
        return folder / f"task_id={task}" / f"attempt={attempt}.log"

    def job_log(self, job: str) -> list[str]:
        """Return the last log lines of a job from CloudWatch Logs."""
        for group in _LOG_GROUPS:
            try:
                streams = self._logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")
                found = [stream["logStreamName"] for stream in streams["logStreams"]]
                events = [
                    event["message"]
                    for stream in found
                    for event in self._logs.get_log_events(
                        logGroupName=group, logStreamName=stream, limit=_LOG_LINES, startFromHead=False
                    )["events"]
                ]
            except ClientError:
                continue
            if found:
                return events or ["(it printed nothing)"]
        return ["(there is no log of it)"]


def errors_in(log: Path) -> list[str]:
    """Return the errors of a task log (one JSON object per line); its last lines where there are none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ["(there is no task log)"]
    found: list[str] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "critical"):
            found.append(str(entry.get("event", "")))
            found += [
                f"{detail.get('exc_type', '')}: {detail.get('exc_value', '')}"
                for detail in entry.get("error_detail") or []
            ]
    return found or lines[-_LOG_LINES:]
