"""What is kept of a city, with values that matter to nobody: live pointers, run records and how the index sees both."""

from __future__ import annotations

import hashlib
from typing import Any

from city_fleet import naming
from city_fleet.plan import plan_city
from city_fleet.state import live
from city_fleet.state.index_state import Champion, RunSummary
from tests.support.fleets import AS_OF, texas

CODE = {"include/scripts": "c0de"}


def package_arn(city: str, version: int = 1, fleet: str = "texas_housing") -> str:
    """The ARN of a version of a city's model on a laptop."""
    group = naming.package_group(fleet, "laptop", city)
    return f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/{version}"


def pointer(city: str, sequence: int, name: str = "a", fleet: str = "texas_housing") -> live.LivePointer:
    """A pointer; other names are other models."""
    sha256 = hashlib.sha256(f"{name}, {sequence}".encode()).hexdigest()
    return live.LivePointer(
        sequence=sequence,
        city=city,
        target_model=naming.target_model(city, AS_OF, sha256),
        package_arn=package_arn(city, fleet=fleet),
        as_of="20140101T000000Z",
        metrics={"mape": 0.04, "r2": None},
        features=("trend", "median_mean_12"),
        artifact_sha256=sha256,
        published_at="2014-01-01T00:00:00+00:00",
        published_by="texas_housing.austin/run",
        reasons=("there is no champion yet",),
        fleet=fleet,
        environment="laptop",
    )


def record(**fields: Any) -> dict[str, Any]:
    return {
        "city": "austin",
        "as_of": "20140101T000000Z",
        "run_id": "r1",
        "outcome": "held",
        "reasons": ["MAPE 9% does not beat 5%"],
        "jobs": [
            {"instance_type": "ml.m5.large", "billable_seconds": 61},
            {"instance_type": "ml.t3.medium", "billable_seconds": 5},
            {"instance_type": "ml.m5.large", "billable_seconds": 9},
        ],
        "finished_at": "2014-01-01T03:00:00+00:00",
        **fields,
    }


def summary(as_of: str, run: int, minute: int, version: int = 0) -> RunSummary:
    """A run; as in reality, a run has one as_of."""
    again = f"-{version:08x}" if version else ""
    return RunSummary(
        as_of=as_of,
        run_key=f"{run:010x}",
        finished_at=f"2014-02-01T00:{minute:02}:00+00:00",
        record=f"austin/{as_of}-{run:010x}{again}.json",
        outcome="live",
    )


def champion(city: str = "austin", as_of: str = "20140201T000000Z", **fields: Any) -> Champion:
    made_by = plan_city(texas(), city).settings_digest if city in texas().cities else "?"
    return Champion(
        etag='"e"',
        target_model=f"{city}/{as_of}-000000000000.tar.gz",
        as_of=as_of,
        sequence=3,
        **{"settings_digest": made_by, "code_digest": "c0de", **fields},
    )
