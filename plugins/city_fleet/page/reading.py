"""What the pages show of each fleet: taken in the background, shown with its age, never waited for.

A page is asked for by people and by itself every few seconds. It gets what was seen last; where that is older than a
few seconds, another look begins behind it. So a slow or absent AWS makes the page old, and says so, but not slow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock, naming, outgoing_text
from city_fleet.champions.planned_city import homes_of
from city_fleet.config import Fleet
from city_fleet.errors import CityFleetError, FleetFileError
from city_fleet.outgoing_text import printable
from city_fleet.plan import endpoint_name
from city_fleet.state.context import CityContext, Clients
from city_fleet.views import digest, fleet_facts, fleet_table, night_strip
from city_fleet.views.digest import NightDigest
from city_fleet.views.fleet_facts import Picture
from city_fleet.views.fleet_table import CityRow
from city_fleet.views.night_strip import Strip

_log = outgoing_text.logger(__name__)
#: A look that is older begins another one.
FRESH_SECONDS = 10.0
#: After a look that failed, the next one begins no sooner.
PAUSE_SECONDS = 15.0
#: Nobody waits longer for the first look.
PATIENCE_SECONDS = 2.0
#: From this age on a page says that what it shows is old.
STALE = timedelta(minutes=2)
#: Run records that one look reads.
_RECORDS_AT_ONCE = 2_000
#: What follows from the clock alone is worked out anew this often, though nothing has changed.
_AGES = timedelta(minutes=1)


@dataclass(frozen=True)
class Sources:
    """Where the pages find things; the plugin gives those of Airflow, a test its own.

    :param fleets: reads the fleet files.
    :param changed: returns something that differs when a fleet file has changed.
    :param clients: makes the boto3 clients of a fleet, which many threads may use.
    """

    fleets: Callable[[], Sequence[Fleet | FleetFileError]]
    changed: Callable[[], object]
    clients: Callable[[Fleet], Clients]


@dataclass(frozen=True)
class Look:
    """What was seen of a fleet.

    :param picture: None while the first look is under way, or as long as none succeeds.
    :param groups: id of a group of tonight → slugs of its cities.
    :param dag_ids: slug → id of the DAG that runs the city, of every city shown.
    :param at: when it was seen.
    :param problem: why the last look failed; None where it did not.
    """

    fleet: Fleet
    picture: Picture | None = None
    rows: tuple[CityRow, ...] = ()
    strip: Strip = field(default_factory=lambda: Strip((), {}))
    digest: NightDigest | None = None
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    dag_ids: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    problem: str | None = None

    @property
    def age(self) -> timedelta | None:
        return clock.utc_now() - self.at if self.at is not None else None

    @property
    def is_stale(self) -> bool:
        return self.age is not None and self.age > STALE

    @property
    def is_due(self) -> bool:
        """Tell whether a newer look is under way, so that it is worth asking again soon."""
        return self.age is not None and self.age.total_seconds() > FRESH_SECONDS and self.problem is None

    def row(self, slug: str) -> CityRow | None:
        return next((row for row in self.rows if row.slug == slug), None)


def group_id(outcome: str, cause: str = "") -> str:
    """Return what stands for a group of tonight in an address."""
    return f"{outcome}.{naming.digest(cause, 8)}" if cause else outcome


def dag_id_of(fleet: Fleet, slug: str) -> str:
    """Return the DAG that runs a city."""
    return fleet.dag_id_of(slug)


class Reading:
    """What was seen last of each fleet, for all requests of a process."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="city-fleet-page")
        self._looks: dict[str, Look] = {}
        self._due: dict[str, float] = {}
        self._changes: dict[str, int] = {}
        self._under_way: dict[str, Future[None]] = {}
        self._clients: dict[tuple[str, str, str | None], Clients] = {}
        self._fleets: list[Fleet | FleetFileError] = []
        self._dag_ids: dict[str, tuple[Fleet, object, frozenset[str]]] = {}
        self._files: object = None

    def fleets(self) -> list[Fleet | FleetFileError]:
        """Return the fleets of the fleet files, and the errors of those that can't be used."""
        files = self._sources.changed()
        with self._lock:
            known = self._files == files and files is not None
        if not known:
            found = list(self._sources.fleets())
            with self._lock:
                self._fleets, self._files = found, files
        return self._fleets

    def fleet(self, name: str) -> Fleet | None:
        return next((each for each in self.fleets() if isinstance(each, Fleet) and each.fleet == name), None)

    def all_dag_ids(self, fleet: Fleet) -> frozenset[str]:
        """Return the DAGs of a fleet's cities, those that have left its file too; the same object while they are."""
        with self._lock:
            look, known = self._looks.get(fleet.fleet), self._dag_ids.get(fleet.fleet)
            of = look.dag_ids if look is not None else None
            if known is not None and known[0] is fleet and known[1] is of:
                return known[2]
            ids = frozenset((*(dag_id_of(fleet, slug) for slug in fleet.cities), *(of or {}).values()))
            if known is not None and known[2] == ids:
                ids = known[2]
            self._dag_ids[fleet.fleet] = (fleet, of, ids)
            return ids

    def slugs_of(self, fleet: Fleet, dag_ids: Collection[str]) -> list[str]:
        """Return the cities of a fleet that some DAGs run."""
        with self._lock:
            look = self._looks.get(fleet.fleet)
        slugs = {*fleet.cities, *(look.dag_ids if look is not None else ())}
        return [slug for slug in slugs if dag_id_of(fleet, slug) in dag_ids]

    def clients(self, fleet: Fleet) -> Clients:
        """Return the boto3 clients of a fleet."""
        key = (fleet.fleet, fleet.region, fleet.kms_key)
        # A lock of its own: the first clients take seconds to make, and pages must not wait for them.
        with self._making:
            if key not in self._clients:
                self._clients[key] = self._sources.clients(fleet)
            return self._clients[key]

    def context(self, fleet: Fleet, slug: str) -> CityContext:
        """Return a city as decisions about its models need it."""
        group = naming.package_group(fleet.fleet, fleet.environment, slug)
        clients, own = self.clients(fleet), endpoint_name(fleet)
        return CityContext(clients, fleet.keys, own, group, slug, home_of=homes_of(fleet))

    def look(self, name: str) -> Look | None:
        """Return what was seen last of a fleet; None where no fleet file has it. Waits two seconds at most."""
        fleet = self.fleet(name)
        if fleet is None:
            return None
        under_way = self._begin(fleet)
        with self._lock:
            found = self._looks.get(name)
        if under_way is not None and (found is None or found.picture is None):
            wait([under_way], timeout=PATIENCE_SECONDS)
            with self._lock:
                found = self._looks.get(name)
        return found or Look(fleet)

    def look_again(self, name: str) -> None:
        """Let the next look begin at once: something was changed."""
        with self._lock:
            self._due[name] = 0.0
            self._changes[name] = self._changes.get(name, 0) + 1

    def changes(self, name: str) -> int:
        """Return how often something of a fleet was changed from these pages."""
        with self._lock:
            return self._changes.get(name, 0)

    def _begin(self, fleet: Fleet) -> Future[None] | None:
        """Begin another look where one is due, and return the one that is under way."""
        name = fleet.fleet
        with self._lock:
            under_way = self._under_way.get(name)
            if under_way is not None and not under_way.done():
                return under_way
            if time.monotonic() < self._due.get(name, 0.0):
                return None
            self._due[name] = time.monotonic() + FRESH_SECONDS
            self._under_way[name] = self._pool.submit(self._take, fleet)
            return self._under_way[name]

    def _take(self, fleet: Fleet) -> None:
        with self._lock:
            before = self._looks.get(fleet.fleet)
        try:
            found = self._seen(fleet, before)
        except Exception as error:  # of whatever kind: the page shows what it has, and says why
            _log.warning("Fleet %s can't be looked at: %s", fleet.fleet, error)
            found = replace(before or Look(fleet), problem=_sentence(error))
            with self._lock:
                self._due[fleet.fleet] = time.monotonic() + PAUSE_SECONDS
        with self._lock:
            self._looks[fleet.fleet] = found

    def _seen(self, fleet: Fleet, before: Look | None) -> Look:
        clients = self.clients(fleet)
        known = before.picture if before is not None and before.fleet is fleet else None
        picture = fleet_facts.picture(
            fleet, clients.s3, clients.sagemaker, limit=_RECORDS_AT_ONCE, known=known
        )
        if before is not None and known is not None and _is_same(known, picture):
            return replace(before, at=clock.utc_now(), problem=None)
        index, snapshot = picture.refreshed.index, picture.snapshot
        strip = night_strip.strip_of(index, fleet.digest.schedule)
        night = digest.last_night(index, fleet.digest.schedule)
        tonight = None
        if night is not None:
            tonight = digest.compose(fleet, snapshot, night, digest.runs_of(index, night)[0])
        return Look(
            fleet,
            picture,
            rows=fleet_table.rows_of(fleet, snapshot, index, strip.of_city),
            strip=strip,
            digest=tonight,
            groups=_groups(picture, tonight),
            dag_ids={city.city: dag_id_of(fleet, city.city) for city in snapshot.cities},
            at=picture.snapshot.at,
        )


def _is_same(known: Picture, found: Picture) -> bool:
    """Tell whether nothing has changed but the time, and that by little."""
    return (
        found.refreshed.index is known.refreshed.index
        and found.problems == known.problems
        and found.snapshot.at - known.snapshot.at < _AGES
        and [city.waiting for city in found.snapshot.cities]
        == [city.waiting for city in known.snapshot.cities]
    )


def _groups(picture: Picture, tonight: NightDigest | None) -> dict[str, frozenset[str]]:
    cities = picture.snapshot.cities
    found = {
        "waiting": frozenset(city.city for city in cities if city.waiting),
        "pinned": frozenset(city.city for city in cities if city.champion and city.champion.pinned),
        "by_parent": frozenset(city.city for city in cities if city.by_parent),
    }
    if tonight is not None:
        for outcome, groups in tonight.outcomes.items():
            found[outcome] = frozenset(city for group in groups for city in group.cities)
            found |= {
                group_id(outcome, group.cause): frozenset(group.cities) for group in groups if group.cause
            }
        found["without_result"] = frozenset(tonight.without_result)
    return found


def _sentence(error: Exception) -> str:
    if isinstance(error, ClientError | BotoCoreError):
        return printable(aws_errors.sentence(error))
    if isinstance(error, CityFleetError):
        return str(error)
    return f"{type(error).__name__}: {printable(str(error))}"
