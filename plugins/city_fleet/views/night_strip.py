"""How a fleet's last nights went: how many cities ended how in each, and how each city did. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from city_fleet import naming
from city_fleet.state.index_state import KEPT_NIGHTS, Index, Night
from city_fleet.views import digest


@dataclass(frozen=True)
class StripNight:
    """One night of the fleet.

    :param until: its end; runs with an as_of up to it are its own.
    :param counts: how its runs ended → how many cities.
    """

    until: datetime
    counts: Mapping[str, int]

    @property
    def id(self) -> str:
        return naming.as_of_stamp(self.until)

    @property
    def cities(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Strip:
    """The last nights.

    :param nights: the oldest first, at most as many as the index keeps of a city.
    :param of_city: slug → how it ended in each of these nights; None where it had no run.
    """

    nights: tuple[StripNight, ...]
    of_city: Mapping[str, tuple[str | None, ...]]


def strip_of(index: Index, schedule: str | None) -> Strip:
    """Return the last nights of a fleet.

    :param schedule: of its digest: where one night ends and the next one begins.
    """
    ends: dict[str, datetime] = {}  # thousands of cities share a few moments

    def night_of(night: Night) -> datetime:
        if night.as_of not in ends:
            ends[night.as_of] = digest.night_of(naming.parse_as_of(night.as_of), schedule).until
        return ends[night.as_of]

    # Newest first in the index, so the first of a night counts.
    found: dict[str, dict[datetime, str]] = {}
    for city, entry in index.cities.items():
        of_city: dict[datetime, str] = {}
        for night in entry.nights:
            of_city.setdefault(night_of(night), night.outcome)
        found[city] = of_city
    nights = sorted({until for of_city in found.values() for until in of_city})[-KEPT_NIGHTS:]
    counts = {until: Counter(of[until] for of in found.values() if until in of) for until in nights}
    return Strip(
        nights=tuple(StripNight(until, dict(counts[until])) for until in nights),
        of_city={city: tuple(of_city.get(until) for until in nights) for city, of_city in found.items()},
    )


def narrowed(strip: Strip, slugs: Collection[str]) -> Strip:
    """Return the last nights of some of a fleet's cities, without those in which none of them has had a run."""
    of_city = {slug: cells for slug, cells in strip.of_city.items() if slug in slugs}
    places = [at for at in range(len(strip.nights)) if any(cells[at] for cells in of_city.values())]
    return Strip(
        tuple(
            StripNight(
                strip.nights[at].until, Counter(cell for cells in of_city.values() if (cell := cells[at]))
            )
            for at in places
        ),
        {slug: tuple(cells[at] for at in places) for slug, cells in of_city.items()},
    )
