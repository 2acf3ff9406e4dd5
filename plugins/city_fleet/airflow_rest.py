"""A client of Airflow 3's REST API, version 2. Needs httpx, and none of Airflow's own packages.

Where Airflow is and who asks comes from environment variables: ``CITY_FLEET_AIRFLOW_URL`` (else Airflow's own
``AIRFLOW__API__BASE_URL``), and ``CITY_FLEET_AIRFLOW_TOKEN``, or ``CITY_FLEET_AIRFLOW_USER`` and
``CITY_FLEET_AIRFLOW_PASSWORD``, for which Airflow gives a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from city_fleet import clock
from city_fleet.errors import AirflowError
from city_fleet.naming import ENVIRONMENT_TAG

URL = "CITY_FLEET_AIRFLOW_URL"
TOKEN = "CITY_FLEET_AIRFLOW_TOKEN"  # noqa: S105 - a variable's name
USER = "CITY_FLEET_AIRFLOW_USER"
PASSWORD = "CITY_FLEET_AIRFLOW_PASSWORD"  # noqa: S105
_AIRFLOWS_OWN_URL = "AIRFLOW__API__BASE_URL"
# Creating a backfill writes a row per run before it answers.
_TIMEOUT_SECONDS = 120.0
_PAGE = 100
_SHOWN_CHARACTERS = 500


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
    """Airflow's REST API under one login. Safe to use from many threads.

    :param url: where the api-server answers, with its base path if it has one.
    :param token: sent as it is.
    :param login: user and password, for which Airflow gives a token; used when no other token is given.
    :param use_proxies: False for an Airflow on this machine: a proxy that the environment names is passed by.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        login: tuple[str, str] | None = None,
        *,
        use_proxies: bool = True,
    ) -> None:
        self.url = url.rstrip("/")
        self._login = login
        self._http = httpx.Client(base_url=self.url, timeout=_TIMEOUT_SECONDS, trust_env=use_proxies)
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> AirflowRest:
        """Return the Airflow that the environment names.

        :raises AirflowError: it names no Airflow, or no token and no login.
        """
        url = environ.get(URL) or environ.get(_AIRFLOWS_OWN_URL)
        if not url:
            raise AirflowError(
                f"Where is Airflow? Set {URL} to the address of its UI, and {TOKEN}, or {USER} and {PASSWORD}; "
                "for a local stack `make up` sets them"
            )
        token, user, password = environ.get(TOKEN), environ.get(USER), environ.get(PASSWORD)
        if not token and not (user and password):
            raise AirflowError(f"Who asks Airflow at {url}? Set {TOKEN}, or {USER} and {PASSWORD}")
        return cls(url, token, None if token or not user or not password else (user, password))

    def close(self) -> None:
        self._http.close()

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
        tags = [str(tag["name"]) for tag in found.get("tags") or ()]
        said = [tag.removeprefix(ENVIRONMENT_TAG) for tag in tags if tag.startswith(ENVIRONMENT_TAG)]
        return Dag(bool(found["is_paused"]), bool(found["is_stale"]), said[0] if said else None)

    def refuse_other_environment(self, dag_id: str, environment: str) -> None:
        """Refuse an Airflow that runs another environment of a fleet.

        :param dag_id: of one of the fleet's DAGs.
        :raises AirflowError: it does, or does not answer.
        """
        dag = self.dag(dag_id)
        if dag is not None and dag.environment not in (None, environment):
            raise AirflowError(
                f"Airflow at {self.url} runs environment {dag.environment!r} of the fleet ({dag_id} says so), and the "
                f"fleet file here is of environment {environment!r}. Nothing was done. Use the fleet file of that "
                f"environment (CITY_FLEET_ENVIRONMENT), or name the Airflow of this one with {URL}"
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

    def backfills(self, dag_id: str) -> list[Backfill]:
        """Return all backfills of a DAG, oldest first."""
        found = self.pages("/backfills", "backfills", {"dag_id": dag_id, "order_by": "id"})
        return [Backfill.of_answer(value) for value in found]

    def backfill(self, number: int) -> Backfill | None:
        """Return one backfill, or None when there is none of that number."""
        answer = self.request("GET", f"/backfills/{number}", missing_is_none=True)
        return None if answer is None else Backfill.of_answer(answer)

    def runs_of_backfill(self, dag_id: str, first: datetime, last: datetime, reprocess: str) -> int:
        """Return how many runs a backfill would start now.

        :raises AirflowError: the DAG can't be backfilled, for example because it has no schedule.
        """
        body = _backfill_body(dag_id, first, last, reprocess)
        return int(self.request("POST", "/backfills/dry_run", json=body)["total_entries"])

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

    def request(self, method: str, path: str, *, missing_is_none: bool = False, **options: Any) -> Any:
        """Make one request, with a token that is fetched when there is none or the old one has run out.

        :param path: below ``/api/v2``.
        :param missing_is_none: return None where Airflow answers 404.
        :returns: what the answer's JSON says; None of an answer without a body.
        :raises AirflowError: Airflow does not answer, or refuses.
        """
        try:
            response = self._send(method, path, options)
            if response.status_code == 401 and self._login is not None:
                self._http.headers.pop("Authorization", None)
                response = self._send(method, path, options)
        except httpx.HTTPError as error:
            said = f"Airflow at {self.url} does not answer ({method} {path}): {error}. Is it running?"
            raise AirflowError(said) from None
        if response.status_code == 404 and missing_is_none:
            return None
        if response.is_error:
            raise AirflowError(
                f"Airflow at {self.url} answered {response.status_code} to {method} {path}: {_detail(response)}",
                status=response.status_code,
            )
        if response.status_code == 204:
            return None
        try:
            return response.json()
        except ValueError:
            said = f"{self.url} answered {method} {path} with something else than JSON; is it Airflow 3?"
            raise AirflowError(said) from None

    def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        if "Authorization" not in self._http.headers and self._login is not None:
            user, password = self._login
            answer = self._http.post("/auth/token", json={"username": user, "password": password})
            if answer.is_error:
                raise AirflowError(
                    f"Airflow at {self.url} refused the login of {user!r} ({answer.status_code}): {_detail(answer)}",
                    status=answer.status_code,
                )
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self._http.request(method, f"/api/v2{path}", **options)

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


def _detail(response: httpx.Response) -> str:
    """Return what Airflow says about an error."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text
    if isinstance(detail, dict) and "reason" in detail:
        detail = detail["reason"]
    return str(detail)[:_SHOWN_CHARACTERS]
