"""How a classification is answered: which class each row is taken for, and how probable the classes are.

A row may have as many probabilities as there are classes, and a request as many rows as fit into it. So what is kept
and written is bounded, and written a slice at a time: other threads of a model server have their turn in between.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from request_rows import BadRequest, shown

#: Of one answer. As JSON a probability takes 20 characters and its class's name: SageMaker hands on 6 MB.
MOST_PROBABILITIES = 1_000_000
_SLICE = 1024


@dataclass(frozen=True)
class ClassAnswers:
    """Classes of rows.

    :param classes: names, in the order of their numbers.
    :param probabilities: rows × classes; of ranked answers rows × k, the most probable first.
    :param ranked: rows × k, the numbers of the classes; None where every class is answered.
    """

    classes: Sequence[str]
    probabilities: np.ndarray
    ranked: np.ndarray | None = None

    def json_text(self) -> Iterator[str]:
        """Write the rows' answers as members of a JSON list."""
        names = [json.dumps(name) for name in self.classes]
        for first in range(0, len(self.probabilities), _SLICE):
            rows = self.probabilities[first : first + _SLICE].tolist()
            if self.ranked is None:
                for row in rows:
                    each = ", ".join([f"{name}: {value!r}" for name, value in zip(names, row, strict=True)])
                    yield f'{{"label": {names[_first_largest(row)]}, "probabilities": {{{each}}}}}'
                continue
            numbers = self.ranked[first : first + _SLICE].tolist()
            for row, chosen in zip(rows, numbers, strict=True):
                pairs = zip(chosen, row, strict=True)
                each = ", ".join(
                    [f'{{"label": {names[at]}, "probability": {value!r}}}' for at, value in pairs]
                )
                yield f'{{"label": {names[chosen[0]]}, "top_k": [{each}]}}'

    def csv_text(self) -> Iterator[str]:
        """Write a line ``label,probability`` for each row; of ranked answers with k such pairs."""
        names = [csv_cell(name) for name in self.classes]
        for first in range(0, len(self.probabilities), _SLICE):
            rows = self.probabilities[first : first + _SLICE].tolist()
            if self.ranked is None:
                best = [_first_largest(row) for row in rows]
                yield from (f"{names[at]},{row[at]!r}" for row, at in zip(rows, best, strict=True))
                continue
            numbers = self.ranked[first : first + _SLICE].tolist()
            for row, chosen in zip(rows, numbers, strict=True):
                yield ",".join([f"{names[at]},{value!r}" for at, value in zip(chosen, row, strict=True)])


def read_top_k(value: object) -> int | None:
    """How many classes of a row are asked for.

    :param value: of the request's ``top_k``; text of a header or a number of JSON. None: all of them.
    :raises BadRequest: when it is no whole number from 1.
    """
    if value is None:
        return None
    number = value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 9:
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise BadRequest(f"top_k: got {shown(json.dumps(value))}; allowed: a whole number from 1.")
    return number


def ranked(classes: Sequence[str], probabilities: np.ndarray, top_k: int) -> ClassAnswers:
    """Keep the most probable classes of each row; of equally probable ones the first.

    :param probabilities: rows × classes.
    """
    chosen = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return ClassAnswers(classes, np.take_along_axis(probabilities, chosen, axis=1), chosen)


def joined(parts: Sequence[ClassAnswers]) -> ClassAnswers:
    """Make one of the answers of successive rows.

    :param parts: at least one, all of the same classes and all ranked or none.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    return ClassAnswers(
        first.classes,
        np.concatenate([part.probabilities for part in parts]),
        None if first.ranked is None else np.concatenate([part.ranked for part in parts]),
    )


def check_size(rows: int, classes: int) -> None:
    """Refuse an answer that nobody can receive before it is made.

    :param classes: how many of each row are answered.
    """
    if rows * classes > MOST_PROBABILITIES:
        raise BadRequest(
            f"Row {rows}: with {classes} classes each, these are more than {MOST_PROBABILITIES} probabilities; send "
            'the rows in parts, or ask for the most probable classes alone: "top_k" before "instances".'
        )


def _first_largest(row: Sequence[float]) -> int:
    return row.index(max(row))


def csv_cell(name: str) -> str:
    """Write a class's name as a cell of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([name])
    return line.getvalue()
