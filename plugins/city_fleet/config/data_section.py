"""What both kinds of data have in common: where their rows come from, and whose they are."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from city_fleet.config.name_types import Column, FolderOrFile, TimeFormat
from city_fleet.config.section import Section, or_refuse, repeated
from city_fleet.config.value_types import Problem
from city_fleet.errors import show_value

#: Fields that `./fleet ingest` alone uses: a job gets the rows themselves.
OF_INGEST = frozenset({"source", "city_column"})


class Time(Section):
    """Where a row's period or moment stands in the raw data."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=3)]
    """One column with a date, or the columns of year and month, or of year, month and day, in this order."""
    format: TimeFormat | None = None
    """strptime format of the one time column; null reads ISO 8601 dates."""

    @model_validator(mode="after")
    def _check(self) -> Time:
        problems = repeated("columns", self.columns)
        if self.format is not None and len(self.columns) > 1:
            allowed = "no format when year, month and day have columns of their own"
            problems.append(Problem(show_value(self.format), allowed, path=("format",)))
        return or_refuse(self, problems)


class DataSection(Section):
    """What a series and a table have in common."""

    source: FolderOrFile | None = None
    """The file that `./fleet ingest` splits and uploads; null when something else fills the bucket."""
    city_column: Column
    """Column that holds the city's name."""

    def to_settings(self) -> dict[str, Any]:
        """Return the section as a job's settings file has it: defaults filled in, without what ingest alone uses."""
        return self.model_dump(mode="json", exclude=set(OF_INGEST))
