"""Reads application/json row by row: an object whose list ``instances`` holds them.

Python's decoder makes everything that a text says before anybody can look at it, and keeps the interpreter to itself
meanwhile. So it is given a row at a time, and no more of the text than a row may have.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any

from request_rows import (
    MOST_ROW_CHARACTERS,
    SHOWN_CHARACTERS,
    BadRequest,
    RawRow,
    Row,
    check_count,
    shown,
    shown_json,
    too_long,
)

SHAPE = '{"instances": [[1.5, null]]} or {"instances": [{"feature": 1.5}]}'
#: Of a member beside the instances, and how many of them.
MOST_BESIDE_CHARACTERS = 64 * 1024
MOST_NAMES = 100
#: The member that says how many classes of each row are answered.
TOP_K = "top_k"
_SPACE_CHARACTERS = 4096
_WINDOW_CHARACTERS = 4096
_NAME = re.compile(r'\s{0,4096}("(?:[^"\\]|\\.){0,200}")\s{0,4096}:\s{0,4096}', re.DOTALL)
_BETWEEN = re.compile(r"\s*([,\]}])\s*")
_SPACE = re.compile(r"\s*")


def json_rows(text: str) -> Iterator[Row]:
    """Read application/json: an object whose list ``instances`` holds lists or objects, null where missing.

    :raises BadRequest: at the first row that can't be read, or when the document is none.
    """
    for number, instance in enumerate(json_values(text, {}), start=1):
        yield _json_row(instance, number)


def json_values(text: str, beside: dict[str, Any]) -> Iterator[RawRow]:
    """Read application/json without looking at the values of its rows.

    :param beside: gets :data:`TOP_K`, as soon as it has been read.
    :raises BadRequest: at the first row that is no list and no object, or when the document is none.
    """
    try:
        for number, instance in enumerate(_instances(text, beside), start=1):
            if not isinstance(instance, list | dict):
                got = shown_json(instance)
                raise BadRequest(f"Row {number}: got {got}; allowed: a list of values or an object.")
            check_count(len(instance), number)
            yield instance
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"The request is not JSON ({error}); allowed: {SHAPE}.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise BadRequest(f"The request has '{shown(twice)}' twice in one object; allowed: once.")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _instances(text: str, beside: dict[str, Any]) -> Iterator[Any]:
    """The instances one by one; what else the document holds is read too, for it must be JSON, but is bounded."""
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        _value(text, at, MOST_BESIDE_CHARACTERS, _no_list)
        raise _no_list()
    at, names, sign = at + 1, set[str](), ","
    first = _after_space(text, at)
    if text[first : first + 1] == "}":
        raise _no_list()
    while sign == ",":
        name, at = _name(text, at, names)
        if name == "instances":
            at = yield from _list(text, at)
        else:
            value, at = _value(text, at, MOST_BESIDE_CHARACTERS, _beside)
            if name == TOP_K:  # others are nobody's, and not kept
                beside[name] = value
        sign, at = _sign(text, at, "}")
    if _after_space(text, at) != len(text):
        raise json.JSONDecodeError("Extra data", text, at)
    if "instances" not in names:
        raise _no_list()


def _name(text: str, at: int, names: set[str]) -> tuple[str, int]:
    """The next member's name, which is noted, and where its value begins."""
    found = _NAME.match(text, at)
    if found is None:
        raise json.JSONDecodeError("Expecting a property name in double quotes", text, at)
    name = str(_DECODER.decode(found[1]))
    if name in names:
        raise BadRequest(f"The request has '{shown(name)}' twice in one object; allowed: once.")
    names.add(name)
    if len(names) > MOST_NAMES:
        raise _beside()
    return name, found.end()


def _sign(text: str, at: int, end: str) -> tuple[str, int]:
    """What stands behind a member, a comma or an end, and where the next one begins."""
    found = _BETWEEN.match(text, at, at + _SPACE_CHARACTERS)
    if found is None or found[1] not in (",", end):
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return found[1], found.end()


def _list(text: str, at: int) -> Generator[Any, None, int]:
    """The members of a list; the generator's value is where the list ends."""
    if text[at : at + 1] != "[":
        raise _no_list()
    at, row, sign = _after_space(text, at + 1), 0, ","
    if text[at : at + 1] == "]":
        return at + 1
    while sign == ",":
        row += 1
        _check_flat(text, at, row)
        instance, at = _value(text, at, MOST_ROW_CHARACTERS, functools.partial(too_long, row))
        yield instance
        sign, at = _sign(text, at, "]")
    return at


def _check_flat(text: str, at: int, row: int) -> None:
    """Refuse a list with lists in it before all of them are made."""
    if text[at : at + 1] != "[":
        return
    end = text.find("]", at, at + MOST_ROW_CHARACTERS)
    if end < 0:  # too long, or none that ends
        end = at + MOST_ROW_CHARACTERS
    begins = [found for sign in "[{" if (found := text.find(sign, at + 1, end)) >= 0]
    if begins and '"' not in text[at : min(begins)]:
        position = text.count(",", at, min(begins)) + 1
        got = shown(text[min(begins) : min(begins) + 2 * SHOWN_CHARACTERS])
        raise BadRequest(f"Row {row}, value {position}: got {got}; allowed: a number, or null where missing.")


def _value(text: str, at: int, most: int, refusal: Callable[[], BadRequest]) -> tuple[Any, int]:
    """Decode a value that may not be longer than it may be: what is behind it is never looked at.

    :return: the value, and where it ends.
    """
    window = _WINDOW_CHARACTERS
    while True:
        part = text[at : at + window]
        try:
            value, end = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            if at + window >= len(text):
                raise json.JSONDecodeError(error.msg, text, at + error.pos) from None
            if window >= most:
                raise refusal() from None
        else:
            # A number that goes to the end of the window may go on behind it.
            if end < len(part) or at + window >= len(text):
                return value, at + end
            if window >= most:
                raise refusal()
        window = min(window * 8, most)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at, at + _SPACE_CHARACTERS)
    return found.end() if found else at


def _no_list() -> BadRequest:
    return BadRequest(f"The request has no list of instances; allowed: {SHAPE}.")


def _beside() -> BadRequest:
    return BadRequest(
        f"The request has more than {MOST_BESIDE_CHARACTERS} characters in a member beside the instances, or more than "
        f"{MOST_NAMES} such members; allowed: {SHAPE}."
    )


def _json_row(instance: RawRow, number: int) -> Row:
    if isinstance(instance, list):
        return [_json_value(value, f"value {at}", number) for at, value in enumerate(instance, start=1)]
    return {name: _json_value(value, f"feature '{shown(name)}'", number) for name, value in instance.items()}


def _json_value(value: Any, where: str, row: int) -> float:
    if value is None:
        return math.nan
    number = math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if math.isinf(number):
        got = shown_json(value)
        raise BadRequest(f"Row {row}, {where}: got {got}; allowed: a number, or null where missing.")
    return number
