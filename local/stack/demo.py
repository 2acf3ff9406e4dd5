"""`make demo`: raw data → jobs → gate → endpoint → predictions, for a few cities; then everything stops.

The DAGs are run through Airflow's REST API; what came of them is read from S3 and asked from the endpoint: the
same public surfaces that an application or a person has.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from city_fleet import naming
from city_fleet.cli.run_progress import Progress, WatchedRun, watch
from city_fleet.plan import ENDPOINT_PURPOSE
from local import ROOT
from local.stack import environment, records, report
from local.stack.choice import DEFAULT_FLEET, Choice, choose, find_fleet
from local.stack.errors import StackError
from local.stack.layout import Layout, free_port
from local.stack.outcomes import LIVE, Outcome, Reader
from local.stack.runs import start_run, wait_for_dags, wait_for_run
from local.stack.seed import seed
from local.stack.stack import Stack

# A city takes about a minute of one core; the rest is for slow machines and for retries.
CITY_TIMEOUT_SECONDS = 300.0
BASE_TIMEOUT_SECONDS = 900.0


def run(console: Console, state_dir: Path, cities: str, fleet: str, as_of: str) -> int:
    """Run the demo.

    :param cities: slugs or names separated by commas, "all", or empty for the default five
    :param fleet: name or path of a fleet file, or empty
    :param as_of: the moment up to which data may be seen, or empty for the end of each city's data
    :return: 0 where every city ended as its gate decided (and the default five are live), else 1
    :raises StackError: the stack failed
    """
    started = time.monotonic()
    path = find_fleet(fleet, ROOT / "include" / "fleets")
    layout = Layout(
        state_dir=state_dir,
        ui_port=free_port(),
        sagemaker_port=free_port(),
        fleets_dir=path.parent,
        # Fleet files do not change during a demo, and parsing takes a core from the jobs.
        parse_interval_seconds=600,
    )
    choice = choose(path, cities, as_of, environment.fleet_variables(layout) | _fleet_settings())
    with records.exclusive(state_dir):
        clear_the_last_demo(state_dir)
        names = ", ".join(choice.cities) if len(choice.cities) <= 10 else f"{len(choice.cities)} cities"
        console.print(f"{choice.fleet.fleet}: {names}")
        console.print("Starting the local SageMaker and Airflow")
        stack = Stack(layout, say=lambda text: console.print(f"  {text}"))
        try:
            stack.start()
            memory = stack.memory_mib()
            console.print(f"  healthy after {time.monotonic() - started:.0f} s, {memory:,.0f} MiB")
            outcomes = _retrain(console, stack, choice, path)
            memory = max(memory, stack.memory_mib())
        finally:
            console.print("Stopping everything")
            stack.stop()
    console.print()
    report.show(console, outcomes)
    return _verdict(console, choice, outcomes, layout, time.monotonic() - started)


def clear_the_last_demo(state_dir: Path) -> None:
    """Delete what an earlier demo has left; what is no demo's stays.

    :raises StackError: the folder holds something else
    """
    mark = state_dir / "demo"
    used = state_dir.is_dir() and any(state_dir.iterdir())
    if used and not mark.exists() and state_dir != ROOT / ".local" / "demo":
        raise StackError(
            f"{state_dir} holds what is no demo's, such as the stack of `make up`, and a demo begins with an empty"
            " folder. Name another one with --state-dir."
        )
    shutil.rmtree(state_dir, ignore_errors=True)
    state_dir.mkdir(parents=True)
    mark.touch()


def _fleet_settings() -> dict[str, str]:
    """The person's own variables, which the fleet file may name."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CITY_FLEET_"))}


def _retrain(console: Console, stack: Stack, choice: Choice, path: Path) -> list[Outcome]:
    console.print("Uploading the raw data")
    seed(stack, [path])
    run_id = f"demo__{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    endpoint_dag = naming.fleet_dag_id(choice.fleet.fleet, ENDPOINT_PURPOSE)
    wait_for_dags(stack, {endpoint_dag, *(choice.dag_id(city) for city in choice.cities)})
    console.print(f"Creating the shared endpoint {choice.endpoint}")
    start_run(stack, endpoint_dag, run_id, {})
    wait_for_run(stack, endpoint_dag, run_id)
    console.print(f"Retraining {len(choice.cities)} cities")
    for city in choice.cities:
        start_run(stack, choice.dag_id(city), run_id, choice.params(city))
    states = _watch(console, stack, choice, run_id)
    reader = Reader(stack, choice)
    return [reader.outcome(city, run_id, states[city]) for city in choice.cities]


def _watch(console: Console, stack: Stack, choice: Choice, run_id: str) -> dict[str, str]:
    """Show the runs until all have ended.

    :return: city → state of its run
    :raises StackError: a component died, or the runs did not end in time
    """
    deadline = time.monotonic() + BASE_TIMEOUT_SECONDS + CITY_TIMEOUT_SECONDS * len(choice.cities)

    def may_go_on(waiting: Iterable[str]) -> None:
        if time.monotonic() > deadline:
            late = ", ".join(waiting)
            raise StackError(f"These runs did not end in time: {late}. The logs: {stack.layout.logs_dir}")
        stack.require_alive()

    runs = [WatchedRun(city, choice.dag_id(city), run_id) for city in choice.cities]
    with Progress(console, list(choice.cities)) as progress:
        return watch(stack.airflow, progress, runs, may_go_on=may_go_on)


def _verdict(
    console: Console, choice: Choice, outcomes: list[Outcome], layout: Layout, seconds: float
) -> int:
    """Print whether all cities ended as they should.

    :return: exit code
    """
    for city, error in choice.broken.items():
        console.print(f"\n{city} could not run: {error}", markup=False)
    failed = [outcome.city for outcome in outcomes if not outcome.decided]
    not_live = [outcome.city for outcome in outcomes if outcome.how != LIVE]
    console.print(f"\n{seconds:.0f} s in all; everything is stopped. Logs: {layout.logs_dir}")
    if failed:
        console.print(f"Failed: {', '.join(failed)}", style="red")
    elif choice.must_be_live and not_live:
        console.print(
            f"The default cities should all be live; these are not: {', '.join(not_live)}", style="red"
        )
    elif not choice.broken:
        fleet = "" if choice.fleet.fleet == DEFAULT_FLEET else f" FLEET={choice.fleet.fleet}"
        console.print(
            f"Next: `make up{fleet}` starts the same and leaves it running, with Airflow's UI; then "
            f"`./fleet predict {choice.cities[0]}` asks as an application does."
        )
        return 0
    return 1
