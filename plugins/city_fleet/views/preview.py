"""What a run of a city would do, without doing it: its steps, jobs, names, URIs and requests. Pure.

Names and URIs are those the run itself would use, because they follow from the same functions, if the run's key is the
one that its raw data give it; only what is decided while the run goes on is left open: a second attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from city_fleet import naming
from city_fleet.cohorts import cohort_of
from city_fleet.jobs import job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.cohort_files import CohortItem, channels_of, cohort_files
from city_fleet.jobs.cohort_plan import BEGIN, CITY, RECORD_COHORT, TRAIN_COHORT
from city_fleet.jobs.job_files import raw_manifest, settings_file
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.plan import COHORT, EVALUATE, JOB_STEPS, PREPROCESS, TRAIN, CityPlan, Run, steps

_CHAMPION_NOTE = (
    "A champion of that moment is added as an input and stands in the settings file, which gives all jobs another "
    "name; without a champion this is the request."
)


@dataclass(frozen=True)
class PlannedJob:
    """One SageMaker job of a run: its first attempt.

    :param kind: ``Processing`` or ``Training``.
    :param reads: URIs by name, and ``writes``.
    :param request: as boto3 takes it.
    """

    kind: str
    name: str
    instance_type: str
    max_runtime_seconds: int
    spot: bool
    reads: dict[str, str]
    writes: dict[str, str]
    request: dict[str, Any]
    note: str | None = None


@dataclass(frozen=True)
class Preview:
    """A run of a city.

    :param tasks: task ids of the DAG with those directly before each.
    :param jobs: by step.
    :param may_write: URI → what, beside the jobs' outputs.
    :param endpoint_kind: of the shared endpoint: ``multi_model`` or ``multi_container``.
    :param looked: whether the run's key was made of the raw data that are there; else names and URIs only look alike.
    :param joins: ``<dag id>/<run id>`` that has begun a run about the same: what it has paid for is not paid again.
    :param parent: the city whose model answers where the city's own does not; None where there is none.
    :param children: of a parent: the cities whose raw data it is trained on.
    """

    fleet: str
    city: str
    dag_id: str
    run_id: str
    run_key: str
    as_of: str
    tasks: dict[str, list[str]]
    jobs: dict[str, PlannedJob]
    may_write: dict[str, str]
    package_group: str
    endpoint: str
    endpoint_kind: str
    settings_digest: str
    code_digest: str
    looked: bool = False
    joins: str | None = None
    parent: str | None = None
    children: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def scheduled_run_id(plan: CityPlan, tick: datetime) -> str:
    """Return the id that Airflow gives the run of a tick: its run_after, as of 3.3.2."""
    replayed = plan.city.replay
    starts = (replayed.night(tick) if replayed is not None else None) or tick
    return f"scheduled__{(starts + timedelta(seconds=plan.delay_seconds)).isoformat()}"


def run_unseen(plan: CityPlan, run_id: str, moment: datetime, bundle: CodeBundle) -> Run:
    """Return a run whose key stands for no raw data, for a preview that does not look at them."""
    about = plan.about(plan.check_as_of(moment), "", bundle.digest)
    return Run(run_id, naming.run_key(about, 1), moment)


def preview(
    plan: CityPlan,
    run: Run,
    *,
    image_uri: str,
    bundle: CodeBundle,
    raw: Sequence[str] = (),
    looked: bool = False,
    joins: str | None = None,
) -> Preview:
    """Return what a run would do.

    :param image_uri: of the city's algorithm.
    :param bundle: the city's job scripts.
    :param raw: names of the city's raw data files, where S3 was asked.
    :param looked: whether the run's key and champion were read in S3.
    :param joins: who has begun a run about the same.
    """
    keys, city = plan.keys, plan.city.slug
    prefix = bundle.prefix_uri(keys)
    cohort = cohort_of(plan.fleet, city)
    if cohort is None:
        jobs, files = _three_jobs(plan, run, image_uri=image_uri, bundle=bundle, raw=raw, looked=looked)
        tasks = {step.task_id: list(step.upstream) for step in steps(plan.city.approval)}
    else:
        jobs, files = _one_job(plan, run, cohort, image_uri=image_uri, bundle=bundle, raw=raw)
        tasks = {BEGIN: [], TRAIN_COHORT: [BEGIN], CITY: [TRAIN_COHORT], RECORD_COHORT: [CITY]}
    model = keys.model(f"{city}/{run.stamp}-<sha256 of the artifact>.tar.gz")
    return Preview(
        fleet=plan.fleet.fleet,
        city=city,
        dag_id=plan.dag_id,
        run_id=run.run_id,
        run_key=run.key,
        as_of=run.stamp,
        tasks=tasks,
        jobs=jobs,
        may_write={
            prefix: "the job scripts, unless they are there",
            **files,
            keys.uri(model): "the model, if it goes live",
            keys.uri(keys.live(city)): "the live pointer, if the model goes live",
            keys.uri(keys.record(city, run.as_of, run.key)): "the run's record",
        },
        package_group=plan.package_group,
        endpoint=plan.endpoint,
        endpoint_kind=plan.fleet.endpoint_settings(plan.fleet.endpoint_of(plan.city)).kind,
        settings_digest=plan.settings_digest,
        code_digest=bundle.digest,
        looked=looked,
        joins=joins,
        parent=plan.city.parent,
        children=plan.children,
    )


def _three_jobs(
    plan: CityPlan, run: Run, *, image_uri: str, bundle: CodeBundle, raw: Sequence[str], looked: bool
) -> tuple[dict[str, PlannedJob], dict[str, str]]:
    """Return the jobs of a city of its own by their steps, and the files that they read: URI → what."""
    keys, prefix = plan.keys, bundle.prefix_uri(plan.keys)
    installs = bundle.installs
    template = job_requests.preprocess_request(
        plan, run, image_uri=image_uri, code_uri=prefix, raw=raw, installs=installs
    )
    preprocess = _job(plan, run, PREPROCESS, template)
    template = job_requests.train_request(
        plan, run, image_uri=image_uri, code_archive_uri=bundle.archive_uri(keys), data=preprocess.writes
    )
    train = _job(plan, run, TRAIN, template)
    inputs = {"code": prefix, "test": preprocess.writes["test"], "model": train.writes["model"]}
    template = job_requests.evaluate_request(plan, run, image_uri=image_uri, inputs=inputs, installs=installs)
    evaluate = _job(plan, run, EVALUATE, template, note=None if looked else _CHAMPION_NOTE)
    files = {keys.uri(settings_file(plan, run, step, raw).key): "settings of the jobs" for step in JOB_STEPS}
    files[keys.uri(raw_manifest(plan, run, raw).key)] = "which raw data the preprocess job gets"
    return dict(zip(JOB_STEPS, (preprocess, train, evaluate), strict=True)), files


def _one_job(
    plan: CityPlan, run: Run, cohort: str, *, image_uri: str, bundle: CodeBundle, raw: Sequence[str]
) -> tuple[dict[str, PlannedJob], dict[str, str]]:
    """Return the job of a city of a cohort as if it were trained alone, and the files that it reads."""
    found = cohort_files(plan, run, [CohortItem(plan, run, raw)])
    template = job_requests.cohort_request(
        plan,
        run,
        image_uri=image_uri,
        code_archive_uri=bundle.archive_uri(plan.keys),
        channels=channels_of(plan, found),
        tags={job_requests.TAG_CITY: plan.city.slug, job_requests.TAG_COHORT: cohort},
    )
    note = (
        f"The job of {len(plan.fleet.members[cohort])} cities, {cohort}, does the same for each of them, one after the "
        "other. This is the one that it starts where its task alone is cleared."
    )
    files = {plan.keys.uri(file.key): f"channel {name} of the job" for name, file in found.items()}
    return {TRAIN_COHORT: _job(plan, run, COHORT, template, note=note)}, files


def _job(
    plan: CityPlan, run: Run, step: str, template: dict[str, Any], *, note: str | None = None
) -> PlannedJob:
    name, request = job_requests.named(template, plan, run, step, attempt=1)
    settings = plan.settings(step)
    trains = step in (TRAIN, COHORT)
    if trains:
        reads = {
            channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
            for channel in request["InputDataConfig"]
        }
        # Where SageMaker puts a training job's model: below <S3OutputPath>/<job name>/output/.
        end = "model.tar.gz" if step == TRAIN else "model/"
        writes = {"model": f"{request['OutputDataConfig']['S3OutputPath']}/{name}/output/{end}"}
    else:
        reads = {each["InputName"]: each["S3Input"]["S3Uri"] for each in request["ProcessingInputs"]}
        outputs = request["ProcessingOutputConfig"]["Outputs"]
        writes = {each["OutputName"]: each["S3Output"]["S3Uri"] for each in outputs}
    return PlannedJob(
        kind=(TRAINING if trains else PROCESSING).name,
        name=name,
        instance_type=settings.instance_type,
        max_runtime_seconds=settings.max_runtime_seconds,
        spot=bool(getattr(settings, "spot", False)),
        reads=reads,
        writes=writes,
        request=request,
        note=note,
    )
