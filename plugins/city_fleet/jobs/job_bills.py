"""The bill of a job out of its description: instance, count, volume and seconds; never money, whose prices change.

SageMaker bills a training job by ``BillableTimeInSeconds``, for each of its instances. Of a job on spare capacity,
spot, that is less than ``TrainingTimeInSeconds`` by what it saves: billable seconds are multiplied by the price on
demand. A processing job is billed from ``ProcessingStartTime`` to ``ProcessingEndTime``. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from city_fleet import clock
from city_fleet.jobs.sagemaker_jobs import COMPLETED, FAILED, TRAINING, JobKind, answered_at

#: Kinds of waste: the job failed; it was stopped; it completed, and another one's result counts.
WASTE_FAILED, WASTE_STOPPED, WASTE_DUPLICATED = "failed", "stopped", "duplicated"
#: Where a step's facts hold the bills of jobs that it has paid for in vain.
BEFORE = "before"
#: What a run record keeps of a job, as far as it is known.
MEMBERS = (
    "step",
    "job",
    "status",
    "kind",
    "instance_type",
    "instance_count",
    "volume_gb",
    "billable_seconds",
    "training_seconds",
    "spot",
    "ended_at",
    "waste",
)
_SHARED = ("billable_seconds", "training_seconds")


def bill_of(kind: JobKind, description: Mapping[str, Any], step: str) -> dict[str, Any]:
    """Return what a job is paid for by.

    :param description: SageMaker's answer to Describe. Of a job that is not over the seconds are those so far.
    :return: ``step``, ``job``, ``status``, ``kind``, ``instance_type``, ``instance_count``, ``volume_gb``,
        ``billable_seconds`` of each instance; of a training job ``training_seconds`` and ``spot``; and ``ended_at``, an
        ISO instant, of one that has ended.
    """
    start, end = description.get(kind.start_key), description.get(kind.end_key)
    cluster = _cluster(kind, description)
    found = {
        "step": step,
        "job": description[kind.name_key],
        "status": kind.status(description),
        "kind": kind.name,
        "instance_type": str(cluster.get("InstanceType") or "unknown"),
        "instance_count": int(cluster.get("InstanceCount") or 1),
        "volume_gb": int(cluster.get("VolumeSizeInGB") or 0),
    }
    until = end or answered_at(description) or datetime.now(UTC)
    passed = max(0, math.ceil((until - start).total_seconds())) if start else 0
    billable = description.get("BillableTimeInSeconds")
    found["billable_seconds"] = int(passed if billable is None else billable)
    if kind is TRAINING:
        trained = description.get("TrainingTimeInSeconds")
        found["training_seconds"] = int(passed if trained is None else trained)
        found["spot"] = bool(description.get("EnableManagedSpotTraining"))
    if end:
        found["ended_at"] = clock.iso(end.astimezone(UTC))
    return found


def wasted(bill: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bill of a job in whose place another one has come."""
    kinds = {COMPLETED: WASTE_DUPLICATED, FAILED: WASTE_FAILED}
    return {**bill, "waste": kinds.get(str(bill["status"]), WASTE_STOPPED)}


def each(facts: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the bill of every job of some steps, in their order: those paid for in vain, then the one that counts.

    :param facts: what steps have left of their jobs; more than a bill may be in it.
    """
    seen: set[str] = set()
    for step in facts:
        for bill in (*(step.get(BEFORE) or ()), step):
            name = str(bill["job"])
            if name not in seen:
                seen.add(name)
                found = {key: bill[key] for key in MEMBERS if key in bill}
                yield found if found.get("status") == COMPLETED or "waste" in found else wasted(found)


def shared(facts: Mapping[str, Any], slug: str, weights: Mapping[str, float]) -> dict[str, Any]:
    """Return a city's share of the jobs of a cohort's step, by weight; the shares of all cities are exactly the whole.

    :param weights: slug → what a city has had of the job, such as the seconds that it took; all zero for even shares.
    """
    slugs = sorted(weights)
    if not any(weights.values()):
        weights = dict.fromkeys(slugs, 1.0)
    total = sum(weights.values())
    first = sum(weights[each] for each in slugs if each < slug)
    last = first + weights.get(slug, 0.0)

    def share(seconds: float) -> int:
        return round(seconds * last / total) - round(seconds * first / total) if total else 0

    found = {**facts, **{name: share(facts[name]) for name in _SHARED if facts.get(name) is not None}}
    if facts.get(BEFORE):
        found[BEFORE] = [shared(bill, slug, weights) for bill in facts[BEFORE]]
    return found


def _cluster(kind: JobKind, description: Mapping[str, Any]) -> Mapping[str, Any]:
    if kind is TRAINING:
        return dict(description.get("ResourceConfig") or {})
    return dict((description.get("ProcessingResources") or {}).get("ClusterConfig") or {})
