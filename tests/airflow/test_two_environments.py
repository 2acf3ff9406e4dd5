"""A rehearsal of a fleet beside production in one bucket: real operators, real jobs, a real endpoint each."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.support.paths import ROOT

BUCKET = "city-fleet"


def objects(s3: Any, prefix: str) -> dict[str, str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}


@pytest.mark.long
def test_a_rehearsal_leaves_production_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the environment differs: as somebody does who copies a fleet file and changes that one line."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("CITY_FLEET_WAITER_DELAY_SECONDS", "1")  # and put back afterwards
    import city_run

    monkeypatch.setattr(city_run, "POLL_SECONDS", 1)

    def night() -> Any:
        """A first night: role, data, endpoint, and one run of the city."""
        return city_run.run_dag(city_run.prepare(server), city_run.Counts(server), city_run.NOW)

    with city_run.running() as server:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        monkeypatch.setenv("CITY_FLEET_ENVIRONMENT", "production")
        assert night()["publish"]["outcome"] == "live"
        before = objects(s3, "texas_housing/production/")
        raw = objects(s3, "texas_housing/raw/")
        endpoint = sagemaker.describe_endpoint(EndpointName="texas-housing--production")

        server.client("iam").delete_role(RoleName="city-fleet")  # which the next run makes again
        monkeypatch.setenv("CITY_FLEET_ENVIRONMENT", "rehearsal")
        assert night()["publish"]["outcome"] == "live"
        assert objects(s3, "texas_housing/production/") == before
        assert objects(s3, "texas_housing/raw/").keys() == raw.keys()
        assert sagemaker.describe_endpoint(EndpointName="texas-housing--production") | {
            "ResponseMetadata": None
        } == endpoint | {"ResponseMetadata": None}
        assert {key.split("/")[1] for key in objects(s3, "texas_housing/")} == {
            "raw",
            "production",
            "rehearsal",
        }
        for environment in ("production", "rehearsal"):
            key = f"texas_housing/{environment}/live/austin.json"
            pointer = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            assert (pointer["fleet"], pointer["environment"]) == ("texas_housing", environment)
            group = f"texas-housing--{environment}--austin"
            assert pointer["package_arn"].rsplit("/", 2)[1] == group
            listed = sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
            assert len(listed) == 1
