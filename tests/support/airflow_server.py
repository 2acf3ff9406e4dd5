"""What of Airflow's REST API the command line uses, over HTTP and in memory. tests/e2e asks the real one the same.

Time passes when somebody looks at a backfill: with every look one of its runs ends.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.http_server import running_http_server

MONTHS = [datetime(2014, month, 1, tzinfo=UTC) for month in range(1, 13)]


@dataclass
class FakeDag:
    """A DAG with a run on the first of each month of 2014.

    :param fails: logical dates whose runs fail.
    :param runs: logical date → state.
    :param tags: as the DAG file gives them.
    """

    paused: bool = False
    stale: bool = False
    periodic: bool = True
    fails: set[datetime] = field(default_factory=set)
    runs: dict[datetime, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


class AirflowServer:
    """Airflow's state, and faults on order.

    :param faults: statuses that the next creations of a backfill are answered with; ``cut`` makes half the runs and
        answers 503.
    """

    def __init__(self) -> None:
        self.dags: dict[str, FakeDag] = {}
        self.backfills: list[dict[str, Any]] = []
        self.triggered: dict[str, dict[str, Any]] = {}
        self.faults: list[int | str] = []
        self.down = 0
        self.tokens = {"given"}
        self.asked: list[tuple[str, str]] = []
        self.url = ""
        self.most_under_way = 0
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        with self._lock:
            self.asked.append((method, path))
            if self.down:
                self.down -= 1
                return 502, "bad gateway"
            routes: list[tuple[str, Callable[..., tuple[int, Any]]]] = [
                (r"/dags", lambda: (200, page(self._tagged(query), "dags", query))),
                (r"/dags/~/dagRuns/list", lambda: self._many(body, "dag_runs")),
                (r"/dags/~/dagRuns/~/taskInstances/list", lambda: self._many(body, "task_instances")),
                (r"/dags/([^/]+)", lambda dag_id: self._dag(method, dag_id, body)),
                (
                    r"/dags/([^/]+)/dagRuns",
                    lambda dag_id: (
                        self._trigger(dag_id, body)
                        if method == "POST"
                        else self._runs(self.dags[dag_id], query)
                    ),
                ),
                (r"/backfills/(\d+)", lambda number: self._look(int(number))),
                (r"/backfills(?:/dry_run)?", lambda: self._backfills(method, path, query, body)),
            ]
            for pattern, act in routes:
                if (found := re.fullmatch(pattern, path)) is not None:
                    return act(*found.groups())
            return 404, {"detail": "Not Found"}

    def _dag(self, method: str, dag_id: str, body: Any) -> tuple[int, Any]:
        dag = self.dags.get(dag_id)
        if dag is None:
            return 404, {"detail": f"The Dag with ID: `{dag_id}` was not found"}
        if method == "PATCH":
            dag.paused = body["is_paused"]
        return 200, shown(dag_id, dag)

    def _tagged(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        wanted = set(query.get("tags", ()))
        return [shown(dag_id, dag) for dag_id, dag in self.dags.items() if wanted <= set(dag.tags)]

    def _trigger(self, dag_id: str, body: Any) -> tuple[int, Any]:
        self.triggered[dag_id] = {**body, "looks": 0}
        return 200, {"dag_run_id": body["dag_run_id"], "state": "queued", "run_after": MONTHS[0].isoformat()}

    def _many(self, body: Any, key: str) -> tuple[int, Any]:
        """What was triggered: at the first look it trains, at the second it has ended."""
        found = []
        for dag_id in body["dag_ids"]:
            run = self.triggered[dag_id]
            run["looks"] += key == "dag_runs"
            ended = run["looks"] > 1
            state = "failed" if self.dags[dag_id].fails else "success"
            one = {"dag_id": dag_id, "dag_run_id": run["dag_run_id"]}
            if key == "dag_runs":
                found.append(one | {"state": state if ended else "running"})
            else:
                for task in ("preprocess", "train"):
                    at = "success" if ended or task == "preprocess" else "running"
                    found.append(one | {"task_id": task, "state": at, "end_date": MONTHS[0].isoformat()})
        first = body.get("page_offset", 0)
        return 200, {key: found[first : first + 2], "total_entries": len(found)}

    def _runs(self, dag: FakeDag, query: dict[str, list[str]]) -> tuple[int, Any]:
        found = [
            {"dag_run_id": f"run__{date.isoformat()}", "state": state, "logical_date": date.isoformat()}
            for date, state in dag.runs.items()
            if state in query["state"]
            and ("logical_date_gte" not in query or date >= moment(query["logical_date_gte"][0]))
            and ("logical_date_lte" not in query or date <= moment(query["logical_date_lte"][0]))
        ]
        return 200, page(found, "dag_runs", query)

    def _look(self, number: int) -> tuple[int, Any]:
        if not 1 <= number <= len(self.backfills):
            return 404, {"detail": "Backfill not found"}
        self.most_under_way = max(
            self.most_under_way, sum(each["completed_at"] is None for each in self.backfills)
        )
        found = self.backfills[number - 1]
        dag = self.dags[found["dag_id"]]
        mine = [date for date in found["_runs"] if dag.runs[date] in ("queued", "running")]
        if mine and not dag.paused and not found["is_paused"]:
            dag.runs[mine[0]] = "failed" if mine[0] in dag.fails else "success"
        if len(mine) <= 1 and not found["is_paused"]:
            found["completed_at"] = datetime.now(UTC).isoformat()
        return 200, found

    def _backfills(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if method == "GET":
            mine = [each for each in self.backfills if each["dag_id"] == query["dag_id"][0]]
            return 200, page(mine, "backfills", query)
        dag_id = body["dag_id"]
        dag = self.dags.get(dag_id)
        if dag is None or not dag.periodic:
            missing = 404, {"detail": f"Could not find dag {dag_id}"}
            wrong = 422, {"detail": f"{dag_id} has a non-periodic schedule that does not support backfills"}
            return missing if dag is None else wrong
        first, last = moment(body["from_date"]), moment(body["to_date"])
        again = {"none": set(), "failed": {"failed"}, "completed": {"failed", "success"}}
        states = again[body["reprocess_behavior"]]
        dates = [
            date
            for date in MONTHS
            if first <= date <= last and (date not in dag.runs or dag.runs[date] in states)
        ]
        if path == "/backfills/dry_run":
            planned = [{"logical_date": date.isoformat()} for date in dates]
            return 200, {"backfills": planned, "total_entries": len(dates)}
        if any(each["dag_id"] == body["dag_id"] and not each["completed_at"] for each in self.backfills):
            return 409, {"detail": f"There is already a running backfill for dag {body['dag_id']}"}
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return fault, {"detail": {"reason": "Database is locked."}}
        if fault == "cut":
            dates = dates[: len(dates) // 2]
        dag.runs |= dict.fromkeys(dates, "queued")
        self.backfills.append(
            {
                "id": len(self.backfills) + 1,
                "dag_id": body["dag_id"],
                "from_date": first.isoformat(),
                "to_date": last.isoformat(),
                "reprocess_behavior": body["reprocess_behavior"],
                "max_active_runs": body["max_active_runs"],
                "dag_run_conf": body.get("dag_run_conf"),
                "is_paused": False,
                "created_at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(),
                "completed_at": None,
                "_runs": dates,
            }
        )
        return (503, {"detail": "Database is locked."}) if fault == "cut" else (200, self.backfills[-1])


def shown(dag_id: str, dag: FakeDag) -> dict[str, Any]:
    return {
        "dag_id": dag_id,
        "is_paused": dag.paused,
        "is_stale": dag.stale,
        "tags": [{"name": name, "dag_id": dag_id} for name in dag.tags],
    }


def page(items: list[Any], key: str, query: dict[str, list[str]]) -> dict[str, Any]:
    """One page, of two items at most, however many are asked for."""
    offset, limit = int(query.get("offset", ["0"])[0]), min(2, int(query.get("limit", ["2"])[0]))
    return {key: items[offset : offset + limit], "total_entries": len(items)}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@contextmanager
def running_airflow(airflow: AirflowServer | None = None) -> Iterator[AirflowServer]:
    """Serve an Airflow, a new one by default, on a free port."""
    airflow = airflow or AirflowServer()

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            if parts.path == "/auth/token":
                good = body == {"username": "admin", "password": "secret"}
                airflow.tokens.add("fetched")
                self.send(
                    201 if good else 401, {"access_token": "fetched"} if good else {"detail": "Invalid"}
                )
            elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in airflow.tokens:
                self.send(401, {"detail": "Not authenticated"})
            else:
                path = unquote(parts.path.removeprefix("/api/v2"))
                self.send(*airflow.answer(self.command, path, parse_qs(parts.query), body))

        do_GET = do_POST = do_PATCH = do_PUT = reply

        def send(self, status: int, value: Any) -> None:
            text = json.dumps(value, default=str).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with running_http_server(Handler) as airflow.url:
        yield airflow
