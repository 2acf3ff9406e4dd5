"""The breaker: when too many of a night's challengers are unfit, the rest of that night awaits approval.

A night is one as_of: the cities of one tick of the schedule share it. Every city leaves one object under its own name,
so a run that is cleared or tried again counts once, and one strongly consistent List counts them all. A boto3 S3
client is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from city_fleet import clock
from city_fleet.config import Breaker
from city_fleet.naming import Keys
from city_fleet.state import installation
from city_fleet.state.objects import ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TRIPPED = "tripped"
APPROVED = "approved"
REJECTED = "rejected"


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
    :param by: who decided about it; empty while undecided.
    :param note: why, in that person's words.
    :param at: ISO 8601 instant of the last change, UTC.
    :param fleet: whose night it is, with ``environment``; empty in those of earlier versions.
    """

    as_of: str
    state: str
    judged: int
    unfit: int
    by: str = ""
    note: str = ""
    at: str = ""
    fleet: str = ""
    environment: str = ""

    @classmethod
    def from_json(cls, body: bytes, keys: Keys, as_of: str) -> StoppedNight:
        """Read a night's bytes.

        :raises OtherInstallation: it is a night of another installation.
        """
        value, where = json_of(body), keys.uri(keys.night(as_of))
        advice = f"Somebody has copied it there: `aws s3 rm {where}` takes the copy away"
        installation.refuse_other(keys, value, where, advice)
        return cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value})

    def to_json(self) -> bytes:
        return json.dumps({"format_version": 1, **asdict(self)}, indent=2).encode()

    @property
    def sentence(self) -> str:
        """Return what a person reads about it."""
        stopped = (
            f"{self.unfit} of the {self.judged} challengers judged so far in the night {self.as_of} are unfit"
        )
        if self.state == TRIPPED:
            return f"{stopped}, so the rest of that night awaits approval"
        note = f": {self.note}" if self.note else ""
        return f"{stopped}; the rest of that night was {self.state} by {self.by}{note}"


def trips(count: Count, rule: Breaker) -> bool:
    """Tell whether a night with that many unfit challengers has to await approval."""
    return count.judged >= rule.minimum_sample and count.unfit > rule.max_failed_share * count.judged


def mark(s3: S3Client, keys: Keys, as_of: str, city: str, against: Sequence[str]) -> None:
    """Count a city's challenger. The newest mark of a city in a night is the one that counts.

    :param against: why the challenger is unfit; nothing for a fit one. A List tells the two apart by their sizes.
    """
    body = json.dumps({"against": list(against)}).encode() if against else b""
    ObjectStore(s3, keys.bucket).put(keys.breaker_mark(as_of, city), body)


def count(s3: S3Client, keys: Keys, as_of: str) -> Count:
    """Count a night's challengers: one List for 1,000 cities."""
    judged = unfit = 0
    for item in ObjectStore(s3, keys.bucket).items(keys.breaker_marks_prefix(as_of)):
        judged += 1
        unfit += item.size_bytes > 0
    return Count(judged, unfit)


def stop_or_read(s3: S3Client, keys: Keys, as_of: str, rule: Breaker) -> StoppedNight | None:
    """Return the night if the breaker has stopped it, or stops it now; None while it has not.

    A stopped night stays stopped, whatever is judged after it, until a person decides. None is returned as stopped
    that is not stored as such.

    :raises Busy: others got in the way for a minute.
    """
    night = read(s3, keys, as_of)
    if night is not None:
        return night
    found = count(s3, keys, as_of)
    if not trips(found, rule):
        return None
    whose = installation.stamp(keys)
    stops = StoppedNight(as_of, TRIPPED, found.judged, found.unfit, at=clock.now_iso(), **whose).to_json()
    # Another city may have stopped it in the same moment, and a person decided about it in the next.
    kept = ObjectStore(s3, keys.bucket).update(keys.night(as_of), lambda before: before or stops)
    return StoppedNight.from_json(kept or stops, keys, as_of)


def read(s3: S3Client, keys: Keys, as_of: str) -> StoppedNight | None:
    found = ObjectStore(s3, keys.bucket).get(keys.night(as_of))
    return StoppedNight.from_json(found.body, keys, as_of) if found else None


def settle(s3: S3Client, keys: Keys, as_of: str, state: str, *, by: str, note: str) -> StoppedNight | None:
    """Keep what a person has decided about a stopped night; None if it is not stopped.

    :param state: ``approved``: the rest of the night goes on; or ``rejected``: it does not go live.
    :raises PlatformError: others got in the way for a minute.
    """

    def decided(body: bytes | None) -> bytes | None:
        if body is None:
            return None
        before = StoppedNight.from_json(body, keys, as_of)
        after = replace(before, state=state, by=by, note=note, at=clock.now_iso())
        return replace(after, **installation.stamp(keys)).to_json()

    body = ObjectStore(s3, keys.bucket).update(keys.night(as_of), decided)
    return StoppedNight.from_json(body, keys, as_of) if body is not None else None


def nights(s3: S3Client, keys: Keys, beginning: str) -> Iterator[str]:
    """Yield the stamps of the stopped nights that begin like a text, for example with a day: ``20140101``."""
    prefix = keys.night(beginning).removesuffix(".json")
    folder = keys.night("").removesuffix(".json")
    for item in ObjectStore(s3, keys.bucket).items(prefix, delimiter="/"):
        yield item.key.removeprefix(folder).removesuffix(".json")


def undecided(s3: S3Client, keys: Keys, within: timedelta) -> list[str]:
    """Return the stamps of the nights that were stopped not longer ago than that, and wait for a person.

    One List, and a Get for each night of that time.
    """
    store, folder = ObjectStore(s3, keys.bucket), keys.night("").removesuffix(".json")
    young = [
        item.key.removeprefix(folder).removesuffix(".json")
        for item in store.items(folder, delimiter="/")
        if item.listed_at - item.modified <= within
    ]
    found = {stamp: read(s3, keys, stamp) for stamp in young}
    return [stamp for stamp, night in found.items() if night is not None and night.state == TRIPPED]
