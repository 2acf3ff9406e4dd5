"""Counts predictions in lines that CloudWatch makes metrics of: its embedded metric format.

A line per call, whatever the number of cities in it. Its dimensions are fleet and environment alone, so that a fleet of
3,000 cities has as many metrics as one of three; cities that are to have their own are named. What happened to each
prediction stands in the same line, where Logs Insights finds it. Standard library only.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Collection, Sequence

from city_fleet.naming import Keys
from city_fleet.state.observed import CHAMPION, Observed

NAMESPACE = "CityFleet"
#: Values of one metric in one line.
_MOST_VALUES = 100
_OF_FLEET, _OF_CITY = ("Fleet", "Environment"), ("Fleet", "Environment", "City")
_UNITS = {
    "Predictions": "Count",
    "Errors": "Count",
    "Latency": "Milliseconds",
    "ColdLoads": "Count",
    "CaptureErrors": "Count",
}
#: A text as JSON has it, quotes and all; a line ends at no sign but its own line feed.
_TEXT = json.encoder.encode_basestring_ascii


class EmbeddedMetrics:
    """An observer that gathers what a call has predicted, and writes it as lines. Safe to use from many threads.

    :param cities: those that have metrics of their own.
    :param now: seconds since 1970.
    """

    def __init__(
        self, keys: Keys, cities: Collection[str] = (), now: Callable[[], float] = time.time
    ) -> None:
        self._where = f'"Fleet":{_TEXT(keys.fleet)},"Environment":{_TEXT(keys.environment)}'
        self._cities = frozenset(cities)
        self._now = now
        self._lock = threading.Lock()
        self._seen: list[Observed] = []

    def __call__(self, observed: Observed) -> None:
        with self._lock:
            self._seen.append(observed)

    def lines(self, capture_errors: int = 0) -> list[str]:
        """Return what has been observed since the last time, as lines without their ends.

        :param capture_errors: writes of captured predictions that have failed.
        """
        with self._lock:
            seen, self._seen = self._seen, []
        made = []
        for start in range(0, len(seen), _MOST_VALUES):
            part = seen[start : start + _MOST_VALUES]
            made.append(self._line(part))
            if self._cities:
                own = sorted(self._cities.intersection([each.city for each in part]))
                made += [self._line([each for each in part if each.city == city], city) for city in own]
        if capture_errors:
            made.append(self._document(_OF_FLEET, ("CaptureErrors",), f',"CaptureErrors":{capture_errors}'))
        return made

    def _line(self, seen: Sequence[Observed], city: str = "") -> str:
        """Return the line of some predictions.

        :param city: whose they all are, for a line of its own, which does not list them once more.
        """
        # One way through them, and put together from parts: every call passes here, on its caller's time.
        asked = errors = known = cold = 0
        latencies, shown = [], []
        for each in seen:
            if not city:
                shown.append(_shown(each))
            if each.shadow:
                continue
            asked += 1
            if each.status == 200:
                latencies.append(repr(each.latency_ms))
            elif each.status >= 500:
                errors += 1
            if each.cold is not None:
                known += 1
                cold += each.cold
        dimensions, members = (_OF_CITY, f',"City":{_TEXT(city)}') if city else (_OF_FLEET, "")
        names: tuple[str, ...] = ()
        if asked:
            names, members = ("Predictions", "Errors"), f'{members},"Predictions":{asked},"Errors":{errors}'
        if latencies:
            names, members = (*names, "Latency"), f'{members},"Latency":[{",".join(latencies)}]'
        if known:
            names, members = (*names, "ColdLoads"), f'{members},"ColdLoads":{cold}'
        if shown:
            members = f'{members},"Served":[{",".join(shown)}]'
        return self._document(dimensions, names, members)

    def _document(self, dimensions: tuple[str, ...], metrics: tuple[str, ...], members: str) -> str:
        directives = _directives(dimensions, metrics)
        return f'{{"_aws":{{"Timestamp":{int(self._now() * 1000)},{directives},{self._where}{members}}}'


@functools.lru_cache(maxsize=64)
def _directives(dimensions: tuple[str, ...], metrics: tuple[str, ...]) -> str:
    """Return what tells CloudWatch of a line's metrics, and ends ``_aws``: the same in every line that has these."""
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [dimensions],
        "Metrics": [{"Name": name, "Unit": _UNITS[name]} for name in metrics],
    }
    return json.dumps({"CloudWatchMetrics": [directive] if metrics else []}, separators=(",", ":"))[1:]


def _shown(observed: Observed) -> str:
    """Return what a line says of one prediction: who answered and how, and nothing of what was asked."""
    said = f'{{"City":{_TEXT(observed.city)},"Status":{observed.status},"LatencyMs":{observed.latency_ms!r}'
    if observed.error:
        said += f',"Error":{_TEXT(observed.error.partition(":")[0])}'
    if observed.target_model:
        said += f',"TargetModel":{_TEXT(observed.target_model)}'
    if observed.package_version is not None:
        said += f',"PackageVersion":{observed.package_version}'
    if observed.role != CHAMPION:
        said += f',"Role":{_TEXT(observed.role)}'
    if observed.shadow:
        said += ',"Shadow":true'
    if observed.cold is not None:
        said += ',"Cold":true' if observed.cold else ',"Cold":false'
    if observed.prediction_id:
        said += f',"PredictionId":{_TEXT(observed.prediction_id)}'
    return said + "}"
