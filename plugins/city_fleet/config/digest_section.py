"""The digest section of the fleet file: the morning's message, when it goes out and through what."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from city_fleet.config.name_types import ClassPath, Whose
from city_fleet.config.section import Section
from city_fleet.config.value_types import Problem, Schedule, refuse

#: Below these a notifier may lie: importing a module runs it.
NOTIFIER_PACKAGES = ("airflow.providers",)
#: The environment variable that names further modules or packages, parted by commas or spaces.
NOTIFIERS_VARIABLE = "CITY_FLEET_NOTIFIERS"
#: Arguments by which notifiers send a file of the worker's host, or read their text from one.
_FILES = ("files", "template", "attach")


def refusal(notifier: str, arguments: Mapping[str, Any]) -> Problem | None:
    """Return why the installation has no message sent by a class; None if it may be.

    :param notifier: import path of the class.
    :param arguments: what it would be called with.
    """
    more = re.split(r"[\s,]+", os.environ.get(NOTIFIERS_VARIABLE, ""))
    packages = (*NOTIFIER_PACKAGES, *(package for package in more if package))
    if not any(notifier.startswith(f"{package.rstrip('.')}.") for package in packages):
        hint = (
            f"Whoever installs City Fleet allows another package in {NOTIFIERS_VARIABLE}, for all of Airflow's "
            "processes."
        )
        return Problem(repr(notifier), f"a class below {', '.join(packages)}", hint=hint, path=("notifier",))
    for name in _FILES:
        if name in arguments:
            got, allowed = "an argument that reads a file of the host", "the message's own text"
            hint = "Write {{ digest.text }} into an argument that is rendered."
            return Problem(got, allowed, hint=hint, path=("arguments", name), of_key=True)
    return None


class Notifier(Section):
    """One of Airflow's notifiers, and what it is called with."""

    notifier: ClassPath
    """Import path of a subclass of Airflow's BaseNotifier."""
    arguments: Annotated[dict[str, Any], Field()] = Field(default={})
    """Its arguments; in those it renders, {{ digest.subject }} and {{ digest.text }} stand for the message."""

    @model_validator(mode="after")
    def _check(self) -> Notifier:
        problem = refusal(self.notifier, self.arguments)
        if problem is not None:
            raise refuse(problem)
        return self


class Digest(Section):
    """The morning's message about the night's runs."""

    schedule: Schedule = "0 7 * * *"
    """When it goes out, as a cron expression or preset, UTC; null for never. It is about what came since the last."""
    notifiers: tuple[Notifier, ...] = ()
    """Airflow notifiers that send it; without any it stands in the task's log alone."""
    owners: Annotated[dict[Whose, tuple[Notifier, ...]], Field()] = Field(default={})
    """By owner or tag of cities: notifiers that send what is about those cities alone."""
