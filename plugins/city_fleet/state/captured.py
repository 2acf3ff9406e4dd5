"""Captured predictions: one JSON line each, in the shape of SageMaker's data capture, by city and day in S3.

:mod:`city_fleet.state.captured_line` writes them; here they are read, without trusting them. A store is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from city_fleet import clock, outgoing_text
from city_fleet.errors import show_value
from city_fleet.naming import Keys
from city_fleet.state.captured_line import lines, masked, to_line
from city_fleet.state.objects import ObjectStore, json_of
from city_fleet.state.observed import CHALLENGER, CHAMPION, Observed

__all__ = ["days", "lines", "masked", "parse", "read", "to_line"]

log = outgoing_text.logger(__name__)

CONTENT_TYPE = "application/x-ndjson"
#: More than that a line, or an object, is none of ours: a request has at most 1 MB, an answer 6 MB.
MOST_LINE_BYTES = 16 << 20
MOST_OBJECT_BYTES = 64 << 20


def parse(line: str | bytes) -> Observed:
    """Read a line as :func:`~city_fleet.state.captured_line.to_line` writes it.

    :raises ValueError: it is none, with what was got and what is allowed.
    """
    if len(line) > MOST_LINE_BYTES:
        raise ValueError(f"got a line of {len(line)} bytes; allowed: at most {MOST_LINE_BYTES}")
    document = json_of(line.encode() if isinstance(line, str) else line)
    event, own = _member(document, "eventMetadata", dict), _member(document, "cityFleet", dict)
    data = _member(document, "captureData", dict)
    role = _member(own, "role", str)
    if role not in (CHAMPION, CHALLENGER):
        raise ValueError(f"role: got {show_value(role)}; allowed: {CHAMPION} or {CHALLENGER}")
    names = _member(own, "masked", list)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"masked: got {show_value(names)}; allowed: names of columns")
    return Observed(
        prediction_id=_member(event, "eventId", str),
        city=_member(own, "city", str),
        at=clock.parse(_member(event, "inferenceTime", str)),
        asked=_said(data, "endpointInput"),
        status=_member(own, "status", int),
        answer=_said(data, "endpointOutput"),
        latency_ms=float(_member(own, "latencyMs", int, float)),
        error=_member(own, "error", str),
        target_model=_member(own, "targetModel", str),
        package_version=_member(own, "packageVersion", int, type(None)),
        role=role,
        shadow=_member(own, "shadow", bool),
        cold=_member(own, "cold", bool, type(None)),
        masked=tuple(names),
    )


def read(store: ObjectStore, keys: Keys, city: str, day: date) -> Iterator[Observed]:
    """Yield what was captured of a city's predictions on a day, object by object, in the order of their first lines.

    A line that can't be read is logged and passed over: somebody else may have written it, and the others count.

    :param city: a slug.
    :param day: of UTC.
    """
    for item in store.items(f"{keys.capture_prefix(city)}day={day.isoformat()}/"):
        if item.size_bytes > MOST_OBJECT_BYTES:
            log.warning(
                "%s has %s bytes; read are at most %s",
                store.uri(item.key),
                item.size_bytes,
                MOST_OBJECT_BYTES,
            )
            continue
        found = store.get(item.key)
        if found is None:
            continue  # its time was over meanwhile
        broken: list[str] = []
        for number, line in enumerate(found.body.splitlines(), start=1):
            try:
                observed = parse(line)
                if observed.city != city:
                    raise ValueError(f"city: got {show_value(observed.city)}; allowed: {city!r}")
            except ValueError as error:
                broken.append(f"line {number}: {error}")
                continue
            yield observed
        if broken:
            uri = store.uri(item.key)
            log.warning("%s: %s lines can't be read, the first: %s", uri, len(broken), broken[0])


def days(store: ObjectStore, keys: Keys, city: str) -> list[date]:
    """Return the days, of UTC, of which predictions of a city were captured, in order."""
    found = []
    for name in store.folders(keys.capture_prefix(city)):
        try:
            found.append(date.fromisoformat(name.removeprefix("day=")))
        except ValueError:
            continue  # nothing of ours
    return sorted(found)


def _said(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    text = _member(_member(data, name, dict), "data", str)
    said = json_of(text.encode())
    if not isinstance(said, dict):
        raise ValueError(f"{name}: got {show_value(said)}; allowed: a JSON object")
    return said


def _member(document: Any, name: str, *kinds: type) -> Any:
    """Return a member that is of one of some types.

    :raises ValueError: it is not there, or of another one.
    """
    value = document.get(name, kinds) if isinstance(document, dict) else kinds
    if value is kinds or not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        got = "nothing" if value is kinds else show_value(value)
        allowed = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{name}: got {got}; allowed: {allowed}")
    return value
