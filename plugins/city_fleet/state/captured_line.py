"""A captured prediction as a line, in the shape of SageMaker's data capture, and what must not stand in it. Pure.

``captureData`` and ``eventMetadata`` are as SageMaker writes them for an endpoint with ``DataCaptureConfig``, so what
reads those reads these; what SageMaker has no word for stands beside them in ``cityFleet``. Standard library only, as
the Lambda function carries this module; :mod:`city_fleet.state.captured` reads what it writes.

Source: Amazon SageMaker AI Developer Guide, "Capture data from real-time endpoint".
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from city_fleet import clock, naming
from city_fleet.state.observed import Observed

_ENCODED = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_TEXT = json.encoder.encode_basestring_ascii
#: What stands before and behind the ``data`` of a request and of an answer, which is JSON itself, as text.
_BEFORE_INPUT = '{"observedContentType":"application/json","mode":"INPUT","data":'
_BEFORE_OUTPUT = '{"observedContentType":"application/json","mode":"OUTPUT","data":'
_AFTER_DATA = ',"encoding":"JSON"}'
_TRUTH = {True: "true", False: "false", None: "null"}
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
    asked, answer, error, names = _without(observed, columns, answers)
    return replace(observed, asked=asked, answer=answer, error=error, masked=names)


def _without(
    observed: Observed, columns: Collection[str], answers: bool
) -> tuple[Mapping[str, Any], Mapping[str, Any], str, tuple[str, ...]]:
    """Return what was asked and answered and the error without the columns' values, and the names of those."""
    hidden = _Mask(_lower(tuple(columns)))
    asked = {name: hidden.of(name, value) for name, value in observed.asked.items()}
    answer = observed.answer
    if answers and answer:
        hidden.found.update(name for name in (*_TOLD, "forecasts") if answer.get(name) is not None)
        answer = {name: None if name in _TOLD else value for name, value in answer.items()}
        if isinstance(steps := answer.get("forecasts"), list | tuple):
            answer["forecasts"] = [{**step, **dict.fromkeys(_TOLD_OF_A_STEP)} for step in steps]
    error = observed.error
    if error:
        kind = error.partition(":")[0]
        error = error if kind in _QUOTE_NOTHING else kind
    return asked, answer, error, tuple(sorted(hidden.found))


@functools.lru_cache(maxsize=8)
def _lower(columns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return columns as they are compared, and what the names of whatever is made of them begin with."""
    names = frozenset(column.lower() for column in columns)
    return names, tuple(f"{name}_" for name in sorted(names))


class _Mask:
    """Which names are hidden, and which of them were there."""

    def __init__(self, columns: tuple[frozenset[str], tuple[str, ...]]) -> None:
        self._names, self._beginnings = columns
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

    def _row(self, row: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Return a row without hidden values: itself, where it has none."""
        names, beginnings = self._names, self._beginnings
        hidden = [
            name for name in row if (lower := str(name).lower()) in names or lower.startswith(beginnings)
        ]
        if not hidden:
            return row
        self.found.update(map(str, hidden))
        return {**row, **dict.fromkeys(hidden)}

    def _whole(self, member: str) -> Any:
        self.found.add(member)
        return None


def to_line(observed: Observed, columns: Collection[str] = (), *, answers: bool = False) -> str:
    """Write a prediction as a line, with its line feed; what JSON has no word for is null.

    :param columns: whose values are left out, with ``answers`` as :func:`masked` has them.
    """
    # Put together from parts: every captured prediction passes here.
    asked, answer, error, names = observed.asked, observed.answer, observed.error, observed.masked
    if columns:
        asked, answer, error, names = _without(observed, columns, answers)
    version, cold = observed.package_version, observed.cold
    return (
        f'{{"captureData":{{"endpointInput":{_BEFORE_INPUT}{_TEXT(_json(asked))}{_AFTER_DATA},'
        f'"endpointOutput":{_BEFORE_OUTPUT}{_TEXT(_json(answer))}{_AFTER_DATA}}},'
        f'"eventMetadata":{{"eventId":{_TEXT(observed.prediction_id)},"inferenceTime":"{_zulu(observed.at)}"}},'
        f'"eventVersion":"0","cityFleet":{{"city":{_TEXT(observed.city)},"role":{_TEXT(observed.role)},'
        f'"shadow":{_TRUTH[observed.shadow]},"status":{observed.status},"error":{_TEXT(error)},'
        f'"targetModel":{_TEXT(observed.target_model)},"packageVersion":{"null" if version is None else version},'
        f'"latencyMs":{observed.latency_ms!r},"cold":{_TRUTH[cold]},"masked":[{",".join(map(_TEXT, names))}]}}}}\n'
    )


def is_kept(observed: Observed) -> bool:
    """Tell whether a prediction has a place among those captured: one that names no city of the fleet has none."""
    return naming.is_slug(observed.city) and observed.status != 404


def _json(value: Any) -> str:
    try:
        return _ENCODED(value)
    except (ValueError, TypeError):  # a caller may have sent NaN, which Python reads
        return _ENCODED(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else None


def _zulu(moment: datetime) -> str:
    return clock.iso_milliseconds(moment.astimezone(UTC))[:-6] + "Z"  # without +00:00


def lines(batch: Sequence[Observed]) -> bytes:
    """Write predictions as the body of an object."""
    return "".join(map(to_line, batch)).encode()
