"""A city's run as its steps see it: the city, what the run is about, and what the steps before have left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from city_fleet.champions.planned_city import PlannedCity
from city_fleet.plan import Run
from city_fleet.state.author import Author


class NoUseAgain(Exception):
    """A step can't be done, and no retry helps: what it needs is gone."""


@dataclass(frozen=True)
class CityRun:
    """What the steps after a run's jobs work with.

    :param name: how the run signs what it decides, ``<dag id>/<run id>``.
    :param author: who lets its model go live.
    :param started: returns when its DAG run began; the same in every try.
    :param result: returns what an earlier step has left, by its name in ``plan.py``.
    """

    city: PlannedCity
    run: Run
    name: str
    author: Author
    started: Callable[[], datetime]
    result: Callable[[str], dict[str, Any]]
