"""What the last look at live scores has found of all cities: one object, so a view of thousands needs one request."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from city_fleet.errors import BrokenScores, show_value
from city_fleet.naming import Keys
from city_fleet.state.objects import json_of

if TYPE_CHECKING:
    from city_fleet.state.objects import ObjectStore

FORMAT_VERSION = 1
# A city takes half a kilobyte.
_MOST_BYTES = 1 << 25
_LONGEST = 1000


@dataclass(frozen=True, kw_only=True)
class CityHealth:
    """One city.

    :param periods: whose truth is known, of the newest; of a table predictions; 0 where none is.
    :param error: mean absolute error of their nearest forecasts, as a share of the truth, or of a classification the
        share of wrong classes; ``naive`` the same without a model; None where unknown.
    :param alarm: since which period the model or a column is no longer right; None where nothing is wrong.
    :param told_by: id of the DAG run that has told of the alarm first.
    :param reasons: sentences: why it alarms.
    :param notes: sentences that are no alarm: a truth that does not come, one that was corrected.
    :param action: id of the DAG run that has had the city retrained for the alarm; ``none`` where that is left to
        people, as all cities alarmed at once; empty where nothing was done.
    """

    periods: int = 0
    error: float | None = None
    naive: float | None = None
    alarm: str | None = None
    told_by: str = ""
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    action: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what a person should know, the alarm first."""
        alarm = [f"no longer right since {self.alarm}: {'; '.join(self.reasons)}"] if self.alarm else []
        return (*alarm, *self.notes)


@dataclass(frozen=True)
class Monitored:
    """All cities.

    :param at: when the look ended, ISO 8601; empty where there was none.
    :param tables_until: up to when tables of forecasts were written that have been read; by S3's clock, ISO 8601.
    :param cities: by slug.
    :param fleet_wide: why one cause is assumed for all new alarms of the look; empty where it is not.
    :param outcomes_until: up to when files of outcomes were written that have been read; by S3's clock, ISO 8601.
    """

    at: str = ""
    tables_until: str = ""
    cities: Mapping[str, CityHealth] = field(default_factory=dict)
    fleet_wide: str = ""
    outcomes_until: str = ""

    def to_bytes(self) -> bytes:
        cities = {slug: asdict(health) for slug, health in sorted(self.cities.items())}
        value = {"format_version": FORMAT_VERSION, **asdict(self), "cities": cities}
        return (json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, body: bytes, where: str) -> Monitored:
        """Read it without trusting it.

        :raises BrokenScores: it is too large, no JSON, or a member is of another type.
        """
        try:
            value = json_of(body) if len(body) <= _MOST_BYTES else None
            if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
                raise ValueError(f"format_version: this version of City Fleet reads {FORMAT_VERSION}")
            texts: dict[str, Any] = {name: value.get(name) for name in ("at", "tables_until", "fleet_wide")}
            texts["outcomes_until"] = value.get("outcomes_until", "")  # a look of before knew none
            for name, text in texts.items():
                if not isinstance(text, str) or len(text) > _LONGEST:
                    raise ValueError(f"{name} is {show_value(text)}; allowed: a short text")
            if not isinstance(value.get("cities"), dict):
                raise ValueError("cities is no object")
            cities = {slug: _health(slug, each) for slug, each in value["cities"].items()}
            return cls(cities=cities, **texts)
        except (ValueError, TypeError, KeyError) as error:
            raise BrokenScores(
                f"{where}: is not what a look at live scores has found: {error}. Delete the object: the next look of "
                "the _monitor DAG makes it anew"
            ) from error


def read(store: ObjectStore, keys: Keys) -> Monitored:
    """Return what the last look has found; nothing where there was none.

    :raises BrokenScores: it can't be believed.
    """
    found = store.get(keys.monitor(), _MOST_BYTES)
    return Monitored() if found is None else Monitored.from_bytes(found.body, keys.uri(keys.monitor()))


def write(store: ObjectStore, keys: Keys, found: Monitored) -> None:
    """Write what a look has found; a fleet has one look at a time."""
    store.put(keys.monitor(), found.to_bytes())


def _health(slug: str, value: Any) -> CityHealth:
    names = {each.name for each in fields(CityHealth)}
    given = {name: each for name, each in value.items() if name in names}
    for name in ("reasons", "notes"):
        given[name] = tuple(given.get(name, ()))
        if not all(isinstance(text, str) and len(text) <= _LONGEST for text in given[name]):
            raise ValueError(f"{name} of {show_value(slug)} are no short texts")
    found = CityHealth(**given)
    for number in (found.error, found.naive, found.periods):
        if number is not None and (
            isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number)
        ):
            raise ValueError(f"a number of {show_value(slug)} is none")
    if not all(isinstance(text, str) for text in (found.alarm or "", found.told_by, found.action)):
        raise ValueError(f"a text of {show_value(slug)} is none")
    return found
