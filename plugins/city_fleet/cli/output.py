"""How commands print: text or JSON, and errors as one paragraph without a traceback. Nothing else prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from city_fleet.errors import CityFleetError, FleetFileError
from city_fleet.outgoing_text import one_line, printable

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@contextmanager
def errors(as_json: bool) -> Iterator[None]:
    """Print an error, as JSON on standard output or as text on standard error, and exit with 1."""
    try:
        yield
    except CityFleetError as error:
        if as_json:
            print_json(error.to_dict())
        else:
            # A file has as many sentences as it has mistakes.
            for each in error.errors if isinstance(error, FleetFileError) else [error]:
                say(str(each), err=True)
        raise typer.Exit(1) from None


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
    typer.echo(one_line(line), err=err)


def print_json(value: Any) -> None:
    """Print a value as JSON; a value that JSON has no form for is printed as its text."""
    typer.echo(printable(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table with its columns aligned; an empty head is left out."""
    everything = [[one_line(cell) for cell in row] for row in ([head] if head else []) + [*rows]]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    for row in everything:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def count_cities(number: int) -> str:
    """Return ``1 city``, ``2 cities``."""
    return f"{number} {'city' if number == 1 else 'cities'}"
