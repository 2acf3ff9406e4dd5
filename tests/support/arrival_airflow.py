"""What of Airflow's REST API arrivals become runs by, over HTTP and in memory; and MWAA's way to any Airflow.

tests/e2e asks a real Airflow the same, by both ways.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from city_fleet.airflow_rest.channel import Channel
from tests.support.airflow_server import AirflowServer, moment, page
from tests.support.http_server import running_http_server

#: Longer paths are refused: the model of InvokeRestApi says so.
MWAA_PATH = 64


class ArrivalAirflow(AirflowServer):
    """DAGs and their runs.

    :ivar runs: of each DAG, run id → run.
    :ivar proposed: what DAGs of cohorts propose for their param cities.
    :ivar begun: run ids of which a task has been started.
    :ivar statuses: what the next requests are answered with, and not carried out; None for one that is carried out.
    :ivar seconds: how long an answer takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, dict[str, dict[str, Any]]] = {}
        self.begun: set[str] = set()
        self.proposed: dict[str, list[str]] = {}
        self.statuses: list[int | None] = []
        self.seconds = 0.0

    def of(self, dag_id: str, state: str | None = None) -> list[str]:
        return [name for name, run in self.runs.get(dag_id, {}).items() if state in (None, run["state"])]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        time.sleep(self.seconds)
        with self._lock:
            self.asked.append((method, path))
            if self.statuses and (status := self.statuses.pop(0)):
                return status, {"detail": "not now"}
            return self._carried_out(method, path, query, body)

    def _carried_out(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path == "/dags/~/dagRuns/~/taskInstances/list":
            return 200, self._tasks(body["dag_run_ids"])
        if method == "GET":
            if path == "/dags":
                return 200, page(self._tagged(query.get("tags", [])), "dags", query)
            if path == "/dags/~/dagRuns":
                return 200, page(self._runs_of_dags(query), "dag_runs", query)
            if found := re.fullmatch(r"/dags/([^/]+)(/details)?", path):
                return self._details(found[1]) if found[2] else self._dag(method, found[1], body)
        if found := re.fullmatch(r"/dags/([^/]+)/dagRuns", path):
            runs = self.runs.setdefault(found[1], {})
            act = {"GET": self._get_runs, "POST": self._post_runs, "PATCH": self._patch_runs}[method]
            return act(found[1], runs, query, body)
        return 404, {"detail": "Not Found"}

    def _details(self, dag_id: str) -> tuple[int, Any]:
        proposed = {"schema": {"examples": self.proposed.get(dag_id, [])}}
        return 200, {"dag_id": dag_id, "params": {"cities": proposed}}

    def _tagged(self, tags: list[str]) -> list[dict[str, Any]]:
        named = [name for name, dag in self.dags.items() if set(tags) <= set(dag.tags) and not dag.stale]
        return [self._dag("GET", name, None)[1] for name in named]

    def _runs_of_dags(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        (dag_prefix,), (run_prefix,) = query["dag_id_prefix_pattern"], query["run_id_prefix_pattern"]
        return [
            {**run, "dag_id": dag_id}
            for dag_id, runs in self.runs.items()
            for name, run in runs.items()
            if dag_id.startswith(dag_prefix)
            and name.startswith(run_prefix)
            and run["state"] in query.get("state", [run["state"]])
            and ("run_after_gt" not in query or moment(run["run_after"]) > moment(query["run_after_gt"][0]))
        ]

    def _tasks(self, run_ids: list[str]) -> dict[str, Any]:
        tasks = [
            {"dag_run_id": each, "state": None, "try_number": int(each in self.begun)} for each in run_ids
        ]
        return {"task_instances": tasks, "total_entries": len(tasks)}

    def _get_runs(
        self, _: str, runs: dict[str, Any], query: dict[str, list[str]], __: Any
    ) -> tuple[int, Any]:
        prefix, order, limit = query["run_id_prefix_pattern"][0], query["order_by"][0], query["limit"][0]
        assert order == "-run_after"
        found = [run for name, run in runs.items() if name.startswith(prefix)]
        found.sort(key=lambda run: moment(run["run_after"]), reverse=True)
        return 200, {"dag_runs": found[: int(limit)], "total_entries": len(found)}

    def _post_runs(self, dag_id: str, runs: dict[str, Any], _: Any, body: Any) -> tuple[int, Any]:
        if dag_id not in self.dags or self.dags[dag_id].stale:
            return 404, {"detail": f"Dag with dag_id: '{dag_id}' not found"}
        assert set(body) == {"dag_run_id", "logical_date", "run_after", "conf"}
        assert body["logical_date"] is None
        if body["dag_run_id"] in runs:
            return 409, {"detail": {"reason": "Unique constraint violation", "statement": "hidden"}}
        runs[body["dag_run_id"]] = {**body, "state": "queued"}
        return 200, runs[body["dag_run_id"]]

    def _patch_runs(self, _: str, runs: dict[str, Any], __: Any, body: Any) -> tuple[int, Any]:
        (action,) = body["actions"]
        assert (action["action"], action["action_on_non_existence"]) == ("delete", "skip")
        errors = []
        for name in action["entities"]:
            if name in runs and runs[name]["state"] == "running":
                errors.append({"error": f"{name} cannot be deleted in running state", "status_code": 409})
            else:
                runs.pop(name, None)
        return 200, {"delete": {"success": [], "errors": errors}}

    def pass_time(self, dag_id: str, now: datetime | None = None) -> None:
        """Start the oldest run whose moment has come, as a scheduler does, unless one is running."""
        due = [
            run
            for run in self.runs[dag_id].values()
            if run["state"] == "queued" and moment(run["run_after"]) <= (now or datetime.now(UTC))
        ]
        if due and not self.dags[dag_id].paused and not self.of(dag_id, "running"):
            run = min(due, key=lambda each: moment(each["run_after"]))
            run["state"] = "running"
            self.begun.add(run["dag_run_id"])


class Mwaa:
    """MWAA's API with one environment, ``fleets``, in front of an Airflow.

    :ivar throttled: so many of the next requests are refused.
    :ivar asked: the bodies of the requests.
    """

    def __init__(self, airflow: Channel) -> None:
        self.airflow, self.url = airflow, ""
        self.throttled = 0
        self.asked: list[dict[str, Any]] = []

    def answer(self, name: str, body: dict[str, Any]) -> tuple[int, str | None, Any]:
        """Return status, code of an error, and what the body says."""
        self.asked.append(body)
        if self.throttled:
            self.throttled -= 1
            return 429, "ThrottlingException", {"message": "Rate exceeded"}
        if name != "fleets":
            return 404, "ResourceNotFoundException", {"message": f"Environment {name} not found"}
        if len(body["Path"]) > MWAA_PATH:
            return 400, "ValidationException", {"message": "Path: length must be at most 64"}
        answer = self.airflow.send(
            body["Method"], body["Path"], body.get("QueryParameters"), body.get("Body")
        )
        value = {"RestApiStatusCode": answer.status, "RestApiResponse": answer.value or answer.text}
        if not answer.is_error:
            return 200, None, value
        # Both are errors of the sender in AWS's own model.
        return 400, "RestApiServerException" if answer.status >= 500 else "RestApiClientException", value


@contextmanager
def running_mwaa(airflow: Channel) -> Iterator[Mwaa]:
    """Serve MWAA's InvokeRestApi on a free port."""
    mwaa = Mwaa(airflow)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=")
            status, code, value = mwaa.answer(unquote(self.path.removeprefix("/restapi/")), body)
            text = json.dumps(value).encode()
            self.send_response(status)
            if code is not None:
                self.send_header("x-amzn-errortype", code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with running_http_server(Handler) as mwaa.url:
        yield mwaa
