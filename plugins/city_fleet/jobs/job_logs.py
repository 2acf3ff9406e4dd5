"""The last lines that a job wrote to CloudWatch Logs, and its script's last words. A boto3 client is passed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from city_fleet.jobs.sagemaker_jobs import JobKind

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient

LINES = 40
WORDS_CHARACTERS = 1000
#: With what SageMaker's toolkits begin to report that a script has failed: aws/sagemaker-containers (``_errors.py``)
#: in the XGBoost image, aws/sagemaker-training-toolkit (``trainer.py``) in others.
_REPORTS = ("ExecuteUserScriptError:", "Reporting training FAILURE")


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


def last_words(lines: Sequence[str]) -> str:
    """Return the last line that a failed job's script has written; empty when it has written none.

    An uncaught exception ends with its name and message, and the project's scripts with a sentence; what the toolkit
    adds is left out.

    :param lines: of one log stream, oldest first.
    """
    reports = [at for at, line in enumerate(lines) if line.rstrip().endswith(_REPORTS)]
    written = (line.strip() for line in reversed(lines[: min(reports, default=None)]))
    return next(filter(None, written), "")[:WORDS_CHARACTERS]
