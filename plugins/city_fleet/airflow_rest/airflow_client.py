"""What the library asks of Airflow 3's REST API, version 2, over any channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from city_fleet import clock
from city_fleet.airflow_rest.channel import Answer, Channel
from city_fleet.errors import AirflowError
from city_fleet.naming import ENVIRONMENT_TAG

_PAGE = 100
_MOST_TASKS = 500


@dataclass(frozen=True)
class Dag:
    """A DAG as Airflow knows it.

    :param paused: none of its tasks is started, even in a run that was triggered by hand.
    :param stale: it has left the DAG files.
    :param environment: of the installation that made it; None of an earlier version of City Fleet, or a DAG of others.
    """

    paused: bool
    stale: bool
    environment: str | None = None
    tags: tuple[str, ...] = ()

    @classmethod
    def of_answer(cls, value: Mapping[str, Any]) -> Dag:
        tags = [str(tag["name"]) for tag in value.get("tags") or ()]
        said = [tag.removeprefix(ENVIRONMENT_TAG) for tag in tags if tag.startswith(ENVIRONMENT_TAG)]
        environment = said[0] if said else None
        return cls(bool(value["is_paused"]), bool(value["is_stale"]), environment, tuple(tags))


@dataclass(frozen=True)
class DagRun:
    """A run of a DAG as Airflow knows it.

    :param run_after: the moment before which it does not start.
    """

    id: str
    state: str
    run_after: datetime

    @classmethod
    def of_answer(cls, value: Mapping[str, Any]) -> DagRun:
        return cls(str(value["dag_run_id"]), str(value["state"]), clock.parse(value["run_after"]))


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended, ``success`` or ``failed``.

    :param logical_date: the tick that it is about.
    """

    id: str
    state: str
    logical_date: datetime


@dataclass(frozen=True)
class Backfill:
    """A backfill as Airflow knows it.

    :param first: first logical date, with a time zone; ``last``: the last one.
    :param reprocess: what happens to runs that are there: ``none``, ``failed``, ``completed``.
    :param paused: no more of its runs are started.
    :param completed: when the last of its runs had ended; None while it is under way.
    """

    id: int
    first: datetime
    last: datetime
    reprocess: str
    paused: bool
    created: datetime
    completed: datetime | None

    @classmethod
    def of_answer(cls, value: Mapping[str, Any]) -> Backfill:
        completed = value["completed_at"]
        return cls(
            id=int(value["id"]),
            first=clock.parse(value["from_date"]),
            last=clock.parse(value["to_date"]),
            reprocess=str(value["reprocess_behavior"]),
            paused=bool(value["is_paused"]),
            created=clock.parse(value["created_at"]),
            completed=clock.parse(completed) if completed else None,
        )


class AirflowRest:
    """Airflow's REST API under one identity. Safe to use from many threads.

    :param channel: the way to it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def place(self) -> str:
        """Return which Airflow it is, as errors name it."""
        return self._channel.place

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> AirflowRest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> None:
        """Make sure that Airflow answers and knows who asks.

        :raises AirflowError: it does not.
        """
        self.request("GET", "/dags", params={"limit": 1})

    def dag(self, dag_id: str) -> Dag | None:
        """Return a DAG, or None when Airflow has never seen it."""
        found = self.request("GET", f"/dags/{quote(dag_id)}", missing_is_none=True)
        if found is None:
            return None
        return Dag.of_answer(found)

    def param_examples(self, dag_id: str, param: str) -> list[str]:
        """Return what a DAG proposes for one of its params; nothing where it has none of the name."""
        found = self.request("GET", f"/dags/{quote(dag_id)}/details", missing_is_none=True)
        said = ((found or {}).get("params") or {}).get(param) or {}
        return [str(each) for each in (said.get("schema") or {}).get("examples") or ()]

    def fleets_dags(self, fleet_tag: str) -> dict[str, Dag]:
        """Return all DAGs of a fleet that are in the DAG files, by id.

        :param fleet_tag: that each of them carries.
        """
        # One tag: not every channel knows how to ask for two.
        found = self.pages("/dags", "dags", {"tags": fleet_tag, "order_by": "dag_id"})
        return {str(each["dag_id"]): Dag.of_answer(each) for each in found}

    def refuse_other_environment(self, dag_id: str, environment: str) -> None:
        """Refuse an Airflow that runs another environment of a fleet.

        :param dag_id: of one of the fleet's DAGs.
        :raises AirflowError: it does, or does not answer.
        """
        dag = self.dag(dag_id)
        if dag is not None:
            self.refuse_dag_of_other_environment(dag_id, dag, environment)

    def refuse_dag_of_other_environment(self, dag_id: str, dag: Dag, environment: str) -> None:
        """Refuse an Airflow by what it has said of one of the fleet's DAGs.

        :raises AirflowError: it runs another environment of the fleet.
        """
        if dag.environment not in (None, environment):
            raise AirflowError(
                f"{self.place} runs environment {dag.environment!r} of the fleet ({dag_id} says so), and here it is "
                f"environment {environment!r}. Nothing was done. Name that environment (CITY_FLEET_ENVIRONMENT), or "
                "the Airflow of this one (CITY_FLEET_AIRFLOW_URL)",
                status=200,
            )

    def set_paused(self, dag_id: str, paused: bool) -> None:
        self.request("PATCH", f"/dags/{quote(dag_id)}", json={"is_paused": paused})

    def unfinished_runs(self, dag_id: str) -> list[tuple[str, str]]:
        """Return run id and state of the runs that have not ended."""
        pages = self.pages(f"/dags/{quote(dag_id)}/dagRuns", "dag_runs", {"state": ["queued", "running"]})
        return [(str(run["dag_run_id"]), str(run["state"])) for run in pages]

    def failed_runs(self, dag_id: str, first: datetime, last: datetime) -> int:
        """Return how many runs between two logical dates have failed."""
        between = {"logical_date_gte": first.isoformat(), "logical_date_lte": last.isoformat()}
        wanted = {**between, "state": "failed", "limit": 1}
        answer = self.request("GET", f"/dags/{quote(dag_id)}/dagRuns", params=wanted)
        return int(answer["total_entries"])

    def newest_runs(self, dag_id: str, prefix: str, most: int) -> list[DagRun]:
        """Return the runs whose ids begin with a prefix, the one that starts last first.

        :param most: so many of them.
        """
        wanted = {"run_id_prefix_pattern": prefix, "order_by": "-run_after", "limit": most}
        answer = self.request("GET", f"/dags/{quote(dag_id)}/dagRuns", params=wanted)
        return [DagRun.of_answer(run) for run in answer["dag_runs"]]

    def runs_of_dags(
        self, dag_prefix: str, run_prefix: str, wanted: Mapping[str, Any]
    ) -> Iterator[tuple[str, DagRun]]:
        """Yield runs of all DAGs whose ids begin with a prefix, each with its DAG's id.

        :param run_prefix: what the ids of the runs begin with.
        :param wanted: further parameters of the request.
        """
        prefixes = {"dag_id_prefix_pattern": dag_prefix, "run_id_prefix_pattern": run_prefix}
        for run in self.pages("/dags/~/dagRuns", "dag_runs", {**prefixes, "order_by": "id", **wanted}):
            yield str(run["dag_id"]), DagRun.of_answer(run)

    def start_run(self, dag_id: str, run_id: str, run_after: datetime, conf: Mapping[str, Any]) -> bool:
        """Create a run without a logical date; it waits in the queue until its moment has come.

        :param conf: values of the DAG's params.
        :return: False where there is one of that id.
        :raises AirflowError: with Airflow's own words.
        """
        body = {
            "dag_run_id": run_id,
            "logical_date": None,
            "run_after": run_after.isoformat(),
            "conf": dict(conf),
        }
        try:
            self.request("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body)
        except AirflowError as error:
            if error.status == 409:
                return False
            raise
        return True

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Start a run without a logical date.

        :param conf: values of the DAG's params.
        :param fields: of the request besides, as ``dag_run_id``.
        :return: its run id.
        :raises AirflowError: with Airflow's own words.
        """
        body = {"logical_date": None, "conf": dict(conf or {}), **fields}
        run = self.request("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body)
        return str(run["dag_run_id"])

    def runs(self, run_ids: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return a run of each of many DAGs, in few requests, as Airflow tells them.

        :param run_ids: DAG id → run id.
        """
        found = self._batches("/dags/~/dagRuns/list", "dag_runs", {"dag_ids": list(run_ids)})
        return [run for run in found if run["dag_run_id"] == run_ids[run["dag_id"]]]

    def tasks_of_runs(self, run_ids: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the tasks of a run of each of many DAGs, in few requests, as Airflow tells them.

        :param run_ids: DAG id → run id.
        """
        body = {"dag_ids": list(run_ids), "dag_run_ids": sorted(set(run_ids.values()))}
        found = self._batches("/dags/~/dagRuns/~/taskInstances/list", "task_instances", body)
        return [task for task in found if task["dag_run_id"] == run_ids[task["dag_id"]]]

    def _batches(self, path: str, key: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a whole list that is asked for by POST, page by page."""
        items: list[dict[str, Any]] = []
        while True:
            page = self.request("POST", path, json={**body, "page_limit": _PAGE, "page_offset": len(items)})
            items += page[key]
            if not page[key] or len(items) >= page["total_entries"]:
                return items

    def begun_runs(self, dag_id: str, run_ids: list[str]) -> set[str]:
        """Return those runs of which a task has been started: also of one that was cleared, and waits again."""
        body = {"dag_ids": [dag_id], "dag_run_ids": run_ids, "page_limit": _MOST_TASKS}
        answer = self.request("POST", "/dags/~/dagRuns/~/taskInstances/list", json=body)
        tasks = answer["task_instances"]
        if answer["total_entries"] > len(tasks):
            return set(run_ids)
        return {str(task["dag_run_id"]) for task in tasks if task["try_number"] or task["state"] is not None}

    def delete_runs(self, dag_id: str, run_ids: list[str]) -> list[str]:
        """Delete runs, except those that are running; one that is gone is no mistake.

        :return: Airflow's words about those that it did not delete.
        """
        entities = {"action": "delete", "entities": run_ids, "action_on_non_existence": "skip"}
        # Not one by one: MWAA takes paths of 64 characters at most, and those would be longer.
        answer = self.request("PATCH", f"/dags/{quote(dag_id)}/dagRuns", json={"actions": [entities]})
        return [str(error["error"]) for error in answer["delete"]["errors"]]

    def backfills(self, dag_id: str) -> list[Backfill]:
        """Return all backfills of a DAG, oldest first."""
        found = self.pages("/backfills", "backfills", {"dag_id": dag_id, "order_by": "id"})
        return [Backfill.of_answer(value) for value in found]

    def backfill(self, number: int) -> Backfill | None:
        """Return one backfill, or None when there is none of that number."""
        answer = self.request("GET", f"/backfills/{number}", missing_is_none=True)
        return None if answer is None else Backfill.of_answer(answer)

    def dates_of_backfill(
        self, dag_id: str, first: datetime, last: datetime, reprocess: str
    ) -> list[datetime]:
        """Return the logical dates of the runs that a backfill would start now.

        :raises AirflowError: the DAG can't be backfilled, for example because it has no schedule.
        """
        body = _backfill_body(dag_id, first, last, reprocess)
        found = self.request("POST", "/backfills/dry_run", json=body)["backfills"]
        return [clock.parse(each["logical_date"]) for each in found]

    def ended_runs(self, dag_id: str, first: datetime, last: datetime) -> list[EndedRun]:
        """Return the runs between two logical dates that have ended, by their dates."""
        between = {"logical_date_gte": first.isoformat(), "logical_date_lte": last.isoformat()}
        wanted = {**between, "state": ["success", "failed"], "order_by": "logical_date"}
        return [
            EndedRun(str(run["dag_run_id"]), str(run["state"]), clock.parse(run["logical_date"]))
            for run in self.pages(f"/dags/{quote(dag_id)}/dagRuns", "dag_runs", wanted)
        ]

    def create_backfill(
        self,
        dag_id: str,
        first: datetime,
        last: datetime,
        reprocess: str,
        max_active_runs: int,
        *,
        conf: Mapping[str, Any] | None = None,
    ) -> Backfill:
        """Start a backfill.

        :param conf: values of the DAG's params for each of its runs.
        :raises AirflowError: with Airflow's own words; its ``status`` is 409 when the DAG has one under way, and 503
            when the database was locked.
        """
        body = {**_backfill_body(dag_id, first, last, reprocess), "max_active_runs": max_active_runs}
        if conf:
            body["dag_run_conf"] = dict(conf)
        return Backfill.of_answer(self.request("POST", "/backfills", json=body))

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        missing_is_none: bool = False,
    ) -> Any:
        """Make one request.

        :param path: below ``/api/v2``.
        :param params: of the query, :param json: the body.
        :param missing_is_none: return None where Airflow answers 404.
        :returns: what the answer's JSON says; None of an answer without a body.
        :raises AirflowError: Airflow does not answer, or refuses.
        """
        answer: Answer = self._channel.send(method, path, params, json)
        if answer.status == 404 and missing_is_none:
            return None
        if answer.is_error:
            raise AirflowError(
                f"{self.place} answered {answer.status} to {method} {path}: {answer.detail}",
                status=answer.status,
            )
        if answer.text or answer.status // 100 != 2:
            said = f"{self.place} answered {method} {path} with something else than JSON; is it Airflow 3?"
            raise AirflowError(said)
        return answer.value

    def pages(self, path: str, key: str, wanted: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Yield the items of a list that is asked for by GET, page by page.

        :param path: below ``/api/v2``.
        :param key: the member of the answer that holds the items.
        :param wanted: further parameters of the request, for example a filter.
        """
        offset = 0
        while True:
            page = self.request("GET", path, params={**(wanted or {}), "limit": _PAGE, "offset": offset})
            yield from page[key]
            offset += len(page[key])
            if not page[key] or offset >= page["total_entries"]:
                return


def _backfill_body(dag_id: str, first: datetime, last: datetime, reprocess: str) -> dict[str, Any]:
    dates = {"from_date": first.isoformat(), "to_date": last.isoformat()}
    return {"dag_id": dag_id, **dates, "reprocess_behavior": reprocess}
