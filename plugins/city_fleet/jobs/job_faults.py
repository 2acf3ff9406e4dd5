"""Why a job failed, and what follows from it. Pure.

A failure of AWS may be gone next time: try again. A mistake in the script, the data
or the request fails the same way every time, and every time is paid for: fail at once, with its own words.

Sources: SageMaker API reference, DescribeTrainingJob (FailureReason, SecondaryStatus) and
"Troubleshoot errors"; FailureReason begins with ``AlgorithmError``, ``ClientError``, ``InternalServerError`` or
``CapacityError``. Of a script that failed in the XGBoost image it names the command alone (aws/sagemaker-containers,
``_errors.py``), and of a processing job's nothing: what the script said stands in the job's log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from city_fleet.errors import AlgorithmError, JobError, PlatformError
from city_fleet.jobs.sagemaker_jobs import COMPLETED, FAILED, TRAINING, JobKind


class Ending(Enum):
    """How a job ended."""

    COMPLETED = "completed"
    #: The script or the city's data.
    ALGORITHM = "algorithm"
    #: What the job was asked to do: an image, a role, an input that is not there.
    REQUEST = "request"
    PLATFORM = "platform"
    #: A person or another program stopped it.
    STOPPED = "stopped"
    #: It ran as long as it was allowed to.
    OVERTIME = "overtime"
    #: Spare capacity did not come, or was taken away too often.
    NO_SPOT_CAPACITY = "no spot capacity"


# By the word that a FailureReason begins with.
_BLAME = {
    "AlgorithmError": Ending.ALGORITHM,
    "ClientError": Ending.REQUEST,
    "CapacityError": Ending.NO_SPOT_CAPACITY,
}


#: A FailureReason that does not say what went wrong; the group is the exit code.
_WORDLESS = re.compile(
    r"AlgorithmError: (?:ExecuteUserScriptError:\s*Command .*)?, exit code: (\d+)", re.DOTALL
)

_SIGNALS = 128  # an exit code above is that of a container that a signal has ended


@dataclass(frozen=True)
class JobEnding:
    """How a job ended, in a word and in a sentence.

    :param sentence: names the job, and says in its own words what went wrong; empty for a completed job.
    """

    ending: Ending
    sentence: str = ""


def judge(kind: JobKind, description: Mapping[str, Any], last_words: str = "") -> JobEnding:
    """Return how a job ended.

    :param description: the Describe answer of a job that is over.
    :param last_words: the last line that its script has written into its log; empty where that is not known.
    """
    status = kind.status(description)
    if status == COMPLETED:
        return JobEnding(Ending.COMPLETED)
    failure = str(description.get("FailureReason") or "")
    words = str(description.get("ExitMessage") or " ".join(failure.split()) or "no reason given")
    wordless = _WORDLESS.fullmatch(failure)
    killed = wordless is not None and int(wordless[1]) > _SIGNALS  # it had no time to say anything
    if wordless and last_words and not killed and "ExitMessage" not in description:
        words = f"{last_words} (the last line of its log; AlgorithmError, exit code: {wordless[1]})"
    job = description[kind.name_key]
    if status == FAILED:
        ending = _BLAME.get(failure.partition(":")[0].strip(), Ending.PLATFORM)
        return JobEnding(ending, f"Job {job} ended as {status}: {words}")
    limits = description.get("StoppingCondition", {})
    detail = str(description.get("SecondaryStatus") or "") if kind is TRAINING else ""
    if detail == "MaxWaitTimeExceeded":
        return JobEnding(
            Ending.NO_SPOT_CAPACITY,
            f"Job {job} was stopped: it did not get enough spare capacity within max_wait_seconds "
            f"({limits.get('MaxWaitTimeInSeconds')}). Raise max_wait_seconds, or set on_demand_fallback: true",
        )
    if detail == "MaxRuntimeExceeded" or _ran_out_of_time(kind, description):
        return JobEnding(
            Ending.OVERTIME,
            f"Job {job} was stopped: it ran for max_runtime_seconds ({limits.get('MaxRuntimeInSeconds')}) and was "
            "not done. Raise max_runtime_seconds, or give it a larger instance_type",
        )
    return JobEnding(Ending.STOPPED, f"Job {job} was stopped before it was done: {words}")


def _ran_out_of_time(kind: JobKind, description: Mapping[str, Any]) -> bool:
    """Tell whether a stopped job has used its time up; processing jobs have no secondary status that says so."""
    limit = description.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
    start, end = description.get(kind.start_key), description.get(kind.end_key)
    return bool(limit and start and end and (end - start).total_seconds() >= limit)


def error_of(verdict: JobEnding, **fields: Any) -> JobError | PlatformError:
    """Return the error that stands for a job's bad ending.

    :param fields: facts of the job: city, step, job, status.
    :return: an :class:`AlgorithmError` where another attempt would be paid for and fail the same way.
    """
    kind: type[JobError | PlatformError] = JobError
    if verdict.ending in (Ending.ALGORITHM, Ending.REQUEST, Ending.OVERTIME):
        kind = AlgorithmError
    elif verdict.ending is Ending.PLATFORM:
        kind = PlatformError
    return kind(verdict.sentence, ending=verdict.ending.value, **fields)
