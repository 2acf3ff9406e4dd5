"""The sections of the fleet file about models that serve: when to look, and from when on one is no longer right."""

from __future__ import annotations

from typing import Annotated, Literal

from city_fleet.config.section import Section
from city_fleet.config.value_types import Flag, Range, Schedule


class Monitor(Section):
    """Looking whether the models that serve are still right, by the tables of forecasts and what came true."""

    schedule: Schedule = None
    """When the DAG <fleet>._monitor looks, as a cron expression or preset, UTC; null: there is no such DAG."""
    most_actions: Annotated[int, Range(True, 0, 1000)] = 50
    """Cities that one look may retrain or roll back; the others wait for the next one."""


class Decay(Section):
    """From when on a model counts as no longer right, and what is done then."""

    action: Literal["alert", "retrain", "rollback"] = "alert"
    """What is done when it does: tell the digest's notifiers; or start the city's run too, once; or return to the
    nearest earlier model whose live errors were clearly smaller, and pin it."""
    limit: Annotated[float, Range(False, 2, 100)] = 5
    """How much evidence is needed, in standard deviations of the held-out errors, of which each period gives one less
    than its error."""
    patience: Annotated[int, Range(True, 1, 100)] = 2
    """Periods in a row that must speak against the model, or be unlike all before."""
    inputs: Flag = True
    """Whether a column that is empty, does not move or lies far from all before counts too."""
    no_truth_after: Annotated[int, Range(True, 1, 1000)] = 3
    """Forecast periods that may be over and due without a value before somebody is told."""
