"""A forecast by the city's name: what a caller asks, and how it is put to the model. Pure, standard library only.

The model's own code answers (``inference.py``): it knows which values of which columns it needs. Here only that is
refused which is no question.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from city_fleet.errors import BadRequest, show_value
from city_fleet.state.known_values import KnownValues

MOST_PERIODS = 100
MOST_HISTORY = 1000
_MOST_COLUMNS = 1000
_MOST_NAME = 200
_PERIOD = "period"
_EXAMPLE = '[{"period": "2015-08-01", "median": 255000}]'
_EXAMPLE_AHEAD = '[{"period": "2015-08-01", "promotion": 1}]'


@dataclass(frozen=True)
class Question:
    """What a forecast is asked for.

    :param horizon: how many periods ahead it reaches; None: as many as the model can.
    :param history: rows that are newer than what is known: ``period`` and values by column.
    :param ahead: rows of periods to come: ``period`` and values by column, of those that are known ahead.
    """

    horizon: int | None = None
    history: Sequence[Mapping[str, Any]] = ()
    ahead: Sequence[Mapping[str, Any]] = ()


def read(city: str, horizon: object, history: object, ahead: object = None) -> Question:
    """Read a caller's question.

    :param horizon: None for the model's own.
    :param history: None where the caller has nothing newer.
    :param ahead: None where the caller has nothing to say of periods to come.
    :raises BadRequest: what was got, and what is allowed.
    """
    if horizon is not None and (
        isinstance(horizon, bool) or not isinstance(horizon, int) or not 1 <= horizon <= MOST_PERIODS
    ):
        allowed = f"a whole number from 1 to {MOST_PERIODS}, how many periods ahead"
        raise _bad(f"city {city!r}, horizon: got {show_value(horizon)}; allowed: {allowed}.")
    return Question(
        horizon,
        _rows(f"city {city!r}, history", history, _EXAMPLE),
        _rows(f"city {city!r}, ahead", ahead, _EXAMPLE_AHEAD),
    )


def json_request(
    question: Question, known: KnownValues | None, at: datetime | None, child: str | None = None
) -> bytes:
    """Write a question as inference.py reads application/json.

    :param known: what is known of the city; None leaves the model to what its artifact holds.
    :param at: the moment of asking, which tells how old the data are; None where nobody wants to know.
    :param child: of a parent's model: the city that is asked about.
    """
    members = {} if at is None else {"at": json.dumps(at.strftime("%Y-%m-%dT%H:%M:%SZ"))}
    if child is not None:
        members["child"] = json.dumps(child)
    if question.horizon is not None:
        members["horizon"] = json.dumps(question.horizon)
    if question.history:
        members["history"] = json.dumps(question.history, allow_nan=False)
    if question.ahead:
        members["ahead"] = json.dumps(question.ahead, allow_nan=False)
    if known is not None:
        members["known"] = (
            known.text
        )  # as it was checked; up to 256 KiB are not written anew for each request
    inner = ", ".join(f'"{name}": {value}' for name, value in members.items())
    return f'{{"forecast": {{{inner}}}}}'.encode()


def _rows(where: str, rows: object, example: str) -> Sequence[Mapping[str, Any]]:
    if rows is None:
        return ()
    if not isinstance(rows, list) or len(rows) > MOST_HISTORY:
        raise _bad(
            f"{where}: got {show_value(rows)}; allowed: a list of at most {MOST_HISTORY} rows, for example {example}."
        )
    for number, row in enumerate(rows, start=1):
        _check_row(f"{where}, row {number}", row, example)
    return rows


def _check_row(where: str, row: object, example: str) -> None:
    if not isinstance(row, Mapping) or not isinstance(row.get(_PERIOD), str):
        got = show_value(row.get(_PERIOD)) if isinstance(row, Mapping) else show_value(row)
        raise _bad(
            f"{where}: got {got} as its period; allowed: an object with a day of the period as text, for example "
            f"{example}."
        )
    if len(row) > _MOST_COLUMNS or not all(len(str(name)) <= _MOST_NAME for name in row):
        raise _bad(
            f"{where}: has {len(row)} members, or a name of more than {_MOST_NAME} characters; allowed: {_PERIOD!r} "
            "and the dataset's columns."
        )
    for name, value in row.items():
        if name != _PERIOD and not _is_number(value):
            raise _bad(
                f"{where}, column {show_value(name)}: got {show_value(value)}; allowed: a number or null."
            )


def _is_number(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _bad(message: str) -> BadRequest:
    return BadRequest(message, mistakes=[])
