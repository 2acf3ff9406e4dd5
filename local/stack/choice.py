"""Which fleet and which cities a demo runs, decided and checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from city_fleet import naming
from city_fleet.config import City, Fleet, load_fleet, load_fleets
from city_fleet.errors import CityFleetError, UnknownName
from city_fleet.metrics import default_metric
from city_fleet.plan import endpoint_name
from local.stack.errors import UsageError

DEFAULT_FLEET = "texas_housing"
# Each of them beats every baseline on the data that the repository carries.
DEFAULT_CITIES = ("austin", "dallas", "houston", "san_antonio", "fort_bend")
# Towns with too few sales a month for a model of their own: their parent answers for them.
DEFAULT_TOWNS = ("kerrville", "lufkin", "south_padre_island")
HOW_MANY = len(DEFAULT_CITIES)
ALL = "all"


@dataclass(frozen=True)
class Choice:
    """What a demo runs.

    :param cities: slugs, in the order they were asked for
    :param broken: slug → what is wrong with its settings; these can't run
    :param must_be_live: the demo promises that all of `cities` end live
    """

    fleet: Fleet
    cities: tuple[str, ...]
    broken: Mapping[str, str]
    as_of: datetime | None
    must_be_live: bool

    @property
    def keys(self) -> naming.Keys:
        """The fleet's S3 layout."""
        return self.fleet.keys

    @property
    def endpoint(self) -> str:
        """Name of the fleet's shared endpoint."""
        return endpoint_name(self.fleet)

    def city(self, slug: str) -> City:
        """Return a city's settings."""
        return self.fleet.cities[slug]

    def metric(self, slug: str) -> str:
        """Return the metric that a city's gate compares."""
        city = self.city(slug)
        return city.gate.metric or default_metric(city.dataset.task)

    def dag_id(self, slug: str) -> str:
        """Return the id of a city's DAG."""
        return self.fleet.dag_id_of(slug)

    def params(self, slug: str) -> dict[str, str]:
        """Return the params of a city's run: the moment asked for, else the end of its data, else none."""
        end = self.city(slug).end_date
        if self.as_of is not None:
            return {"as_of": naming.as_of_stamp(self.as_of)}
        if end is not None and end <= datetime.now(UTC).date():
            return {"as_of": naming.as_of_stamp(naming.parse_as_of(end.isoformat()))}
        return {}


def find_fleet(fleet: str, folder: Path) -> Path:
    """Find a fleet's file.

    :param fleet: path of a fleet file, name of one in `folder`, or the fleet's name; empty for the default
    :raises UsageError: there is none; names those that are there
    """
    if fleet and Path(fleet).is_file():
        return Path(fleet).resolve()
    files = sorted(path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    wanted = (fleet or DEFAULT_FLEET).removesuffix(".yaml").removesuffix(".yml")
    for path in files:
        if path.stem == wanted:
            return path.resolve()
    for loaded in load_fleets(folder):
        if isinstance(loaded, Fleet) and loaded.fleet == wanted:
            return Path(loaded.path).resolve()
    raise UsageError(f"FLEET: {UnknownName('fleet', wanted, [path.stem for path in files], str(folder))}")


def choose(path: Path, cities: str, as_of: str, environ: Mapping[str, str]) -> Choice:
    """Read the fleet file and pick the cities.

    :param cities: slugs or names, separated by commas; "all"; or empty for the default
    :param as_of: an instant, or empty
    :param environ: variables that the fleet file may use
    :raises UsageError: the fleet file, a city or as_of is wrong; the message says what is allowed
    """
    try:
        fleet = load_fleet(path, environ)
        moment = naming.parse_as_of(as_of) if as_of else None
    except CityFleetError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"AS_OF: {error}") from error
    if moment is not None and moment > datetime.now(UTC):
        raise UsageError(f"AS_OF={as_of} lies in the future; allowed: a moment up to now.")
    known = {*fleet.cities, *fleet.broken}
    wanted = [part.strip() for part in cities.split(",") if part.strip()]
    if wanted == [ALL]:
        slugs = sorted(known)
    elif wanted:
        slugs = list(dict.fromkeys(_slug(name, fleet, known) for name in wanted))
    else:
        default = [slug for slug in DEFAULT_CITIES if slug in known]
        slugs = default if len(default) == HOW_MANY else sorted(fleet.cities)[:HOW_MANY]
    good = tuple(slug for slug in slugs if slug in fleet.cities)
    broken = {slug: str(fleet.broken[slug]) for slug in slugs if slug in fleet.broken}
    if not good:
        raise UsageError("No city can run:\n" + "\n".join(broken.values()))
    return Choice(fleet, good, broken, moment, must_be_live=not wanted and good == DEFAULT_CITIES)


def _slug(name: str, fleet: Fleet, known: set[str]) -> str:
    """Accept a slug, or a name that makes one ("San Antonio")."""
    for candidate in (name, _try_slug(name)):
        if candidate in known:
            return candidate
    raise UsageError(f"CITIES: {UnknownName('city', name, sorted(known), str(fleet.path))}")


def _try_slug(name: str) -> str:
    try:
        return naming.slug(name)
    except ValueError:
        return name
