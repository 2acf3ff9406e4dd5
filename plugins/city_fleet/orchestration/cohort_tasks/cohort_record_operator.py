"""Airflow operator that ends every run of a cohort: records of the cities that have failed, and what all came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.errors import PlatformError
from city_fleet.jobs import job_bills
from city_fleet.jobs.cohort_plan import BEGIN, CITY, TRAIN_COHORT
from city_fleet.orchestration.cohort_tasks.cohort_begin_operator import CohortOperator
from city_fleet.orchestration.cohort_tasks.cohort_context import (
    Begun,
    begun_or_none,
    fixed_of,
    keys_of_runs,
    run_of_city,
)
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import as_of, is_temporary, name_of, refuse_old_layout
from city_fleet.orchestration.run_notes import NOTE, note_of_cohort
from city_fleet.orchestration.run_tracker import track
from city_fleet.plan import Run
from city_fleet.run_steps import cohort_end
from city_fleet.run_steps.cohort_end import CohortOutput, record_failure
from city_fleet.state.objects import ObjectStore
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from airflow.sdk import Context

_FAILURE, _FAILED_JOB = "failure", "failed_job"


class RecordCohortOperator(CohortOperator):
    """Record each city whose task has not come to an end of its own, and say what the run came to.

    The task is a teardown: it runs after success, failure and skip alike.
    """

    def __init__(self, *, cohort: Any, **kwargs: Any) -> None:
        super().__init__(cohort=cohort, **kwargs)

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        if is_temporary(context):
            self.log.info("A run of `airflow tasks test` leaves no record")
            return {}
        cohort, aws, ti = self.cohort, self.clients(), context["ti"]
        refuse_old_layout(aws.s3, cohort.keys)
        objects = ObjectStore(aws.s3, cohort.keys.bucket)
        run_id = context["dag_run"].run_id
        states: dict[str, Any] = ti.get_task_states(dag_id=cohort.dag_id, run_ids=[run_id]).get(run_id, {})
        begun = begun_or_none(context)
        asked: Any = ti.xcom_pull(task_ids=BEGIN)
        slugs = list(asked or cohort.slugs)
        keys = keys_of_runs(objects, cohort, begun.key) if begun else {}
        counts: Counter[str] = Counter()
        failed: list[str] = []
        is_told = True
        # By a list: else Airflow (3.3.2) gives the result itself where one city alone has one.
        results: Any = ti.xcom_pull(task_ids=[CITY]) if asked else []
        trained: Any = ti.xcom_pull(task_ids=TRAIN_COHORT) or {}
        weights: dict[str, float] | None = None
        ended = {each["city"]: each for each in results or () if isinstance(each, Mapping)}
        for index, slug in enumerate(slugs):
            state = states.get(f"{CITY}_{index}")
            if slug in ended and state in ("success", "skipped"):
                counts[str(ended[slug]["outcome"])] += 1
                continue
            counts[Outcome.FAILED.value] += 1
            failed.append(slug)
            if slug in cohort.slugs:
                task = next((each for each in (BEGIN, TRAIN_COHORT) if states.get(each) == "failed"), CITY)
                where = {"map_indexes": index} if task == CITY else {}
                failure: Any = ti.xcom_pull(task_ids=task, key=_FAILURE, **where)
                facts: Any = ti.xcom_pull(task_ids=task, key=_FAILED_JOB, **where)
                place = PlannedCity.of(aws, cohort.plan_of(slug))
                if task == TRAIN_COHORT and facts:
                    facts = job_bills.shared(facts, slug, dict.fromkeys(keys, 0.0))
                elif task == CITY and not facts and trained.get("job") and slug in keys:
                    if weights is None:
                        weights = self._weights(place, trained, keys)
                    facts = job_bills.shared(trained, slug, weights)
                run = self._run(context, place, begun, keys.get(slug))
                record = record_failure(place, run, task, failure, facts=facts)
                # A tracker that does not answer is not waited for city by city.
                is_told = is_told and track(place.plan, record) is not None
        ti.xcom_push(key=NOTE, value=note_of_cohort(counts, failed))
        self.log.info("%s: %s", cohort.dag_id, ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
        return dict(counts)

    def _weights(
        self, place: PlannedCity, trained: Mapping[str, Any], keys: Mapping[str, str]
    ) -> dict[str, float]:
        """Return how the cities share what the run's job has cost; evenly where the job does not say.

        :param trained: what the task ``train`` has left.
        """
        try:
            return cohort_end.weights_of(
                cohort_end.outcomes_of(place, CohortOutput.of(trained["output_uri"], trained))
            )
        except PlatformError as error:
            self.log.warning("What the job has cost is shared evenly: %s", error)
            return dict.fromkeys(keys, 0.0)

    def _run(self, context: Context, place: PlannedCity, begun: Begun | None, key: str | None) -> Run:
        """Return a city's run; of one that was never fixed, one of its own key."""
        if key is not None:
            return run_of_city(context, fixed_of(place.objects, place.plan, key))
        moment = begun.as_of if begun else as_of(place.plan, context)
        own = naming.digest([place.plan.fleet.environment, name_of(place.plan, context)])
        return Run(context["dag_run"].run_id, own, moment)
