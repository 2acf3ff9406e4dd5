"""The last lines that a job wrote to CloudWatch Logs. A boto3 client is passed in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from city_fleet.jobs.sagemaker_jobs import JobKind

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient

LINES = 40


def last_lines(logs: CloudWatchLogsClient, kind: JobKind, job: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each log stream of a job with its last lines, oldest line first.

    :raises ClientError: the log cannot be read, or is not there yet.
    """
    streams = logs.describe_log_streams(logGroupName=kind.log_group, logStreamNamePrefix=f"{job}/")
    for stream in streams["logStreams"]:
        name = stream["logStreamName"]
        found = logs.get_log_events(
            logGroupName=kind.log_group, logStreamName=name, limit=LINES, startFromHead=False
        )
        yield name, [event["message"] for event in found["events"]]
