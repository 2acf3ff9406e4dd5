"""Links from a task to its job, log, model package, output or endpoint, in Airflow's page of the task.

A task says the addresses itself, as one XCom, as soon as it knows them (console_pages): a job's while it runs. The
plugin registers the links, and the API server looks the addresses up when somebody looks at the task. So no stored DAG
and no look at a DAG file holds anything of them. Declared by the operators' classes, each would stand in each task of
each stored DAG, and be pushed as an XCom of its own when the task ends.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

from city_fleet import naming
from city_fleet.page.lazy_app import URL_PREFIX

if TYPE_CHECKING:
    from airflow.models.taskinstancekey import TaskInstanceKey
    from airflow.sdk import BaseOperator

#: Name of the XCom with which a task says its addresses: member → URL.
LINKS = "links"
_PACKAGE = "city_fleet.orchestration.city_tasks"
_JOBS = [f"{_PACKAGE}.job_operators.{name}Operator" for name in ("Preprocess", "Train", "Evaluate")]
_COHORTS = "city_fleet.orchestration.cohort_tasks"
_COHORT_CITY = f"{_COHORTS}.cohort_city_operator.CohortCityOperator"
_JOBS += [f"{_COHORTS}.cohort_train_operator.TrainCohortOperator", _COHORT_CITY]
_DECIDE = f"{_PACKAGE}.decide_operator.DecideOperator"
_REGISTER = f"{_PACKAGE}.register_operator.RegisterOperator"
_APPROVE = f"{_PACKAGE}.approve_operator.ApproveOperator"
_ENDS = [f"{_PACKAGE}.publish_operator.{name}Operator" for name in ("Publish", "KeepChampion")]
_RECORD = f"{_PACKAGE}.record_operator.RecordOperator"
_ENDPOINT = "city_fleet.orchestration.fleet_tasks.endpoint_operators.SharedEndpointOperator"


def _named(path: str) -> Any:
    """Return what stands for an operator's class.

    Airflow (3.3.2) compares names of module and class. The classes themselves would have every process that loads the
    plugin import the Amazon provider: a second for each of a worker's tasks.
    """
    module, _, name = path.rpartition(".")
    return type(name, (), {"__module__": module})


class CityLink(BaseOperatorLink):
    """One link of several kinds of tasks.

    :cvar member: of the tasks' XCom.
    """

    member: ClassVar[str]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty where the task has not come so far, or has said none."""
        value = _said(ti_key)
        url = value.get(self.member) if isinstance(value, dict) else None
        # Whoever may write XComs must not have a click run a script.
        return url if isinstance(url, str) and url.startswith(("https://", "http://")) else ""


class JobLink(CityLink):
    """The task's job."""

    name = "SageMaker job"
    member = "job"
    operators: ClassVar[list[Any]] = [_named(path) for path in _JOBS]


class LogLink(CityLink):
    """What the job has written to CloudWatch Logs."""

    name = "Job log"
    member = "log"
    operators: ClassVar[list[Any]] = [_named(path) for path in _JOBS]


class PackageLink(CityLink):
    """The version of the model registry that the task is about."""

    name = "Model package"
    member = "package"
    operators: ClassVar[list[Any]] = [_named(path) for path in (_REGISTER, _APPROVE, *_ENDS, _COHORT_CITY)]


class OutputLink(CityLink):
    """What the task has written to S3."""

    name = "S3 output"
    member = "output"
    operators: ClassVar[list[Any]] = [_named(path) for path in (*_JOBS, _DECIDE, *_ENDS, _RECORD)]


class EndpointLink(CityLink):
    """The shared endpoint that the task has made or found."""

    name = "SageMaker endpoint"
    member = "endpoint"
    operators: ClassVar[list[Any]] = [_named(_ENDPOINT)]


class PageLink(BaseOperatorLink):
    """The page about the task's city: as a tab of its DAG, or, where cities share the DAG, by itself."""

    name = "City"
    operators: ClassVar[list[Any]] = [
        _named(path) for path in (*_JOBS, _DECIDE, _REGISTER, _APPROVE, *_ENDS, _RECORD)
    ]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty where Airflow's settings name none of its own (``[api] base_url``)."""
        from airflow.configuration import conf  # noqa: PLC0415 - this module is read by every process

        root = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
        if not root.startswith("http"):
            return ""
        fleet = ti_key.dag_id.partition(".")[0]
        city = _city_of_mapped(ti_key) if naming.is_of_cohort(ti_key.dag_id, fleet) else ""
        if city:
            # Airflow's frame opens what stands behind the view's name, from the first slash of its own address on.
            below = f"{urlsplit(root).path}{URL_PREFIX}/cities/{quote(fleet, safe='')}/{city}"
            return f"{root}/plugin/{URL_PREFIX[1:]}{below}"
        return f"{root}/dags/{quote(ti_key.dag_id, safe='')}/plugin/city"


def _city_of_mapped(ti_key: TaskInstanceKey) -> str:
    """Return the city that one of a cohort's mapped tasks is about; empty for another task."""
    if ti_key.map_index < 0:
        return ""
    from city_fleet.jobs.cohort_plan import BEGIN  # noqa: PLC0415 - reads all of the settings

    cities = _said(ti_key, task_id=BEGIN, key="return_value", map_index=-1)
    city = cities[ti_key.map_index] if isinstance(cities, list) and ti_key.map_index < len(cities) else ""
    # Whoever may write XComs must not have a click lead elsewhere.
    return city if isinstance(city, str) and naming.is_slug(city) else ""


def _said(
    ti_key: TaskInstanceKey, *, task_id: str = "", key: str = LINKS, map_index: int | None = None
) -> Any:
    """Return an XCom of a run, as Airflow's own links look theirs up (3.3.2); None where there is none.

    :param ti_key: the run; and the task, where no other one is named.
    """
    # Known to the API server alone, where links are asked for.
    from airflow.models.xcom import XComModel  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415

    query = XComModel.get_many(
        key=key,
        run_id=ti_key.run_id,
        dag_ids=ti_key.dag_id,
        task_ids=task_id or ti_key.task_id,
        map_indexes=ti_key.map_index if map_index is None else map_index,
    )
    with create_session() as session:
        value = session.execute(query.with_only_columns(XComModel.value)).scalar()
    # The execution API stores what it is given; an Airflow before kept its text.
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
