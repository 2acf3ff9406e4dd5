"""What is known of a city: the newest values of its columns, which a forecast by the city's name is made of.

A run's preprocess job writes them (``known.json``); the library keeps a copy of every run's below ``known/``, checked,
written once, under a name that is a digest of its bytes. Whoever predicts hands the newest copy on to the model, so a
forecast follows the data also while an older model serves. Standard library and a boto3 S3 client only: the Lambda
carries this module.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.errors import BrokenKnown, show_value
from city_fleet.naming import Keys
from city_fleet.state.objects import Item, ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: The file in a preprocess job's report.
KNOWN_FILE = "known.json"
#: Thirty columns of ten years of days take 100 KB.
MAX_BYTES = 256 << 10
FREQUENCIES = ("day", "week", "month", "quarter", "year")
_MAX_COLUMNS = 1000
_MAX_NAME = 200
_COPY = re.compile(r"(?P<stamp>\d{8}T\d{6}Z)-(?P<sha>[0-9a-f]{12})\.json")


@dataclass(frozen=True)
class KnownValues:
    """The newest known values of a city's columns, in bounds and of the right types.

    :param as_of: stamp of the moment at which they were known.
    :param frequency: ``day``, ``week``, ``month``, ``quarter`` or ``year``.
    :param known_until: first day of the newest period whose target is known, an ISO date; None where none is.
    :param columns: names in the order of a row.
    :param first: first day of the first row's period, an ISO date, each row being one period on; None without rows.
    :param rows: how many periods there are.
    :param text: all of it as compact JSON in ASCII, to be handed on.
    :param sha256: of the bytes that it was read from.
    """

    city: str
    as_of: str
    frequency: str
    known_until: str | None
    columns: tuple[str, ...]
    first: str | None
    rows: int
    text: str
    sha256: str

    def key(self, keys: Keys) -> str:
        """Return the key of its copy."""
        return keys.known(self.city, naming.parse_as_of(self.as_of), self.sha256)


def parse(body: bytes, where: str, city: str, stamp: str) -> KnownValues:
    """Read known values without trusting them.

    :param where: URI for the error message.
    :param city: slug of the city whose values they must be.
    :param stamp: of the as_of that they must be known at.
    :raises BrokenKnown: they are too large, no JSON, of another city or moment, or a member is of another type.
    """
    try:
        if len(body) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES:,} bytes")
        value = json_of(body)
        if not isinstance(value, Mapping):
            raise ValueError(show_value(value))
        if value.get("format_version") != 1:
            got = show_value(value.get("format_version"))
            raise ValueError(f"format_version is {got}; this version of City Fleet reads 1")
        for name, own in (("city", city), ("as_of", stamp)):
            if value[name] != own:
                raise ValueError(f"{name} is {show_value(value[name])}; it must be {own!r}")
        columns, frequency = _columns(value["columns"]), value["frequency"]
        if frequency not in FREQUENCIES:
            raise ValueError(f"frequency is {show_value(frequency)}; allowed: {', '.join(FREQUENCIES)}")
        until, rows = value["known_until"], value["rows"]
        first = None if rows == [] and value["first"] is None else _day("first", value["first"])
        if not isinstance(rows, list) or not all(_is_row(row, len(columns)) for row in rows):
            raise ValueError(f"rows is not a list of rows of {len(columns)} numbers or nulls")
        return KnownValues(
            city=city,
            as_of=stamp,
            frequency=frequency,
            known_until=None if until is None else _day("known_until", until),
            columns=columns,
            first=first,
            rows=len(rows),
            text=json.dumps(value, separators=(",", ":"), allow_nan=False),
            sha256=hashlib.sha256(body).hexdigest(),
        )
    except KeyError as error:
        raise BrokenKnown(f"{where}: is not what is known of city {city!r}: it has no {error}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise BrokenKnown(f"{where}: is not what is known of city {city!r}: {error}") from error


def keep(store: ObjectStore, keys: Keys, known: KnownValues, body: bytes) -> str:
    """Write the copy of a run's known values; repeating it is harmless.

    :param body: what they were read from.
    :return: its key.
    :raises BrokenKnown: other bytes stand under the digest of these.
    """
    key = known.key(keys)
    if store.create(key, body) is None:
        raise BrokenKnown(
            f"{store.uri(key)}: holds other bytes than its name says; it was overwritten. Delete that object"
        )
    return key


def copies(store: ObjectStore, keys: Keys, city: str) -> list[Item]:
    """Return a city's copies, the newest first: by as_of, and of one as_of the one that was written last.

    Objects with other names are nobody's, and left out.
    """
    prefix = keys.known_prefix(city)
    found = [item for item in store.items(prefix) if _COPY.fullmatch(item.key.removeprefix(prefix))]
    return sorted(found, key=lambda item: (_stamp(item, prefix), item.modified, item.key), reverse=True)


def read_copy(s3: S3Client, keys: Keys, city: str, item: Item) -> KnownValues | None:
    """Read one of :func:`copies`; None where it is gone.

    :raises BrokenKnown: it can't be believed.
    """
    prefix = keys.known_prefix(city)
    where, name = keys.uri(item.key), _COPY.fullmatch(item.key.removeprefix(prefix))
    found = ObjectStore(s3, keys.bucket).get(item.key, MAX_BYTES)
    if found is None or name is None:
        return None
    known = parse(found.body, where, city, name["stamp"])
    if known.sha256[: len(name["sha"])] != name["sha"]:
        raise BrokenKnown(f"{where}: has SHA-256 {known.sha256}, which is not the one of its name")
    return known


def _stamp(item: Item, prefix: str) -> str:
    return item.key.removeprefix(prefix).partition("-")[0]


def _columns(value: Any) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= _MAX_COLUMNS
        or not all(isinstance(name, str) and 0 < len(name) <= _MAX_NAME for name in value)
        or len(set(value)) < len(value)
    ):
        raise ValueError(f"columns is {show_value(value)}; allowed: 1 to {_MAX_COLUMNS} different names")
    return tuple(value)


def _day(name: str, value: Any) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except (ValueError, TypeError):
        raise ValueError(f"{name} is {show_value(value)}; allowed: a day such as 2015-07-01") from None


def _is_row(row: Any, width: int) -> bool:
    return (
        isinstance(row, list)
        and len(row) == width
        and all(
            value is None
            or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
            for value in row
        )
    )
