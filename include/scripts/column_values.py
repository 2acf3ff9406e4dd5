"""Turns the raw text of a column into numbers, truth values, days or categories, all rows at once.

What a cell means is decided here once, for training and for the rows that a champion is judged on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from row_reader import LARGEST, MISSING
from time_columns import TimeColumns

#: Words of a column of truth values.
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
TRUTH_WORDS = "true, false, yes, no, 1 or 0"
#: "None" is a category as good as any: the weather's, a garage's.
_MISSING_CATEGORY = MISSING - {"none"}
_EPOCH_DAY = 719_163  # 1970-01-01 in Python's count of days
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]")


@dataclass(frozen=True)
class Coded:
    """A column of few or many texts, each kept once.

    :param code: rows; the place of the row's text, -1 where it is missing.
    :param texts: the different texts, in the order of their first rows.
    """

    code: np.ndarray
    texts: list[str]

    def map(self, values: Sequence[float]) -> np.ndarray:
        """Return one number per row.

        :param values: one for each text.
        """
        return np.append(np.asarray(values, dtype=np.float64), math.nan)[self.code]


def coded(column: pa.Array, *, category: bool = True) -> Coded:
    """Find the different texts of a column, without the blanks around them.

    :param category: whether "none" is a text like any other.
    """
    found = pc.utf8_trim_whitespace(column).dictionary_encode()
    texts = found.dictionary.to_pylist()
    missing = _MISSING_CATEGORY if category else MISSING
    # Blanks that only one of Arrow and Python knows may make two texts one.
    places: dict[str, int] = {}
    place_of = np.full(len(texts), -1, dtype=np.int64)
    for at, raw in enumerate(texts):
        text = raw.strip()
        if text.lower() not in missing:
            place_of[at] = places.setdefault(text, len(places))
    return Coded(place_of[found.indices.to_numpy()] if texts else np.empty(0, np.int64), list(places))


def numbers(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Read a column of numbers.

    :return: rows of float64, NaN where missing; and rows of truth, where a cell is no number.
    """
    trimmed = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(pc.utf8_lower(trimmed), pa.array(sorted(MISSING), trimmed.type))
    try:
        values = pc.if_else(missing, None, trimmed).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return _numbers_one_by_one(column)
    gone = missing.to_numpy(zero_copy_only=False)
    if not np.isfinite(values[~gone]).all():
        return _numbers_one_by_one(column)
    bad = np.abs(values) > LARGEST  # NaN is not
    return np.where(bad, math.nan, values), bad


def _numbers_one_by_one(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Read what is not all plain numbers: spellings that Python knows alone, and what is none."""
    found = coded(column, category=False)
    values = found.map([_number(text) for text in found.texts])
    return values, np.isnan(values) & (found.code >= 0)


def _number(text: str) -> float:
    try:
        # Python reads 1_000 as a number; raw data never mean that.
        value = math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan
    return value if abs(value) <= LARGEST else math.nan


def truths(texts: Sequence[str]) -> list[float]:
    """Read words of truth; NaN for another word."""
    return [float(TRUTH[text.lower()]) if text.lower() in TRUTH else math.nan for text in texts]


def days(texts: Sequence[str], written: str | None) -> list[float]:
    """Read dates as days since 1970-01-01; NaN for what is none.

    :param written: strptime format; None for ISO 8601.
    """
    time = TimeColumns(("",), written, "day")
    found = []
    for text in texts:
        try:
            found.append(float(time.read([text]).toordinal() - _EPOCH_DAY))
        except ValueError:
            found.append(math.nan)
    return found


def inferred_kind(column: pa.Array) -> str | None:
    """Tell the kind of a column by its cells; None where every one is missing.

    :param column: of the training part.
    """
    values, bad = numbers(column)
    texts = coded(column, category=False).texts if bad.any() or not _may_be_number(column) else None
    if texts is None:
        return None if np.isnan(values).all() else "number"
    tests: dict[str, Callable[[str], bool]] = {
        "boolean": lambda text: text.lower() in TRUTH,
        "date": lambda text: len(text) >= len("2014-07-01") and not math.isnan(days([text], None)[0]),
    }
    for kind, test in tests.items():
        if texts and all(test(text) for text in texts):
            return kind
    return "category" if coded(column).texts else None


def _may_be_number(column: pa.Array) -> bool:
    """Tell whether no cell begins with a zero that a number would not keep: 007 is another than 7."""
    return not pc.any(pc.match_substring_regex(column, rf"^\s*{_LEADING_ZERO.pattern}")).as_py()
