"""The dataset section of a series: one row per city and period, and what is made of them."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, model_validator

from city_fleet.config.data_section import DataSection, Time
from city_fleet.config.name_types import Column, Unit
from city_fleet.config.section import Section, or_refuse, out_of_order, repeated
from city_fleet.config.value_types import Duration, Number, Problem, Range
from city_fleet.errors import show_value

Frequency = Literal["day", "week", "month", "quarter", "year"]
Transform = Literal["none", "log", "log_ratio_to_mean"]
Calendar = Literal["month_of_year", "quarter_of_year", "week_of_year", "day_of_week", "trend"]
DEFAULT_WINDOW = 12
LONGEST_HORIZON = 100
Lag = Annotated[int, Range(True, 1, 1000)]


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
    unit: Unit | None = None
    """What the value is measured in; said beside every forecast."""
    lags: tuple[Lag, ...] = ()
    """Earlier values of the target given to the model: 1 is the newest that is known when the period begins."""

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
    """1 is the newest value that is known when the period begins; 0 would be the period's own, which is not."""
    min: Number | None = None
    """Smallest possible value; a smaller one stops the city's run."""
    max: Number | None = None
    """Largest possible value; a larger one stops the city's run."""

    @model_validator(mode="after")
    def _check(self) -> Feature:
        return or_refuse(self, repeated("lags", self.lags) + out_of_order(self.min, self.max))


class Series(DataSection):
    """Rows of which each city has one per period; the model predicts those of the periods that come next."""

    kind: Literal["series"] = "series"
    """series: one row per period, and the next ones are predicted. table: rows that stand for themselves."""
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
    horizon: Annotated[int, Range(True, 1, LONGEST_HORIZON)] = 1
    """How many periods ahead a forecast reaches."""
    minimum_periods: Annotated[int, Range(True, 3)] = 60
    """Usable periods a city needs; with fewer its run ends as too_little_data."""
    validation_periods: Annotated[int, Range(True, 1)] = 12
    """Periods before the holdout that stop the training early."""
    holdout_periods: Annotated[int, Range(True, 1)] = 12
    """Latest periods, kept back to judge the model."""

    @model_validator(mode="after")
    def _check(self) -> Series:
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
        if self.horizon > self.holdout_periods:
            allowed = f"at most {self.holdout_periods} (holdout_periods): no step is believed that nothing has judged"
            problems.append(Problem(str(self.horizon), allowed, path=("horizon",)))
        needed = self.validation_periods + self.holdout_periods + 1
        if self.minimum_periods < needed:
            allowed = f"at least {needed} (validation_periods + holdout_periods + one to train on)"
            problems.append(Problem(str(self.minimum_periods), allowed, path=("minimum_periods",)))
        return or_refuse(self, problems)

    @property
    def task(self) -> Literal["regression"]:
        """What a model of a series does."""
        return "regression"

    @property
    def value_columns(self) -> tuple[str, ...]:
        """The columns whose values a model learns from."""
        return (self.target.column, *(feature.column for feature in self.features))

    def columns_named(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return every column that the section names, with the field that names it."""
        found: list[tuple[tuple[str | int, ...], str]] = [(("city_column",), self.city_column)]
        for index, column in enumerate(self.time.columns):
            found.append((("time", "columns", index), column))
        found.append((("target", "column"), self.target.column))
        for index, feature in enumerate(self.features):
            found.append((("features", index, "column"), feature.column))
        return found

    def arguments(self) -> list[str]:
        """Return preprocess.py's arguments for this section, for a run by hand without a settings file."""
        target = self.target
        pairs = [("--time-column", column) for column in self.time.columns]
        if self.time.format is not None:
            pairs.append(("--time-format", self.time.format))
        pairs += [("--frequency", self.frequency), ("--available-after", str(self.available_after))]
        pairs.append(("--target", target.column))
        limits = (("--target-min", target.min), ("--target-max", target.max))
        pairs += [(name, _number(limit)) for name, limit in limits if limit is not None]
        pairs.append(("--target-transform", target.transform_argument))
        pairs += [("--target-lag", str(lag)) for lag in target.lags]
        pairs += [("--feature", _feature(feature)) for feature in self.features]
        pairs += [("--calendar", name) for name in self.calendar]
        if self.horizon > 1:
            pairs.append(("--horizon", str(self.horizon)))
        pairs += [
            ("--minimum-periods", str(self.minimum_periods)),
            ("--validation-periods", str(self.validation_periods)),
            ("--holdout-periods", str(self.holdout_periods)),
        ]
        return [part for name, value in pairs for part in _pair(name, value)]


def _feature(feature: Feature) -> str:
    limits = {"min": feature.min, "max": feature.max}
    numbers = {name: json.loads(_number(limit)) for name, limit in limits.items() if limit is not None}
    value = {"column": feature.column, "lags": list(feature.lags), **numbers}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _pair(name: str, value: str) -> list[str]:
    # argparse would take a value that starts with "-" for the next option.
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
