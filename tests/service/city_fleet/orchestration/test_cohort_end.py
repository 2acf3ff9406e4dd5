"""A cohort's job as the library asks for it, really run, and what each city's task makes of it: without Airflow."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from city_fleet.champions.planned_city import PlannedCity
from city_fleet.config import load_fleet
from city_fleet.jobs import cohort_files, fixed_run, job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.cohort_files import CohortItem
from city_fleet.jobs.cohort_plan import CohortPlan, plan_cohort
from city_fleet.jobs.images import image_uri
from city_fleet.plan import COHORT, EVALUATE, CityPlan, Run, endpoint_name
from city_fleet.run_steps.cohort_end import CityEnd, CityFailed, CohortOutput, end_city
from city_fleet.run_steps.step_input import CityRun
from city_fleet.serving import endpoint_requests, endpoint_state
from city_fleet.state import live, registry
from city_fleet.state.author import Author
from city_fleet.state.objects import ObjectStore
from city_fleet.state.outcomes import Outcome
from tests.support.aws_calls import Calls, client
from tests.support.fleets import TEXAS
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.parent_jobs import write_texas
from tests.support.waiting import wait_until

LIVE, HELD, LITTLE, BAD = "dallas", "waco", "abilene", "austin"
CITIES = (BAD, HELD, LITTLE, LIVE)
JOB_SECONDS = 180


@dataclass
class Night:
    """The cities of one cohort on a local SageMaker.

    :param clients: ``s3``, ``sagemaker`` and ``runtime``, counted.
    """

    aws: LocalSageMaker
    cohort: CohortPlan

    def __post_init__(self) -> None:
        self.s3, self.sagemaker, self.runtime = (
            client(self.aws, name) for name in ("s3", "sagemaker", "sagemaker-runtime")
        )
        self.calls = Calls(self.sagemaker)
        self.bundle = CodeBundle.of(self.cohort.any)
        self.bundle.ensure_uploaded(self.s3, self.cohort.keys)

    @property
    def store(self) -> ObjectStore:
        return ObjectStore(self.s3, self.cohort.keys.bucket)

    def place(self, plan: CityPlan) -> PlannedCity:
        return PlannedCity.of(self, plan)

    def items(self, month: int, cities: tuple[str, ...] = CITIES) -> list[CohortItem]:
        """Fix the run of each city, as of the first of a month of 2015."""
        found = []
        for slug in sorted(cities):
            plan, moment = self.cohort.plan_of(slug), datetime(2015, month, 1, tzinfo=UTC)
            fixed = fixed_run.begin(self.s3, plan, moment, self.bundle.digest, asked_by="d/r/1", repeat=False)
            run = Run("r", fixed.key, moment, champion=fixed.champion, parent=fixed.parent)
            found.append(CohortItem(plan, run, [each.name for each in fixed.raw]))
        return found

    def train(self, items: list[CohortItem], who: CohortPlan | CityPlan | None = None) -> CohortOutput:
        """Run the job of some cities to its end."""
        plan = who or self.cohort
        key = cohort_files.key_of({each.plan.city.slug: each.run.key for each in items})
        run = Run("r", key, items[0].run.as_of)
        files = cohort_files.cohort_files(plan, run, items)
        for file in files.values():
            self.store.put(file.key, file.body)
        request = job_requests.cohort_request(
            plan,
            run,
            image_uri=image_uri(plan.city.algorithm, plan.fleet.region),
            code_archive_uri=self.bundle.archive_uri(plan.keys),
            channels=cohort_files.channels_of(plan, files),
            tags={job_requests.TAG_COHORT: self.cohort.name, job_requests.TAG_STEP: "train"},
        )
        name, named = job_requests.named(request, plan, run, COHORT, 1)
        with contextlib.suppress(self.sagemaker.exceptions.ResourceInUse):
            self.sagemaker.create_training_job(**named)  # the same work has the same name: it is paid once

        def over() -> dict[str, Any] | None:
            found = self.sagemaker.describe_training_job(TrainingJobName=name)
            return found if found["TrainingJobStatus"] in ("Completed", "Failed") else None

        done = wait_until(over, JOB_SECONDS, f"{name} is over")
        assert done["TrainingJobStatus"] == "Completed", (done.get("FailureReason"), self.log(name))
        facts = {"step": COHORT, "job": name, "status": "Completed", "instance_type": "ml.m5.large"}
        billable = done["BillableTimeInSeconds"]
        return CohortOutput.of(
            done["ModelArtifacts"]["S3ModelArtifacts"], {**facts, "billable_seconds": billable}
        )

    def log(self, job: str) -> list[str]:
        group = "/aws/sagemaker/TrainingJobs"
        logs = client(self.aws, "logs")
        (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        return [each["message"] for each in events]

    def end(self, item: CohortItem, output: CohortOutput) -> CityEnd:
        at = CityRun(
            self.place(item.plan),
            item.run,
            f"{self.cohort.dag_id}/r",
            Author(f"{self.cohort.dag_id}/r"),
            lambda: item.run.as_of,
            lambda step: {},
        )
        return end_city(at, output)

    def record(self, end: CityEnd) -> dict[str, Any]:
        key = end.record_uri.removeprefix(f"s3://{self.cohort.keys.bucket}/")
        found = self.store.get(key)
        assert found is not None
        return dict(json.loads(found.body))

    def serve(self) -> None:
        """Bring the fleet's endpoint into service, with the repository's own code."""
        fleet = self.cohort.fleet
        self.sagemaker.create_model(**endpoint_state.wanted_model(fleet, self.bundle))
        model = endpoint_state.wanted_model(fleet, self.bundle)["ModelName"]
        config = endpoint_requests.endpoint_config_request(fleet, model_name=model)
        self.sagemaker.create_endpoint_config(**config)
        name = config["EndpointConfigName"]
        self.sagemaker.create_endpoint(**endpoint_requests.endpoint_request(fleet, endpoint_config_name=name))
        wait_until(
            lambda: (
                self.sagemaker.describe_endpoint(EndpointName=endpoint_name(fleet))["EndpointStatus"]
                == "InService"
            ),
            60,
            "the endpoint is in service",
        )


@pytest.fixture(scope="module")
def night(aws: LocalSageMaker, tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("cohort")
    text = TEXAS.read_text(encoding="utf-8")
    head = text[: text.index("\ncities:")].replace("fleet: texas_housing", "fleet: cohort_texas")
    head = head.replace("num_boost_round: 400", "num_boost_round: 30").replace(
        "\ndefaults:\n", "\ndefaults:\n  cohort: 1000\n"
    )
    names = {"dallas": "Dallas", "waco": "Waco", "abilene": "Abilene", "austin": "Austin"}
    body = "".join(f"  {slug}: {{name: {name}}}\n" for slug, name in names.items() if slug != HELD)
    # No model is that good.
    body += f"  {HELD}: {{name: Waco, gate: {{limits: {{mape: 0.0001}}}}}}\n"
    path = folder / "cohort_texas.yaml"
    path.write_text(f"{head}\ncities:\n{body}", encoding="utf-8")
    fleet = load_fleet(path, {})
    assert not fleet.broken
    found = Night(aws, plan_cohort(fleet, "cohort_001"))
    assert found.cohort.slugs == tuple(sorted(CITIES))
    write_texas(folder / "raw", CITIES, **{LITTLE: 2001})
    (folder / "raw" / f"city={BAD}" / "data.csv").write_text("no,such\n1,2\n", encoding="utf-8")
    for file in sorted((folder / "raw").rglob("*.csv")):
        key = found.cohort.keys.raw_prefix() + file.relative_to(folder / "raw").as_posix()
        found.store.put(key, file.read_bytes())
    found.serve()
    return found


def test_one_job_then_each_city_ends_as_it_would_have_alone(night: Night, aws: LocalSageMaker) -> None:
    items = night.items(6)
    output = night.train(items)
    by_city = {each.plan.city.slug: each for each in items}
    before = Counter(night.calls.counts)
    with pytest.raises(CityFailed, match="city") as failed:
        night.end(by_city[BAD], output)
    assert failed.value.step == "preprocess"
    ends = {slug: night.end(by_city[slug], output) for slug in (LIVE, HELD, LITTLE)}
    assert {slug: end.outcome for slug, end in ends.items()} == {
        LIVE: Outcome.LIVE,
        HELD: Outcome.HELD,
        LITTLE: Outcome.TOO_LITTLE_DATA,
    }, {slug: end.reasons for slug, end in ends.items()}
    asked = Counter(night.calls.counts) - before
    # A first night: the groups are made too.
    assert sum(asked.values()) <= 3 * len(CITIES), asked
    pointer = live.read(night.s3, night.cohort.keys, LIVE)
    assert pointer is not None
    assert pointer.pointer.target_model == ends[LIVE].results["publish"]["target_model"]
    (version,) = registry.versions(night.sagemaker, by_city[LIVE].plan.package_group)
    assert (version.status, version.run) == (registry.APPROVED, "cohort_texas._cohort_001/r")
    assert registry.versions(night.sagemaker, by_city[HELD].plan.package_group)[0].status == registry.REJECTED
    record = night.record(ends[LIVE])
    assert (record["dag_id"], record["run_key"]) == ("cohort_texas._cohort_001", by_city[LIVE].run.key)
    assert [(job["step"], job["job"]) for job in record["jobs"]] == [(COHORT, output.facts["job"])]
    seconds = [night.record(end)["jobs"][0]["billable_seconds"] for end in ends.values()]
    assert 0 < sum(seconds) <= output.facts["billable_seconds"] + len(seconds)
    # What it was judged by lies below the city's own run, as its own jobs would have left it.
    own = night.cohort.keys.uri(night.cohort.keys.run(LIVE, by_city[LIVE].run.key))
    assert record["evaluation_uri"].startswith(f"{own}{EVALUATE}/")
    again = night.end(by_city[LIVE], output)
    assert again.outcome == Outcome.LIVE
    assert "live already" in " ".join(again.reasons)


def test_a_night_later_a_city_takes_three_calls_of_sagemaker(night: Night) -> None:
    """The cohort's job is one Create and one Describe more; the poll belongs to no city."""
    items = [each for each in night.items(7, (LIVE, HELD)) if each.plan.city.slug in (LIVE, HELD)]
    assert {each.plan.city.slug: each.run.champion is not None for each in items} == {LIVE: True, HELD: False}
    output = night.train(items)
    before = Counter(night.calls.counts)
    ends = [night.end(replace(each, run=replace(each.run, force=False)), output) for each in items]
    asked = Counter(night.calls.counts) - before
    assert sum(asked.values()) <= 3 * len(ends), asked


def test_one_city_alone_makes_the_same_bytes(night: Night) -> None:
    items = night.items(6, (LIVE,))
    together = night.end(items[0], night.train(night.items(6)))
    alone = night.end(items[0], night.train(items, items[0].plan))
    uris = [end.results["evaluate"]["artifact_uri"] for end in (together, alone)]
    assert uris[0] != uris[1]
    bodies = [night.store.get(uri.removeprefix(f"s3://{night.cohort.keys.bucket}/")) for uri in uris]
    assert all(bodies)
    assert len({body.body for body in bodies if body}) == 1
