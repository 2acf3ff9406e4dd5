"""`make demo-scale`: a model per customer, thousands of them, on one endpoint; then everything stops.

Synthetic customers are made, ingested, trained in cohorts, judged one by one, registered and published; what came of
them is read from the index that `./fleet status` reads, and asked from the endpoint.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.night.measured import MEASURED
from city_fleet.night.night_model import NightModel, predict
from city_fleet.night.prices import list_prices
from city_fleet.night.workload import imagined, of_fleet
from city_fleet.plan import ENDPOINT_PURPOSE
from city_fleet.state.index_state import RunSummary
from city_fleet.views.fleet_facts import picture
from include.data import make_customers
from local import ROOT
from local.stack import environment, postgres, records
from local.stack.choice import ALL, Choice, choose
from local.stack.demo import clear_the_last_demo
from local.stack.engine import POSTGRES, Engine
from local.stack.errors import StackError, UsageError
from local.stack.layout import Layout, free_port
from local.stack.outcomes import DECIDED, LIVE
from local.stack.runs import start_run, wait_for_dags, wait_for_run
from local.stack.seed import run_fleet, seed
from local.stack.stack import Stack

FLEET_FILE = ROOT / "include" / "fleets" / "scale" / "customers.yaml"
MOST_CUSTOMERS = 99_999
ASKED = 3
POLL_SECONDS, SAYS_SECONDS = 5.0, 30.0
# A customer takes about a second of one core; the rest is for slow machines and for retries.
CUSTOMER_TIMEOUT_SECONDS, BASE_TIMEOUT_SECONDS = 4.0, 1800.0


def run(console: Console, state_dir: Path, customers: int) -> int:
    """Run the demo.

    :param customers: how many
    :return: 0 where every customer's run ended as its gate decided, and some are live; else 1
    :raises StackError: the stack failed
    """
    if not 1 <= customers <= MOST_CUSTOMERS:
        raise UsageError(f"N={customers}: allowed: 1 to {MOST_CUSTOMERS} customers.")
    began = time.monotonic()
    with records.exclusive(state_dir):
        clear_the_last_demo(state_dir)
        console.print(f"Making {customers:,} synthetic customers, two years of weeks each")
        path = make_fleet(state_dir / "fleet", customers)
        layout = Layout(
            state_dir=state_dir,
            ui_port=free_port(),
            sagemaker_port=free_port(),
            fleets_dir=path.parent,
            parse_interval_seconds=600,  # nothing is edited meanwhile
            engine=_engine(),
        )
        choice = choose(path, ALL, "", environment.fleet_variables(layout))
        console.print(f"Starting the local SageMaker and Airflow ({layout.engine})")
        stack = Stack(layout, say=lambda text: console.print(f"  {text}"))
        try:
            stack.start()
            runs = _retrain(console, stack, choice, path)
            good = _tell(console, stack, choice, runs)
        finally:
            console.print("Stopping everything")
            stack.stop()
    console.print(f"{time.monotonic() - began:.0f} s in all; everything is stopped. Logs: {layout.logs_dir}")
    return 0 if good else 1


def make_fleet(folder: Path, customers: int) -> Path:
    """Make a fleet file, its list of customers and their orders, in a folder; return the file."""
    make_customers.write(folder, customers)
    return Path(shutil.copy(FLEET_FILE, folder))


def _engine() -> Engine:
    """Return PostgreSQL where it is installed: it runs half as many tasks again in the same time."""
    try:
        postgres.require()
    except StackError:
        return Engine()
    return Engine(database=POSTGRES)


def _retrain(console: Console, stack: Stack, choice: Choice, path: Path) -> dict[str, str]:
    """Train all customers.

    :return: DAG id → Airflow's state of its run
    """
    fleet, began = choice.fleet, time.monotonic()

    def done(text: str) -> None:
        console.print(f"  {time.monotonic() - began:5.0f} s  {text}")

    console.print("Uploading the raw data, a file for each customer")
    seed(stack, [path])
    done("uploaded")
    run_id = f"demo__{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    dags = {fleet.dag_id_of(slug): choice.params(slug) for slug in choice.cities}
    endpoint_dag = naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)
    wait_for_dags(stack, {endpoint_dag, *dags})
    console.print(f"Creating the shared endpoint {choice.endpoint}")
    start_run(stack, endpoint_dag, run_id, {})
    wait_for_run(stack, endpoint_dag, run_id)
    done("in service")
    console.print(f"Retraining {len(choice.cities):,} customers, cohorts: {len(dags)}")
    for dag_id, params in dags.items():
        start_run(stack, dag_id, run_id, params)
    return _wait(stack, choice, dict.fromkeys(dags, run_id), done)


def _wait(
    stack: Stack, choice: Choice, active: dict[str, str], done: Callable[[str], None]
) -> dict[str, str]:
    """Say how many customers' runs have ended, until all cohorts' have.

    :raises StackError: a component died, or the runs did not end in time
    """
    deadline = time.monotonic() + BASE_TIMEOUT_SECONDS + CUSTOMER_TIMEOUT_SECONDS * len(choice.cities)
    ended: dict[str, str] = {}
    said = 0.0
    while active:
        stack.require_alive()
        if time.monotonic() > deadline:
            raise StackError(f"{', '.join(active)} did not end in time. The logs: {stack.layout.logs_dir}")
        for item in stack.airflow.runs(active):
            if item["state"] in ("success", "failed"):
                ended[item["dag_id"]] = item["state"]
        active = {dag_id: run_id for dag_id, run_id in active.items() if dag_id not in ended}
        if not active or time.monotonic() - said > SAYS_SECONDS:
            said = time.monotonic()
            done(f"{_recorded(stack, choice):,} customers' runs have ended; cohorts that have: {len(ended)}")
        if active:
            time.sleep(POLL_SECONDS)
    return ended


def _recorded(stack: Stack, choice: Choice) -> int:
    """Return how many run records there are."""
    pages = (
        stack.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=choice.fleet.bucket, Prefix=choice.keys.records_prefix())
    )
    return sum(page["KeyCount"] for page in pages)


def _tell(console: Console, stack: Stack, choice: Choice, states: dict[str, str]) -> bool:
    """Print what has come of the customers; tell whether all is as the gate decided, and some are live."""
    s3, sagemaker = stack.client("s3"), stack.client("sagemaker")
    found = picture(choice.fleet, s3, sagemaker)
    runs = {slug: entry.last_run for slug, entry in found.refreshed.index.cities.items() if entry.last_run}
    counts = Counter(run.outcome for run in runs.values())
    counts["without a record"] = len(choice.cities) - len(runs)
    console.print()
    for outcome, count in counts.most_common():
        if count:
            console.print(f"  {count:6,} {outcome.replace('_', ' ')}", markup=False)
    live = sorted(slug for slug, run in runs.items() if run.outcome == LIVE)
    console.print(f"\nNext week, as the endpoint {choice.endpoint} answers:")
    for slug in live[:: max(1, len(live) // ASKED)][:ASKED]:
        said = run_fleet(stack, "predict", slug, "--fleet", str(choice.fleet.path), "--json")
        first = json.loads(said)["forecasts"][0]
        low, high = first["intervals"]["80"]
        name = choice.city(slug).shown_name
        console.print(f"  {name}: US$ {first['prediction']:,.0f}, 80 % between {low:,.0f} and {high:,.0f}")
    console.print()
    console.print(costs(choice.fleet, runs.values(), _jobs(sagemaker)))
    wrong = {outcome: count for outcome, count in counts.items() if outcome not in DECIDED and count}
    for dag_id, state in states.items():
        if state == "failed":
            console.print(f"{dag_id} failed", style="red")
    return bool(live) and not wrong


def _jobs(sagemaker: Any) -> int:
    return sum(
        len(page["TrainingJobSummaries"]) for page in sagemaker.get_paginator("list_training_jobs").paginate()
    )


def costs(fleet: Fleet, runs: Iterable[RunSummary], jobs: int) -> Table:
    """Return what the night has cost here, and what it would on AWS, beside three jobs for each customer.

    :param runs: the customers' last runs, whose shares of their cohort's job make its billable seconds.
    :param jobs: how many there were.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("a night", "cohorts here", "cohorts on AWS", "3 jobs each on AWS"):
        table.add_column(title, justify="left" if title == "a night" else "right", no_wrap=True)
    seconds = sum(seconds for run in runs for _, seconds in run.seconds)
    prices, count = list_prices(), len(fleet.cities)
    together = predict(of_fleet(fleet, MEASURED, cohorts=fleet.members), MEASURED, prices)
    apart = predict(imagined(fleet, count, MEASURED, cohort=None), MEASURED, prices)
    table.add_row("jobs", f"{jobs:,}", f"{together.jobs:,}", f"{apart.jobs:,}")
    table.add_row("hours of instances billed", f"{seconds / 3600:,.2f}", *map(_hours, (together, apart)))
    table.add_row("US$, list price", "–", *map(_dollars, (together, apart)))
    return table


def _hours(night: NightModel) -> str:
    return f"{sum(night.billable_seconds.values()) / 3600:,.2f}"


def _dollars(night: NightModel) -> str:
    return f"{night.dollars:,.2f}"
