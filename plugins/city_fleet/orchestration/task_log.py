"""What tasks and triggers log: others' text, in one line and without what changes how a terminal shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from city_fleet.outgoing_text import one_line, printable

_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})


class PrintableLog:
    """Mixed in before Airflow's class, whose ``log`` it stands for."""

    @property
    def log(self) -> Any:
        behind: Any = super()
        return _Printable(behind.log)


class _Printable:
    """A logger whose arguments are made printable; all else is the logger's own."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        found: Callable[..., Any] = getattr(self._log, name)
        if name not in _LEVELS:
            return found

        def told(message: object, *arguments: object, **more: Any) -> Any:
            return found(printable(str(message)), *map(_shown, arguments), **more)

        return told


def _shown(argument: object) -> object:
    return argument if argument is None or isinstance(argument, int | float) else one_line(str(argument))
