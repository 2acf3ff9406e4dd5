"""A small client of Airflow's REST API v2: what a person with a token may ask, and nothing else."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from local.stack.errors import StackError

Json = dict[str, Any]


class AirflowApi:
    """Airflow's REST API under one login.

    :param url: where the api-server answers, without a path
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        # trust_env: a proxy of the person's must not see loopback traffic.
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def request(
        self, method: str, path: str, *, expected: tuple[int, ...] = (200, 201), **options: Any
    ) -> Any:
        """Make one request, with a token that is fetched when there is none or the old one has run out.

        :param path: below /api/v2
        :param expected: status codes that are an answer; 404 in it yields None
        :return: the JSON body
        :raises StackError: any other status, with what Airflow said; or Airflow does not answer
        """
        try:
            response = self._send(method, path, options)
            if response.status_code == 401:
                self._http.headers.pop("Authorization", None)
                response = self._send(method, path, options)
        except httpx.HTTPError as error:
            raise StackError(
                f"Airflow's API at {self.url} does not answer ({method} {path}): {error}"
            ) from error
        if response.status_code not in expected:
            raise StackError(
                f"Airflow answered {response.status_code} to {method} {path}: {response.text[:500]}"
            )
        if response.status_code == 404:
            return None
        return response.json() if response.content else None

    def _send(self, method: str, path: str, options: Json) -> httpx.Response:
        if "Authorization" not in self._http.headers:
            answer = self._http.post("/auth/token", json=self._login)
            if answer.status_code not in (200, 201):
                raise StackError(f"Airflow refused the login ({answer.status_code}): {answer.text[:300]}")
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self._http.request(method, f"/api/v2{path}", **options)

    # -- DAGs ---------------------------------------------------------------------------------------------

    def dag(self, dag_id: str) -> Json | None:
        """Return a DAG's details, or None where Airflow doesn't know it (yet)."""
        found: Json | None = self.request("GET", f"/dags/{quote(dag_id)}", expected=(200, 404))
        return found

    def dag_ids(self) -> set[str]:
        """Return the ids of all DAGs."""
        return {dag["dag_id"] for dag in self._pages("/dags", "dags")}

    def import_errors(self) -> list[Json]:
        """Return what went wrong when DAG files were parsed: filename and stack_trace of each."""
        return self._pages("/importErrors", "import_errors")

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """Pause or unpause a DAG."""
        self.request("PATCH", f"/dags/{quote(dag_id)}", json={"is_paused": paused})

    def trigger(self, dag_id: str, conf: Json | None = None, **fields: Any) -> str:
        """Start a run.

        :param conf: the run's params
        :return: its run id
        """
        body = {"logical_date": None, "conf": conf or {}, **fields}
        run: Json = self.request("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body)
        return str(run["dag_run_id"])

    # -- runs ---------------------------------------------------------------------------------------------

    def run(self, dag_id: str, run_id: str) -> Json:
        """Return a run: state, start_date, end_date, …"""
        found: Json = self.request("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}")
        return found

    def runs(self, dag_ids: list[str], run_id: str) -> list[Json]:
        """Return the runs of many DAGs that have one run id, in few requests."""
        found = self._batches("/dags/~/dagRuns/list", "dag_runs", {"dag_ids": dag_ids})
        return [run for run in found if run["dag_run_id"] == run_id]

    def tasks_of_runs(self, dag_ids: list[str], run_id: str) -> list[Json]:
        """Return the tasks of many DAGs' runs that have one run id, in few requests."""
        body = {"dag_ids": dag_ids, "dag_run_ids": [run_id]}
        return self._batches("/dags/~/dagRuns/~/taskInstances/list", "task_instances", body)

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return the run's tasks: task_id, state, try_number, start_date, end_date, …"""
        return self._pages(
            f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}/taskInstances", "task_instances"
        )

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return a task's result, or None where it left none."""
        task = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}/taskInstances/{quote(task_id)}"
        found = self.request(
            "GET", f"{task}/xcomEntries/{key}", expected=(200, 404), params={"deserialize": "true"}
        )
        return found["value"] if found else None

    # -- the rest -----------------------------------------------------------------------------------------

    def put_pool(self, name: str, slots: int, description: str) -> None:
        """Create or update a pool that also counts deferred tasks: their jobs are running."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": True}
        if self.request("GET", f"/pools/{quote(name)}", expected=(200, 404)) is None:
            self.request("POST", "/pools", json=body, expected=(200, 201, 409))
        else:
            self.request("PATCH", f"/pools/{quote(name)}", json=body)

    def _batches(self, path: str, key: str, body: Json) -> list[Json]:
        """Return a whole list that is asked for by POST, page by page."""
        items: list[Json] = []
        while True:
            page: Json = self.request(
                "POST", path, json={**body, "page_limit": 100, "page_offset": len(items)}
            )
            items += page[key]
            if not page[key] or len(items) >= page["total_entries"]:
                return items

    def _pages(self, path: str, key: str) -> list[Json]:
        """Return a whole list, page by page."""
        items: list[Json] = []
        while True:
            page: Json = self.request("GET", path, params={"limit": 100, "offset": len(items)})
            items += page[key]
            if not page[key] or len(items) >= page["total_entries"]:
                return items
