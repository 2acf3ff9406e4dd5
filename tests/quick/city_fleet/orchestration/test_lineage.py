"""What each task of a city says it has read and made, from the requests that its jobs are sent with."""

from __future__ import annotations

from typing import Any

from city_fleet.jobs import job_requests
from city_fleet.orchestration import lineage
from city_fleet.orchestration.lineage import Dataset, Lineage
from city_fleet.plan import CityPlan, plan_city
from tests.support.fleets import austin, january_run, pooled_texas

RUN = january_run()
BUCKET, HOME = "s3://city-fleet", "texas_housing/laptop"
ACCOUNT = "arn:aws:sagemaker:us-east-1:123456789012"
PACKAGE = f"{ACCOUNT}:model-package/texas-housing--laptop--austin/7"
TARGET = "austin/20140101T000000Z-0123456789ab.tar.gz"
RAW = Dataset(BUCKET, "texas_housing/raw/city=austin")
VERSIONS = Dataset(ACCOUNT, "model-package/texas-housing--laptop--austin", "7")
SERVES = Dataset(ACCOUNT, "endpoint/texas-housing--laptop/austin", TARGET)
POINTER = Dataset(BUCKET, f"{HOME}/live/austin.json", TARGET)


def written(step: str) -> Dataset:
    return Dataset(BUCKET, f"{HOME}/runs/austin/{step}", RUN.key)


def named(plan: CityPlan, step: str, request: dict[str, Any]) -> dict[str, Any]:
    """A request as SageMaker describes the job that was made of it."""
    _, description = job_requests.named(request, plan, RUN, step, 1)
    if "OutputDataConfig" in description:
        folder = (
            f"{description['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{description['TrainingJobName']}"
        )
        description["ModelArtifacts"] = {"S3ModelArtifacts": f"{folder}/output/model.tar.gz"}
    return description


def preprocess(plan: CityPlan) -> tuple[dict[str, str], Lineage]:
    request = job_requests.preprocess_request(
        plan, RUN, image_uri="image", code_uri=f"{BUCKET}/{HOME}/code/abc/", raw=["a.csv"]
    )
    described = named(plan, "preprocess", request)
    outputs = {
        each["OutputName"]: each["S3Output"]["S3Uri"]
        for each in described["ProcessingOutputConfig"]["Outputs"]
    }
    return outputs, lineage.of_job(plan, RUN, described, raw=True, job=described["ProcessingJobName"])


def test_raw_data_can_be_followed_to_the_endpoint() -> None:
    plan = austin()
    outputs, prepared = preprocess(plan)
    assert (prepared.inputs, prepared.outputs) == ((RAW,), (written("preprocess"),))
    assert prepared.facts["uris"] == list(outputs.values())
    assert {**prepared.facts, "job": "", "uris": []} == {
        "fleet": "texas_housing", "environment": "laptop", "city": "austin", "asOf": "20140101T000000Z",
        "runKey": RUN.key, "job": "", "uris": [],
    }  # fmt: skip

    request = job_requests.train_request(
        plan, RUN, image_uri="image", code_archive_uri=f"{BUCKET}/{HOME}/code/abc.tar.gz", data=outputs
    )
    described = named(plan, "train", request)
    artifact = described["ModelArtifacts"]["S3ModelArtifacts"]
    trained = lineage.of_job(plan, RUN, described, raw=False, job="j")
    assert (trained.inputs, trained.outputs) == ((written("preprocess"),), (written("train"),))
    assert trained.facts["uris"] == [artifact]

    inputs = {"code": f"{BUCKET}/{HOME}/code/abc/", "test": outputs["test"], "model": artifact}
    request = job_requests.evaluate_request(plan, RUN, image_uri="image", inputs=inputs)
    judged = lineage.of_job(plan, RUN, named(plan, "evaluate", request), raw=False, job="j")
    assert set(judged.inputs) == {written("preprocess"), written("train")}
    assert judged.outputs == (written("evaluate"),)

    registered = lineage.of_version(plan, RUN, {"package_arn": PACKAGE})
    assert (registered.inputs, registered.outputs) == ((written("evaluate"),), (VERSIONS,))

    published = lineage.of_publication(plan, RUN, PACKAGE, {"outcome": "live", "target_model": TARGET})
    assert (published.inputs, published.outputs) == ((VERSIONS,), (SERVES, POINTER))
    assert published.facts["uris"] == [f"{BUCKET}/{HOME}/models/{TARGET}"]
    # The asset by which other DAGs are told has the pointer's name.
    assert f"{POINTER.namespace}/{POINTER.name}" == plan.keys.live_asset("austin")


def test_what_did_not_go_live_leads_to_no_endpoint() -> None:
    held = lineage.of_publication(austin(), RUN, PACKAGE, {"outcome": "pending", "target_model": TARGET})
    assert (held.inputs, held.outputs) == ((VERSIONS,), ())


def test_a_parent_reads_the_raw_data_of_its_cities() -> None:
    fleet = pooled_texas()
    _, prepared = preprocess(plan_city(fleet, "texas"))
    assert len(prepared.inputs) == len(fleet.children["texas"])
    assert RAW in prepared.inputs


def test_a_citys_end_in_a_cohort_says_how_far_it_came() -> None:
    output = f"{BUCKET}/{HOME}/runs/_cohort_001/{RUN.key}/cohort/job-1/output/"
    read = (RAW, Dataset(BUCKET, f"{HOME}/runs/_cohort_001/cohort", RUN.key))
    live = {"outcome": "live", "target_model": TARGET}
    for results, made in (
        ({"register": {}, "publish": {}}, ()),
        ({"register": {"package_arn": PACKAGE}, "publish": {}}, (VERSIONS,)),
        ({"register": {"package_arn": PACKAGE}, "publish": live}, (VERSIONS, SERVES, POINTER)),
    ):
        found = lineage.of_cohorts_city(austin(), RUN, output, results, "job-1")
        assert (found.inputs, found.outputs) == (read, made)


def test_what_lies_elsewhere_is_no_step_of_a_run() -> None:
    """A bucket's other objects, and a request whose parts nobody knows, are left out."""
    described = {
        "ProcessingInputs": [
            {"S3Input": {"S3Uri": uri}} for uri in (f"{BUCKET}/x/", f"{BUCKET}/{HOME}/runs/austin/")
        ]
        + [{"DatasetDefinition": {}}]
    }
    found = lineage.of_job(austin(), RUN, described, raw=False, job="j")
    assert (found.inputs, found.outputs) == ((), ())
