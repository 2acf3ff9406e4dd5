"""An installation as an earlier version of City Fleet left it: objects right below the fleet, single hyphens in names.

It is written by the library of today with the keys of before, and then loses what an earlier version did not write.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from city_fleet import clock, naming
from city_fleet.champions import breaker
from city_fleet.naming import Keys
from city_fleet.state import live, old_layout, package_status, registry, run_records
from tests.support import factors
from tests.support.factors import City, Trained
from tests.support.local_sagemaker import LocalSageMaker

BUCKET = "city-fleet"


class OldKeys(Keys):
    """The keys of before."""

    @property
    def prefix(self) -> str:
        return f"{self.fleet}/"


@dataclass
class OldInstallation:
    """One, with as many cities as one likes.

    :param environment: as a slug; an earlier version allowed hyphens as well.
    """

    aws: LocalSageMaker
    environment: str = "production"
    fleet: str = field(default_factory=lambda: f"o{uuid.uuid4().hex[:10]}")

    def __post_init__(self) -> None:
        self.s3, self.sagemaker = self.aws.client("s3"), self.aws.client("sagemaker")

    @property
    def keys(self) -> Keys:
        """Those of today."""
        return Keys(BUCKET, self.fleet, self.environment)

    @property
    def old_keys(self) -> Keys:
        return OldKeys(BUCKET, self.fleet, self.environment)

    @property
    def old_endpoint(self) -> str:
        return old_layout.old_endpoint(self.keys)

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """Let the city that tests make models with write by the keys of before."""
        with (
            mock.patch.object(factors, "KEYS", self.old_keys),
            mock.patch.object(factors, "ENDPOINT", self.old_endpoint),
            mock.patch.object(factors, "ENVIRONMENT", self.environment),
        ):
            yield

    def city(self, slug: str, nights: int = 3, *, go_live: bool = True) -> City:
        """Train, register and publish a model a month, as many as there are nights; each is a factor of its own."""
        with self.as_before():
            city = City(self.aws, slug)
            city.group = old_layout.old_package_group(self.keys, slug)
            for month in range(1, nights + 1):
                trained, _ = city.train(1 + month / 10, month)
                self._finish(city, trained, month)
                if go_live:
                    self._publish(city, trained, month)
            # One that a person has not decided about, and one that a gate has held.
            for month, status in ((nights + 1, "PendingManualApproval"), (nights + 2, "Rejected")):
                trained, _ = city.train(2 + month / 10, month, status=status)
                self._finish(city, trained, month)
        return city

    def _finish(self, city: City, trained: Trained, month: int) -> None:
        """Leave what an earlier version wrote beside: a reason, metadata, a run record."""
        whose = {"fleet": self.fleet, "environment": self.environment}
        version = registry.read(self.sagemaker, trained.package_arn)
        package_status.note(self.sagemaker, version.arn, whose, f"MAPE is {month} %")
        record = {
            **whose,
            "city": city.slug,
            "as_of": trained.model.as_of,
            "run_id": f"month-{month}",
            "outcome": "live",
            "package_arn": trained.package_arn,
            "package_version": version.number,
            "target_model": trained.target_model,
            "holdout_uri": version.metadata["evaluation_uri"].replace("evaluation.json", "holdout.json"),
            "finished_at": clock.now_iso(),
        }
        as_of = datetime(2014, month, 1, tzinfo=UTC)
        run_records.write(self.s3, self.old_keys, record, as_of=as_of, key_of_run=version.metadata["run_key"])
        breaker.mark(self.s3, self.old_keys, trained.model.as_of, city.slug, ())

    def _publish(self, city: City, trained: Trained, month: int) -> None:
        city.install(trained)
        keys = self.old_keys
        current = live.read(self.s3, keys, city.slug)
        pointer = live.LivePointer.serving(
            trained.model,
            sequence=live.next_sequence(self.s3, keys, city.slug, current),
            published_at=f"2014-{month:02}-01T00:00:00+00:00",
            published_by=trained.by,
            predecessor=current.pointer.target_model if current else None,
        )
        live.move(self.s3, keys, pointer, current)
        for key in (keys.live(city.slug), keys.history(city.slug, pointer.sequence)):
            body = json.loads(self.read(key))
            for member in ("fleet", "environment"):
                del body[member]
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(body).encode())

    def read(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def objects(self, prefix: str | None = None) -> dict[str, str]:
        """Return the ETags of what is there, by key."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self.fleet}/" if prefix is None else prefix
        )
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}

    def versions(self, slug: str, *, before: bool = False) -> list[Any]:
        """Return the versions of a city, oldest first."""
        group = (
            old_layout.old_package_group(self.keys, slug)
            if before
            else naming.package_group(self.fleet, self.environment, slug)
        )
        listed = reversed(registry.versions(self.sagemaker, group))
        return [registry.read(self.sagemaker, each.arn) for each in listed]

    def serve(self, keys: Keys, endpoint: str) -> str:
        """Bring an endpoint into service that serves from the models of a layout."""
        with mock.patch.object(factors, "KEYS", keys), mock.patch.object(factors, "ENDPOINT", endpoint):
            return factors.create_endpoint(self.aws)
