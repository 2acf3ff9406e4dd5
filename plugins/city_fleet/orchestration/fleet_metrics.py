"""Gauges of a fleet among Airflow's own metrics, by StatsD or OpenTelemetry, whichever Airflow sends.

Told by tasks that look at the fleet anyway, and by triggerers of what they wait for. By fleet and never by city: their
number does not grow with the cities. docs/observe.md has their names.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Two, each with settings of its own: a worker initializes that of the SDK alone, and a triggerer the other (3.3).
from airflow.observability import stats as triggerer_stats
from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.utils.net import get_hostname

from city_fleet import outgoing_text
from city_fleet.config import Fleet
from city_fleet.views.fleet import CityState, CityStatus

_PREFIX = "cityfleet"
_log = outgoing_text.logger(__name__)
_SENT_BY = ("statsd_on", "otel_on", "statsd_datadog_enabled")
#: Gauge and tags → tasks of this triggerer that wait so.
_COUNTED: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()


def are_sent() -> bool:
    """Tell whether Airflow sends metrics, so that it is worth while to ask for what one says."""
    return any(conf.getboolean("metrics", name, fallback=False) for name in _SENT_BY)


def tell(fleet: Fleet, name: str, value: float, **tags: str) -> None:
    """Set a gauge of a fleet."""
    told = {"fleet": fleet.fleet, "environment": fleet.environment, **tags}
    stats.gauge(f"{_PREFIX}.{name}", value, tags=told)


def tell_cities(fleet: Fleet, cities: Iterable[CityStatus]) -> None:
    """Tell how many cities are in each state, none too, and how many wait for a person or are served by a parent."""
    found = list(cities)
    states = Counter(city.state for city in found)
    for state in CityState:
        tell(fleet, "cities", states[state], state=state.value)
    tell(fleet, "cities_awaiting_approval", sum(bool(city.waiting) for city in found))
    tell(fleet, "cities_served_by_parent", sum(city.by_parent for city in found))


class TriggererWaits:
    """Tells what a triggerer's tasks wait for, and what it asks of AWS for them.

    Each triggerer tells its own, as Airflow's do, by the tag ``hostname``: their sum is the installation's. It raises
    nothing: a wait is not given up for a figure.

    :param tags: what tells one kind of wait from another, of few values; one of None is left out.
    """

    def __init__(self, **tags: str | None) -> None:
        self._tags = {name: value.replace(" ", "_") for name, value in tags.items() if value is not None}

    def waiting(self, jobs: int) -> None:
        """Tell how many tasks wait for a job."""
        self._tell("jobs_waited_for", jobs)

    def asked(self, operation: str, *, answered: bool) -> None:
        """Count a request to SageMaker."""
        result = "answered" if answered else "failed"
        tags = {**self._tags, "operation": operation, "result": result}
        with _harmless():
            triggerer_stats.incr(f"{_PREFIX}.polls", tags=tags)

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Count a task that waits, while the block runs, by a gauge of all that wait so."""
        key = (name, tuple(sorted(self._tags.items())))
        _COUNTED[key] += 1
        self._tell(name, _COUNTED[key])
        try:
            yield
        finally:
            _COUNTED[key] -= 1
            self._tell(name, _COUNTED[key])

    def _tell(self, name: str, value: float) -> None:
        with _harmless():
            tags = {**self._tags, "hostname": _hostname()}
            triggerer_stats.gauge(f"{_PREFIX}.{name}", value, tags=tags)


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _log.warning("A metric can't be sent: %s: %s", type(error).__name__, error)


@functools.cache
def _hostname() -> str:
    # Once: it may ask a name server, and the triggerer's one event loop waits for that.
    return str(get_hostname())
