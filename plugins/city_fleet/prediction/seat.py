"""Whose model answers a question by a city's name: the city's own, or its parent's.

The Lambda function carries this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from city_fleet import naming, outgoing_text
from city_fleet.errors import ServingError, UnknownCity
from city_fleet.prediction import substitute
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import MAX_CITY_LENGTH, LivePointers
from city_fleet.state.live_pointer import LivePointer

_CANNOT = "the city's parent, which should answer since this model is old or was worse, can't"

log = outgoing_text.logger(__name__)


@dataclass(frozen=True)
class Seat:
    """Whose model answers.

    :param pointer: the city's, or its parent's own: a pointer never names another city's model.
    :param child: the city, where its parent answers.
    :param own: the city's own pointer, where its parent answers because that is stale or was worse.
    :param problem: what a reader of the answer should know of who answers, as a sentence without its full stop.
    """

    pointer: LivePointer
    child: str | None = None
    own: LivePointer | None = None
    problem: str | None = None

    def without_parent(self) -> Seat:
        """Return the seat of the city's own model, whose parent can't answer: it has one."""
        assert self.own is not None  # noqa: S101 - asked only then
        return Seat(self.own, problem=_CANNOT)


def seat_of(city: str, pointers: LivePointers, known: KnownCopies, deadline: Deadline) -> Seat:
    """Find out whose model answers for a city by its name.

    :raises UnknownCity: no model is live that may.
    :raises ServingError: the pointer that would say it can't be read.
    """
    try:
        own = pointers.get(city, deadline)
    except UnknownCity as error:
        return _of_parent(city, error, pointers, known, deadline)
    values = None if own.is_table else known.newest(city, deadline).values
    if values is None or values.parent is None or not substitute.gives_way(own, values):
        return Seat(own)
    try:
        return Seat(pointers.get(values.parent, deadline), child=city, own=own)
    except (UnknownCity, ServingError) as error:
        log.warning("City %r: its parent can't answer, its own model does: %s", city, error)
        return Seat(own, problem=_CANNOT)


def _of_parent(
    city: str, error: UnknownCity, pointers: LivePointers, known: KnownCopies, deadline: Deadline
) -> Seat:
    """Return the seat of the parent of a city that has no model.

    :param error: what is said of the city without one.
    """
    askable = naming.is_slug(city) and len(city) <= MAX_CITY_LENGTH
    values = known.newest(city, deadline).values if askable else None
    if values is None:
        raise error
    if values.parent is None:
        raise substitute.no_parent(error) from error
    try:
        return Seat(pointers.get(values.parent, deadline), child=city)
    except UnknownCity:
        raise substitute.no_answer(error, values.parent) from error
    except ServingError as broken:
        raise substitute.broken_parent(broken, city, values.parent) from broken
