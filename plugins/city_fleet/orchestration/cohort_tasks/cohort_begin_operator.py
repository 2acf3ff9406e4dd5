"""Airflow operator of the task ``begin`` of a cohort: what the run of each of its cities is about."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from city_fleet import naming
from city_fleet.errors import Busy, CityFleetError, PlatformError, list_names, nearest_match
from city_fleet.jobs import cohort_files, fixed_run
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.cohort_plan import BEGIN, CohortPlan
from city_fleet.orchestration import assets
from city_fleet.orchestration.budget_wait import WithinBudget
from city_fleet.orchestration.cohort_tasks.cohort_context import AT_ONCE, Begun
from city_fleet.orchestration.patience import Patient, patient
from city_fleet.orchestration.run_context import (
    BEGUN,
    CITIES,
    PARAMS,
    as_of,
    name_of,
    refuse_old_layout,
    refuse_slips,
)
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.outgoing_text import printable
from city_fleet.plan import CityPlan
from city_fleet.run_steps.begin_step import lacking_code, why_no_job
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

_KEPT = "run"


class CohortOperator(Patient, BaseOperator):
    """A task of a cohort's DAG that starts no job.

    :param aws_conn_id: Airflow connection for AWS.
    """

    def __init__(self, *, cohort: CohortPlan, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cohort = cohort
        self.aws_conn_id = aws_conn_id

    @property
    def patience_seconds(self) -> float:
        return self.cohort.city.capacity_wait_seconds

    @property
    def where(self) -> str:
        return f"{self.cohort.whose}, task {self.task_id}"

    def clients(self) -> TaskClients:
        fleet = self.cohort.fleet
        return TaskClients(self.aws_conn_id, fleet.region, fleet.kms_key)


class BeginCohortOperator(WithinBudget, CohortOperator):
    """Fix what the run of each city is about, or join who has done so; return the cities, for the mapped tasks.

    A city that has nothing to train is among them, so that its own task says so; no other city waits for it.
    """

    def __init__(self, *, cohort: CohortPlan, **kwargs: Any) -> None:
        super().__init__(cohort=cohort, **kwargs)

    @patient
    def execute(self, context: Context) -> list[str]:
        cohort, plan, aws, ti = self.cohort, self.cohort.any, self.clients(), context["ti"]
        store: Any = context["task_state_store"]
        objects = ObjectStore(aws.s3, cohort.keys.bucket)
        refuse_slips(context, (*PARAMS, CITIES))
        refuse_old_layout(aws.s3, cohort.keys)
        self._check_endpoint(objects)
        kept: dict[str, Any] = store.get(_KEPT) or {}
        cleared = bool(kept) and kept["max_tries"] != ti.max_tries
        slugs = self._asked(context)
        self.ask_budget(context, cohort.fleet, aws.s3, len(slugs))
        # Raw data may go on arriving while it works: a try keeps to the moment of the one before.
        moment = naming.parse_as_of(kept["as_of"]) if kept and not cleared else self._as_of(context, slugs)
        repeat = cleared or bool(kept.get("repeat")) or bool(context["params"].get("repeat"))
        store.set(_KEPT, {"as_of": naming.as_of_stamp(moment), "max_tries": ti.max_tries, "repeat": repeat})
        code = CodeBundle.of(plan).digest
        asked_by = f"{name_of(plan, context)}/{ti.max_tries}"

        def fix(slug: str) -> tuple[str, str]:
            return self._fix(objects, cohort.plan_of(slug), moment, code, asked_by=asked_by, repeat=repeat)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = dict(zip(slugs, pool.map(fix, slugs), strict=True))
        keys = {slug: key for slug, (key, _) in found.items() if key}
        refused = {slug: why for slug, (_, why) in found.items() if why}
        for slug, why in refused.items():
            self.log.warning("%s: %s", slug, why)
        key = ""
        if keys:
            key = cohort_files.key_of(keys)
            file = cohort_files.members_file(cohort, key, keys, naming.as_of_stamp(moment))
            objects.put(file.key, file.body)
            fixed_run.attach(objects, cohort.keys, cohort.who, key, context["dag_run"].run_id)
        ti.xcom_push(key=BEGUN, value=Begun(key, moment, refused).to_dict())
        self.log.info(
            "Run %s of %d cities as of %s; %d have nothing to train", key, len(keys), moment, len(refused)
        )
        return slugs

    def _fix(
        self,
        objects: ObjectStore,
        plan: CityPlan,
        moment: datetime,
        code: str,
        *,
        asked_by: str,
        repeat: bool,
    ) -> tuple[str, str]:
        """Return the key of a city's run, and why there is nothing to train; one of them is empty."""
        try:
            fixed = fixed_run.begin(objects.client, plan, moment, code, asked_by=asked_by, repeat=repeat)
            why = why_no_job(plan, fixed.raw)
        except Busy:
            raise
        except CityFleetError as error:  # the matter of this city alone
            return "", printable(str(error))
        if why is not None:
            return "", printable(f"{why} clear the task {BEGIN!r} with everything downstream")
        return fixed.key, ""

    def _asked(self, context: Context) -> list[str]:
        """Return the cities that the run is about: those of its param, those whose data have arrived, or all.

        :raises AirflowFailException: the param names one that is none of the cohort.
        """
        given: Any = context["params"].get(CITIES)
        if not given:
            return self._arrived(context) or list(self.cohort.slugs)
        names = [given] if isinstance(given, str) else [str(each) for each in given]
        by_name = {self.cohort.plan_of(slug).city.name: slug for slug in self.cohort.slugs}
        wanted, wrong = set(), []
        for name in names:
            slug = name if name in self.cohort.slugs else by_name.get(name)
            if slug is None:
                wrong.append(name)
            else:
                wanted.add(slug)
        if wrong:
            near = nearest_match(wrong[0], [*self.cohort.slugs, *by_name])
            hint = f" Was {near!r} meant?" if near else ""
            raise AirflowFailException(
                printable(
                    f"{self.cohort.whose}: cities: got {list_names(wrong)}; allowed: its cities, "
                    f"{list_names(self.cohort.slugs)}.{hint} Nothing was paid for"
                )
            )
        return sorted(wanted)

    def _arrived(self, context: Context) -> list[str]:
        """Return the cities whose raw data have changed, of a run that their assets have started; none of others.

        Airflow (3.3.2) leaves out events that came while the run waited for the one before it, so that each city is
        asked for its newest.
        """
        if getattr(context["dag_run"], "run_type", None) != assets.ASSET_TRIGGERED:
            return []
        started: Any = context["triggering_asset_events"]
        moments = [event.timestamp for events in started.values() for event in events]
        if not moments:
            return []
        return [
            slug
            for slug in self.cohort.slugs
            if (newest := assets.newest_event(self.cohort.keys, slug)) is not None and newest >= min(moments)
        ]

    def _as_of(self, context: Context, slugs: Sequence[str]) -> datetime:
        return as_of(self.cohort.any, context, arrived=slugs)

    def _check_endpoint(self, objects: ObjectStore) -> None:
        """Refuse to pay for models that the endpoint's code could not answer with.

        :raises PlatformError: the code lacks an algorithm; a retry looks again.
        """
        seen: set[tuple[str, ...]] = set()
        for plan in self.cohort.plans():
            algorithms = tuple(name for _, name, _ in plan.city.algorithm.trained())
            if algorithms in seen:
                continue
            seen.add(algorithms)
            wrong = lacking_code(objects, plan)
            if wrong is not None:
                raise PlatformError(f"City {plan.city.slug!r}: {wrong}. Nothing was paid for yet")
