"""Nights of a fleet as they are seen from afar: records, live pointers and versions, without a model behind them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.state import installation, live, registry, run_records
from city_fleet.state.index_state import Champion, Index, RunSummary
from tests.support.aws_names import IMAGE_URI

#: How runs end that don't go live, with their reasons; ``{n}`` is another number each time.
ENDS = (
    ("held", "MAPE {n}% on 12 held-out rows does not hold against the champion's 4.1% (tolerance 2%)"),
    ("held", "MAPE {n}% does not beat the naive forecast's 4.4%"),
    ("failed", "task train failed: AlgorithmError: the job ran out of memory after {n} s"),
    ("too_little_data", "{n} usable periods, and 36 are needed"),
)


@dataclass(frozen=True)
class Ended:
    """How a city's run of a night ended."""

    city: str
    as_of: datetime
    outcome: str
    reason: str
    value: float
    baseline: float
    champion: float | None


def nights_of(cities: Sequence[str], count: int, last: datetime, seed: int = 7) -> Iterator[Ended]:
    """Yield how the nights of some cities ended, oldest first; one of them went badly.

    :param last: as_of of the last night; the others are a day before each.
    """
    draw = random.Random(seed)
    skill = {city: draw.uniform(0.03, 0.09) for city in cities}
    for night in range(count):
        bad = night == count - 3
        for city in cities:
            value = skill[city] * draw.uniform(0.85, 1.2)
            number = draw.random()
            outcome, reason = "live", "MAPE {n}% beats the naive forecast's 5.8%"
            if bad and number < 0.4:
                outcome, reason = (
                    "failed",
                    "task preprocess failed: DataError: raw data end {n} days before the run",
                )
            elif number < 0.22 and night:
                outcome, reason = ENDS[int(draw.random() * len(ENDS))]
            yield Ended(
                city,
                last - timedelta(days=count - 1 - night),
                outcome,
                reason.format(n=f"{100 * value:.1f}"),
                round(value, 4),
                round(skill[city] * draw.uniform(1.05, 1.5), 4),
                round(skill[city] * draw.uniform(0.95, 1.1), 4) if night else None,
            )


def record_of(fleet: Fleet, ended: Ended, version: int) -> dict[str, Any]:
    judged = {"challenger": {"mape": ended.value}, "naive": {"mape": ended.baseline}}
    if ended.champion is not None:
        judged["champion"] = {"mape": ended.champion}
    was_judged = ended.outcome in ("live", "held")
    return {
        "city": ended.city,
        "fleet": fleet.fleet,
        "environment": fleet.environment,
        "as_of": naming.as_of_stamp(ended.as_of),
        "run_id": f"scheduled__{ended.as_of.isoformat()}",
        "outcome": ended.outcome,
        "reasons": [ended.reason],
        "failed_task": "train" if ended.outcome == "failed" else None,
        "decision": {"metric": "mape", "metrics": judged, "baselines": {"last value": judged["naive"]}}
        if was_judged
        else None,
        "target_model": target_of(ended) if ended.outcome == "live" else None,
        "package_version": version,
        "data_until": f"{ended.as_of - timedelta(days=40):%Y-%m}-01",
        "jobs": [
            {
                "step": step,
                "job": "j",
                "status": "Completed",
                "instance_type": "ml.m5.large",
                "billable_seconds": 61,
            }
            for step in ("preprocess", "train", "evaluate")
        ],
        "finished_at": (ended.as_of + timedelta(hours=2)).isoformat(),
    }


def sha256_of(ended: Ended) -> str:
    return naming.digest([ended.city, str(ended.as_of)], 16) * 4


def target_of(ended: Ended) -> str:
    return naming.target_model(ended.city, ended.as_of, sha256_of(ended))


def pointer_of(fleet: Fleet, ended: Ended, sequence: int, **more: Any) -> live.LivePointer:
    group = naming.package_group(fleet.fleet, fleet.environment, ended.city)
    return live.LivePointer(
        sequence=sequence,
        city=ended.city,
        target_model=target_of(ended),
        package_arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/{sequence}",
        as_of=naming.as_of_stamp(ended.as_of),
        metrics={"mape": ended.value},
        features=("lag_1", "trend"),
        artifact_sha256=sha256_of(ended),
        published_at=(ended.as_of + timedelta(hours=2)).isoformat(),
        published_by=f"{fleet.fleet}.{ended.city}/scheduled__{ended.as_of.isoformat()}",
        data_until=f"{ended.as_of - timedelta(days=40):%Y-%m}-01",
        fleet=fleet.fleet,
        environment=fleet.environment,
        **more,
    )


def fill(
    s3: Any, fleet: Fleet, *, nights: int = 10, last: datetime | None = None, seed: int = 7
) -> list[Ended]:
    """Write the records of some nights and the live pointers that they leave.

    :param last: as_of of the last night; by default today's.
    """
    last = last or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ended = list(nights_of(list(fleet.cities), nights, last, seed))
    of_city: dict[str, list[Ended]] = {}
    for each in ended:
        of_city.setdefault(each.city, []).append(each)

    def write(city: str) -> None:
        for version, each in enumerate(of_city[city], 1):
            key = naming.run_key(f"{city} {each.as_of}", 1)
            record = record_of(fleet, each, version)
            run_records.write(s3, fleet.keys, record, as_of=each.as_of, key_of_run=key)
        went_live = [each for each in of_city[city] if each.outcome == "live"]
        if went_live:
            pointer = pointer_of(fleet, went_live[-1], len(went_live))
            s3.put_object(Bucket=fleet.bucket, Key=fleet.keys.live(city), Body=pointer.to_json())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, of_city))
    return ended


def wait_for_approval(sagemaker: Any, fleet: Fleet, city: str, as_of: datetime) -> str:
    """Register a version that waits for a person; its ARN."""
    group = naming.package_group(fleet.fleet, fleet.environment, city)
    if not sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    stamp, sha256 = naming.as_of_stamp(as_of), naming.digest([city, "waits"], 16) * 4
    answer = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelPackageDescription=registry.package_description(
            stamp, sha256, f"{fleet.fleet}.{city}/x", "0" * 10
        ),
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": IMAGE_URI, "ModelDataUrl": f"s3://{fleet.bucket}/none"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        CustomerMetadataProperties={
            "as_of": stamp,
            "artifact_sha256": sha256,
            "run_key": "0" * 10,
            "fleet": fleet.fleet,
            "city": city,
            "environment": fleet.environment,
            "decided_status": "PendingManualApproval",
            "settled_status": "PendingManualApproval",
            "decided_event": "wait",
            "approval_expires_at": naming.as_of_stamp(datetime.now(UTC) + timedelta(days=3)),
        },
    )
    return str(answer["ModelPackageArn"])


def fill_index(s3: Any, fleet: Fleet, *, nights: int, last: datetime | None = None) -> None:
    """Write the index that some nights leave, without records and pointers: for thousands of cities."""
    last = last or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    runs, champions = [], {}
    for version, each in enumerate(nights_of(list(fleet.cities), nights, last), 1):
        name = f"{each.city}/{naming.as_of_stamp(each.as_of)}-{version:010x}.json"
        runs.append((each.city, RunSummary.of_record(name, record_of(fleet, each, version))))
        if each.outcome == "live":
            champions[each.city] = Champion.of_pointer(pointer_of(fleet, each, 1), str(version))
    made = Index(naming.as_of_stamp(last), **installation.stamp(fleet.keys)).with_runs(runs)
    s3.put_object(Bucket=fleet.bucket, Key=fleet.keys.index(), Body=made.with_champions(champions).to_bytes())
