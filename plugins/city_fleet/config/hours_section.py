"""The part of the endpoint section that says when a shared endpoint is open."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, model_validator

from city_fleet.config.name_types import Text
from city_fleet.config.section import Section, or_refuse, repeated
from city_fleet.config.value_types import Problem, refuse
from city_fleet.errors import nearest_match

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Opening = Annotated[
    str, Text(r"([01]\d|2[0-3]):[0-5]\d", 'a time of day in quotes, from "00:00" to "23:59"', 5)
]
Closing = Annotated[
    str, Text(r"([01]\d|2[0-3]):[0-5]\d|24:00", 'a time of day in quotes, from "00:00" to "24:00"', 5)
]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        allowed = "a time zone of the IANA database, such as Europe/Berlin or UTC"
        raise refuse(
            Problem(repr(name), allowed, nearest=nearest_match(name, available_timezones()))
        ) from None
    return name


TimeZone = Annotated[
    str,
    Text(
        r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*",
        "the name of a time zone, such as Europe/Berlin or UTC",
        64,
    ),
    AfterValidator(_known_zone),
]


class Hours(Section):
    """When a shared endpoint is open; it is deleted when it closes, and made again ahead of its opening."""

    open: Opening
    """Time of day at which it is in service, by the clocks of time_zone."""
    close: Closing
    """Time of day at which it goes; at or before open it is one of the next day."""
    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    """Days on which it opens."""
    time_zone: TimeZone = "UTC"
    """Whose clocks count."""

    @model_validator(mode="after")
    def _check(self) -> Hours:
        problems = repeated("days", self.days)
        if self.open == self.close:
            allowed = "another time than open; leave hours out where the endpoint never closes"
            problems.append(Problem(repr(self.close), allowed, path=("close",)))
        elif (self.open, self.close) == ("00:00", "24:00") and set(self.days) == set(DAYS):
            allowed = "hours in which it closes; leave hours out where it never does"
            problems.append(Problem("every hour of every day", allowed, path=("close",)))
        return or_refuse(self, problems)
