"""Airflow operators of a city's three jobs: the Amazon provider's, with our own way to start, wait, stop and end."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerProcessingOperator,
    SageMakerTrainingOperator,
)
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from city_fleet.champions.run_evidence import ARTIFACT, EVALUATION, HOLDOUT
from city_fleet.errors import PlatformError
from city_fleet.jobs import fixed_run, job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.fixed_run import FixedRun
from city_fleet.jobs.images import image_uri
from city_fleet.jobs.job_files import JobFile, raw_manifest, settings_file
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.naming import parse_as_of
from city_fleet.orchestration.budget_wait import WithinBudget
from city_fleet.orchestration.city_tasks.city_job import CityJob
from city_fleet.orchestration.city_tasks.city_operator import city_of
from city_fleet.orchestration.city_tasks.record_operator import tell_record
from city_fleet.orchestration.city_tasks.shown_request import shown_request
from city_fleet.orchestration.run_context import (
    as_of,
    hand_on,
    name_of,
    refuse_slips,
    run_of,
    upstream,
)
from city_fleet.outgoing_text import printable
from city_fleet.plan import (
    EVALUATE,
    PREPROCESS,
    TRAIN,
    CityPlan,
    FixedChampion,
    Run,
)
from city_fleet.run_steps.begin_step import lacking_code, why_no_job
from city_fleet.run_steps.known_step import keep_known

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Where the first task keeps, from one try to the next, what it has fixed.
_KEPT = "run"


class StepJob(CityJob):
    """One of the three jobs of a city of its own. Mixed in before the provider's operator."""

    plan: CityPlan

    def shown(self, context: Context) -> dict[str, Any]:
        moment = as_of(self.plan, context, lambda: fixed_run.champion_of(self.s3, self.plan))
        return shown_request(self.plan, self.s3, context["dag_run"].run_id, moment, self.step)

    def bundle(self) -> CodeBundle:
        return CodeBundle.of(self.plan)

    def files(self, run: Run) -> list[JobFile]:
        return [settings_file(self.plan, run, self.step)]

    def begin(self, context: Context) -> Run:
        return run_of(self.plan, context)

    def resumed(self, context: Context) -> Run:
        return run_of(self.plan, context)


class PreprocessOperator(StepJob, WithinBudget, SageMakerProcessingOperator):
    """Raw data known by as_of → training, validation and test rows. Skips the run when there is too little data."""

    kind = PROCESSING
    step = PREPROCESS

    # Airflow wraps the __init__ of every operator class, so each needs one of its own.
    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        super().__init__(plan=plan, **kwargs)

    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        return job_requests.preprocess_request(
            self.plan,
            run,
            image_uri=image_uri(self.plan.city.algorithm, self.plan.fleet.region),
            code_uri=bundle.prefix_uri(self.plan.keys),
            raw=self._raw(run),
            installs=bundle.installs,
        )

    def files(self, run: Run) -> list[JobFile]:
        raw = self._raw(run)
        return [settings_file(self.plan, run, self.step, raw), raw_manifest(self.plan, run, raw)]

    def _raw(self, run: Run) -> list[str]:
        """Return the names of the raw data files that the run is about.

        :raises AirflowFailException: there are none, or some that the job would refuse, so that it would be paid for
            and fail; no retry makes them others.
        """
        raw = self._fixed(run.key).raw
        why = why_no_job(self.plan, raw)
        if why is not None:
            raise AirflowFailException(printable(f"{why} clear the task {PREPROCESS!r}"))
        return [each.name for each in raw]

    def _fixed(self, key: str) -> FixedRun:
        city, keys = self.plan.city.slug, self.plan.keys
        fixed = fixed_run.read(self.objects, keys, city, key)
        if fixed is None:
            uri = keys.uri(keys.run_facts(city, key))
            raise PlatformError(f"{uri}: what the run is about is gone. Clear the task {PREPROCESS!r}")
        return fixed

    def begin(self, context: Context) -> Run:
        """Fix what the run is about, for this task's later tries and for all tasks after it; or join who has done so.

        A try keeps to what the one before has fixed. A person's clear, and the run's param ``repeat``, ask for another
        run about the same, whose jobs are paid for again.
        """
        refuse_slips(context)
        self._check_endpoint()
        self.ask_budget(context, self.plan.fleet, self.s3)
        ti: Any = context["ti"]
        kept, city = self._kept(context), self.plan.city.slug
        cleared = bool(kept) and kept["max_tries"] != ti.max_tries
        keeps = bool(kept) and kept["key"] and not cleared
        # Raw data may go on arriving while it works.
        if keeps and kept.get("as_of"):
            moment = parse_as_of(kept["as_of"])
        else:
            moment = as_of(self.plan, context, lambda: fixed_run.champion_of(self.s3, self.plan))
        digest = CodeBundle.of(self.plan).digest
        fixed = fixed_run.read(self.objects, self.plan.keys, city, kept["key"]) if keeps else None
        if fixed is None or not fixed.is_about(self.plan, moment, digest):
            repeat = cleared or bool(kept.get("repeat")) or bool(context["params"].get("repeat"))
            asked_by = f"{name_of(self.plan, context)}/{ti.max_tries}"
            fixed = fixed_run.begin(self.s3, self.plan, moment, digest, asked_by=asked_by, repeat=repeat)
            if kept.get("key") not in (None, "", fixed.key):
                fixed_run.detach(self.objects, self.plan.keys, city, kept["key"], context["dag_run"].run_id)
            self._keep(
                context, {"key": fixed.key, "as_of": fixed.as_of, "max_tries": ti.max_tries, "repeat": repeat}
            )
            self._say(fixed, asked_by)
        fixed_run.attach(self.objects, self.plan.keys, city, fixed.key, context["dag_run"].run_id)
        hand_on(fixed, context)
        return run_of(self.plan, context)

    def _check_endpoint(self) -> None:
        """Refuse to pay for a model that the endpoint's code could not answer with.

        :raises PlatformError: the code lacks an algorithm; a retry looks again.
        """
        wrong = lacking_code(self.objects, self.plan)
        if wrong is not None:
            raise PlatformError(f"City {self.plan.city.slug!r}: {wrong}. Nothing was paid for yet")

    def _say(self, fixed: FixedRun, asked_by: str) -> None:
        if fixed.asked_by == asked_by:
            self.log.info("Run %s begins, repetition %d of the same", fixed.key, fixed.repetition)
            return
        self.log.info(
            "%s has begun a run about the same as_of, raw data, settings and scripts: this one joins it, as run %s, "
            "and nothing is paid for twice. A clear of %s, or the run's param repeat, starts new jobs",
            fixed.begun_by,
            fixed.key,
            PREPROCESS,
        )

    def _kept(self, context: Context) -> dict[str, Any]:
        value: Any = context["task_state_store"].get(_KEPT)
        return value or {}

    def _keep(self, context: Context, value: dict[str, Any]) -> None:
        context["task_state_store"].set(_KEPT, value)

    def output_exists(self, description: dict[str, Any]) -> bool:
        report = self._report(description)
        written = (self.is_in_s3(report + name) for name in ("status.json", "manifest.json"))
        return all(written) and self._difference(report) is None

    def _report(self, description: dict[str, Any]) -> str:
        return f"{_output_uris(description)['report']}city={self.plan.city.slug}/"

    def _difference(self, report: str) -> str | None:
        """Return what the job has read that is not what the run is about; None where there is nothing."""
        city, keys = self.plan.city.slug, self.plan.keys
        assert self._at_work is not None  # noqa: S101 - set before every phase
        fixed = fixed_run.read(self.objects, keys, city, self._at_work.key)
        if fixed is None:
            return None
        inputs = self.read_json(report + "manifest.json")["inputs"]
        return fixed_run.difference(
            fixed, inputs, self.plan.raw.folder_uri, lambda: fixed_run.raw_objects(self.s3, self.plan)
        )

    def look_at_inputs(self, description: dict[str, Any], context: Context) -> None:
        """A file that the run is about may have been taken away before the job could read it."""
        assert self._at_work is not None  # noqa: S101 - set before every phase
        there = {each.name for each in fixed_run.raw_objects(self.s3, self.plan)}
        gone = next((name for name in self._raw(self._at_work) if name not in there), None)
        if gone is not None:
            changed = f"{self.plan.raw.folder_uri}{gone} was taken away"
            raise self._begin_anew(changed, description, context)

    def _begin_anew(self, changed: str, description: dict[str, Any], context: Context) -> PlatformError:
        """Forget the run, so that the next try begins another one, and return the error that says why."""
        self._keep(context, {**self._kept(context), "key": ""})
        return PlatformError(
            f"City {self.plan.city.slug!r}: {changed} after the run had begun and before its job "
            f"{description['ProcessingJobName']} read the raw data, so the job's result does not count; the next "
            "try begins with the data as they are then. Write raw data before the run's schedule, all at once"
        )

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        report = self._report(description)
        if changed := self._difference(report):
            raise self._begin_anew(changed, description, context)
        keep_known(city_of(self.plan, self.aws_conn_id), run, report)
        status = self.read_json(report + "status.json")
        result = {
            "outputs": _output_uris(description),
            "manifest_uri": report + "manifest.json",
            "rows": status["rows"],
            "data_status": status["status"],
            "reason": status["reason"],
        }
        if status["status"] != "ready":
            context["ti"].xcom_push(key="return_value", value={**self.facts(description), **result})
            tell_record(city_of(self.plan, self.aws_conn_id), context)
            raise AirflowSkipException(printable(str(status["reason"])))
        self.log.info("Rows: %s", status["rows"])
        if status.get("later_rows"):
            self.log.info("Left out as not known yet at %s: %s rows", run.stamp, status["later_rows"])
        return result


class TrainOperator(StepJob, SageMakerTrainingOperator):
    """Training and validation rows → ``model.tar.gz``."""

    kind = TRAINING
    step = TRAIN

    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        # The stock operator prints logs by sleeping 30 seconds in the worker even when it defers.
        super().__init__(plan=plan, print_log=False, **kwargs)

    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        return job_requests.train_request(
            self.plan,
            run,
            image_uri=image_uri(self.plan.city.algorithm, self.plan.fleet.region),
            code_archive_uri=bundle.archive_uri(self.plan.keys),
            data=upstream(context, PREPROCESS)["outputs"],
            on_demand=on_demand,
        )

    def output_exists(self, description: dict[str, Any]) -> bool:
        return self.is_in_s3(description["ModelArtifacts"]["S3ModelArtifacts"])

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        return {"artifact_uri": description["ModelArtifacts"]["S3ModelArtifacts"]}


class EvaluateOperator(StepJob, SageMakerProcessingOperator):
    """New model, naive forecast and champion on the same held-out rows → an evaluation report."""

    kind = PROCESSING
    step = EVALUATE

    # Airflow wraps the __init__ of every operator class, so each needs one of its own.
    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        super().__init__(plan=plan, **kwargs)

    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        return job_requests.evaluate_request(
            self.plan,
            run,
            image_uri=image_uri(self.plan.city.algorithm, self.plan.fleet.region),
            inputs={
                "code": bundle.prefix_uri(self.plan.keys),
                "test": upstream(context, PREPROCESS)["outputs"]["test"],
                "model": upstream(context, TRAIN)["artifact_uri"],
            },
            installs=bundle.installs,
        )

    def champion_of_clear(self, run: Run) -> FixedChampion | None:
        """A person who clears the task wants the model judged against what serves now.

        Where that is the model it was judged against, the request stays the same, whatever became of the pointer.
        """
        now = fixed_run.champion_of(self.s3, self.plan)
        same = now is not None and run.champion is not None and now.target_model == run.champion.target_model
        return run.champion if same else now

    def output_exists(self, description: dict[str, Any]) -> bool:
        return self.is_in_s3(self._folder(description) + EVALUATION)

    def _folder(self, description: dict[str, Any]) -> str:
        return f"{_output_uris(description)['evaluation']}city={self.plan.city.slug}/"

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        folder = self._folder(description)
        bodies = {name: self.read_output(folder + name) for name in (EVALUATION, HOLDOUT)}
        return {
            "evaluation_uri": folder + EVALUATION,
            "holdout_uri": folder + HOLDOUT,
            # Not of an evaluate.py of before, which judged the training job's archive as it is.
            **({"artifact_uri": folder + ARTIFACT} if self.is_in_s3(folder + ARTIFACT) else {}),
            # The decision keeps these: what is read later is held against what was judged.
            "sha256": {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()},
            "report": self.json_of(bodies[EVALUATION], folder + EVALUATION),
        }


def _output_uris(description: dict[str, Any]) -> dict[str, str]:
    return {
        output["OutputName"]: output["S3Output"]["S3Uri"]
        for output in description["ProcessingOutputConfig"]["Outputs"]
    }
