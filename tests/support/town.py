"""A city whose nights train, register and publish models that are no more than their names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from city_fleet import naming
from city_fleet.naming import Keys
from city_fleet.retiring import retire_sweep
from city_fleet.retiring.retire_facts import Rule
from city_fleet.retiring.retire_inventory import InventorySource
from city_fleet.retiring.retire_report import CityReport
from city_fleet.state import live, registry
from city_fleet.state.context import CityContext
from tests.support.factors import Aws
from tests.support.local_sagemaker import LocalSageMaker

BUCKET = "city-fleet"
DAY = timedelta(days=1)
RULE = Rule(keep_newest=2, keep_predecessors=1, grace=14 * DAY)
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"


class Town:
    """One such city, in a bucket and a registry that are real."""

    def __init__(self, aws: LocalSageMaker, fleet: str, slug: str) -> None:
        self.s3, self.sagemaker = aws.client("s3"), aws.client("sagemaker")
        self.keys, self.slug = Keys(BUCKET, fleet), slug
        self.source = InventorySource(self.s3, self.sagemaker, self.keys, "laptop")
        self.group = naming.package_group(fleet, "laptop", slug)
        self.sagemaker.create_model_package_group(ModelPackageGroupName=self.group)
        self.arns: dict[int, str] = {}

    def context(self) -> CityContext:
        aws = Aws(self.s3, self.sagemaker, None)
        return CityContext(aws, self.keys, "no-endpoint", self.group, self.slug)

    def as_of(self, night: int) -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC) + night * DAY

    def sha256(self, night: int) -> str:
        return f"{night:064x}"[::-1]

    def target(self, night: int) -> str:
        return naming.target_model(self.slug, self.as_of(night), self.sha256(night))

    def run(self, night: int) -> str:
        return f"{self.keys.fleet}.{self.slug}/manual__{night}"

    def run_folder(self, night: int) -> str:
        dag_id, run_id = self.run(night).split("/")
        return f"{self.keys.runs_prefix()}{self.slug}/{naming.run_key('laptop', dag_id, run_id)}/"

    def put(self, key: str, body: bytes = b"x" * 100) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def has(self, key: str) -> bool:
        return bool(self.s3.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents"))

    def keys_below(self, prefix: str) -> set[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    def train(self, night: int, status: str = "Approved", *, register: bool = True) -> None:
        """What a run leaves in the bucket and the registry before it publishes."""
        for step in ("preprocess", "train", "evaluate"):
            self.put(f"{self.run_folder(night)}{step}/job/output")
        stamp = self.target(night).split("/")[1].split("-")[0]
        if register:
            self.arns[night] = self.sagemaker.create_model_package(
                ModelPackageGroupName=self.group,
                ModelPackageDescription=registry.package_description(
                    stamp, self.sha256(night), self.run(night)
                ),
                ModelApprovalStatus=status,
                InferenceSpecification={
                    "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/none"}],
                    "SupportedContentTypes": ["text/csv"],
                    "SupportedResponseMIMETypes": ["text/csv"],
                },
            )["ModelPackageArn"]

    def publish(self, night: int, *, train: bool = True) -> None:
        if train:
            self.train(night)
        self.put(self.keys.model(self.target(night)))
        self.move(night)

    def move(self, night: int, **changes: Any) -> None:
        current = live.read(self.s3, self.keys, self.slug)
        pointer = live.LivePointer(
            sequence=live.next_sequence(self.s3, self.keys, self.slug, current),
            city=self.slug,
            target_model=self.target(night),
            package_arn=self.arns[night],
            as_of=naming.as_of_stamp(self.as_of(night)),
            metrics={},
            features=(),
            artifact_sha256=self.sha256(night),
            published_at="2025-01-01T00:00:00+00:00",
            published_by=self.run(night),
        )
        live.move(self.s3, self.keys, replace(pointer, **changes), current)

    def retire(
        self, days_later: float = 0, rule: Rule = RULE, source: InventorySource | None = None
    ) -> CityReport:
        """One pass over this city, so many days from now."""
        now = datetime.now(UTC) + timedelta(days=days_later)
        arguments: dict[str, Any] = {"only": [self.slug], "clock": lambda: now}
        (report,) = retire_sweep.run(source or self.source, rule, **arguments)
        return report

    def left(self) -> tuple[set[int], set[int], set[int]]:
        """The nights whose object, version and run folder are there."""
        listed = {version.arn for version in registry.versions(self.sagemaker, self.group)}
        nights = range(12)
        return (
            {night for night in nights if self.has(self.keys.model(self.target(night)))},
            {night for night in nights if self.arns.get(night) in listed},
            {night for night in nights if self.has(self.run_folder(night))},
        )
