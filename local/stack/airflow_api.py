"""The REST API of the stack's Airflow: what the library's client knows, and what a demo and the tests ask besides."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from city_fleet.airflow_rest.airflow_client import AirflowRest
from city_fleet.airflow_rest.login_channel import LoginChannel
from city_fleet.errors import AirflowError
from local.stack.errors import StackError

Json = dict[str, Any]


class AirflowApi(AirflowRest):
    """The REST API of an Airflow on this machine, under one login.

    :param url: where the api-server answers, without a path
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        super().__init__(LoginChannel(url, login=lambda: (user, password), use_proxies=False))

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Make one request, as the library's client does.

        :raises StackError: Airflow does not answer, or refuses
        """
        try:
            return super().request(method, path, **options)
        except AirflowError as error:
            raise StackError(str(error)) from error

    # -- DAGs ---------------------------------------------------------------------------------------------

    def dag_ids(self) -> set[str]:
        """Return the ids of all DAGs."""
        return {dag["dag_id"] for dag in self.pages("/dags", "dags")}

    def import_errors(self) -> list[Json]:
        """Return what went wrong when DAG files were parsed: filename and stack_trace of each."""
        return list(self.pages("/importErrors", "import_errors"))

    # -- runs ---------------------------------------------------------------------------------------------

    def run(self, dag_id: str, run_id: str) -> Json:
        """Return a run: state, start_date, end_date, …"""
        found: Json = self.request("GET", _run_path(dag_id, run_id))
        return found

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return the run's tasks: task_id, state, try_number, start_date, end_date, …"""
        return list(self.pages(f"{_run_path(dag_id, run_id)}/taskInstances", "task_instances"))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return a task's result, or None where it left none."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{key}"
        found = self.request("GET", path, missing_is_none=True, params={"deserialize": "true"})
        return found["value"] if found else None

    # -- the rest -----------------------------------------------------------------------------------------

    def put_pool(self, name: str, slots: int, description: str) -> None:
        """Create or update a pool that also counts deferred tasks: their jobs are running."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": True}
        path = f"/pools/{quote(name)}"
        if self.request("GET", path, missing_is_none=True) is None:
            self.request("POST", "/pools", json=body)
        else:
            self.request("PATCH", path, json=body)


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
