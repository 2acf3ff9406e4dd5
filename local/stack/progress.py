"""Shows how the cities' runs get on: a live table on a terminal, one line per change elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

WIDEST_TABLE = 24
_ENDED = ("success", "failed")


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
        if state in _ENDED and self.ended is None:
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
            style = {"success": "green", "failed": "red"}.get(city.state, "")
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
