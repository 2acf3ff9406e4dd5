"""How commands print: text or JSON, and errors as one paragraph without a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from city_fleet.errors import CityFleetError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@contextmanager
def errors(as_json: bool) -> Iterator[None]:
    """Print an error of this library as text or JSON and exit with 1."""
    try:
        yield
    except CityFleetError as error:
        fail(error, as_json)


def fail(error: CityFleetError, as_json: bool) -> NoReturn:
    """Print an error, JSON on standard output and text on standard error, and exit with 1."""
    if as_json:
        print_json(error.to_dict())
    else:
        typer.echo(str(error), err=True)
    raise typer.Exit(1)


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON does not know becomes its text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table with its columns aligned; no head where it is empty."""
    everything = [*([head] if head else []), *rows]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    for row in everything:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
