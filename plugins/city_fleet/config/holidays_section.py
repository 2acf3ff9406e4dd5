"""Whose holidays a series has features of. The days themselves are looked up when a run is prepared."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from city_fleet.config.name_types import Country, Subdivision
from city_fleet.config.section import Section


class Holidays(Section):
    """A country, or a part of one."""

    country: Country
    """The country's two letters, as in ISO 3166."""
    subdivision: Subdivision | None = None
    """A part of it with holidays of its own, as a state; null for those that the whole country has."""


def _named(value: object) -> object:
    """A country's name alone."""
    return {"country": value} if isinstance(value, str) else value


HolidaysOf = Annotated[Holidays, BeforeValidator(_named, json_schema_input_type=Country | Holidays)]
