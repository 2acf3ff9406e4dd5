"""How commands print: text or JSON, and errors as one paragraph without a traceback. Nothing else prints."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TextIO

import typer

from city_fleet.errors import AmbiguousCity, CityFleetError, FleetFileError, UnknownName, screenful
from city_fleet.outgoing_text import one_line, printable

_LEAST_ROOM, _INDENT = 48, 4
_COLOURS = {
    **dict.fromkeys(("BROKEN", "REMOVED_BUT_SERVING", "FAILED", "failed", "error:"), "red"),
    **dict.fromkeys(("NOT_DEPLOYED", "STALE", "OUT_OF_DATE", "held", "superseded", "warning:"), "yellow"),
    **dict.fromkeys(("UP_TO_DATE", "live"), "green"),
}
_STATE = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _COLOURS))})(?![\w-])")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@contextmanager
def errors(as_json: bool) -> Iterator[None]:
    """Print an error, as JSON on standard output or as text on standard error, and exit with 1.

    A city or fleet that does not exist, or that several have, is wrong usage: 2.
    """
    try:
        yield
    except CityFleetError as error:
        if as_json:
            print_json(error.to_dict())
        else:
            for line in screenful(error.errors) if isinstance(error, FleetFileError) else [str(error)]:
                say(line, err=True)
        raise typer.Exit(2 if isinstance(error, UnknownName | AmbiguousCity) else 1) from None


def show(value: Any, lines: Iterable[str], as_json: bool) -> None:
    """Print a result as JSON or as text.

    :param value: the result as data.
    :param lines: the result as text; read only if it is printed.
    """
    if as_json:
        print_json(value)
        return
    for line in lines:
        say(line)


def say(line: str, *, err: bool = False) -> None:
    """Print a line. Here alone text goes to a terminal: whatever others have written stays one line of text."""
    typer.echo(_painted(one_line(line), sys.stderr if err else sys.stdout), err=err)


def _painted(line: str, stream: TextIO) -> str:
    """Return a line with its words of state in colour; without, where it goes into a file, or NO_COLOR is set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return line
    return _STATE.sub(lambda found: typer.style(found[0], fg=_COLOURS[found[0]]), line)


def print_json(value: Any) -> None:
    """Print a value as JSON; a value that JSON has no form for is printed as its text."""
    typer.echo(printable(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table with its columns aligned; an empty head is left out.

    On a terminal that is too narrow the last column goes on below itself, or below its row, so that nothing is cut.
    """
    everything = [[one_line(cell) for cell in row] for row in ([head] if head else []) + [*rows]]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = _room()
    for row in everything:
        start = "".join(f"{cell:<{width}}  " for cell, width in zip(row[:-1], widths, strict=False))
        if len(row[-1]) <= room - before:
            yield f"{start}{row[-1]}".rstrip()
            continue
        beside = room - before >= _LEAST_ROOM
        indent = " " * (before if beside else _INDENT)
        parts = textwrap.wrap(row[-1], max(room - len(indent), _LEAST_ROOM), break_on_hyphens=False)
        yield (start + parts.pop(0) if beside else start).rstrip()
        yield from (f"{indent}{part}" for part in parts)


def is_terminal() -> bool:
    """Tell whether a person reads the output, and no file or pipe gets it."""
    return sys.stdout.isatty()


def _room() -> int:
    """Return how many columns a line may have: a terminal's, and in a file any number: there lines are searched."""
    if is_terminal():
        return shutil.get_terminal_size().columns
    return sys.maxsize


def count_cities(number: int) -> str:
    """Return ``1 city``, ``2 cities``."""
    return f"{number} {'city' if number == 1 else 'cities'}"
