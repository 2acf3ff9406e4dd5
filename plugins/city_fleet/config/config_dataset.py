"""The dataset section of the fleet file: what the raw data look like and what is made of them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from city_fleet.config import config_arguments
from city_fleet.config.config_names import Column, FolderOrFile, TimeFormat
from city_fleet.config.config_types import Duration, Number, Problem, Range, refuse
from city_fleet.errors import show_value

Frequency = Literal["day", "week", "month", "quarter", "year"]
Transform = Literal["none", "log", "log_ratio_to_mean"]
Calendar = Literal["month_of_year", "quarter_of_year", "week_of_year", "day_of_week", "trend"]
DEFAULT_WINDOW = 12
Lag = Annotated[int, Range(True, 1, 1000)]


class Section(BaseModel):
    """Base of every part of the fleet file: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


S = TypeVar("S", bound=Section)


def repeated(field: str, values: tuple[object, ...]) -> list[Problem]:
    """:return: one problem for each value that stands in the list before."""
    return [
        Problem(f"{show_value(value)} a second time", "each value once", path=(field, index))
        for index, value in enumerate(values)
        if value in values[:index]
    ]


def out_of_order(lowest: float | None, highest: float | None) -> list[Problem]:
    """:return: the problem of a max that is not above its min."""
    if lowest is None or highest is None or lowest < highest:
        return []
    return [Problem(show_value(highest), f"a number above min ({lowest:g})", path=("max",))]


def or_refuse(section: S, problems: list[Problem]) -> S:
    """Return the section, or refuse it with all its problems."""
    if problems:
        raise refuse(*problems)
    return section


class Time(Section):
    """Where a row's period stands in the raw data."""

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


class Target(Section):
    """The column to predict."""

    column: Column
    """Column of the raw data."""
    min: Number | None = None
    """Smallest possible value, in the column's unit; a smaller one stops the city's run."""
    max: Number | None = None
    """Largest possible value, in the column's unit; a larger one stops the city's run."""
    transform: Transform = "none"
    """What the model learns instead of the value itself; predictions are always values again."""
    window: Annotated[int, Range(True, 2, 1000)] | None = None
    """Periods of the mean that log_ratio_to_mean compares with (12 if not given); null otherwise."""
    lags: tuple[Lag, ...] = ()
    """Earlier values of the target given to the model, in periods back."""

    @property
    def transform_argument(self) -> str:
        """The transform as the job scripts spell it: ``none``, ``log`` or ``log_ratio_to_mean:<window>``."""
        return self.transform if self.window is None else f"{self.transform}:{self.window}"

    @model_validator(mode="after")
    def _check(self) -> Target:
        # A city that overrides the transform alone inherits a window it has no use for.
        if self.transform != "log_ratio_to_mean":
            object.__setattr__(self, "window", None)
        elif self.window is None:
            object.__setattr__(self, "window", DEFAULT_WINDOW)
        problems = repeated("lags", self.lags) + out_of_order(self.min, self.max)
        if self.transform != "none" and self.min is not None and self.min <= 0:
            allowed = f"a number above 0, because target.transform is {self.transform}"
            problems.append(Problem(show_value(self.min), allowed, path=("min",)))
        return or_refuse(self, problems)


class Feature(Section):
    """A column whose earlier values the model sees."""

    column: Column
    """Column of the raw data."""
    lags: Annotated[tuple[Lag, ...], Field(min_length=1)]
    """Periods back; at least 1, because the period's own value is not known yet."""
    min: Number | None = None
    """Smallest possible value; a smaller one stops the city's run."""
    max: Number | None = None
    """Largest possible value; a larger one stops the city's run."""

    @model_validator(mode="after")
    def _check(self) -> Feature:
        return or_refuse(self, repeated("lags", self.lags) + out_of_order(self.min, self.max))


class Dataset(Section):
    """What the raw data look like and what is made of them."""

    source: FolderOrFile | None = None
    """The CSV that `./fleet ingest` splits and uploads; null when something else fills the bucket."""
    city_column: Column
    """Column that holds the city's name."""
    time: Time
    """Where a row's period stands."""
    frequency: Frequency
    """Length of a period: one row per city and period."""
    available_after: Duration
    """How long after the start of its period a row is known; a run sees only rows known by its as_of."""
    target: Target
    """The column to predict."""
    features: tuple[Feature, ...] = ()
    """Columns whose earlier values the model sees."""
    calendar: tuple[Calendar, ...] = ()
    """Features made of the period's own date."""
    minimum_periods: Annotated[int, Range(True, 3)] = 60
    """Usable periods a city needs; with fewer its run ends as too_little_data."""
    validation_periods: Annotated[int, Range(True, 1)] = 12
    """Periods before the holdout that stop the training early."""
    holdout_periods: Annotated[int, Range(True, 1)] = 12
    """Latest periods, kept back to judge the model."""

    @model_validator(mode="after")
    def _check(self) -> Dataset:
        problems = repeated("calendar", self.calendar)
        seen: dict[str, int] = {}
        for index, feature in enumerate(self.features):
            path = ("features", index, "column")
            if feature.column == self.target.column:
                hint = "Give its lags as dataset.target.lags."
                problems.append(Problem("the target's column", "another column", hint=hint, path=path))
            elif feature.column in seen:
                hint = f"Put all its lags into dataset.features[{seen[feature.column]}]."
                problems.append(
                    Problem(f"{feature.column!r} a second time", "each column once", hint=hint, path=path)
                )
            seen.setdefault(feature.column, index)
        if not (self.features or self.calendar or self.target.lags) and self.target.transform == "none":
            problems.append(
                Problem("nothing", "at least one of features, calendar and target.lags", path=("features",))
            )
        if len(self.time.columns) == 2 and self.frequency in ("day", "week"):
            allowed = "month, quarter or year when the time columns are a year and a month"
            problems.append(Problem(show_value(self.frequency), allowed, path=("frequency",)))
        needed = self.validation_periods + self.holdout_periods + 1
        if self.minimum_periods < needed:
            allowed = f"at least {needed} (validation_periods + holdout_periods + one to train on)"
            problems.append(Problem(str(self.minimum_periods), allowed, path=("minimum_periods",)))
        return or_refuse(self, problems + config_arguments.argument_problems(self))

    def arguments(self) -> list[str]:
        """:return: the command-line arguments of preprocess.py for this section, in a fixed order."""
        return config_arguments.dataset_arguments(self)
