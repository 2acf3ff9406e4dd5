"""A city of a real fleet file whose models wait for a person, and what a person or the reconcile DAG does then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from city_fleet import naming
from city_fleet.approval import approvals, reconcile
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.config import load_fleet
from city_fleet.plan import CityPlan, plan_city
from city_fleet.state import package_status, registry, run_records
from city_fleet.state.author import Author
from city_fleet.state.registry import ModelPackage
from tests.support.factors import KEYS, City
from tests.support.local_sagemaker import LocalSageMaker

FLEET = """
fleet: factors
bucket: city-fleet
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2014-01-01
endpoint: {{name: factors}}
reconcile: {{on_live_rejected: {on_live_rejected}}}
breaker: {{max_failed_share: 0.3, minimum_sample: 3}}
dataset:
  city_column: city
  time: {{columns: [day]}}
  frequency: month
  available_after: P1M
  target: {{column: y, lags: [1]}}
defaults:
  gate: {{minimum_rows: 3, tolerance: 0.0}}
  approval: {approval}
cities:
  {city}: {{{own}}}
"""
ANN = Author("ann", "looked at the map")
PENDING = "PendingManualApproval"


class Desk(City):
    """A city of the fleet, and what a person or the reconcile DAG does about its models."""

    def __init__(
        self,
        aws: LocalSageMaker,
        folder: Path,
        *,
        approval: str = "manual",
        on_live_rejected: str = "alert",
        parent: str | None = None,
        challenger: str | None = None,
    ) -> None:
        super().__init__(aws)
        path = folder / "factors.yaml"
        given = {"parent": parent, "challenger": challenger}
        own = ", ".join(f"{name}: {value}" for name, value in given.items() if value is not None)
        text = FLEET.format(city=self.slug, approval=approval, on_live_rejected=on_live_rejected, own=own)
        path.write_text(text if parent is None else f"{text}  {parent}:\n")
        self.fleet = load_fleet(path, environ={})
        self.plan: CityPlan = plan_city(self.fleet, self.slug)
        self.planned = PlannedCity.of(self, self.plan)
        self.now = datetime.now(UTC)
        self.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.reconciled())  # of an earlier test

    def wait(self, factor: float, month: int, hours: int = 72) -> ModelPackage:
        """Train a model that waits for a person."""
        candidate, _ = self.train(factor, month, status=PENDING)
        expires = naming.as_of_stamp(self.now + timedelta(hours=hours))
        judged = {registry.EXPIRES_AT: expires, "data_until": "2014-02-01"}
        package_status.note(self.sagemaker, candidate.package_arn, judged)
        return self.version(candidate.package_arn)

    def version(self, arn: str) -> ModelPackage:
        return registry.read(self.sagemaker, arn)

    def state(self, arn: str) -> ModelState:
        return approvals.state_of(self.planned, self.version(arn))

    def decide(self, version: ModelPackage, event: Event, author: Author = ANN) -> Any:
        return approvals.apply(self.planned, version.arn, event, author)

    def look(self, *, later: timedelta = timedelta(0)) -> reconcile.Looked:
        """Look as the reconcile DAG does, at this city alone."""
        return reconcile.run(self, self.fleet, now=datetime.now(UTC) + reconcile.GRACE + later)

    def elsewhere(self, version: ModelPackage, status: str, **request: Any) -> None:
        """Change an approval status as the console or a script does."""
        self.sagemaker.update_model_package(
            ModelPackageArn=version.arn, ModelApprovalStatus=status, **request
        )

    def record(self, version: ModelPackage, outcome: str, reason: str) -> None:
        """Leave the record of a run that ended waiting."""
        record = {
            "city": self.slug,
            "as_of": version.as_of,
            "outcome": outcome,
            "reasons": [reason],
            "target_model": None,
            "jobs": [],
            "finished_at": "2014-01-01T00:00:00+00:00",
        }
        run_records.write(
            self.s3,
            KEYS,
            record,
            as_of=naming.parse_as_of(version.as_of),
            key_of_run=version.metadata["run_key"],
        )
