"""Run records in S3: each is there once, and each has an event."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from city_fleet.config import Algorithm
from city_fleet.naming import Keys
from city_fleet.plan import CityPlan
from city_fleet.state import run_records
from tests.support.fleets import AS_OF, austin
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture
def s3(aws: LocalSageMaker) -> Any:
    return aws.client("s3")


@pytest.fixture
def keys() -> Keys:
    return Keys("city-fleet", f"f{uuid.uuid4().hex[:20]}", "laptop")


def listed(s3: Any, keys: Keys, prefix: str) -> list[str]:
    answer = s3.list_objects_v2(Bucket=keys.bucket, Prefix=prefix)
    return [item["Key"].removeprefix(prefix) for item in answer.get("Contents", [])]


def test_a_record_is_written_once_and_announced(s3: Any, keys: Keys) -> None:
    record = {"city": "austin", "outcome": "live"}
    before = datetime.now(UTC).replace(microsecond=0)
    key = run_records.write(s3, keys, record, as_of=AS_OF, key_of_run="0123456789")
    assert key == f"{keys.prefix}state/runs/austin/20140101T000000Z-0123456789.json"
    assert json.loads(s3.get_object(Bucket=keys.bucket, Key=key)["Body"].read()) == record
    (event,) = listed(s3, keys, keys.events_prefix())
    moment, name = event.split("/", 1)
    assert before <= datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert keys.records_prefix() + name == key


def test_a_run_that_ends_again_has_two_records_and_both_are_announced(s3: Any, keys: Keys) -> None:
    first = run_records.write(s3, keys, {"city": "waco", "n": 1}, as_of=AS_OF, key_of_run="k")
    second = run_records.write(s3, keys, {"city": "waco", "n": 2}, as_of=AS_OF, key_of_run="k")
    assert run_records.write(s3, keys, {"city": "waco", "n": 2}, as_of=AS_OF, key_of_run="k") == second
    records = {keys.records_prefix() + name for name in listed(s3, keys, keys.records_prefix())}
    assert records == {first, second}
    events = listed(s3, keys, keys.events_prefix())
    assert {keys.records_prefix() + event.split("/", 1)[1] for event in events} == records


@pytest.fixture
def lossy_s3(aws: LocalSageMaker) -> Iterator[Any]:
    """A client that tries again by itself, as boto3's does; the first put of a record loses its answer."""
    fault = {"kind": "dropped_connection", "operation": "s3:PutObject", "name": "*/state/runs/*"}
    faults = f"{aws.url}/_local/faults"
    httpx.put(faults, json={**fault, "when": "after", "count": 1}, trust_env=False).raise_for_status()
    yield boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=aws.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(proxies={}),
    )
    struck = httpx.get(faults, trust_env=False).json()["faults"][0]["injected"]
    httpx.delete(faults, trust_env=False).raise_for_status()
    assert struck == 1


def test_what_is_tried_twice_is_one_record(lossy_s3: Any, s3: Any, keys: Keys) -> None:
    record = {"city": "waco", "reasons": ("good",), "finished_at": "2015-08-01T00:00:00+00:00"}
    first = run_records.write(lossy_s3, keys, record, as_of=AS_OF, key_of_run="k")
    later = {**record, "finished_at": "2015-08-01T00:01:00+00:00"}
    assert run_records.write(s3, keys, later, as_of=AS_OF, key_of_run="k") == first
    assert [keys.records_prefix() + name for name in listed(s3, keys, keys.records_prefix())] == [first]


def test_a_record_that_s3_refuses_is_an_error(s3: Any) -> None:
    nowhere = Keys("no-such-bucket-here", "f", "laptop")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        run_records.write(s3, nowhere, {"city": "waco"}, as_of=AS_OF, key_of_run="k")


def test_the_settings_digest_covers_what_makes_the_model_and_nothing_else() -> None:
    plan = austin()

    def changed(**fields: Any) -> str:
        return CityPlan(plan.fleet, plan.city.model_copy(update=fields)).settings_digest

    deeper = {**plan.city.algorithm.hyperparameters, "max_depth": 5}
    target = plan.city.dataset.target.model_copy(update={"window": 6})
    for other in (
        changed(algorithm=Algorithm(hyperparameters=deeper)),
        changed(algorithm=plan.city.algorithm.model_copy(update={"version": "3.0-5"})),
        changed(dataset=plan.city.dataset.model_copy(update={"holdout_periods": 6})),
        changed(dataset=plan.city.dataset.model_copy(update={"target": target})),
    ):
        assert other != plan.settings_digest
    for same in (
        changed(retries=9, schedule="@daily", owner="somebody"),
        changed(gate=plan.city.gate.model_copy(update={"tolerance": 0.5})),
        changed(training=plan.city.training.model_copy(update={"instance_type": "ml.m5.xlarge"})),
        changed(dataset=plan.city.dataset.model_copy(update={"source": None})),
    ):
        assert same == plan.settings_digest
