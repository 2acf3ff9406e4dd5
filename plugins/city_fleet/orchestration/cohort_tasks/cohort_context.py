"""What the tasks of a cohort's DAG read of their run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from city_fleet import naming
from city_fleet.errors import PlatformError
from city_fleet.jobs import fixed_run
from city_fleet.jobs.cohort_files import RUN_FILE, CohortItem
from city_fleet.jobs.cohort_plan import BEGIN, CohortPlan
from city_fleet.jobs.fixed_run import FixedRun
from city_fleet.orchestration.run_context import BEGUN
from city_fleet.plan import CityPlan, Run
from city_fleet.state.objects import ObjectStore, json_of

if TYPE_CHECKING:
    from airflow.sdk import Context

#: So many cities of a cohort are asked about at the same time: a tenth of a client's connections per task.
AT_ONCE = 10


@dataclass(frozen=True)
class Begun:
    """What the first task of a cohort's run has fixed.

    :param key: of the cohort's run; empty where no city has anything to train.
    :param refused: slug → why there is nothing to train of the city.
    """

    key: str
    as_of: datetime
    refused: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"key": self.key, "as_of": naming.as_of_stamp(self.as_of), "refused": dict(self.refused)}


def begun_of(context: Context) -> Begun:
    """Return what the run's first task has fixed.

    :raises AirflowFailException: it has not come so far.
    """
    found = begun_or_none(context)
    if found is None:
        raise AirflowFailException(
            f"Task {BEGIN!r} of this run has not said what the run is about; clear it together with everything "
            "downstream"
        )
    return found


def begun_or_none(context: Context) -> Begun | None:
    """Return the same, or None where the first task has not come so far."""
    value: Any = context["ti"].xcom_pull(task_ids=BEGIN, key=BEGUN)
    if not value:
        return None
    return Begun(value["key"], naming.parse_as_of(value["as_of"]), value["refused"])


def keys_of_runs(store: ObjectStore, cohort: CohortPlan, key: str) -> dict[str, str]:
    """Return the key of the run of each city of a cohort's run: slug → key.

    :param key: of the cohort's run; an empty one has no cities.
    :raises PlatformError: what the run is about is gone.
    """
    if not key:
        return {}
    at = cohort.keys.run(cohort.who, key) + RUN_FILE
    found = store.get(at)
    try:
        if found is None:
            raise ValueError("it is gone")
        return {str(slug): str(of) for slug, of in json_of(found.body)["cities"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlatformError(
            f"{store.uri(at)}: does not say what the run is about: {error}. Clear the task {BEGIN!r} with everything "
            "downstream"
        ) from error


def run_of_city(context: Context, fixed: FixedRun) -> Run:
    """Return a city's own run within the cohort's."""
    force = bool(context["params"].get("force"))
    return Run(
        context["dag_run"].run_id,
        fixed.key,
        naming.parse_as_of(fixed.as_of),
        force=force,
        champion=fixed.champion,
        parent=fixed.parent,
    )


def fixed_of(store: ObjectStore, plan: CityPlan, key: str) -> FixedRun:
    """Return what was fixed for a city's run.

    :raises PlatformError: it is gone.
    """
    fixed = fixed_run.read(store, plan.keys, plan.city.slug, key)
    if fixed is None:
        uri = plan.keys.uri(plan.keys.run_facts(plan.city.slug, key))
        raise PlatformError(
            f"{uri}: what the run is about is gone. Clear the task {BEGIN!r} with everything downstream"
        )
    return fixed


def items_of(
    context: Context, store: ObjectStore, plans: Iterable[CityPlan], keys: Mapping[str, str]
) -> list[CohortItem]:
    """Return what a job is to do, city by city.

    :param keys: slug → key of the city's run.
    """

    def item(plan: CityPlan) -> CohortItem:
        fixed = fixed_of(store, plan, keys[plan.city.slug])
        return CohortItem(plan, run_of_city(context, fixed), [each.name for each in fixed.raw])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(item, plans))
