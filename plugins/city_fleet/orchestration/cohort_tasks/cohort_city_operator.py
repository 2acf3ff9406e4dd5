"""Airflow operator of the task ``city`` of a cohort, mapped over its cities: decide, register, publish, record.

A person who clears it, and it alone, has the city trained again: by a job of all steps for this one city.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from city_fleet.errors import AlgorithmError
from city_fleet.jobs import fixed_run
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.cohort_plan import CITY, TRAIN_COHORT, CohortPlan
from city_fleet.jobs.fixed_run import FixedRun
from city_fleet.jobs.job_requests import TAG_CITY, TAG_COHORT, TAG_STEP
from city_fleet.orchestration import assets, lineage
from city_fleet.orchestration.city_tasks.city_operator import city_of
from city_fleet.orchestration.city_tasks.publish_operator import trace_publish
from city_fleet.orchestration.cohort_tasks.all_steps_job import AllStepsJob
from city_fleet.orchestration.cohort_tasks.cohort_context import (
    begun_of,
    fixed_of,
    items_of,
    keys_of_runs,
    run_of_city,
)
from city_fleet.orchestration.console_pages import say_made
from city_fleet.orchestration.run_context import author_of, is_temporary, name_of, upstream
from city_fleet.orchestration.run_tracker import track
from city_fleet.outgoing_text import one_line, printable
from city_fleet.plan import DECIDE, REGISTER, CityPlan, Run
from city_fleet.run_steps.begin_step import why_no_job
from city_fleet.run_steps.cohort_end import (
    CityEnd,
    CityFailed,
    CohortOutput,
    DataChanged,
    end_city,
)
from city_fleet.run_steps.step_input import CityRun
from city_fleet.state import live
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from airflow.sdk import Context

_KEPT = "city"


class CohortCityOperator(AllStepsJob, SageMakerTrainingOperator):
    """What the cohort's job has made of one city → a version, perhaps the model that serves, and the run's record.

    :param slug: of the city.
    """

    plan: CityPlan

    def __init__(self, *, cohort: CohortPlan, slug: str, **kwargs: Any) -> None:
        if slug not in cohort.slugs:
            raise AirflowFailException(
                f"{cohort.whose} has no city {slug!r} any more: its settings have changed since the run began. Its "
                f"own runs are those of the DAG {cohort.fleet.dag_id_of(slug)}"
            )
        super().__init__(plan=cohort.plan_of(slug), print_log=False, **kwargs)
        self.cohort = cohort
        self.slug = slug
        self._map_index = -1

    @property
    def shown(self) -> str:  # type: ignore[override]
        """Return the city's name, for Airflow's list of the mapped tasks."""
        return one_line(self.plan.city.shown_name)

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        # What it would ask for is the cohort's matter, unless it is cleared.
        SageMakerTrainingOperator.render_template_fields(self, context, jinja_env)

    @property
    def tags(self) -> Mapping[str, str]:
        return {TAG_CITY: self.slug, TAG_COHORT: self.cohort.name, TAG_STEP: f"{CITY}_{self._map_index}"}

    def bundle(self) -> CodeBundle:
        return CodeBundle.of(self.plan)

    def submit(self, context: Context) -> dict[str, Any]:
        """Take what the cohort's job has made of the city; train it alone where a person has asked for that."""
        ti: Any = context["ti"]
        if is_temporary(context):
            raise AirflowFailException(
                "`airflow tasks test` makes a run for one task alone, and this one needs a cohort's. Name a run that "
                "has come so far, by its id or its logical date"
            )
        self._map_index = ti.map_index
        begun, job = begun_of(context), upstream(context, TRAIN_COHORT)
        kept = self._kept(context)
        again = bool(kept) and kept["max_tries"] != ti.max_tries and kept["job"] == job.get("job")
        # One that is trained alone stays so in its retries, until the cohort has another job.
        alone = again or (kept.get("alone", False) and kept["job"] == job.get("job"))
        self._keep(context, {**kept, "max_tries": ti.max_tries, "job": job.get("job"), "alone": alone})
        if alone:
            return super().submit(context)
        if self.slug in begun.refused:
            raise AlgorithmError(begun.refused[self.slug], city=self.slug)
        key = keys_of_runs(self.objects, self.cohort, begun.key).get(self.slug)
        if key is None or not job.get("job"):
            raise AirflowFailException(
                f"City {self.slug!r}: the run's job was not about it; clear the task 'begin' with everything downstream"
            )
        return self._end(
            context, fixed_of(self.objects, self.plan, key), CohortOutput.of(job["output_uri"], job)
        )

    def begin(self, context: Context) -> Run:
        """Begin another run about the same for this city alone, or go on with that of the try before."""
        ti: Any = context["ti"]
        begun = begun_of(context)
        asked_by = f"{name_of(self.plan, context)}/{ti.max_tries}alone"
        digest = self.bundle().digest
        fixed = fixed_run.begin(self.s3, self.plan, begun.as_of, digest, asked_by=asked_by, repeat=True)
        why = why_no_job(self.plan, fixed.raw)
        if why is not None:
            raise AlgorithmError(printable(f"{why} clear this task again"), city=self.slug)
        self._keep(context, {**self._kept(context), "key": fixed.key})
        fixed_run.attach(self.objects, self.plan.keys, self.slug, fixed.key, context["dag_run"].run_id)
        self.items = items_of(context, self.objects, [self.plan], {self.slug: fixed.key})
        self.log.info("%s is trained alone, by run %s", self.slug, fixed.key)
        return run_of_city(context, fixed)

    def resumed(self, context: Context) -> Run:
        self._map_index = context["ti"].map_index or 0
        return run_of_city(context, self._fixed_alone(context))

    def _fixed_alone(self, context: Context) -> FixedRun:
        return fixed_of(self.objects, self.plan, str(self._kept(context).get("key")))

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        return self._end(context, self._fixed_alone(context), self.output(description))

    def _end(self, context: Context, fixed: FixedRun, output: CohortOutput) -> dict[str, Any]:
        city, dag_run = city_of(self.plan, self.aws_conn_id), context["dag_run"]
        at = CityRun(
            city,
            run_of_city(context, fixed),
            name_of(self.plan, context),
            author_of(self.plan, context),
            lambda: dag_run.start_date or dag_run.run_after,
            lambda step: {},
        )
        began = datetime.now(UTC)
        try:
            end = end_city(at, output)
        except CityFailed as error:
            # Another attempt would be paid for and fail the same way.
            raise AlgorithmError(f"City {self.slug!r}, {error.step}: {error}", city=self.slug) from error
        except DataChanged:
            self._keep(context, {**self._kept(context), "alone": True})
            raise
        self.lineage = partial(
            lineage.of_cohorts_city, self.plan, at.run, output.uri, end.results, output.facts["job"]
        )
        if end.decided is not None:
            trace_publish(context, city, at.run, began, end.decided)
        track(self.plan, end.record)
        self._say(context, end)
        result = {
            "city": self.slug,
            "outcome": end.outcome,
            "reason": end.reasons[0] if end.reasons else "",
            "record_uri": end.record_uri,
            "job": output.facts["job"],
        }
        if end.outcome == Outcome.TOO_LITTLE_DATA:
            context["ti"].xcom_push(key="return_value", value=result)
            raise AirflowSkipException(printable(result["reason"]))
        return result

    def _say(self, context: Context, end: CityEnd) -> None:
        city = city_of(self.plan, self.aws_conn_id)
        package = end.results[REGISTER].get("package_arn", "")
        live_uri = city.keys.uri(city.keys.live(self.slug))
        output = live_uri if end.outcome == Outcome.LIVE else end.results[DECIDE].get("decision_uri", "")
        say_made(context, city.aws.sagemaker, package=package, output=output or end.record_uri)
        moved = end.decided is not None and (end.decided.moved or context["ti"].try_number > 1)
        if end.outcome == Outcome.LIVE and moved and self.plan.fleet.events.assets:
            found = live.read(city.aws.s3, city.keys, self.slug)
            if found is not None:
                assets.tell_moved(context, self.plan.fleet, found.pointer)

    def _kept(self, context: Context) -> dict[str, Any]:
        value: Any = context["task_state_store"].get(_KEPT)
        return value or {}

    def _keep(self, context: Context, value: dict[str, Any]) -> None:
        context["task_state_store"].set(_KEPT, value)
