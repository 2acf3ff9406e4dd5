"""Writes and reads a part of a city's data: ``<part>.csv`` with ``schema.json`` beside it (docs/steps.md).

What one side writes the other reads back to the last bit, whichever pandas stands on either side.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from job_failure import JobFailure, listed, quoted
from table_schema import MEMBER, REGRESSION, SERIES, UNKNOWN_CLASS, Schema, Table

PARTS = ("train", "validation", "test")
SCHEMA_FILE = "schema.json"
#: As many as 32,767 features with 100,000 categories need at their usual lengths, and far less than a job's memory.
MOST_SCHEMA_BYTES = 64 << 20


def write_table(folder: Path, part: str, table: Table) -> None:
    """Write ``<part>.csv`` and ``schema.json``.

    :param folder: ``<part>/city=<slug>`` of the outputs; made if it is not there.
    :param part: one of :data:`PARTS`.
    """
    # Here and not above: a job that fails on its data needs no pandas, which takes longer to import than to fail.
    import pandas as pd  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    schema = table.schema
    text = json.dumps(schema.to_json(), indent=2, allow_nan=False) + "\n"
    (folder / SCHEMA_FILE).write_text(text, encoding="utf-8")
    if schema.kind == SERIES:
        more = [table.baselines[name] for name in schema.leading_numbers[3:]]
    else:
        more = [table.weight]
    numbers = np.column_stack([table.target, table.label, *more, table.values])
    frame = pd.DataFrame(numbers, copy=False)
    frame.insert(0, "row", pd.Series(table.rows, dtype=object))
    if schema.members:
        frame.insert(1, MEMBER, pd.Series(table.members, dtype=object))
    # In binary mode pandas writes no ends of lines of its own.
    header = [*schema.leading, *schema.names]
    frame.to_csv(folder / f"{part}.csv", index=False, header=header, lineterminator="\n", encoding="utf-8")


def read_table(folder: Path, part: str, city: str | None = None) -> Table:
    """Read one city's part.

    :param folder: holds ``city=<slug>/<part>.csv`` and ``schema.json``.
    :param part: one of :data:`PARTS`.
    :param city: the slug; None for the only city there is.
    :raises JobFailure: when it is not there, or not as preprocess.py writes it.
    """
    place = _city_folder(folder, city)
    path = place / f"{part}.csv"
    if not path.is_file():
        raise JobFailure(f"{path}: missing; preprocess.py writes it when a city has enough data.")
    schema = read_schema(place / SCHEMA_FILE)
    if schema.city != place.name.removeprefix("city="):
        raise JobFailure(f"{place / SCHEMA_FILE}: got city '{schema.city}'; allowed: the folder's.")
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(iter(file.readline, "")), [])
        wanted = [*schema.leading, *schema.names]
        if header != wanted:
            raise JobFailure(
                f"{path}, row 1: got columns {listed(header)}; "
                f"allowed: {', '.join(schema.leading)}, then the features, as {SCHEMA_FILE} has them."
            )
        rows, members, numbers = _read_cells(path, file, len(header), 2 if schema.members else 1)
    if not rows:
        raise JobFailure(f"{path}: holds no rows; at least 1 is needed.")
    foreign = next((name for name in members if name not in schema.members), None)
    if foreign is not None:
        raise JobFailure(
            f"{path}: got {MEMBER} '{quoted(foreign)}'; allowed: one of those that {SCHEMA_FILE} names."
        )
    return replace(_table(path, schema, rows, numbers), members=members)


def read_schema(path: Path) -> Schema:
    """Read ``schema.json``.

    :raises JobFailure: when it is not as preprocess.py writes it.
    """
    try:
        if path.stat().st_size > MOST_SCHEMA_BYTES:
            raise JobFailure(f"{path}: allowed: at most {MOST_SCHEMA_BYTES} bytes.")
        return Schema.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise JobFailure(f"{path}: missing; preprocess.py writes it beside every table.") from None
    except (ValueError, RecursionError) as error:
        raise JobFailure(f"{path}: {quoted(str(error))}; allowed: what preprocess.py writes.") from None


def _city_folder(folder: Path, city: str | None) -> Path:
    cities = sorted(path for path in folder.glob("city=*") if path.is_dir())
    names = [path.name.removeprefix("city=") for path in cities]
    if city is not None:
        if city not in names:
            raise JobFailure(f"{folder}: no city '{city}'; cities there: {listed(names)}.")
        return folder / f"city={city}"
    if len(cities) != 1:
        raise JobFailure(
            f"{folder}: holds {len(cities)} cities ({listed(names)}); one model is of exactly one city."
        )
    return cities[0]


def _read_cells(
    path: Path, file: IO[str], columns: int, texts: int
) -> tuple[list[str], tuple[str, ...], np.ndarray]:
    """Read what is below the header: the names of the rows, whose they are, and rows × numbers, NaN where empty.

    :param texts: how many of the columns, the first ones, are text: 1, or 2 where the second is the member's.
    """
    import pandas as pd  # noqa: PLC0415

    try:
        frame = pd.read_csv(
            file,
            header=None,
            names=list(range(columns)),
            index_col=False,
            dtype={**dict.fromkeys(range(texts), str), **dict.fromkeys(range(texts, columns), np.float64)},
            na_values={at: [""] for at in range(texts, columns)},
            keep_default_na=False,
            float_precision="round_trip",  # the default is faster, and wrong in the last bit
            on_bad_lines="error",
        )
    except pd.errors.EmptyDataError:
        return [], (), np.empty((0, columns - texts))
    except (ValueError, OverflowError) as error:  # a ParserError is a ValueError
        _check_widths(path, columns)
        raise JobFailure(f"{path}: {quoted(str(error))}; allowed: numbers, or empty where missing.") from None
    numbers = frame.iloc[:, texts:].to_numpy(np.float64)
    if np.isnan(numbers[:, -1]).any():  # of a short row as well, which pandas fills
        _check_widths(path, columns)
    return frame[0].tolist(), tuple(frame[1].tolist()) if texts > 1 else (), numbers


def _check_widths(path: Path, columns: int) -> None:
    for number, count in _widths(path):
        if count not in (0, columns):
            raise JobFailure(f"{path}, row {number}: got {count} values; allowed: {columns}, one per column.")


def _widths(path: Path) -> Iterator[tuple[int, int]]:
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            yield number, len(row)


def _table(path: Path, schema: Schema, rows: list[str], numbers: np.ndarray) -> Table:
    target, label = numbers[:, 0], numbers[:, 1]
    leading = len(schema.leading_numbers) - 1
    baselines: dict[str, Any] = {}
    weight = np.ones(len(rows))
    needed = ["target", "label", "naive"] if schema.kind == SERIES else ["target", "label", "weight"]
    if not np.isfinite(numbers[:, :3]).all():
        raise JobFailure(f"{path}: {', '.join(needed[:2])} and {needed[2]} must be there in every row.")
    if schema.kind == SERIES:
        baselines = {name: numbers[:, at] for at, name in enumerate(schema.leading_numbers[1:]) if at >= 2}
    else:
        weight = numbers[:, 2]
        if not (weight > 0).all():
            raise JobFailure(f"{path}: a weight must be above 0.")
    if schema.task != REGRESSION:
        known = (target == np.floor(target)) & (target >= UNKNOWN_CLASS) & (target < len(schema.classes))
        if not known.all():
            raise JobFailure(
                f"{path}: got class {target[~known][0]:g}; allowed: 0 to {len(schema.classes) - 1}, or -1."
            )
    return Table(schema, rows, target, label, weight, numbers[:, leading:], baselines)
