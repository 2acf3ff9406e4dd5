"""What a run would do is what a run does: the requests of a preview run, one after the other, for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from city_fleet.data.ingest import ingest
from city_fleet.errors import CityFleetError
from city_fleet.jobs import fixed_run
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.job_files import raw_manifest, settings_file
from city_fleet.jobs.sagemaker_jobs import KINDS
from city_fleet.naming import split_uri
from city_fleet.plan import EVALUATE, JOB_STEPS, PREPROCESS, CityPlan, FixedParent
from city_fleet.views.preview import preview, scheduled_run_id
from tests.support.aws_names import IMAGE_URI
from tests.support.command_line import Done, fleet
from tests.support.fleets import AS_OF, austin, january_run, pooled_texas, texas
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT
from tests.support.waiting import wait_until


def test_its_jobs_run_as_they_are_and_fit_together(aws: LocalSageMaker) -> None:
    bucket = "previewed"
    plan = CityPlan(texas().model_copy(update={"bucket": bucket}), austin().city)
    s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
    ingest(plan.fleet, s3, cities=["austin"], create_bucket=True)
    bundle = CodeBundle.load(plan.scripts)
    bundle.ensure_uploaded(s3, plan.keys)
    raw = [each.name for each in fixed_run.raw_objects(s3, plan)]
    found = preview(plan, january_run(), image_uri=IMAGE_URI, bundle=bundle, raw=raw)
    files = (
        *(settings_file(plan, january_run(), step) for step in JOB_STEPS),
        raw_manifest(plan, january_run(), raw),
    )
    for file in files:
        assert plan.keys.uri(file.key) in found.may_write
        s3.put_object(Bucket=bucket, Key=file.key, Body=file.body)
    for job in found.jobs.values():
        kind = KINDS[job.kind]
        kind.create(sagemaker, job.request)

        def over(kind: Any = kind, name: str = job.name) -> Any:
            description = kind.describe(sagemaker, name)
            return description if kind.is_over(description) else None

        ended = wait_until(over, 120, f"{job.name} is over")
        assert kind.status(ended) == "Completed", (ended.get("ExitMessage"), ended.get("FailureReason"))
        for uri in job.writes.values():
            key = split_uri(uri)[1]
            assert s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] > 0, uri
    assert found.run_key in json.dumps(found.to_dict()["may_write"])


def test_a_parents_jobs_get_the_raw_data_of_all_its_cities_and_a_citys_run_its_model(
    aws: LocalSageMaker,
) -> None:
    cities = ("austin", "kerrville", "waco")
    whole = pooled_texas()
    of_some = {slug: whole.cities[slug] for slug in (*cities, "texas")}
    some = {"bucket": "pooled", "cities": of_some, "children": {"texas": cities}}
    plan = CityPlan(whole.model_copy(update=some), whole.cities["texas"])
    s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
    ingest(plan.fleet, s3, create_bucket=True)
    with pytest.raises(CityFleetError, match="'texas' is the parent of austin, kerrville, waco, and has"):
        ingest(plan.fleet, s3, cities=["texas"])
    # Raw data of its own are not read, nor those of a city that is not its own.
    for stray in ("texas", "atlantis"):
        s3.put_object(Bucket="pooled", Key=f"{plan.keys.raw(stray)}data.csv", Body=b"no data")
    bundle = CodeBundle.load(plan.scripts)
    bundle.ensure_uploaded(s3, plan.keys)
    fixed, begun = fixed_run.find(s3, plan, AS_OF, bundle.digest)
    assert not begun
    assert [each.name for each in fixed.raw] == [f"city={city}/txhousing.csv" for city in cities]
    run = january_run()
    raw = [each.name for each in fixed.raw]
    found = preview(plan, run, image_uri=IMAGE_URI, bundle=bundle, raw=raw)
    for file in (*(settings_file(plan, run, step) for step in JOB_STEPS), raw_manifest(plan, run, raw)):
        assert plan.keys.uri(file.key) in found.may_write
        s3.put_object(Bucket="pooled", Key=file.key, Body=file.body)
    for job in found.jobs.values():
        kind = KINDS[job.kind]
        kind.create(sagemaker, job.request)

        def over(kind: Any = kind, name: str = job.name) -> Any:
            description = kind.describe(sagemaker, name)
            return description if kind.is_over(description) else None

        ended = wait_until(over, 120, f"{job.name} is over")
        assert kind.status(ended) == "Completed", (ended.get("ExitMessage"), ended.get("FailureReason"))
    report = json.loads(_read(s3, found.jobs[PREPROCESS].writes["report"] + "city=texas/manifest.json"))
    assert report["members"] == list(cities)
    prefix = plan.raw.folder_uri
    assert fixed_run.difference(fixed, report["inputs"], prefix, lambda: fixed.raw) is None
    judged = json.loads(_read(s3, found.jobs[EVALUATE].writes["evaluation"] + "city=texas/evaluation.json"))
    assert set(judged["children"]) == set(cities)

    # What serves of a parent when a city's run begins is fixed with it, and is an input of its evaluation.
    austin_plan = CityPlan(plan.fleet, plan.fleet.cities["austin"])
    assert fixed_run.parent_of(s3, austin_plan) is None
    s3.put_object(Bucket="pooled", Key=plan.keys.live("texas"), Body=b"no pointer")
    assert fixed_run.parent_of(s3, austin_plan) is None
    parent = FixedParent("texas", "texas/20140101T000000Z-0123456789ab.tar.gz", "20140101T000000Z")
    kept = replace(fixed, parent=parent)
    assert fixed_run.FixedRun.from_json(kept.to_json()) == kept
    before = json.loads(fixed.to_json())
    del before["parent"]
    assert fixed_run.FixedRun.from_json(json.dumps(before).encode()) == fixed
    of_city = preview(austin_plan, replace(run, parent=parent), image_uri=IMAGE_URI, bundle=bundle)
    assert of_city.jobs[EVALUATE].reads["parent"] == plan.keys.uri(plan.keys.model(parent.target_model))
    alone = preview(austin_plan, run, image_uri=IMAGE_URI, bundle=bundle)
    assert "parent" not in alone.jobs[EVALUATE].reads
    assert [alone.jobs[step].name for step in JOB_STEPS[:2]] == [
        of_city.jobs[step].name for step in JOB_STEPS[:2]
    ]
    assert (alone.parent, alone.children, found.children) == ("texas", (), cities)


def _read(s3: Any, uri: str) -> bytes:
    bucket, key = split_uri(uri)
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def test_a_champion_gives_the_evaluation_another_name_as_the_note_says() -> None:
    found = preview(austin(), january_run(), image_uri=IMAGE_URI, bundle=CodeBundle.load(austin().scripts))
    assert "another name" in str(found.jobs["evaluate"].note)
    assert [job.note for step, job in found.jobs.items() if step != "evaluate"] == [None, None]


def test_the_run_id_is_that_of_the_ticks_run() -> None:
    plan = austin()
    assert scheduled_run_id(plan, AS_OF) == january_run().run_id
    spread = CityPlan(plan.fleet, plan.city.model_copy(update={"spread_minutes": 60}))
    delay = timedelta(seconds=spread.delay_seconds)
    assert delay
    assert scheduled_run_id(spread, AS_OF) == f"scheduled__{(AS_OF + delay).isoformat()}"


def test_the_command_needs_neither_airflow_nor_aws() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CITY_FLEET"))}
    code = (
        "import sys, socket\n"
        "def refuse(*_): raise AssertionError('it opened a connection')\n"
        "socket.socket.connect = refuse\n"
        "from city_fleet.cli.app import app\n"
        "try: app(['plan', 'austin', '--as-of', '2014-01-01'])\n"
        "finally: assert not {'airflow', 'boto3'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": str(ROOT / "plugins"), "AWS_EC2_METADATA_DISABLED": "true"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "processing job texas-housing--laptop--austin-preprocess-" in done.stdout
    assert "3. evaluate, after train" in done.stdout


def test_the_requests_are_printed_as_boto3_takes_them() -> None:
    requests = json.loads(fleet("plan", "austin", "--as-of", "2014-01-01", "--requests").stdout)
    as_json = json.loads(fleet("plan", "austin", "--as-of", "20140101T000000Z", "--json").stdout)
    assert requests == {job["name"]: job["request"] for job in as_json["jobs"].values()}
    assert as_json["run_id"] == january_run().run_id
    golden = json.loads((ROOT / "tests" / "golden" / "train.json").read_text())
    hyperparameters = as_json["jobs"]["train"]["request"]["HyperParameters"]
    assert hyperparameters.keys() == golden["request"]["HyperParameters"].keys()
    other = json.loads(fleet("plan", "austin", "--as-of", "2014-01-01", "--run-id", "mine", "--json").stdout)
    assert other["run_id"] == "mine"
    assert other["jobs"]["train"]["name"] == as_json["jobs"]["train"]["name"], (
        "who runs it makes no other job"
    )
    later = json.loads(fleet("plan", "austin", "--as-of", "2014-02-01", "--json").stdout)
    assert later["jobs"]["train"]["name"] != as_json["jobs"]["train"]["name"]
    assert as_json["looked"] is False


def test_a_look_into_s3_shows_the_runs_own_key_and_who_has_begun_it(aws: LocalSageMaker) -> None:
    bucket = "looked-at"
    plan = CityPlan(texas().model_copy(update={"bucket": bucket}), austin().city)
    s3 = aws.client("s3")
    ingest(plan.fleet, s3, cities=["austin"], create_bucket=True)
    words = ["plan", "austin", "--as-of", "2014-01-01", "--look", "--json"]

    def looked() -> dict[str, Any]:
        done = fleet(*words, **aws.variables, CITY_FLEET_BUCKET=bucket)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    before = looked()
    assert (before["looked"], before["joins"]) == (True, None)
    digest = CodeBundle.load(plan.scripts).digest
    fixed = fixed_run.begin(s3, plan, AS_OF, digest, asked_by="texas_housing.austin/mine/2", repeat=False)
    after = looked()
    assert (after["run_key"], after["joins"]) == (fixed.key, "texas_housing.austin/mine")
    assert before["run_key"] == fixed.key


def test_by_default_it_is_the_last_ticks_run() -> None:
    found = json.loads(fleet("plan", "waco", "--json").stdout)
    assert found["as_of"] == "20150801T000000Z"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["plan", "asutin"], 2, "Did you mean 'austin'?"),
        (["plan", "austin", "--as-of", "2999-01-01"], 2, "lies in the future"),
        (["plan", "austin", "--as-of", "soon"], 2, "got 'soon'"),
    ],
)
def test_mistakes_are_said(arguments: list[str], code: int, said: str) -> None:
    done: Done = fleet(*arguments)
    assert done.returncode == code
    assert said in " ".join(done.stderr.replace("│", " ").split())
