"""Airflow operator of the task ``train`` of a cohort: one job for all its cities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator

from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.cohort_plan import TRAIN_COHORT, CohortPlan
from city_fleet.jobs.job_requests import TAG_COHORT, TAG_STEP
from city_fleet.orchestration.cohort_tasks.all_steps_job import AllStepsJob
from city_fleet.orchestration.cohort_tasks.cohort_context import begun_of, items_of, keys_of_runs
from city_fleet.plan import Run

if TYPE_CHECKING:
    from airflow.sdk import Context


class TrainCohortOperator(AllStepsJob, SageMakerTrainingOperator):
    """Raw data of all cities → their rows, models and evaluations, by one job; where no city has any, no job."""

    plan: CohortPlan

    def __init__(self, *, plan: CohortPlan, **kwargs: Any) -> None:
        # The stock operator prints logs by sleeping 30 seconds in the worker even when it defers.
        super().__init__(plan=plan, print_log=False, **kwargs)

    @property
    def tags(self) -> Mapping[str, str]:
        return {TAG_COHORT: self.plan.name, TAG_STEP: TRAIN_COHORT}

    def bundle(self) -> CodeBundle:
        return CodeBundle.of(self.plan.any)

    def submit(self, context: Context) -> dict[str, Any]:
        if not begun_of(context).key:
            self.log.info("No city has anything to train: no job is started")
            return {"job": None}
        return super().submit(context)

    def begin(self, context: Context) -> Run:
        run = self.resumed(context)
        keys = keys_of_runs(self.objects, self.plan, run.key)
        plans = [self.plan.plan_of(slug) for slug in sorted(keys) if slug in self.plan.slugs]
        self.items = items_of(context, self.objects, plans, keys)
        return run

    def resumed(self, context: Context) -> Run:
        begun = begun_of(context)
        return Run(context["dag_run"].run_id, begun.key, begun.as_of)

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        return {"output_uri": self.output(description).uri}
