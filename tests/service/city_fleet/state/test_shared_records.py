"""Two DAG runs that work on the same run leave one record, unless they end in different ways."""

from __future__ import annotations

import json
import uuid
from itertools import count
from typing import Any

from city_fleet.naming import Keys
from city_fleet.state import run_records
from tests.support.fleets import AS_OF
from tests.support.local_sagemaker import LocalSageMaker


def test_who_joins_a_run_and_comes_to_its_end_adds_no_record(aws: LocalSageMaker) -> None:
    s3, keys = aws.client("s3"), Keys("city-fleet", f"f{uuid.uuid4().hex[:20]}", "laptop")

    moments = count(1)

    def write(run_id: str, outcome: str, **more: Any) -> str:
        record = {
            "finished_at": f"2014-01-01T00:00:{next(moments):02}+00:00",
            "city": "austin",
            "run_id": run_id,
            "outcome": outcome,
            "reasons": [f"said by {run_id}"],
            **more,
        }
        return run_records.write(s3, keys, record, as_of=AS_OF, key_of_run="0123456789")

    failed = write("scheduled", "failed", failed_task="train")
    assert write("manual", "failed", failed_task="train") == failed
    live = write("manual", "live", failed_task=None)
    assert live != failed
    assert write("scheduled", "live", failed_task=None) == live
    assert write("third", "live", failed_task=None) == live

    # What came last is what is so, also where it came before.
    again = write("scheduled", "failed", failed_task="train")
    assert again not in {failed, live}
    assert write("manual", "failed", failed_task="train") == again

    listed = s3.list_objects_v2(Bucket=keys.bucket, Prefix=keys.records_prefix())["Contents"]
    assert {item["Key"] for item in listed} == {failed, live, again}
    kept = json.loads(s3.get_object(Bucket=keys.bucket, Key=live)["Body"].read())
    assert kept["run_id"] == "manual"
