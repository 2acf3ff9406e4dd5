"""Entries of periods that a request for forecasts brings along: newer actual values, or what is planned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calendar_grid import noun, period_of, read_day
from job_failure import listed, nearest
from newest_values import number
from request_rows import BadRequest, shown, shown_json

PERIOD = "period"


def read_entries(
    given: Any,
    member: str,
    *,
    columns: Sequence[str],
    needed: Sequence[str] = (),
    which: str = "",
    frequency: str,
    most: int,
) -> dict[int, dict[str, float | None]]:
    """Read a list of objects, each with a period and values of columns.

    :param member: of the request, for errors.
    :param needed: those of the columns that each entry must name, if only as null.
    :param which: what the columns have in common, for errors; nothing where they are all there are.
    :param most: so many entries.
    :return: number of a period → column → value; None where it is null.
    :raises BadRequest: naming the entry and its member, what was got and what is allowed.
    """
    each = " and ".join(f"'{name}'" for name in (PERIOD, *needed))
    others = [name for name in columns if name not in needed]
    allowed = f"{each}, and what is known of {listed(others)}" if others else each
    if not isinstance(given, list) or len(given) > most:
        got = f"{len(given)} entries" if isinstance(given, list) else shown_json(given)
        raise BadRequest(
            f"Forecast: {member}: got {got}; allowed: a list of up to {most} objects, each with {allowed}."
        )
    entries: dict[int, dict[str, float | None]] = {}
    for place, item in enumerate(given, start=1):
        where = f"Forecast: {member}, entry {place}"
        if not isinstance(item, dict) or not all(name in item for name in (PERIOD, *needed)):
            raise BadRequest(f"{where}: got {shown_json(item)}; allowed: an object with {allowed}.")
        foreign = next((name for name in item if name not in (PERIOD, *columns)), None)
        if foreign is not None:
            near = nearest(shown(foreign), columns)
            raise BadRequest(
                f"{where}: got column '{shown(foreign)}'; allowed: {which}{listed(columns)}.{near}"
            )
        try:
            index = period_of(read_day(item[PERIOD]), frequency)
            entry = {name: number(value, name) for name, value in item.items() if name != PERIOD}
        except ValueError as error:
            raise BadRequest(f"{where}: {error}.") from None
        if index in entries:
            raise BadRequest(
                f"{where}: the {noun(frequency)} of {item[PERIOD]} is there already; allowed: once."
            )
        entries[index] = entry
    return entries
