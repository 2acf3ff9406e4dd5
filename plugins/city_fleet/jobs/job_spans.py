"""A job of SageMaker as a trace shows it: when it was, what it was, and its phases. Pure.

A task writes its job's span once, when the job is over: in between, other processes wait for it. All times are
SageMaker's own, of its Describe answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from city_fleet.jobs.sagemaker_jobs import COMPLETED, JobKind
from city_fleet.outgoing_text import one_line

_LONGEST_ERROR = 1000


@dataclass(frozen=True)
class Span:
    """Something that took its time.

    :param name: of few values: what tells one from another is an attribute.
    :param error: why it did not succeed; empty for what did.
    :param parts: what it consisted of.
    """

    name: str
    start: datetime
    end: datetime
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    error: str = ""
    parts: tuple[Span, ...] = ()


def job_span(
    kind: JobKind, description: Mapping[str, Any], facts: Mapping[str, Any], about: Mapping[str, str | int]
) -> Span:
    """Return the span of a job that is over.

    :param description: SageMaker's answer to Describe.
    :param facts: of the job, as the run's record keeps them: step, job, status, instance_type, billable_seconds.
    :param about: attributes that say whose it is.
    """
    start = kind.created_at(description)
    # A job that was stopped before it had a machine has no end of its own.
    end = max(start, description.get(kind.end_key) or description.get("LastModifiedTime") or start)
    name = f"sagemaker.job.{facts['step']}"
    # As job_faults has it: of a processing job FailureReason says no more than that it failed.
    said = description.get("ExitMessage") or description.get("FailureReason") or ""
    status = kind.status(description)
    arn = description.get(kind.arn_key)
    return Span(
        name,
        start,
        end,
        {
            **about,
            "cityfleet.step": facts["step"],
            "aws.sagemaker.job.name": facts["job"],
            "aws.sagemaker.job.kind": kind.name,
            "aws.sagemaker.job.status": status,
            "aws.sagemaker.job.instance_type": facts["instance_type"],
            "aws.sagemaker.job.instance_count": _instances(description),
            "aws.sagemaker.job.billable_seconds": facts["billable_seconds"],
            **({"cloud.resource_id": str(arn)} if arn else {}),
            **({"aws.sagemaker.job.spot": "true"} if description.get("EnableManagedSpotTraining") else {}),
        },
        "" if status == COMPLETED else one_line(f"{status}: {said}" if said else status)[:_LONGEST_ERROR],
        tuple(_phases(kind, description, name, start, end)),
    )


def _instances(description: Mapping[str, Any]) -> int:
    cluster = description.get("ProcessingResources", {}).get("ClusterConfig")
    found: Mapping[str, Any] = cluster or description.get("ResourceConfig") or {}
    return int(
        found.get("InstanceCount") or sum(each["InstanceCount"] for each in found.get("InstanceGroups", ()))
    )


def _phases(
    kind: JobKind, description: Mapping[str, Any], name: str, start: datetime, end: datetime
) -> Iterator[Span]:
    """Yield what a training job says of its phases; of a processing job, the wait for its machine and its work."""
    said = description.get("SecondaryStatusTransitions")
    if said is None:
        begun = description.get(kind.start_key)
        phases = [("Starting", start, begun or end)] + ([(kind.name, begun, end)] if begun else [])
    else:
        phases = [(each["Status"], each["StartTime"], each.get("EndTime") or end) for each in said]
    for phase, since, until in phases:
        # The last one, such as Completed, is how it ended, and takes no time.
        if since is not None and until > since:
            yield Span(f"{name}.{one_line(str(phase))}", since, until)
