"""When the model of a city's parent answers for it: where nothing serves, or what serves has not seen the newest data.

What a run has known of a city says whose model stands in (``known/<city>/``, members ``parent`` and ``stale_after``),
so whoever predicts needs no fleet file. Pure; standard library only, as the Lambda function carries this module.
"""

from __future__ import annotations

from city_fleet.errors import ServingError, UnknownCity
from city_fleet.state.known_values import KnownValues, periods_between
from city_fleet.state.live_pointer import LivePointer

#: What answers where neither the city's model nor its parent's does.
BASELINE = "baseline"


def gives_way(pointer: LivePointer, known: KnownValues) -> bool:
    """Tell whether a city's model gives way to its parent's: its parent was better on the city's rows, or what is known
    of the city is much newer than the model's data."""
    return known.parent is not None and (known.beaten == pointer.target_model or _is_stale(pointer, known))


def _is_stale(pointer: LivePointer, known: KnownValues) -> bool:
    if known.stale_after is None or pointer.data_until is None or known.known_until is None:
        return False
    return periods_between(pointer.data_until, known.known_until, known.frequency) > known.stale_after


def no_answer(error: UnknownCity, parent: str) -> UnknownCity:
    """Return what is said of a city whose parent has no model either."""
    return UnknownCity(
        f"city {error.city!r} has no live model, and its parent {parent!r}, whose model would answer for it, has none "
        f"either: ./fleet status {parent} says why.",
        city=error.city,
        nearest=None,
    )


def broken_parent(error: ServingError, city: str, parent: str) -> ServingError:
    """Return what is said of a city that only its parent could answer for, and whose parent can't."""
    return ServingError(
        f"city {city!r} has no live model, and its parent {parent!r}, which answers for it, can't: {error}",
        city=city,
        log_stream_arn=error.log_stream_arn,
    )


def no_parent(error: UnknownCity) -> UnknownCity:
    """Return what is said of a city that has data, no model and no parent."""
    return UnknownCity(
        f"{error} Its data are known, and no model of it has passed: with `parent:` in the fleet file a model that is "
        "pooled over several cities answers for it.",
        city=error.city,
        nearest=error.nearest,
    )
