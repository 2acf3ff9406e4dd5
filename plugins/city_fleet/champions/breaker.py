"""The breaker: when too many of a night's challengers are unfit, the rest of that night waits for a person.

A night is one as_of: the cities of one tick of the schedule share it. Every city leaves one object under its own name,
so a run that is cleared or tried again counts once, and one strongly consistent List counts them all. An S3 client is
passed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import clock
from city_fleet.config import Breaker
from city_fleet.errors import PlatformError
from city_fleet.naming import Keys

TRIPPED = "tripped"
APPROVED = "approved"
REJECTED = "rejected"
_MISSING = frozenset({"NoSuchKey", "404"})
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_WRITES_TRIED = 5


@dataclass(frozen=True)
class Count:
    """How many of a night's challengers have been judged, and how many of them are unfit."""

    judged: int
    unfit: int


@dataclass(frozen=True)
class StoppedNight:
    """A night that the breaker has stopped, and what a person has decided about it.

    :param as_of: its stamp.
    :param state: ``tripped``, ``approved`` or ``rejected``.
    :param judged: challengers that had been judged when it was stopped, ``unfit`` of them were.
    :param by: who decided about it; empty while nobody has.
    :param note: why, in that person's words.
    :param at: ISO 8601 instant of the last change, UTC.
    """

    as_of: str
    state: str
    judged: int
    unfit: int
    by: str = ""
    note: str = ""
    at: str = ""

    @property
    def sentence(self) -> str:
        """Return what a person reads about it."""
        stopped = (
            f"{self.unfit} of the {self.judged} challengers judged so far in the night {self.as_of} are unfit"
        )
        if self.state == TRIPPED:
            return f"{stopped}, so the rest of that night waits for a person"
        note = f": {self.note}" if self.note else ""
        return f"{stopped}; the rest of that night was {self.state} by {self.by}{note}"


def trips(count: Count, rule: Breaker) -> bool:
    """Tell whether a night with that many unfit challengers has to wait for a person."""
    return count.judged >= rule.minimum_sample and count.unfit > rule.max_failed_share * count.judged


def mark(s3: Any, keys: Keys, as_of: str, city: str, against: Sequence[str]) -> None:
    """Count a city's challenger. The newest mark of a city in a night is the one that counts.

    :param against: why the challenger is unfit; nothing for a fit one. A List tells the two apart by their sizes.
    """
    body = json.dumps({"against": list(against)}).encode() if against else b""
    s3.put_object(
        Bucket=keys.bucket, Key=keys.breaker_mark(as_of, city), Body=body, ContentType="application/json"
    )


def count(s3: Any, keys: Keys, as_of: str) -> Count:
    """Count a night's challengers: one List for 1,000 cities."""
    judged = unfit = 0
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=keys.bucket, Prefix=keys.breaker_marks_prefix(as_of)
    )
    for page in pages:
        for item in page.get("Contents", []):
            judged += 1
            unfit += item["Size"] > 0
    return Count(judged, unfit)


def stop_or_read(s3: Any, keys: Keys, as_of: str, rule: Breaker) -> StoppedNight | None:
    """Return the night if the breaker has stopped it, or stops it now; None while it has not.

    A stopped night stays stopped, whatever is judged after it, until a person decides.
    """
    night = read(s3, keys, as_of)
    if night is not None:
        return night
    found = count(s3, keys, as_of)
    if not trips(found, rule):
        return None
    night = StoppedNight(as_of, TRIPPED, found.judged, found.unfit, at=clock.now_iso())
    if _put(s3, keys, night, {"IfNoneMatch": "*"}):
        return night
    # Another city has stopped it in the same moment.
    return read(s3, keys, as_of) or night


def read(s3: Any, keys: Keys, as_of: str) -> StoppedNight | None:
    """Return a night that the breaker has stopped."""
    found = _read(s3, keys, as_of)
    return found[0] if found else None


def settle(s3: Any, keys: Keys, as_of: str, state: str, *, by: str, note: str) -> StoppedNight | None:
    """Keep what a person has decided about a stopped night; None if it is not stopped.

    :param state: ``approved``: the rest of the night goes on; or ``rejected``: it does not go live.
    """
    for _ in range(_WRITES_TRIED):
        found = _read(s3, keys, as_of)
        if found is None:
            return None
        before, etag = found
        night = StoppedNight(as_of, state, before.judged, before.unfit, by, note, clock.now_iso())
        if _put(s3, keys, night, {"IfMatch": etag}):
            return night
    raise PlatformError(
        f"{keys.uri(keys.night(as_of))}: others wrote it {_WRITES_TRIED} times meanwhile; try again"
    )


def nights(s3: Any, keys: Keys, beginning: str) -> Iterator[str]:
    """Yield the stamps of the stopped nights that begin like a text, for example with a day: ``20140101``."""
    prefix = keys.night(beginning).removesuffix(".json")
    folder = keys.night("").removesuffix(".json")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=keys.bucket, Prefix=prefix, Delimiter="/")
    for page in pages:
        for item in page.get("Contents", []):
            yield item["Key"].removeprefix(folder).removesuffix(".json")


def _read(s3: Any, keys: Keys, as_of: str) -> tuple[StoppedNight, str] | None:
    try:
        answer = s3.get_object(Bucket=keys.bucket, Key=keys.night(as_of))
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise
    value = json.loads(answer["Body"].read())
    known = {name: value[name] for name in StoppedNight.__dataclass_fields__ if name in value}
    return StoppedNight(**known), answer["ETag"]


def _put(s3: Any, keys: Keys, night: StoppedNight, condition: dict[str, str]) -> bool:
    """Write a night under a condition; False if it does not hold."""
    body = json.dumps({"format_version": 1, **asdict(night)}, indent=2).encode()
    try:
        s3.put_object(
            Bucket=keys.bucket,
            Key=keys.night(night.as_of),
            Body=body,
            ContentType="application/json",
            **condition,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in _TAKEN | _MISSING:
            return False
        raise
    return True
