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
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from city_fleet import naming, periods
from city_fleet.errors import BrokenKnown, show_value
from city_fleet.naming import Keys
from city_fleet.state.objects import Item, ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: The file in a preprocess job's report.
KNOWN_FILE = "known.json"
#: Thirty columns of ten years of days take 100 KB.
MAX_BYTES = 256 << 10
_SECOND = timedelta(seconds=1.1)
_MAX_COLUMNS = 1000
_MAX_NAME = 200
_COPY = re.compile(r"(?P<stamp>\d{8}T\d{6}Z)-(?P<sha>[0-9a-f]{12})\.json")


@dataclass(frozen=True)
class KnownValues:
    """The newest known values of a city's columns, in bounds and of the right types.

    :param as_of: stamp of the moment at which they were known.
    :param frequency: as :class:`~city_fleet.periods.Grid` writes it: ``month``, ``5 year``.
    :param known_until: beginning of the newest period whose target is known, an ISO date or, of an hour, a moment; None
        where none is.
    :param columns: names in the order of a row.
    :param first: first day of the first row's period, an ISO date, each row being one period on; None without rows.
    :param rows: how many periods there are.
    :param text: all of it as compact JSON in ASCII, to be handed on.
    :param sha256: of the bytes that it was read from.
    :param parent: slug of the city whose model answers where the city's own does not; None where there is none.
    :param stale_after: by how many periods what is known may be newer than a model's data before the parent answers;
        None without a parent.
    :param beaten: target model of the city's champion, where the parent was better on the city's rows and so answers.
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
    parent: str | None = None
    stale_after: int | None = None
    beaten: str | None = None

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
        try:
            periods.Grid.parse(frequency if isinstance(frequency, str) else "")
        except ValueError as error:
            raise ValueError(f"frequency is {show_value(frequency)}; {error}") from None
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
            **_parent(value, city),
        )
    except KeyError as error:
        raise BrokenKnown(f"{where}: is not what is known of city {city!r}: it has no {error}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise BrokenKnown(f"{where}: is not what is known of city {city!r}: {error}") from error


def with_parent(
    body: bytes, parent: str, stale_after: int, beaten: str | None = None, compared: str | None = None
) -> bytes:
    """Write known values anew, with whose model stands in for the city's own.

    :param body: what :func:`parse` has read.
    :param beaten: target model of the champion that the parent has beaten; None of one that it has not.
    :param compared: as_of of the run that says so: what is said twice, with something else between, is two copies.
    """
    more = {"parent": parent, "stale_after": stale_after, "beaten": beaten, "compared": compared}
    value = {**json_of(body), **more}
    return (json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n").encode()


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


def newest_copy(s3: S3Client, keys: Keys, city: str) -> KnownValues | None:
    """Return what is known of a city; None where nothing is, or what is there can't be believed."""
    for item in copies(ObjectStore(s3, keys.bucket), keys, city)[:1]:
        try:
            return read_copy(s3, keys, city, item)
        except BrokenKnown:
            return None
    return None


def note_beaten(s3: S3Client, keys: Keys, city: str, stamp: str, beaten: str | None) -> bool:
    """Say in what is known of a city whether its parent has beaten its champion; a backfill says nothing new.

    :param stamp: as_of of the run that has compared them.
    :param beaten: the champion's target model; None where it holds its own.
    :return: whether there was anything to say.
    """
    found = copies(ObjectStore(s3, keys.bucket), keys, city)[:1]
    known = newest_copy(s3, keys, city)
    if known is None or known.parent is None or known.stale_after is None:
        return False
    if known.as_of > stamp or known.beaten == beaten:
        return False
    for item in found:
        # S3 lists by seconds: of two copies of one second nobody could say which was written last.
        time.sleep(max(0.0, (_SECOND - (item.listed_at - item.modified)).total_seconds()))
    body = with_parent(known.text.encode(), known.parent, known.stale_after, beaten, stamp)
    keep(ObjectStore(s3, keys.bucket), keys, parse(body, keys.uri(known.key(keys)), city, known.as_of), body)
    return True


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


def periods_between(first: str, last: str, frequency: str) -> float:
    """Return how many periods lie between two that begin on these days; 0 where that can't be told.

    :param first: an ISO date, or of an hour a moment; ``last`` another.
    """
    try:
        grid = periods.Grid.parse(frequency)
        return float(grid.index(periods.read_begin(last)) - grid.index(periods.read_begin(first)))
    except (ValueError, OverflowError):
        return 0.0


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
        return periods.begin_text(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name} is {show_value(value)}; allowed: a day such as 2015-07-01") from None


def _parent(value: Mapping[str, Any], city: str) -> dict[str, Any]:
    """Return the parent and from when on it answers; nothing of a city without one, as in copies of before."""
    parent, periods = value.get("parent"), value.get("stale_after")
    if parent is None:
        return {}
    if not isinstance(parent, str) or len(parent) > _MAX_NAME or not naming.is_slug(parent) or parent == city:
        raise ValueError(f"parent is {show_value(parent)}; allowed: the slug of another city")
    if isinstance(periods, bool) or not isinstance(periods, int) or periods < 1:
        raise ValueError(f"stale_after is {show_value(periods)}; allowed: a whole number from 1")
    beaten = value.get("beaten")
    if beaten is not None and (not isinstance(beaten, str) or len(beaten) > _MAX_NAME):
        raise ValueError(f"beaten is {show_value(beaten)}; allowed: a target model, or null")
    return {"parent": parent, "stale_after": periods, "beaten": beaten}


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
