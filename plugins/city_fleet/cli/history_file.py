"""Newer actual values for a forecast, or what is planned, from a CSV or JSON file: rows with ``period`` and values by
column."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from city_fleet.errors import DataError

PERIOD = "period"
_ALLOWED = "rows with a column 'period' (any day of it, 2015-08-01) and the dataset's columns"
_MISSING = ("", "na", "nan", "null", "none")


def read_history(file: str, member: str = "history") -> list[dict[str, Any]]:
    """Read rows; what their columns may be is the model's to say.

    :param member: of a request that the rows may stand in: ``{"history": [...]}``.

    :param file: of JSON where it ends with ``.json`` or begins with ``[``, else CSV with a header; ``-`` is standard
        input.
    :raises DataError: it can't be read, or holds no such rows.
    """
    where = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(file=where, got=str(error.strerror), allowed="a readable file") from error
    except UnicodeDecodeError as error:
        raise DataError(
            file=where, got=f"text that is not UTF-8 ({error.reason})", allowed=_ALLOWED
        ) from error
    text = text.removeprefix("\ufeff")
    if file.lower().endswith(".json") or text.lstrip()[:1] in ("[", "{"):
        return _json_rows(text, where, member)
    return _csv_rows(text, where)


def _json_rows(text: str, where: str, member: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(file=where, got=f"text that is not JSON ({error})", allowed=_ALLOWED) from error
    if isinstance(rows, dict) and isinstance(rows.get(member), list):
        rows = rows[member]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and PERIOD in row for row in rows):
        raise DataError(file=where, got="JSON of another form", allowed=f"a list of {_ALLOWED}")
    return rows


def _csv_rows(text: str, where: str) -> list[dict[str, Any]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    rows: list[dict[str, Any]] = []
    try:
        head = [name.strip() for name in next(reader, [])]
        if PERIOD not in head or len(set(head)) < len(head):
            got = f"the columns {', '.join(head)}" if head else "nothing"
            raise DataError(file=where, row=1, got=got, allowed=_ALLOWED)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(head):
                got = f"{len(cells)} cells"
                raise DataError(
                    file=where, row=reader.line_num, got=got, allowed=f"{len(head)}, as in the header"
                )
            row = dict(zip(head, cells, strict=True))
            rows.append(
                {
                    name: cell.strip() if name == PERIOD else _number(cell, name, where, reader.line_num)
                    for name, cell in row.items()
                }
            )
    except csv.Error as error:
        raise DataError(file=where, row=reader.line_num, got=f"no CSV ({error})", allowed=_ALLOWED) from error
    return rows


def _number(cell: str, column: str, where: str, line: int) -> float | None:
    if cell.strip().lower() in _MISSING:
        return None
    try:
        return float(cell)
    except ValueError:
        allowed = "a number, or empty where it is missing"
        raise DataError(file=where, row=line, column=column, got=repr(cell), allowed=allowed) from None
