"""Instants: this one, and how one is written and read. UTC throughout; standard library only.

Keys and AWS metadata hold *stamps* (``20140101T060000Z``), which sort by time; JSON documents hold *ISO texts*
(``2014-01-01T06:00:00+00:00``). :func:`parse` reads both.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_STAMP = "%Y%m%dT%H%M%SZ"
_DAY = re.compile(r"\d{4}-?\d{2}-?\d{2}")
EXAMPLES = "2014-01-01, 2014-01-01T06:00:00+00:00 or 20140101T000000Z"
#: A regular expression, of Python and JavaScript, that every text of :func:`parse` matches, and few others do.
LOOKS_LIKE_AN_INSTANT = r"^\d{4}-?(\d{2}-?\d{2}|W\d{2})"
#: Years that instants may have: earlier ones have no stamp of four digits, and whoever looks ahead from a later one
#: comes to the end of Python's calendar.
FIRST_YEAR, LAST_YEAR = 1000, 8999

#: By how much the clocks of AWS and of our hosts may differ: AWS refuses requests whose times are further off
#: (RequestTimeTooSkewed).
CLOCKS_DIFFER = timedelta(minutes=15)


def utc_now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Return an instant as it stands in keys, ``20140101T000000Z``.

    :raises ValueError: the datetime has no time zone, or its year is none of ours.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; give one, for example +00:00")
    return _utc(moment).strftime(_STAMP)


def iso(moment: datetime) -> str:
    """Return an instant as it stands in JSON documents, to the second: ``2014-01-01T06:00:00+00:00``."""
    return moment.isoformat(timespec="seconds")


def iso_milliseconds(moment: datetime) -> str:
    """Return an instant to the millisecond: ``2014-01-01T06:00:00.000+00:00``."""
    return moment.isoformat(timespec="milliseconds")


def now_iso() -> str:
    """Return this moment as it stands in JSON documents."""
    return iso(utc_now())


def parse(text: str) -> datetime:
    """Read an instant: a stamp (``20140101T000000Z``) or ISO 8601 (``2014-01-01``, ``2014-01-01T06:00+02:00``).

    A text without a time zone is taken as UTC.

    :raises ValueError: with the text and what is allowed.
    """
    try:
        return _utc(datetime.strptime(text, _STAMP).replace(tzinfo=UTC))
    except ValueError:
        pass
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"got {text!r}; allowed: an instant such as {EXAMPLES}") from None
    return _utc(value.replace(tzinfo=UTC) if value.tzinfo is None else value)


def parse_zulu(text: str) -> datetime:
    """Read ISO 8601 that ends with a ``Z``, as AWS writes it, and nothing else; :func:`parse` takes ten times as long.

    :raises ValueError: it is none.
    """
    if not text.endswith("Z"):
        raise ValueError(f"got {text!r}; allowed: an instant that ends with Z")
    return datetime.fromisoformat(text)


def _utc(moment: datetime) -> datetime:
    """Return an instant in UTC.

    :raises ValueError: its year is none of ours.
    """
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        allowed = f"an instant from the year {FIRST_YEAR} to {LAST_YEAR}, such as {EXAMPLES}"
        raise ValueError(f"got {moment.isoformat()}; allowed: {allowed}")
    return moment.astimezone(UTC)


def is_day(text: str) -> bool:
    """Tell whether a text that :func:`parse` reads gives a day alone, ``2014-01-01`` or ``20140101``."""
    return _DAY.fullmatch(text) is not None


def beginning_of_stamp(text: str) -> str:
    """Return what the stamps begin with that a person means: of a day alone, what all stamps of that day begin with.

    :raises ValueError: with the text and what is allowed.
    """
    found = stamp(parse(text))
    return found[:8] if is_day(text) else found
