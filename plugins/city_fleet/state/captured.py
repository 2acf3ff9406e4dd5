"""Captured predictions: one JSON line each, in the shape of SageMaker's data capture, by city and day in S3.

``captureData`` and ``eventMetadata`` are as SageMaker writes them for an endpoint with ``DataCaptureConfig``, so what
reads those reads these; what SageMaker has no word for stands beside them in ``cityFleet``. Standard library only, as
the Lambda function carries this module; a store is passed in.

Source: Amazon SageMaker AI Developer Guide, "Capture data from real-time endpoint".
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from city_fleet import clock, naming, outgoing_text
from city_fleet.errors import show_value
from city_fleet.naming import Keys
from city_fleet.state.objects import ObjectStore, json_of
from city_fleet.state.observed import CHALLENGER, CHAMPION, Observed

log = outgoing_text.logger(__name__)

CONTENT_TYPE = "application/x-ndjson"
#: More than that a line, or an object, is none of ours: a request has at most 1 MB, an answer 6 MB.
MOST_LINE_BYTES = 16 << 20
MOST_OBJECT_BYTES = 64 << 20
#: What of an answer is the target's own value, or tells it.
_TOLD = ("prediction", "label", "probabilities", "top_k")
_TOLD_OF_A_STEP = ("prediction", "intervals")
#: Sentences that quote nothing of what was asked but the city.
_QUOTE_NOTHING = ("NotReady", "UnknownCity", "EndpointClosed")


def masked(observed: Observed, columns: Collection[str], *, answers: bool = False) -> Observed:
    """Return a prediction without the values of some columns; their names stay, with None.

    A column's name stands for itself and for what is made of it: ``inventory`` for ``inventory_lag_1`` too. So it may
    mean more than was meant (``price`` is also ``price_band``), and never less. What has no names that could be told
    apart, such as features that are no object, goes as a whole; so do sentences that quote what a caller sent.

    :param columns: of the raw data, or features; upper and lower case are one.
    :param answers: whether the target is among them: then the prediction itself is left out as well.
    """
    if not columns:
        return observed
    hidden = _Mask(columns)
    asked = {name: hidden.of(name, value) for name, value in observed.asked.items()}
    answer = dict(observed.answer)
    if answers and answer:
        hidden.found.update(name for name in (*_TOLD, "forecasts") if answer.get(name) is not None)
        answer |= {name: None for name in _TOLD if name in answer}
        if isinstance(steps := answer.get("forecasts"), list | tuple):
            answer["forecasts"] = [{**step, **dict.fromkeys(_TOLD_OF_A_STEP)} for step in steps]
    error = observed.error
    kind = error.partition(":")[0]
    if error and kind not in _QUOTE_NOTHING:
        error = kind
    return replace(observed, asked=asked, answer=answer, error=error, masked=tuple(sorted(hidden.found)))


class _Mask:
    """Which names are hidden, and which of them were there."""

    def __init__(self, columns: Collection[str]) -> None:
        self._names = tuple(column.lower() for column in columns)
        self.found: set[str] = set()

    def of(self, member: str, value: Any) -> Any:
        """Return a member of what was asked, without the values of hidden columns."""
        if member == "features" and isinstance(value, Mapping):
            return self._row(value)
        if member in ("history", "ahead") and isinstance(value, list | tuple):
            return [self._row(row) if isinstance(row, Mapping) else self._whole(member) for row in value]
        if value is None or (member in ("horizon", "top_k") and isinstance(value, int)):
            return value
        return self._whole(member)

    def _row(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        return {str(name): self._cell(str(name), value) for name, value in row.items()}

    def _cell(self, name: str, value: Any) -> Any:
        lower = name.lower()
        if any(lower == hidden or lower.startswith(f"{hidden}_") for hidden in self._names):
            self.found.add(name)
            return None
        return value

    def _whole(self, member: str) -> Any:
        self.found.add(member)
        return None


def to_line(observed: Observed) -> str:
    """Write a prediction as a line, with its line feed; what JSON has no word for is null."""
    document = {
        "captureData": {
            "endpointInput": _data("INPUT", observed.asked),
            "endpointOutput": _data("OUTPUT", observed.answer),
        },
        "eventMetadata": {
            "eventId": observed.prediction_id,
            "inferenceTime": _zulu(observed.at),
        },
        "eventVersion": "0",
        "cityFleet": {
            "city": observed.city,
            "role": observed.role,
            "shadow": observed.shadow,
            "status": observed.status,
            "error": observed.error,
            "targetModel": observed.target_model,
            "packageVersion": observed.package_version,
            "latencyMs": observed.latency_ms,
            "cold": observed.cold,
            "masked": list(observed.masked),
        },
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def parse(line: str | bytes) -> Observed:
    """Read a line as :func:`to_line` writes it.

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


def is_kept(observed: Observed) -> bool:
    """Tell whether a prediction has a place among those captured: one that names no city of the fleet has none."""
    return naming.is_slug(observed.city) and observed.status != 404


def _data(mode: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "observedContentType": "application/json",
        "mode": mode,
        "data": _json(value),
        "encoding": "JSON",
    }


def _json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError):  # a caller may have sent NaN, which Python reads
        return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else None


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


def _zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(batch: Sequence[Observed]) -> bytes:
    """Write predictions as the body of an object."""
    return "".join(map(to_line, batch)).encode()
