"""Requests to SageMaker: as they are sent (golden files), and within SageMaker's own limits.

``make golden`` writes the golden files anew; look at the difference before you commit it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from city_fleet.champions import package_request
from city_fleet.config import Algorithm, Fleet
from city_fleet.jobs import job_files
from city_fleet.jobs import job_requests as requests
from city_fleet.jobs.cohort_files import CohortItem, channels_of, cohort_files
from city_fleet.jobs.cohort_plan import CohortPlan, plan_cohort
from city_fleet.plan import COHORT, EVALUATE, PREPROCESS, TRAIN, CityPlan, FixedChampion, Run, plan_city
from city_fleet.serving import endpoint_requests
from city_fleet.state import package_status, registry
from local.sagemaker.processes.container.train import command_line, decode_hyperparameters
from local.sagemaker.protocol.validation import validate
from tests.support.aws_names import IMAGE_URI
from tests.support.fleets import austin, january_run, texas
from tests.support.paths import ROOT
from tests.support.private_fleets import private

GOLDEN = ROOT / "tests" / "golden"
CODE = "s3://city-fleet/texas_housing/laptop/code/0123456789abcdef/"
DATA = {
    name: f"s3://city-fleet/texas_housing/laptop/runs/austin/run/preprocess/job/{name}/"
    for name in ("train", "validation", "test", "report")
}
ARTIFACT = "s3://city-fleet/texas_housing/laptop/runs/austin/run/train/job/output/model.tar.gz"
CHAMPION = FixedChampion(
    "austin/20131201T000000Z-0123456789ab.tar.gz",
    etag='"0123456789abcdef0123456789abcdef"',
    as_of="20131201T000000Z",
)


PRIVATE = private()


def job(step: str, request: dict[str, Any]) -> dict[str, Any]:
    return requests.named(request, austin(), january_run(), step, 1)[1]


def preprocess(fleet: Fleet | None = None) -> dict[str, Any]:
    return job(
        "preprocess",
        requests.preprocess_request(
            of(fleet), january_run(), image_uri=IMAGE_URI, code_uri=CODE, raw=["txhousing.csv"]
        ),
    )


def of(fleet: Fleet | None) -> CityPlan:
    return austin() if fleet is None else replace(austin(), fleet=fleet)


def train(fleet: Fleet | None = None) -> dict[str, Any]:
    return job(
        "train",
        requests.train_request(
            of(fleet),
            january_run(),
            image_uri=IMAGE_URI,
            code_archive_uri=CODE + "sourcedir.tar.gz",
            data=DATA,
        ),
    )


def evaluate(champion: FixedChampion | None = CHAMPION) -> dict[str, Any]:
    return job(
        "evaluate",
        requests.evaluate_request(
            austin(),
            replace(january_run(), champion=champion),
            image_uri=IMAGE_URI,
            inputs={"code": CODE, "test": DATA["test"], "model": ARTIFACT},
        ),
    )


def package() -> dict[str, Any]:
    return {
        "ModelPackageGroupName": austin().package_group,
        "ModelApprovalStatus": registry.PENDING,
        **package_request.register_extras(
            austin(),
            january_run(),
            package_request.TrainedModel(
                IMAGE_URI,
                ARTIFACT,
                "a" * 64,
                {
                    "evaluation_uri": "s3://city-fleet/texas_housing/laptop/runs/austin/run/evaluate/job/evaluation.json",
                    "decision_uri": "s3://city-fleet/texas_housing/laptop/runs/austin/run/decide/decision-0123456789.json",
                    "manifest_uri": "s3://city-fleet/texas_housing/laptop/runs/austin/run/preprocess/job/report/manifest.json",
                    "code_uri": CODE,
                    "preprocess_job": "texas-housing--laptop--austin-preprocess-0123456789-1",
                    "train_job": "texas-housing--laptop--austin-train-0123456789-1",
                    "evaluate_job": "texas-housing--laptop--austin-evaluate-0123456789-1",
                },
            ),
            decided=package_status.decided(
                registry.PENDING, "promote", f"{austin().dag_id}/{january_run().run_id}"
            ),
        ),
    }


def model(fleet: Fleet | None = None) -> dict[str, Any]:
    return endpoint_requests.model_request(
        fleet or texas(), image_uri=IMAGE_URI, code_archive_uri=CODE + "sourcedir.tar.gz"
    )


def endpoint_config(fleet: Fleet | None = None) -> dict[str, Any]:
    return endpoint_requests.endpoint_config_request(fleet or texas(), model_name=model(fleet)["ModelName"])


def endpoint() -> dict[str, Any]:
    return endpoint_requests.endpoint_request(
        texas(), endpoint_config_name=endpoint_config()["EndpointConfigName"]
    )


def cohort(who: CohortPlan | CityPlan | None = None) -> dict[str, Any]:
    """The job of two cities, one of which has a champion; or of one of them alone."""
    fleet = texas().model_copy(update={"members": {"cohort_007": ("austin", "dallas")}})
    plan = who or plan_cohort(fleet, "cohort_007")
    run = replace(january_run(), key="fedcba9876")
    items = [
        CohortItem(plan_city(fleet, slug), replace(january_run(), champion=champion), ["data.csv"])
        for slug, champion in (("austin", CHAMPION), ("dallas", None))
        if who is None or slug == who.who
    ]
    request = requests.cohort_request(
        plan,
        run,
        image_uri=IMAGE_URI,
        code_archive_uri=CODE + "sourcedir.tar.gz",
        channels=channels_of(plan, cohort_files(plan, run, items)),
        tags={requests.TAG_COHORT: "cohort_007", requests.TAG_STEP: "train"},
    )
    return requests.named(request, plan, run, COHORT, 1)[1]


REQUESTS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "preprocess": ("CreateProcessingJob", preprocess),
    "train": ("CreateTrainingJob", train),
    "evaluate": ("CreateProcessingJob", evaluate),
    "cohort": ("CreateTrainingJob", cohort),
    "register": ("CreateModelPackage", package),
    "model": ("CreateModel", model),
    "endpoint_config": ("CreateEndpointConfig", endpoint_config),
    "endpoint": ("CreateEndpoint", endpoint),
    "private_preprocess": ("CreateProcessingJob", lambda: preprocess(PRIVATE)),
    "private_train": ("CreateTrainingJob", lambda: train(PRIVATE)),
    "private_model": ("CreateModel", lambda: model(PRIVATE)),
    "private_endpoint_config": ("CreateEndpointConfig", lambda: endpoint_config(PRIVATE)),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_as_they_were_agreed(name: str) -> None:
    operation, build = REQUESTS[name]
    text = json.dumps({"operation": operation, "request": build()}, indent=2) + "\n"
    path: Path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text, f"{path} is not what is sent; if the change is meant, run make golden"


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_keep_sagemakers_limits(name: str) -> None:
    """botocore checks types and required members; lengths, patterns and enums only SageMaker does."""
    operation, build = REQUESTS[name]
    shape = (
        botocore.session.get_session().get_service_model("sagemaker").operation_model(operation).input_shape
    )
    validate(shape, build())


def test_one_city_of_a_cohort_alone_is_asked_for_in_the_same_way() -> None:
    both, alone = cohort(), cohort(austin())
    assert alone["TrainingJobName"].startswith("texas-housing--laptop--austin-cohort-")
    assert both["TrainingJobName"].startswith("texas-housing--laptop--cohort-007-cohort-")
    assert {name: alone[name] == both[name] for name in both if alone[name] != both[name]} == {
        "TrainingJobName": False, "InputDataConfig": False, "OutputDataConfig": False, "StoppingCondition": False,
    }  # fmt: skip
    settings = json.loads(
        cohort_files(austin(), january_run(), [CohortItem(austin(), january_run(), ["data.csv"])])[
            "settings"
        ].body
    )
    of_steps = [
        json.loads(job_files.settings_file(austin(), january_run(), step, ["data.csv"]).body)["cities"][0]
        for step in (PREPROCESS, TRAIN, EVALUATE)
    ]
    assert settings["cities"] == [{**of_steps[0], **of_steps[1], **of_steps[2]}]


def test_a_key_and_a_network_make_no_other_run() -> None:
    """What has been paid for counts, wherever it ran: the names, and so the jobs, are the same."""
    for build, name in ((preprocess, "ProcessingJobName"), (train, "TrainingJobName")):
        assert build(PRIVATE)[name] == build()[name]
        assert build(PRIVATE) != build()
    assert model(PRIVATE)["ModelName"] != model()["ModelName"], "the endpoint moves into the network"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "12e4",
            "true",
            "null",
            "1_000",
            "007",
            "NaN",
            "Infinity",
            "-Infinity",
            '"quoted"',
            "[[0, 1]]",
            "{}",
            " 1 ",
        ),
        *("[" * 2000, "1e999", "São Paulo", "reg:squarederror", "log_ratio_to_mean:12"),
    ],
)
def test_a_text_reaches_train_py_as_it_left(text: str) -> None:
    """SageMaker's toolkit decodes hyperparameters as JSON, and spells what comes out."""
    words = command_line(decode_hyperparameters({"objective": requests._hyperparameter(text)}))
    assert words == ["--objective", text]


def changed(plan: CityPlan, section: str, **values: Any) -> CityPlan:
    made = getattr(plan.city, section).model_copy(update=values)
    return replace(plan, city=plan.city.model_copy(update={section: made}))


def test_the_settings_file_says_what_a_step_needs() -> None:
    run = replace(january_run(), champion=CHAMPION)
    given = dict(austin().city.algorithm.hyperparameters)
    seed = given.pop("seed", 0)
    assert json.loads(job_files.settings_file(austin(), run, EVALUATE).body) == {
        "format_version": 1,
        "as_of": "20140101T000000Z",
        "raw_uri": "s3://city-fleet/texas_housing/raw/",
        "cities": [
            {
                "city": "austin",
                "dataset": austin().city.dataset.to_settings(),
                "candidates": [{"algorithm": "xgboost", "hyperparameters": given}],
                "seed": seed,
                "refit": True,
                "champion": {
                    "target_model": CHAMPION.target_model,
                    "etag": CHAMPION.etag,
                    "as_of": CHAMPION.as_of,
                },
            }
        ],
    }
    dataset = austin().city.dataset.to_settings()
    assert (dataset["kind"], dataset["frequency"], dataset["available_after"]) == ("series", "month", "P1M")
    assert not {"source", "city_column"} & set(dataset)


def test_the_gates_metric_is_told_where_candidates_are_compared() -> None:
    both = Algorithm.model_validate({"candidates": ["xgboost", "linear"]})
    plan = austin()
    plan = replace(plan, city=plan.city.model_copy(update={"algorithm": both}))
    (city,) = job_files.settings(plan, january_run(), TRAIN)["cities"]
    assert city["metric"] == "mape"


def test_only_a_job_that_makes_more_than_one_model_gets_what_judges_them() -> None:
    def channels(plan: CityPlan) -> list[str]:
        made = requests.train_request(
            plan, january_run(), image_uri=IMAGE_URI, code_archive_uri=CODE, data=DATA
        )
        return [each["ChannelName"] for each in made["InputDataConfig"]]

    one = changed(changed(austin(), "algorithm", refit=False), "dataset", backtest_periods=12)
    own = changed(austin(), "own_scripts", train=ROOT / "train.py")
    bare = replace(austin(), city=austin().city.model_copy(update={"entry": "none"}))
    assert channels(austin()) == ["settings", "train", "validation", "test"]
    assert channels(changed(one, "dataset", backtest_periods=24))[-1] == "test"
    for plan in (one, own, bare):
        assert channels(plan) == ["settings", "train", "validation"]
        (city,) = job_files.settings(plan, january_run(), TRAIN)["cities"]
        # One model is judged by one block: what it is not judged by it must have learned.
        assert (city["dataset"]["backtest_periods"], "refit" in city) == (12, False)


def test_what_a_job_reads_is_named_after_its_bytes() -> None:
    run = january_run()
    files = {
        job_files.settings_file(austin(), run, PREPROCESS),
        job_files.settings_file(austin(), run, EVALUATE),
        job_files.settings_file(changed(austin(), "algorithm", seed=7), run, PREPROCESS),
        job_files.settings_file(austin(), replace(run, champion=CHAMPION), TRAIN),
        job_files.settings_file(austin(), replace(run, champion=CHAMPION), EVALUATE),
        job_files.raw_manifest(austin(), run, ["a.csv"]),
        job_files.raw_manifest(austin(), run, ["a.csv", "b.csv"]),
    }
    assert len({file.key for file in files}) == 5
    for file in files:
        assert hashlib.sha256(file.body).hexdigest()[:16] == file.key.split("/")[-2]
    manifest = job_files.raw_manifest(austin(), run, ["a.csv", "known=20150801T000000Z/b.csv"])
    assert json.loads(manifest.body) == [
        {"prefix": "s3://city-fleet/texas_housing/raw/"},
        "city=austin/a.csv",
        "city=austin/known=20150801T000000Z/b.csv",
    ]


def test_requirements_are_installed_before_a_processing_jobs_script_and_an_image_starts_its_own_command() -> (
    None
):
    made = requests.preprocess_request(
        austin(), january_run(), image_uri=IMAGE_URI, code_uri=CODE, raw=[], installs=True
    )
    shell, _, script, _ = made["AppSpecification"]["ContainerEntrypoint"]
    assert shell == "/bin/sh"
    assert script.startswith("python3 -m pip install --require-hashes ")
    assert script.endswith('&& exec python3 /opt/ml/processing/input/code/preprocess.py "$@"')
    bare = replace(austin(), city=austin().city.model_copy(update={"entry": "none"}))
    request = requests.train_request(
        bare, january_run(), image_uri=IMAGE_URI, code_archive_uri="s3://b/code.tar.gz", data=DATA
    )
    assert request["HyperParameters"] == {}
    assert [channel["ChannelName"] for channel in request["InputDataConfig"]] == [
        "settings",
        "train",
        "validation",
    ]


def test_the_same_inputs_give_the_same_name_and_another_request_another() -> None:
    assert train() == train()
    with_champion, without = evaluate(), evaluate(champion=None)
    assert with_champion["ProcessingJobName"] != without["ProcessingJobName"]
    request = requests.preprocess_request(
        austin(), january_run(), image_uri=IMAGE_URI, code_uri=CODE, raw=["a.csv"]
    )
    names = {requests.named(request, austin(), january_run(), "preprocess", attempt)[0] for attempt in (1, 2)}
    assert len(names) == 2


def test_a_name_says_what_is_done_and_not_who_asks_or_on_what_it_runs() -> None:
    plan, run = austin(), january_run()

    def names(plan: CityPlan, run: Run) -> set[str]:
        data = {"image_uri": IMAGE_URI, "code_archive_uri": "s3://b/code.tar.gz", "data": DATA}
        requested = {
            "preprocess": requests.preprocess_request(
                plan, run, image_uri=IMAGE_URI, code_uri=CODE, raw=["a.csv"]
            ),
            "train": requests.train_request(plan, run, **data),
        }
        return {requests.named(request, plan, run, step, 1)[0] for step, request in requested.items()}

    larger = plan.city.training.model_copy(
        update={"instance_type": "ml.m5.4xlarge", "max_runtime_seconds": 7200, "spot": True}
    )
    other_place = replace(
        plan,
        fleet=plan.fleet.model_copy(update={"role": "arn:aws:iam::123456789012:role/other"}),
        city=plan.city.model_copy(update={"training": larger}),
    )
    same = (replace(run, run_id="manual__1", force=True), plan), (run, other_place)
    assert [names(other, of_run) == names(plan, run) for of_run, other in same] == [True, True]
    deeper = plan.city.algorithm.model_copy(update={"hyperparameters": {"max_depth": 9}})
    assert names(plan, replace(run, key="f" * 10)).isdisjoint(names(plan, run))
    assert names(replace(plan, city=plan.city.model_copy(update={"algorithm": deeper})), run) != names(
        plan, run
    )


def test_an_attempt_writes_below_its_own_name() -> None:
    request = preprocess()
    for output in request["ProcessingOutputConfig"]["Outputs"]:
        assert f"/{request['ProcessingJobName']}/" in output["S3Output"]["S3Uri"]
