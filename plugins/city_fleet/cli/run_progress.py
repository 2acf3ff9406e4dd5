"""Shows how the cities' runs get on: a live table on a terminal, one line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from city_fleet.plan import APPROVE

if TYPE_CHECKING:
    from city_fleet.airflow_rest.airflow_client import AirflowRest

WIDEST_TABLE = 24
POLL_SECONDS = 1.0
#: Of a run whose next step is a person's: nobody watches that.
AWAITS_APPROVAL = "awaits approval"
ENDED = ("success", "failed", AWAITS_APPROVAL)
_AT_WORK = ("running", "deferred", "restarting", "queued", "up_for_retry", "up_for_reschedule", "scheduled")


@dataclass
class CityProgress:
    """One city's run as it stands.

    :param task: the task at work, or the one reached last
    :param state: Airflow's word for it; the run's own when it has ended
    """

    name: str
    task: str = ""
    state: str = "queued"
    done: int = 0
    total: int = 0
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since its run was started, up to its end."""
        return (self.ended or time.monotonic()) - self.started

    def update(self, task: str, state: str, done: int, total: int) -> bool:
        """Take over what Airflow says.

        :return: whether anything changed
        """
        changed = (task, state) != (self.task, self.state)
        self.task, self.state, self.done, self.total = task, state, done, total
        if state in ENDED and self.ended is None:
            self.ended = time.monotonic()
        return changed


class Progress:
    """The display; a context manager.

    :param console: where it goes; a terminal gets the live table
    """

    def __init__(self, console: Console, names: list[str]) -> None:
        self.console = console
        self.cities = {name: CityProgress(name) for name in names}
        self._started = time.monotonic()
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, name: str, task: str, state: str, done: int, total: int) -> None:
        """Note how a city gets on."""
        city = self.cities[name]
        if city.update(task, state, done, total) and not self._live:
            at = time.monotonic() - self._started
            self.console.print(f"  {at:5.0f} s  {name:<24} {task:<14} {state}", markup=False)

    def refresh(self) -> None:
        """Draw the table anew."""
        if self._live:
            self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Return the display: those at work first, and no more than fit a screen."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("city", "task", "state", "done", "elapsed"):
            table.add_column(title, justify="right" if title in ("done", "elapsed") else "left")
        ordered = sorted(self.cities.values(), key=lambda city: (city.ended is not None, -city.done))
        for city in ordered[:WIDEST_TABLE]:
            style = {"success": "green", "failed": "red", AWAITS_APPROVAL: "yellow"}.get(city.state, "")
            done = f"{city.done}/{city.total}" if city.total else ""
            table.add_row(
                city.name, city.task, city.state, done, f"{city.elapsed_seconds:.0f} s", style=style
            )
        ended = sum(city.ended is not None for city in ordered)
        if len(ordered) > WIDEST_TABLE:
            table.add_row(
                f"… {len(ordered) - WIDEST_TABLE} more", "", f"{ended} of {len(ordered)} ended", "", ""
            )
        return table


@dataclass(frozen=True)
class WatchedRun:
    """A run that is watched.

    :param name: which the display shows.
    """

    name: str
    dag_id: str
    run_id: str


def watch(
    airflow: AirflowRest,
    progress: Progress,
    runs: Iterable[WatchedRun],
    *,
    may_go_on: Callable[[Iterable[str]], None],
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """Show runs until all have ended, or wait for a person.

    :param may_go_on: called before each look with the names of those that have not ended; raises where it is no use.
    :return: name → Airflow's state of its run, ``success`` or ``failed``; or :data:`AWAITS_APPROVAL`.
    """
    by_dag = {run.dag_id: run for run in runs}
    states = dict.fromkeys((run.name for run in by_dag.values()), "queued")
    while active := {run.dag_id: run.run_id for run in by_dag.values() if states[run.name] not in ENDED}:
        may_go_on([by_dag[dag_id].name for dag_id in active])
        tasks = airflow.tasks_of_runs(active)
        for item in airflow.runs(active):
            name = by_dag[item["dag_id"]].name
            mine = [task for task in tasks if task["dag_id"] == item["dag_id"]]
            task, state = at_work(mine)
            states[name] = str(item["state"])
            if (task, state) == (APPROVE, "deferred"):
                states[name] = AWAITS_APPROVAL
            done = sum(one["state"] in ("success", "skipped") for one in mine)
            progress.update(name, task, states[name] if states[name] in ENDED else state, done, len(mine))
        progress.refresh()
        if any(state not in ENDED for state in states.values()):
            sleep(POLL_SECONDS)
    return states


def at_work(tasks: Iterable[Mapping[str, object]]) -> tuple[str, str]:
    """Return the task that a run is at, or the one that ended last, and its state."""
    tasks = list(tasks)
    for state in _AT_WORK:
        for task in tasks:
            if task["state"] == state:
                return str(task["task_id"]), state
    ended = [task for task in tasks if task["state"] not in (None, "skipped") and task["end_date"]]
    last = max(ended, key=lambda task: str(task["end_date"]), default=None)
    return (str(last["task_id"]), str(last["state"])) if last else ("", "queued")
