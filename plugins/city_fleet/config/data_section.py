"""What both kinds of data have in common: where their rows come from, and whose they are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from city_fleet.config.name_types import Column, FolderOrFile, RawTemplate, TimeFormat
from city_fleet.config.section import Section, or_refuse, repeated
from city_fleet.config.value_types import Problem
from city_fleet.errors import list_names, show_value

#: Fields that say where rows come from: a job gets the rows themselves.
OF_INGEST = frozenset({"source", "city_column", "raw"})
Part = Literal["year", "quarter", "month", "week", "day", "date", "hour"]
YEAR_TO_HOUR: tuple[Part, ...] = ("year", "month", "day", "hour")
PARTS: tuple[tuple[Part, ...], ...] = (
    ("year", "month"),
    ("year", "quarter"),
    ("year", "week"),
    ("year", "month", "day"),
    ("date", "hour"),
    YEAR_TO_HOUR,
)
BY_NAME: dict[str, Part] = {"quarter": "quarter", "week": "week", "hour": "hour"}


class Time(Section):
    """Where a row's period or moment stands in the raw data."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=4)]
    """One column with a date or moment, or several with its parts, in the order of parts."""
    format: TimeFormat | None = None
    """strptime format of the one time column; null reads ISO 8601 dates, quarters (1981 Q1) and weeks (2015-W03)."""
    parts: tuple[Part, ...] | None = None
    """What several columns hold, in order; null goes by their number, and a second one named quarter, week or hour."""

    @property
    def finest(self) -> Part:
        """The smallest of what the columns tell; a moment may be in any one column."""
        return self.told[-1] if len(self.columns) > 1 else "hour"

    @property
    def told(self) -> tuple[Part, ...]:
        """What several columns hold, as ``include/scripts/time_columns.py`` knows it."""
        if self.parts is not None:
            return self.parts
        if len(self.columns) == 2:
            return "year", BY_NAME.get(self.columns[1].lower(), "month")
        return YEAR_TO_HOUR[: len(self.columns)]

    @model_validator(mode="after")
    def _check(self) -> Time:
        problems = repeated("columns", self.columns)
        if self.parts is not None and (self.parts not in PARTS or len(self.parts) != len(self.columns)):
            fitting = [" and ".join(each) for each in PARTS if len(each) == len(self.columns)]
            allowed = list_names(fitting) if fitting else "null, because there is one column"
            problems.append(Problem(show_value(list(self.parts)), allowed, path=("parts",)))
        if self.format is not None and len(self.columns) > 1:
            allowed = "no format when year, month and day have columns of their own"
            problems.append(Problem(show_value(self.format), allowed, path=("format",)))
        return or_refuse(self, problems)


class DataSection(Section):
    """What a series and a table have in common."""

    source: FolderOrFile | None = None
    """The file that `./fleet ingest` splits and uploads; null when something else fills the bucket."""
    city_column: Column | None = None
    """Column that holds the city's name; null where a file is one city's."""
    raw: RawTemplate | None = None
    """Folder in S3 that a city's files are read in, in place; null: the fleet's own prefix, which ingest fills."""

    def city_named(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return the city column with its field, where there is one."""
        return [] if self.city_column is None else [(("city_column",), self.city_column)]

    def to_settings(self) -> dict[str, Any]:
        """Return the section as a job's settings file has it: defaults filled in, without what ingest alone uses."""
        return self.model_dump(mode="json", exclude=set(OF_INGEST))
