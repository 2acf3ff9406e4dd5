"""What callers say really happened, by ``prediction_id``: checked, and as lines of a file. Pure, standard library only.

``./fleet outcome``, the predict function and the ``_monitor`` DAG, which reads files that were put into the bucket by
hand, take the same rows by the same rules.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from city_fleet.errors import BadRequest, show_value
from city_fleet.prediction import prediction_id
from city_fleet.prediction.prediction_id import PredictionId

CONTENT_TYPE = "application/x-ndjson"
ID, OUTCOME = MEMBERS = ("prediction_id", "outcome")
EXAMPLE = '{"prediction_id": "' + prediction_id.EXAMPLE + '", "outcome": 255000}'
#: How a file's name ends → how it is read.
KINDS = (".jsonl", ".csv")
LONGEST_LABEL = 300
#: Mistakes that a sentence names; the others are counted.
_SHOWN = 10
#: Clocks differ.
_AHEAD = timedelta(minutes=5)

#: Where a row stands, and the row: an object, or what is wrong with it as a sentence in a :class:`BadRow`.
Row = tuple[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that can't be read."""

    why: str


@dataclass(frozen=True)
class Reported:
    """What really happened.

    :param of: the prediction's id, taken apart.
    :param value: a number in the target's unit, or a class.
    """

    of: PredictionId
    value: float | str


@dataclass(frozen=True)
class Checked:
    """Rows that were looked at.

    :param good: each prediction once, in the order of the rows.
    :param mistakes: a sentence for each row that is wrong.
    """

    good: tuple[Reported, ...]
    mistakes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Return all mistakes as a text: the first ones, and how many there are more."""
        rest = len(self.mistakes) - _SHOWN
        return " ".join([*self.mistakes[:_SHOWN], *([f"And {rest:,} more."] if rest > 0 else [])])


def check(rows: Iterable[Row], now: datetime, wrong_city: Callable[[str], str | None]) -> Checked:
    """Look at rows.

    :param now: with a zone; no prediction was made later.
    :param wrong_city: says of a slug why no outcome of its predictions is taken; None where it is.
    """
    found: dict[str, Reported] = {}
    mistakes: list[str] = []
    asked: dict[str, str | None] = {}
    for where, row in rows:
        try:
            one = _read(row, now)
            if one.of.city not in asked:
                asked[one.of.city] = wrong_city(one.of.city)
            if (why := asked[one.of.city]) is not None:
                raise ValueError(f"{ID} {one.of.text}: {why}.")
            other = found.setdefault(one.of.text, one)
            if other.value != one.value:
                raise ValueError(
                    f"{ID} {one.of.text} has the outcomes {show_value(other.value)} and {show_value(one.value)}; "
                    "allowed: one."
                )
        except ValueError as error:
            mistakes.append(f"{where}: {error}")
        except BadRequest as error:
            mistakes.append(f"{where}: {error.message}")
    return Checked(tuple(found.values()), tuple(mistakes))


def _read(row: Any, now: datetime) -> Reported:
    """:raises ValueError: it is none; :raises BadRequest: its id is none."""
    if isinstance(row, BadRow):
        raise ValueError(row.why)
    if not isinstance(row, dict):
        raise ValueError(f"got {show_value(row)}; allowed: an object, {EXAMPLE}.")
    for name in MEMBERS:
        if row.get(name) in (None, ""):
            raise ValueError(f"there is no {name!r}; allowed: {EXAMPLE}.")
    surplus = [name for name in row if name not in MEMBERS]
    if surplus:
        raise ValueError(f"unknown member {show_value(surplus[0])}; allowed: {EXAMPLE}.")
    of = prediction_id.read(row[ID])
    if of.moment > now + _AHEAD:
        raise ValueError(f"{ID}: got {of.text}, a prediction of the future; allowed: one that was made.")
    return Reported(of, value_of(row[OUTCOME]))


def value_of(value: Any) -> float | str:
    """Return what happened: a number, or a class as the model's answers call it.

    :raises ValueError: it is neither.
    """
    if isinstance(value, str) and value.strip() and len(value) <= LONGEST_LABEL:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return value
        except OverflowError:
            pass
    raise ValueError(
        f"{OUTCOME}: got {show_value(value)}; allowed: a finite number, or a class as text of at most "
        f"{LONGEST_LABEL} characters."
    )


def number_or_text(text: str) -> float | str:
    """Return what a cell of a CSV file, or a word on the command line, says: a number where it is one."""
    for read in (int, float):
        try:
            value = read(text)
        except ValueError:
            continue
        return value if "_" not in text and math.isfinite(value) else text
    return text


def rows_of(text: str, name: str) -> Iterator[Row]:
    """Yield the rows of a file, with the line that each stands in.

    :param name: what the file is called: one ending in ``.csv`` has a head with ``prediction_id`` and ``outcome``,
        and may have other columns; others have a JSON object in each line.
    """
    text = text.removeprefix("\ufeff")
    if name.lower().endswith(".csv"):
        yield from _of_csv(text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"line {number}", BadRow(f"not JSON ({error}); allowed: {EXAMPLE}.")


def _of_csv(text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    head: list[str] | None = None
    try:
        for cells in reader:
            where = f"line {reader.line_num}"
            if not any(cells):
                continue
            if head is None:
                head = [cell.strip() for cell in cells]
                if any(head.count(name) != 1 for name in MEMBERS):
                    got = show_value(",".join(cells))
                    yield (
                        where,
                        BadRow(f"the head is {got}; allowed: one with {ID} and {OUTCOME}, each once."),
                    )
                    return
                continue
            if len(cells) != len(head):
                yield where, BadRow(f"{len(cells)} cells; allowed: {len(head)}, as the head has.")
                continue
            row = dict(zip(head, cells, strict=True))
            yield where, {ID: row[ID].strip(), OUTCOME: number_or_text(row[OUTCOME].strip())}
    except csv.Error as error:
        yield f"line {reader.line_num}", BadRow(f"not CSV ({error}).")


def to_lines(reported: Iterable[Reported]) -> bytes:
    """Write outcomes as the body of an object."""
    return "".join(json.dumps({ID: each.of.text, OUTCOME: each.value}) + "\n" for each in reported).encode()


def is_kept(of: PredictionId, share: float) -> bool:
    """Tell whether a prediction is one of those that are captured where that share of them is."""
    return share >= 1 or place(of.text) < share


def place(text: str) -> float:
    """Return where between 0 and 1 a prediction stands by its id: below the share that is captured, it is."""
    digits = text.rpartition(".")[2]
    return int(digits, 16) / 16 ** len(digits)
