"""The dataset section of the fleet file: what the raw data look like and what is made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from city_fleet.config.name_types import Column, FolderOrFile, TimeFormat
from city_fleet.config.section import Section, or_refuse, out_of_order, repeated
from city_fleet.config.value_types import Duration, Number, Problem, Range
from city_fleet.errors import show_value

Frequency = Literal["day", "week", "month", "quarter", "year"]
Transform = Literal["none", "log", "log_ratio_to_mean"]
Calendar = Literal["month_of_year", "quarter_of_year", "week_of_year", "day_of_week", "trend"]
DEFAULT_WINDOW = 12
Lag = Annotated[int, Range(True, 1, 1000)]
# SageMaker's limits on the arguments of a processing job, checked long before one starts.
MAX_ARGUMENT_CHARACTERS = 256
MAX_ARGUMENTS = 100
# city, as_of, raw folder, raw URI, output folder and message file: a name and a value each.
ARGUMENTS_OF_A_RUN = 12


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
                got = f"{feature.column!r} a second time"
                problems.append(Problem(got, "each column once", hint=hint, path=path))
            seen.setdefault(feature.column, index)
        if not (self.features or self.calendar or self.target.lags) and self.target.transform == "none":
            allowed = "at least one of features, calendar and target.lags"
            problems.append(Problem("nothing", allowed, path=("features",)))
        if len(self.time.columns) == 2 and self.frequency in ("day", "week"):
            allowed = "month, quarter or year when the time columns are a year and a month"
            problems.append(Problem(show_value(self.frequency), allowed, path=("frequency",)))
        needed = self.validation_periods + self.holdout_periods + 1
        if self.minimum_periods < needed:
            allowed = f"at least {needed} (validation_periods + holdout_periods + one to train on)"
            problems.append(Problem(str(self.minimum_periods), allowed, path=("minimum_periods",)))
        return or_refuse(self, problems + _argument_problems(self))

    def arguments(self) -> list[str]:
        """Return the command-line arguments of preprocess.py for this section, in a fixed order."""
        return [part for _, parts in _arguments(self) for part in parts]


def _argument_problems(dataset: Dataset) -> list[Problem]:
    """Return the problems of arguments that SageMaker would refuse: too long, or too many."""
    problems = []
    count = ARGUMENTS_OF_A_RUN
    for path, parts in _arguments(dataset):
        count += len(parts)
        longest = max(len(part) for part in parts)
        if longest > MAX_ARGUMENT_CHARACTERS:
            got, allowed = f"{longest} characters as a job argument", f"at most {MAX_ARGUMENT_CHARACTERS}"
            hint = "Use fewer lags or a shorter column name."
            problems.append(Problem(got, allowed, hint=hint, path=path))
    if count > MAX_ARGUMENTS:
        allowed = f"at most {MAX_ARGUMENTS}: each feature, target lag and calendar entry takes two"
        problems.append(Problem(f"a dataset of {count} job arguments", allowed, path=("features",)))
    return problems


def _arguments(dataset: Dataset) -> Iterator[tuple[tuple[str | int, ...], list[str]]]:
    """Yield the field's path and its arguments, field by field."""
    for index, column in enumerate(dataset.time.columns):
        yield ("time", "columns", index), _pair("--time-column", column)
    if dataset.time.format is not None:
        yield ("time", "format"), _pair("--time-format", dataset.time.format)
    yield ("frequency",), _pair("--frequency", dataset.frequency)
    yield ("available_after",), _pair("--available-after", str(dataset.available_after))
    target = dataset.target
    yield ("target", "column"), _pair("--target", target.column)
    if target.min is not None:
        yield ("target", "min"), _pair("--target-min", _number(target.min))
    if target.max is not None:
        yield ("target", "max"), _pair("--target-max", _number(target.max))
    yield ("target", "transform"), _pair("--target-transform", target.transform_argument)
    for index, lag in enumerate(target.lags):
        yield ("target", "lags", index), _pair("--target-lag", str(lag))
    for index, feature in enumerate(dataset.features):
        limits = {"min": feature.min, "max": feature.max}
        numbers = {name: json.loads(_number(limit)) for name, limit in limits.items() if limit is not None}
        value = {"column": feature.column, "lags": list(feature.lags), **numbers}
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        yield ("features", index), _pair("--feature", text)
    for index, name in enumerate(dataset.calendar):
        yield ("calendar", index), _pair("--calendar", name)
    yield ("minimum_periods",), _pair("--minimum-periods", str(dataset.minimum_periods))
    yield ("validation_periods",), _pair("--validation-periods", str(dataset.validation_periods))
    yield ("holdout_periods",), _pair("--holdout-periods", str(dataset.holdout_periods))


def _pair(name: str, value: str) -> list[str]:
    # argparse would take a value that starts with "-" for the next option.
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
