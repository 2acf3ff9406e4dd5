"""Airflow's own pages over a database of thousands of DAGs: ``make bench-database``. JSON on stdout.

The DAG of one real city and its run are written by Airflow itself, then copied row by row under other names: as many
DAGs, each with as many nights behind it. What is asked are the REST API and what the UI's pages ask, of an API server
and nothing else; and how long ``./fleet`` takes to unpause all of them. With SQLite or PostgreSQL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from city_fleet import naming
from local.stack import health
from local.stack.engine import LOCAL, POSTGRES, SQLITE, Engine
from local.stack.layout import Layout, free_port
from local.stack.stack import Stack

REPOSITORY = Path(__file__).resolve().parents[1]
FLEET, CITY = "texas_housing", "austin"
DAG_ID = f"{FLEET}.{CITY}"
#: Rows of a DAG that are the same for all but its name; and rows of a run.
OF_A_DAG = ("dag", "dag_version", "dag_code", "serialized_dag", "dag_tag")
OF_A_RUN = ("dag_run", "task_instance")
ASKED = 7
BATCH = 500

PAGES = {
    "REST: 50 DAGs": ("GET", "/api/v2/dags", {"limit": 50}),
    "REST: 50 DAGs of a tag": ("GET", "/api/v2/dags", {"limit": 50, "tags": naming.fleet_tag(FLEET)}),
    "REST: one DAG": ("GET", f"/api/v2/dags/{DAG_ID}", {}),
    "REST: 100 runs of all DAGs": ("GET", "/api/v2/dags/~/dagRuns", {"limit": 100, "order_by": "-id"}),
    "UI: list of DAGs, with runs": ("GET", "/ui/dags", {"limit": 50, "dag_runs_limit": 14}),
    "UI: list, last page": ("GET", "/ui/dags", {"limit": 50, "offset": "last"}),
    "UI: list, searched": ("GET", "/ui/dags", {"limit": 50, "dag_id_pattern": "%austin%"}),
    "UI: list, failed": ("GET", "/ui/dags", {"limit": 50, "last_dag_run_state": "failed"}),
    "UI: home, states of DAGs": ("GET", "/ui/dashboard/dag_stats", {}),
    "UI: home, a day's runs": ("GET", "/ui/dashboard/historical_metrics_data", {"start_date": "yesterday"}),
    "UI: one DAG's grid": ("GET", f"/ui/grid/runs/{DAG_ID}", {"limit": 30}),
    "UI: one DAG's tasks": ("GET", f"/ui/grid/structure/{DAG_ID}", {}),
}


def main() -> int:
    """Measure, print JSON."""
    parser = argparse.ArgumentParser(prog="python bench/database.py", description=__doc__)
    parser.add_argument("--dags", default="100,1000,10000", help="(default: %(default)s)")
    parser.add_argument("--nights", type=int, default=3, help="of each DAG (default: %(default)s)")
    parser.add_argument("--database", default=POSTGRES, choices=(POSTGRES, SQLITE))
    parser.add_argument("--unpause", action="store_true", help="and unpause all of them by ./fleet")
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.fill is not None:
        _fill(chosen.fill, chosen.nights)
        return 0
    found = {}
    for dags in map(int, chosen.dags.split(",")):
        print(f"{dags} DAGs …", file=sys.stderr, flush=True)
        found[str(dags)] = one = measure(dags, chosen.nights, chosen.database, unpause=chosen.unpause)
        print(json.dumps(one), file=sys.stderr, flush=True)
    json.dump({"database": chosen.database, "nights": chosen.nights, "dags": found}, sys.stdout, indent=2)
    print()
    return 0


class OnlyTheServer(Stack):
    """A stack without scheduler, triggerer and dag-processor: nothing but what is asked runs."""

    @property
    def components(self) -> tuple[str, ...]:
        return ("api-server",)

    def unhealthy(self) -> list[str]:
        idle = {name.replace("_", "-") for name in health.HEARTBEATS} | {"execution-api"}
        return [name for name in super().unhealthy() if name not in idle]


def measure(dags: int, nights: int, kind: str, *, unpause: bool) -> dict[str, Any]:
    """Fill a database, and ask."""
    with tempfile.TemporaryDirectory(prefix="city-fleet-database-") as folder:
        fleets = Path(folder) / "fleets"
        fleets.mkdir()
        _write_fleet(fleets, 1)
        layout = Layout(
            state_dir=Path(folder) / "state",
            ui_port=free_port(),
            sagemaker_port=free_port(),
            fleets_dir=fleets,
            engine=Engine(kind, LOCAL),
        )
        with OnlyTheServer(layout) as stack:
            began = time.monotonic()
            command = [sys.executable, __file__, "--fill", str(dags), "--nights", str(nights)]
            environment = stack.environment | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"}
            subprocess.run(command, env=environment, cwd=REPOSITORY, check=True, stdout=sys.stderr)
            filled = time.monotonic() - began
            found: dict[str, Any] = {"filled_in_seconds": round(filled, 1), "pages": {}}
            with _client(layout) as client:
                for name, (method, path, params) in PAGES.items():
                    found["pages"][name] = _ask(client, method, path, _params(params, dags))
            found["memory_mib"] = round(stack.memory_mib())
            if unpause:
                _write_fleet(fleets, dags)
                began = time.monotonic()
                fleet = [sys.executable, "-m", "city_fleet.cli.app", "unpause", "--all", "--fleet", FLEET]
                subprocess.run(fleet, env=environment, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
                found["unpaused_in_seconds"] = round(time.monotonic() - began, 1)
            return found


def _write_fleet(folder: Path, cities: int) -> None:
    text = (REPOSITORY / "include" / "fleets" / f"{FLEET}.yaml").read_text(encoding="utf-8")
    head, _, _ = text.partition("\ncities:\n")
    lines = [f"  {_slug(number)}: {{name: {_slug(number)}}}" for number in range(cities)]
    (folder / f"{FLEET}.yaml").write_text("\n".join([head, "cities:", *lines, ""]), encoding="utf-8")


def _slug(number: int) -> str:
    return CITY if number == 0 else f"city_{number:05}"


def _client(layout: Layout) -> httpx.Client:
    ((user, password),) = json.loads(layout.passwords_file.read_text(encoding="utf-8")).items()
    with httpx.Client(base_url=layout.ui_url, trust_env=False, timeout=60) as client:
        answer = client.post("/auth/token", json={"username": user, "password": password})
        token = answer.raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=layout.ui_url, trust_env=False, timeout=300, headers=headers)


def _params(params: dict[str, Any], dags: int) -> dict[str, Any]:
    values = {"yesterday": (datetime.now(UTC) - timedelta(days=1)).isoformat(), "last": max(0, dags - 50)}
    return {name: values.get(value, value) for name, value in params.items()}


def _ask(client: httpx.Client, method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
    """Ask some times; the first one, which fills caches, does not count."""
    seconds = []
    for _ in range(ASKED):
        began = time.perf_counter()
        answer = client.request(method, path, params=params)
        seconds.append(time.perf_counter() - began)
        if answer.is_error:
            return {"status": answer.status_code, "said": answer.text[:300]}
    return {
        "median_ms": round(1000 * statistics.median(seconds[1:])),
        "worst_ms": round(1000 * max(seconds[1:])),
        "first_ms": round(1000 * seconds[0]),
        "kilobytes": round(len(answer.content) / 1024),
    }


# In the process that fills: Airflow is imported there.


def _fill(dags: int, nights: int) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import MetaData  # noqa: PLC0415

    DagBundlesManager().sync_bundles_to_db()
    for bundle in DagBundlesManager().get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, bundle.version)
    _write_nights(nights)
    with create_session() as session:
        tables = MetaData()
        tables.reflect(session.get_bind(), only=[*OF_A_DAG, *OF_A_RUN])
        pattern = {
            name: [dict(row) for row in session.execute(_own(tables.tables[name])).mappings()]
            for name in (*OF_A_DAG, *OF_A_RUN)
            if name != "dag_code"
        }
        versions = {row["id"] for row in pattern["dag_version"]}
        code = tables.tables["dag_code"]
        of_code = code.select().where(code.c.dag_version_id.in_(versions))
        pattern["dag_code"] = [dict(row) for row in session.execute(of_code).mappings()]
        next_run = max((row["id"] for row in pattern["dag_run"]), default=0) + 1
        for first in range(1, dags, BATCH):
            rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*OF_A_DAG, *OF_A_RUN)}
            for number in range(first, min(first + BATCH, dags)):
                for name, row in _copied(pattern, number, next_run):
                    rows[name].append(row)
                next_run += len(pattern["dag_run"])
            for name, several in rows.items():
                if several:
                    session.execute(tables.tables[name].insert(), several)
            session.commit()
        print({name: len(rows) * dags for name, rows in pattern.items()}, flush=True)
    sys.stdout.flush()
    os._exit(0)


def _own(table: Any) -> Any:
    return table.select().where(table.c.dag_id == DAG_ID)


def _write_nights(nights: int) -> None:
    """Write runs of the city, the newest of which has failed."""
    from airflow.models.serialized_dag import SerializedDagModel  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from airflow.utils.state import DagRunState, TaskInstanceState  # noqa: PLC0415
    from airflow.utils.types import DagRunTriggeredByType, DagRunType  # noqa: PLC0415

    now = datetime.now(UTC).replace(microsecond=0)
    with create_session() as session:
        dag = SerializedDagModel.get_dag(DAG_ID, session=session)
        assert dag is not None
        for ago in reversed(range(nights)):
            moment = now - timedelta(days=ago, hours=1)
            run = dag.create_dagrun(
                run_id=f"scheduled__{moment:%Y-%m-%d}",
                logical_date=moment,
                data_interval=(moment, moment),
                run_after=moment,
                run_type=DagRunType.SCHEDULED,
                triggered_by=DagRunTriggeredByType.TIMETABLE,
                state=DagRunState.SUCCESS if ago else DagRunState.FAILED,
                start_date=moment,
                session=session,
            )
            run.start_date = run.end_date = moment
            for instance in run.get_task_instances(session=session):
                instance.state = TaskInstanceState.SUCCESS
                instance.start_date = instance.end_date = moment


def _copied(
    pattern: dict[str, list[dict[str, Any]]], number: int, first_run: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of one more DAG; a column that names another row names that row's copy."""
    dag_id = f"{FLEET}.{_slug(number)}"
    ids: dict[Any, Any] = {}
    for name in (*OF_A_DAG, *OF_A_RUN):
        for place, row in enumerate(pattern[name]):
            copy = {column: _renamed(value, number) for column, value in row.items()}
            if "dag_id" in copy:
                copy["dag_id"] = dag_id
            if name == "dag_run":
                copy["id"] = first_run + place
            elif "id" in copy:
                copy["id"] = ids[row["id"]] = _fresh(row["id"])
            for column in ("dag_version_id", "created_dag_version_id"):
                if copy.get(column) is not None:
                    copy[column] = ids[row[column]]
            if "dag_hash" in copy:
                copy["dag_hash"] = hashlib.md5(dag_id.encode(), usedforsecurity=False).hexdigest()
            yield name, copy


def _renamed(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace(CITY, _slug(number))
    if isinstance(value, dict):
        return json.loads(json.dumps(value, default=str).replace(CITY, _slug(number)))
    return value


def _fresh(old: Any) -> Any:
    """Return a new id of the old one's type: SQLite has text where PostgreSQL has UUIDs."""
    new = uuid.uuid4()
    if isinstance(old, uuid.UUID):
        return new
    return new.hex if "-" not in str(old) else str(new)


if __name__ == "__main__":
    sys.exit(main())
