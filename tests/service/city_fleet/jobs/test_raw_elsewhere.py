"""Raw data that are read where they lie: listed, pinned, read by a job that really runs, and never written."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from city_fleet.config import load_fleet
from city_fleet.data.raw_files import raw_files
from city_fleet.errors import PlatformError
from city_fleet.jobs import fixed_run, job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.jobs.job_files import raw_manifest, settings_file
from city_fleet.plan import PREPROCESS, CityPlan, Run, plan_city
from city_fleet.state.objects import ObjectStore
from tests.support.fleets import AS_OF
from tests.support.local_sagemaker import LocalSageMaker

FLEET = """\
fleet: small
bucket: {bucket}
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2010-01-01
dataset:
  raw: s3://{lake}/sales/city={{name}}/
  time: {{columns: [year, month, day], parts: [year, month, day]}}
  frequency: day
  available_after: P1D
  aggregate: sum
  duplicates: last
  target: {{column: amount, lags: [1, 7]}}
cities:
  koeln: {{name: Köln Süd}}
"""


@pytest.fixture
def plan(aws: LocalSageMaker, tmp_path: Path) -> CityPlan:
    digest = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:10]
    for bucket in (f"own-{digest}", f"lake-{digest}"):
        aws.client("s3").create_bucket(Bucket=bucket)
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET.format(bucket=f"own-{digest}", lake=f"lake-{digest}"), encoding="utf-8")
    return plan_city(load_fleet(path, {}), "koeln")


def put(s3: Any, plan: CityPlan, name: str, body: str) -> None:
    s3.put_object(Bucket=plan.raw.bucket, Key=f"sales/{name}", Body=body.encode())


def month(year: int, number: int, days: int, amount: float = 10.0) -> tuple[str, str]:
    """Return a month's file of two transactions a day, below folders as Hive writes them."""
    lines = [
        f"{day};{amount + day / 7 * part:.2f};till {part}" for day in range(1, days + 1) for part in (1, 2)
    ]
    return f"year={year}/month={number:02}/part-0.csv", "\n".join(["day;amount;till", *lines, ""])


def test_a_job_reads_what_the_run_has_pinned_where_it_lies(aws: LocalSageMaker, plan: CityPlan) -> None:
    s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
    for number, days in ((10, 31), (11, 30), (12, 31)):
        name, body = month(2013, number, days)
        put(s3, plan, f"city=K%C3%B6ln%20S%C3%BCd/{name}", body)
    put(s3, plan, "city=K%C3%B6ln%20S%C3%BCd/_SUCCESS", "")
    put(s3, plan, "city=Köln/year=2013/other.csv", "nobody's\n")
    time.sleep(1.1)  # LastModified counts seconds
    put(
        s3,
        plan,
        "city=K%C3%B6ln%20S%C3%BCd/a_correction/year=2013/month=10/p.csv",
        "day,amount,till\n5,1000,1\n",
    )
    bundle = CodeBundle.of(plan)
    bundle.ensure_uploaded(s3, plan.keys)
    fixed = fixed_run.begin(s3, plan, AS_OF, bundle.digest, asked_by="dag/run/0", repeat=False)
    names = [each.name for each in fixed.raw]
    assert len(names) == 4
    assert names[-1].endswith("a_correction/year=2013/month=10/p.csv"), "the newest is the last"
    run = Run("manual__1", fixed.key, AS_OF)
    for file in (settings_file(plan, run, PREPROCESS, names), raw_manifest(plan, run, names)):
        s3.put_object(Bucket=plan.keys.bucket, Key=file.key, Body=file.body)
    request = job_requests.preprocess_request(
        plan,
        run,
        image_uri=image_uri(plan.city.algorithm, plan.fleet.region),
        code_uri=bundle.prefix_uri(plan.keys),
        raw=names,
    )
    job, named = job_requests.named(request, plan, run, PREPROCESS, 1)
    sagemaker.create_processing_job(**named)
    deadline = time.monotonic() + 120
    while (done := sagemaker.describe_processing_job(ProcessingJobName=job))[
        "ProcessingJobStatus"
    ] == "InProgress":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert done["ProcessingJobStatus"] == "Completed", done
    outputs = {
        each["OutputName"]: each["S3Output"]["S3Uri"] for each in done["ProcessingOutputConfig"]["Outputs"]
    }

    def read(name: str) -> Any:
        bucket, key = f"{outputs['report']}city=koeln/{name}".removeprefix("s3://").split("/", 1)
        return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    status, inputs = read("status.json"), read("manifest.json")["inputs"]
    assert (status["status"], status["periods"]["first"], status["periods"]["last"]) == (
        "ready",
        "2013-10-01",
        "2013-12-31",
    )
    assert status["later_rows"] == 0
    # 5 October is what the correction says, the day before it what both tills have sold.
    assert status["extremes"]["amount"]["value"] == 1000.0
    assert status["extremes"]["amount"]["period"] == "2013-10-05"
    assert {each["uri"] for each in inputs} == {f"s3://{plan.raw.bucket}/sales/{name}" for name in names}

    def look() -> tuple[fixed_run.RawObject, ...]:
        return fixed_run.raw_objects(s3, plan)

    assert fixed_run.difference(fixed, inputs, plan.raw.folder_uri, look) is None
    # Replaced after it was pinned: the job has read other bytes, and the run is about others from now on.
    name, body = month(2013, 11, 30, amount=11.0)
    put(s3, plan, f"city=K%C3%B6ln%20S%C3%BCd/{name}", body)
    etag = hashlib.md5(body.encode()).hexdigest()
    changed = [each | {"etag": etag} if "month=11" in each["uri"] else each for each in inputs]
    said = fixed_run.difference(fixed, changed, plan.raw.folder_uri, look) or ""
    assert said.endswith("month=11/part-0.csv was replaced")
    again, joins = fixed_run.find(s3, plan, AS_OF, bundle.digest)
    assert not joins
    assert again.key != fixed.key
    # Nothing was written beside them.
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=plan.raw.bucket)["Contents"]]
    assert len(keys) == 6
    files = raw_files(plan.fleet, ObjectStore(s3, plan.keys.bucket), "koeln")
    assert [file.is_data for file in files].count(True) == 4
    assert not any(file.by_ingest for file in files)


def test_a_prefix_that_cannot_be_the_citys_is_said(aws: LocalSageMaker, plan: CityPlan) -> None:
    s3 = aws.client("s3")
    assert fixed_run.raw_objects(s3, plan) == ()
    put(s3, plan, "city=Köln Süd/a.csv", "x")
    assert [each.name for each in fixed_run.raw_objects(s3, plan)] == ["city=Köln Süd/a.csv"]
    put(s3, plan, "city=K%C3%B6ln%20S%C3%BCd/a.csv", "x")
    with pytest.raises(PlatformError, match="allowed: one spelling of its name"):
        fixed_run.raw_objects(s3, plan)
    nowhere = plan.city.dataset.model_copy(update={"raw": "s3://there-is-none-of-this/{slug}/"})
    gone = CityPlan(plan.fleet, plan.city.model_copy(update={"dataset": nowhere}))
    with pytest.raises(PlatformError, match=r"s3://there-is-none-of-this/koeln/: there is no such bucket"):
        fixed_run.raw_objects(s3, gone)
