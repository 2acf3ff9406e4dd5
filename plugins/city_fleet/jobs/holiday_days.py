"""The days of ``dataset.holidays``, looked up when a run is prepared, and data from then on.

The package ``holidays`` knows them; only where a run is prepared, and only for a fleet that asks. Jobs and endpoint
read the days in the settings file, and in what is made of them.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Any

from city_fleet.config.series import Series
from city_fleet.errors import ConfigError, display_path, list_names, nearest_match

if TYPE_CHECKING:
    from city_fleet.plan import CityPlan

#: Before as_of: data that are older know nothing of holidays.
YEARS_BACK = 50
#: Behind as_of, beside what the horizon needs: a model that is held for years goes on knowing them.
YEARS_AHEAD = 5
_PERIODS_A_YEAR = {
    "year": 1,
    "quarter": 4,
    "month": 12,
    "week": 52,
    "business_day": 260,
    "day": 365,
    "hour": 8760,
}
_LONGEST_NAME = 100
#: The extra of that name of City Fleet's wheel, for pip.
NEED = "holidays>=0.60"


class _NoSuchPlace(Exception):
    """The package does not know the country, or the part of it."""


def holidays_of(plan: CityPlan, as_of: datetime) -> dict[str, Any] | None:
    """Return what a run's settings file says of holidays; None where no feature is made of them.

    :return: ``country``, ``subdivision``, the ``first`` and the ``last`` day of which it is known whether it is one,
        and ``days``: a day and its name each, in order.
    :raises ConfigError: the package is not installed, or does not know the place.
    """
    dataset = plan.city.dataset
    if not isinstance(dataset, Series) or dataset.holidays is None:
        return None
    wanted = dataset.holidays
    further = dataset.horizon * dataset.every // _PERIODS_A_YEAR[dataset.frequency] + YEARS_AHEAD
    field = "dataset.holidays"

    def refusal(got: str, allowed: str, **more: Any) -> ConfigError:
        file, city = display_path(plan.fleet.path), plan.city.slug
        return ConfigError(file=file, city=city, field=field, got=got, allowed=allowed, **more)

    try:
        first, last, days = _days(
            wanted.country, wanted.subdivision, as_of.year - YEARS_BACK, as_of.year + further
        )
    except ImportError as error:
        raise refusal(
            f"{wanted.country}, but the package holidays is not installed",
            "a country's holidays where the package is",
            hint="Install it where Airflow's tasks and ./fleet run, as the extra [holidays] of City Fleet's wheel or "
            f"by pip install '{NEED}'. Jobs do not need it.",
        ) from error
    except _NoSuchPlace as error:
        known, got = _places(wanted.country, wanted.subdivision)
        raise refusal(
            got,
            f"what the package holidays knows: {list_names(sorted(known))}",
            nearest=nearest_match(got, known),
            hint=f"{error}.",
        ) from error
    return {
        "country": wanted.country,
        "subdivision": wanted.subdivision,
        "first": first,
        "last": last,
        "days": [list(day) for day in days],
    }


@functools.lru_cache(maxsize=256)
def _days(
    country: str, subdivision: str | None, first_year: int, last_year: int
) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Look the holidays up, once for all cities of a place."""
    holidays = importlib.import_module("holidays")  # a fleet without holidays does not have it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of years that are not known, which are left out here
            known = holidays.country_holidays(country, subdiv=subdivision)
            first, last = max(first_year, known.start_year), min(last_year, known.end_year)
            found = holidays.country_holidays(country, subdiv=subdivision, years=range(first, last + 1))
    except (NotImplementedError, KeyError, AttributeError) as error:
        raise _NoSuchPlace(str(error)) from error
    # A holiday's neighbours may be those of another year; what is asked for is these years' alone.
    days = sorted((day, name) for day, name in found.items() if first <= day.year <= last)
    return (
        f"{first:04d}-01-01",
        f"{last:04d}-12-31",
        tuple((day.isoformat(), " ".join(str(name).split())[:_LONGEST_NAME]) for day, name in days),
    )


def _places(country: str, subdivision: str | None) -> tuple[list[str], str]:
    """Return the codes among which one may have been meant, and the one that was given."""
    places: dict[str, list[str]] = importlib.import_module("holidays").list_supported_countries()
    if country not in places or subdivision is None:
        return list(places), country
    return list(places[country]), subdivision
