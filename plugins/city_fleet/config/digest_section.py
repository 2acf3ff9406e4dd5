"""The digest section of the fleet file: the morning's message, when it goes out and through what."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from city_fleet.config.name_types import ClassPath
from city_fleet.config.section import Section
from city_fleet.config.value_types import Schedule


class Notifier(Section):
    """One of Airflow's notifiers, and what it is called with."""

    notifier: ClassPath
    """Import path of a subclass of Airflow's BaseNotifier."""
    arguments: Annotated[dict[str, Any], Field()] = Field(default={})
    """Its arguments; in those it renders, {{ digest.subject }} and {{ digest.text }} stand for the message."""


class Digest(Section):
    """The morning's message about the night's runs."""

    schedule: Schedule = "0 7 * * *"
    """When it goes out, as a cron expression or preset, UTC; null for never. It is about what came since the last."""
    notifiers: tuple[Notifier, ...] = ()
    """Airflow notifiers that send it; without any it stands in the task's log alone."""
