"""What explains a failed run: which task, what its job printed last, where the task's log is."""

from __future__ import annotations

import json
from pathlib import Path

from botocore.exceptions import ClientError

from local.stack.stack import Stack

_LOG_GROUPS = ("/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs")
_LOG_LINES = 25


def evidence(stack: Stack, dag_id: str, run_id: str) -> list[str]:
    """Return the failed tasks of a run, their jobs' own last log lines, and the paths of the task logs."""
    lines: list[str] = []
    for task in stack.airflow.task_instances(dag_id, run_id):
        if task["state"] != "failed":
            continue
        name, attempt = task["task_id"], task["try_number"]
        lines.append(f"task {name} failed (try {attempt})")
        log = _task_log(stack, dag_id, run_id, name, attempt)
        lines += [f"  {line}" for line in errors_in(log)]
        job = stack.airflow.xcom(dag_id, run_id, name, "failed_job")
        if isinstance(job, dict) and job.get("job"):
            lines.append(f"the last log lines of its job {job['job']}:")
            lines += [f"  {line}" for line in job_log(stack, str(job["job"]))]
        lines.append(f"task log: {log}")
    return lines or [f"no task of {dag_id} failed; the scheduler's log: {stack.log('scheduler')}"]


def _task_log(stack: Stack, dag_id: str, run_id: str, task: str, attempt: int) -> Path:
    folder = stack.layout.logs_dir / "tasks" / f"dag_id={dag_id}" / f"run_id={run_id}"
    return folder / f"task_id={task}" / f"attempt={attempt}.log"


def job_log(stack: Stack, job: str) -> list[str]:
    """Return the last log lines of a job from CloudWatch Logs."""
    logs = stack.client("logs")
    for group in _LOG_GROUPS:
        try:
            streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")
            found = [stream["logStreamName"] for stream in streams["logStreams"]]
            events = [
                event["message"]
                for stream in found
                for event in logs.get_log_events(
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
            details = entry.get("error_detail") or []
            found += [f"{item.get('exc_type', '')}: {item.get('exc_value', '')}" for item in details]
            if not details:
                found.append(str(entry.get("event", "")))
    return found or lines[-_LOG_LINES:]
