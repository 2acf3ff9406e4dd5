"""What each role of a real Airflow may read and do with the DAGs of City Fleet; docs/security.md has the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.e2e.conftest import AS_OF, ROLE_CITY, Fleet
from tests.e2e.test_approval import wait_for_question
from tests.support.airflow_roles import PEOPLE, Person, paths_to_read, secrets_of

pytestmark = pytest.mark.e2e
ASKED = f"texas_housing.{ROLE_CITY}"
ENDED, BROKEN = "texas_housing.abilene", "texas_housing.tyler"
#: Asleep: what is triggered in it waits.
PAUSED = "texas_housing.brownsville"
#: Airflow says these to everybody; none is about a DAG.
OPEN = {"/api/v2/version", "/api/v2/monitor/health"}
#: These end a login, or answer only when a run has ended.
LEFT_OUT = re.compile(r"/auth/(login|logout)|/wait$")


@pytest.fixture(scope="module")
def asked(fleet: Fleet) -> Fleet:
    """The stack with a run that waits for a person, one that is over and one that failed."""
    fleet.runs[ASKED] = fleet.start(ASKED, as_of=AS_OF)
    api = fleet.stack.airflow
    api.request(
        "POST",
        "/connections",
        json={"connection_id": "door_of_the_database", "conn_type": "http", "password": MARK},
    )
    api.request("POST", "/variables", json={"key": "plain", "value": MARK})
    wait_for_question(fleet, ASKED)
    assert fleet.ended(ENDED) == "success"
    assert fleet.ended(BROKEN) == "failed"
    return fleet


MARK = "marker-in-the-database-3d1f"


@pytest.fixture(scope="module")
def people(asked: Fleet) -> dict[str, Person]:
    layout = asked.stack.layout
    return {
        "anonymous": Person(layout, None),
        **{role: Person(layout, name) for name, role in PEOPLE.items()},
    }


def filled(fleet: Fleet, path: str, known_tasks: dict[str, list[str]]) -> Iterator[str]:
    """Yield a path with every value that its parts may have here.

    :param known_tasks: DAG id → its tasks.
    """
    names = re.findall(r"{(\w+)}", path)
    fixed: dict[str, Any] = {
        "map_index": -1,
        "try_number": 1,
        "task_try_number": 1,
        "version_number": 1,
        "section": "api_auth",
        "option": "jwt_secret",
        "connection_id": "door_of_the_database",
        "variable_key": "plain",
        "pool_name": "default_pool",
        "xcom_key": "return_value",
        "key": "run",
    }
    for dag_id in (ASKED, ENDED, BROKEN) if "dag_id" in names else (ENDED,):
        run = fleet.runs[dag_id]
        # Of the run that waits, only the task that asks says what those of a run that is over do not say.
        tasks = [""] if "task_id" not in names else ["approve"] if dag_id == ASKED else known_tasks[dag_id]
        for task in tasks:
            known = {"dag_id": dag_id, "dag_run_id": run, "run_id": run, "task_id": task, **fixed}
            yield path.format(**{name: quote(str(known.get(name, 1)), safe="") for name in names})


def read_all(fleet: Fleet, person: Person, most: int | None = None) -> Iterator[tuple[str, httpx.Response]]:
    """Yield what a person is answered to every question of Airflow's APIs about our runs.

    :param most: so many URLs of each path at most.
    """
    known_tasks = {dag_id: sorted(fleet.states(dag_id)) for dag_id in (ENDED, BROKEN)}
    times = {"start_date": "2015-01-01T00:00:00Z", "end_date": "2040-01-01T00:00:00Z"}
    for path in paths_to_read():
        if LEFT_OUT.search(path):
            continue
        for url in islice(dict.fromkeys(filled(fleet, path, known_tasks)), most):
            query = {"limit": 100, "dag_id": ENDED, **times} if path.startswith("/ui/") else {"limit": 100}
            yield url, person.ask("GET", url, params=query)


def test_nobody_reads_anything_without_a_login(asked: Fleet, people: dict[str, Person]) -> None:
    # Who asks is looked at before what is asked for: one URL of each path will do.
    answered = {
        url: answer.status_code
        for url, answer in read_all(asked, people["anonymous"], most=1)
        if answer.status_code not in (401, 403) and url not in OPEN
    }
    assert answered == {}


@pytest.mark.parametrize("role", ["viewer", "op"])
def test_whatever_a_role_may_read_holds_no_secret(asked: Fleet, people: dict[str, Person], role: str) -> None:
    """DAGs, params, rendered fields, XComs, logs, the question, import errors, plugins: all that Airflow has."""
    hidden = dict(secrets_of(asked.stack.layout)) | {"in the database": MARK}
    seen, good, leaks, failed = "", set(), set(), set()
    for url, answer in read_all(asked, people[role]):
        # Airflow 3.3's own calendar fails for every run without a logical date, which one that is triggered has not.
        if answer.status_code >= 500 and "/ui/calendar/" not in url:
            failed.add(f"{url}: {answer.text[:200]}")
        if answer.status_code == 200:
            good.add(url)
            seen += answer.text
        if role == "op" and url.startswith("/api/v2/variables"):
            continue  # Airflow shows an operator the values of its variables
        leaks |= {f"{name} in {url}" for name, value in hidden.items() if value in answer.text}
    assert leaks == set()
    assert failed == set()
    # It has looked where something could be.
    for sign in (
        "May a new model of Laredo go live?",
        "tolerence",
        "rendered_fields",
        "s3://city-fleet/",
        "city_fleet",
    ):
        assert sign in seen, sign
    assert sum("/logs/" in url for url in good) > 7
    assert sum("/xcomEntries/" in url for url in good) > 5


Order = tuple[str, str, dict[str, Any]]


def orders(fleet: Fleet) -> dict[str, Order]:
    """What somebody could want of our DAGs; the question is left to a test of its own."""
    run = quote(fleet.runs[ENDED], safe="")
    clear = {"dry_run": True, "dag_run_id": fleet.runs[ENDED], "task_ids": ["publish"], "only_failed": False}
    backfill = {"dag_id": PAUSED, "from_date": "2014-01-01T00:00:00Z", "to_date": "2014-01-02T00:00:00Z"}
    return {
        "trigger": ("POST", f"/dags/{PAUSED}/dagRuns", {"logical_date": None, "conf": {"force": True}}),
        "pause": ("PATCH", f"/dags/{PAUSED}", {"is_paused": True}),
        "clear a task": ("POST", f"/dags/{ENDED}/clearTaskInstances", clear),
        "mark a task": (
            "PATCH",
            f"/dags/{ENDED}/dagRuns/{run}/taskInstances/publish/dry_run",
            {"new_state": "failed"},
        ),
        "write a note": ("PATCH", f"/dags/{ENDED}/dagRuns/{run}", {"note": "seen"}),
        "backfill": ("POST", "/backfills/dry_run", backfill),
        "read a connection": ("GET", "/connections/door_of_the_database", {}),
        "read a variable": ("GET", "/variables/plain", {}),
        "change the pool": (
            "PATCH",
            "/pools/city_fleet_laptop?update_mask=slots",
            {"name": "city_fleet_laptop"},
        ),
        "read the configuration": ("GET", "/config", {}),
    }


#: The lowest role that may; None for nobody, since Airflow's configuration is not shown by default.
LOWEST = {
    "trigger": "user",
    "pause": "user",
    "clear a task": "user",
    "mark a task": "user",
    "write a note": "user",
    "backfill": "user",
    "read a connection": "op",
    "read a variable": "op",
    "change the pool": "op",
    "read the configuration": None,
}


def test_each_role_may_do_what_the_table_says(
    asked: Fleet, people: dict[str, Person], subtests: pytest.Subtests
) -> None:
    roles = list(people)
    for what, (method, path, body) in orders(asked).items():
        lowest = LOWEST[what]
        for role in roles:
            body = body or None  # noqa: PLW2901
            answer = people[role].ask(method, f"/api/v2{path}", json=body)
            may = lowest is not None and roles.index(role) >= roles.index(lowest)
            with subtests.test(f"{role}: {what}"):
                if role == "anonymous":
                    assert answer.status_code == 401, answer.text
                elif may:
                    # Past the permission: what is left is whether the request itself is right.
                    assert answer.status_code not in (401, 403), answer.text
                else:
                    assert answer.status_code == 403, answer.text
    for run in asked.stack.airflow.pages(f"/dags/{PAUSED}/dagRuns", "dag_runs"):
        assert run["triggering_user_name"] in PEOPLE, "Airflow keeps who has started a run"
        asked.stack.airflow.request("DELETE", f"/dags/{PAUSED}/dagRuns/{quote(run['dag_run_id'], safe='')}")


def test_only_a_user_may_answer_the_question_and_is_named(asked: Fleet, people: dict[str, Person]) -> None:
    run = quote(asked.runs[ASKED], safe="")
    path = f"/api/v2/dags/{ASKED}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    yes = {"chosen_options": ["Approve"], "params_input": {"note": "as agreed"}}
    refused = {
        role: people[role].ask("PATCH", path, json=yes).status_code for role in ("anonymous", "viewer")
    }
    assert refused == {"anonymous": 401, "viewer": 403}
    assert asked.states(ASKED)["approve"] == "deferred"
    assert asked.pointer("texas_housing", ROLE_CITY) is None
    assert people["user"].ask("PATCH", path, json=yes).status_code == 200
    assert asked.ended(ASKED) == "success"
    pointer = asked.pointer("texas_housing", ROLE_CITY)
    assert pointer is not None
    record = asked.record(ASKED)
    assert record["reasons"][0] == "approved by ulla: as agreed"
    asked.stack.airflow.request("DELETE", "/connections/door_of_the_database")
    asked.stack.airflow.request("DELETE", "/variables/plain")
