"""The dataset section of a series: one row per city and period, and what is made of them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import model_validator

from city_fleet.config.data_section import DataSection, Part, Time
from city_fleet.config.holidays_section import HolidaysOf
from city_fleet.config.name_types import Column, Unit
from city_fleet.config.section import Section, or_refuse, out_of_order, repeated
from city_fleet.config.value_types import Day, Duration, Flag, Number, Problem, Range
from city_fleet.errors import show_value
from city_fleet.periods import MOST_EVERY, Grid

Frequency = Literal["hour", "day", "business_day", "week", "month", "quarter", "year"]
Aggregate = Literal["sum", "mean", "median", "count", "min", "max", "last"]
Duplicates = Literal["error", "last", "sum"]
Transform = Literal["none", "log", "log_ratio_to_mean"]
Calendar = Literal["month_of_year", "quarter_of_year", "week_of_year", "day_of_week", "hour_of_day", "trend"]
#: The smallest of what time columns tell → frequencies that a row's period is told for.
_TOLD: dict[Part, tuple[Frequency, ...]] = {
    "hour": ("hour", "day", "business_day", "week", "month", "quarter", "year"),
    "day": ("day", "business_day", "week", "month", "quarter", "year"),
    "week": ("week", "month", "quarter", "year"),
    "month": ("month", "quarter", "year"),
    "quarter": ("quarter", "year"),
}
#: What rows become periods by, and what was so before somebody could say otherwise.
_AS_BEFORE: dict[str, Any] = {
    "every": 1,
    "anchor": None,
    "aggregate": None,
    "duplicates": "error",
    "decimal": ".",
}
DEFAULT_WINDOW = 12
LONGEST_HORIZON = 100
Lag = Annotated[int, Range(True, 1, 1000)]
LagAhead = Annotated[int, Range(True, 0, 1000)]


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
    """A column whose values the model sees: earlier ones, or the forecast period's own where it is known ahead."""

    column: Column
    """Column of the raw data."""
    lags: tuple[LagAhead, ...] = ()
    """1 is the newest value that is known when the period begins. With known_ahead 0, the default, is its own."""
    min: Number | None = None
    """Smallest possible value; a smaller one stops the city's run."""
    max: Number | None = None
    """Largest possible value; a larger one stops the city's run."""
    known_ahead: Flag = False
    """Whether its values of periods to come are known when a forecast is made, as a promotion that is planned."""
    aggregate: Aggregate | None = None
    """What a period makes of its rows' values; null does as dataset.aggregate."""

    @model_validator(mode="after")
    def _check(self) -> Feature:
        problems = repeated("lags", self.lags) + out_of_order(self.min, self.max)
        if not self.known_ahead:
            hint = "0 is the period's own value: give known_ahead: true if it is known when the forecast is made."
            for index, lag in enumerate(self.lags):
                if lag < 1:
                    allowed = "a whole number from 1 to 1000"
                    problems.append(Problem(str(lag), allowed, hint=hint, path=("lags", index)))
            if not self.lags:
                problems.append(Problem("nothing", "at least one lag", hint=hint, path=("lags",)))
        elif not self.lags:
            object.__setattr__(self, "lags", (0,))
        return or_refuse(self, problems)


class Series(DataSection):
    """Rows of which each city has one per period; the model predicts those of the periods that come next."""

    kind: Literal["series"] = "series"
    """series: one row per period, and the next ones are predicted. table: rows that stand for themselves."""
    time: Time
    """Where a row's period stands."""
    frequency: Frequency
    """Length of a period: one row per city and period."""
    every: Annotated[int, Range(True, 1, MOST_EVERY)] = 1
    """How many hours, days, … of the frequency make a period."""
    anchor: Day | None = None
    """A day on which a period of several begins; null: multiples, counted from the year 0 or Monday, 0001-01-01."""
    aggregate: Aggregate | None = None
    """What a period makes of the rows that lie in it, where they are transactions; null: it has one row."""
    duplicates: Duplicates = "error"
    """Several rows of one period: error refuses them, last takes the newest file's, sum adds them up."""
    decimal: Literal[".", ","] = "."
    """How CSV files write numbers: 1234.5, or 1.234,5."""
    available_after: Duration
    """How long after the start of its period a row is known; a run sees only rows known by its as_of."""
    target: Target
    """The column to predict."""
    features: tuple[Feature, ...] = ()
    """Columns whose earlier values the model sees."""
    calendar: tuple[Calendar, ...] = ()
    """Features made of the period's own date."""
    holidays: HolidaysOf | None = None
    """Whose holidays features are made of: a country, as US, or {country: US, subdivision: TX}."""
    horizon: Annotated[int, Range(True, 1, LONGEST_HORIZON)] = 1
    """How many periods ahead a forecast reaches."""
    minimum_periods: Annotated[int, Range(True, 3)] = 60
    """Usable periods a city needs; with fewer its run ends as too_little_data."""
    validation_periods: Annotated[int, Range(True, 1)] = 12
    """Periods before the holdout that stop the training early."""
    holdout_periods: Annotated[int, Range(True, 1)] = 12
    """Periods that one model is judged by, before it is fitted again; the last of them are the newest known ones."""
    backtest_periods: Annotated[int, Range(True, 1)] = 60
    """Newest known periods that judge a model, in blocks of holdout_periods: as many as leave enough to learn from."""

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
        learned = self.features or self.calendar or self.holidays or self.target.lags
        if not learned and self.target.transform == "none":
            allowed = "at least one of features, calendar and target.lags, or holidays"
            problems.append(Problem("nothing", allowed, path=("features",)))
        problems += self._of_time() + self._of_several_rows()
        if self.horizon > self.holdout_periods:
            allowed = f"at most {self.holdout_periods} (holdout_periods): no step is believed that nothing has judged"
            problems.append(Problem(str(self.horizon), allowed, path=("horizon",)))
        needed = self.validation_periods + self.holdout_periods + 1
        if self.minimum_periods < needed:
            allowed = f"at least {needed} (validation_periods + holdout_periods + one to train on)"
            problems.append(Problem(str(self.minimum_periods), allowed, path=("minimum_periods",)))
        return or_refuse(self, problems)

    def _of_time(self) -> list[Problem]:
        problems = []
        told = _TOLD[self.time.finest]
        if self.frequency not in told:
            parts = {
                "month": "a year and a month",
                "quarter": "a year and a quarter",
                "week": "a year and a week",
            }
            what = parts.get(self.time.finest, "a year, a month and a day")
            allowed = f"{', '.join(told[:-1])} or {told[-1]} when the time columns are {what}"
            problems.append(Problem(show_value(self.frequency), allowed, path=("frequency",)))
        if self.anchor is not None and self.every == 1:
            allowed = "null, because every is 1: each period begins with the calendar's"
            problems.append(Problem(show_value(self.anchor), allowed, path=("anchor",)))
        return problems

    def _of_several_rows(self) -> list[Problem]:
        problems = []
        if self.aggregate is not None and not self.available_after.span.covers(self.grid):
            over = "what its rows make together is not known before it is over"
            allowed = f"at least as long as a {self.grid.noun}: {over}"
            problems.append(Problem(str(self.available_after), allowed, path=("available_after",)))
        for index, feature in enumerate(self.features):
            kind = feature.aggregate or self.aggregate
            if feature.known_ahead and kind in ("sum", "count"):
                path = ("features", index, "aggregate")
                allowed = (
                    "mean, median, min, max or last of a column that is known ahead: plans are not added up"
                )
                problems.append(Problem(show_value(kind), allowed, path=path))
            if feature.aggregate is not None and self.aggregate is None:
                path = ("features", index, "aggregate")
                problems.append(
                    Problem(show_value(feature.aggregate), "null, as dataset.aggregate is", path=path)
                )
        return problems

    @property
    def grid(self) -> Grid:
        """The periods."""
        return Grid.of(self.frequency, self.every, self.anchor)

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
        found: list[tuple[tuple[str | int, ...], str]] = self.city_named()
        for index, column in enumerate(self.time.columns):
            found.append((("time", "columns", index), column))
        found.append((("target", "column"), self.target.column))
        for index, feature in enumerate(self.features):
            found.append((("features", index, "column"), feature.column))
        return found

    def to_settings(self) -> dict[str, Any]:
        """Return the section as a job's settings file has it; the days of the holidays are added there.

        What only newer scripts know is left out where it is not asked for: a fleet's own scripts may be older.
        """
        settings = super().to_settings()
        if self.holidays is None:
            del settings["holidays"]
        for name, default in _AS_BEFORE.items():
            if settings[name] == default:
                del settings[name]
        if settings["time"]["parts"] is None:
            del settings["time"]["parts"]
        for feature in settings["features"]:
            for name in ("known_ahead", "aggregate"):
                if not feature[name]:
                    del feature[name]
        return settings

    def arguments(self) -> list[str]:
        """Return preprocess.py's arguments for this section, for a run by hand without a settings file.

        Holidays are not among them: their days are data, which a run by hand gets by ``--holidays FILE``. Nor is
        --backtest-periods: train.py by hand makes one model, and one block of periods judges it.
        """
        target = self.target
        pairs = [("--time-column", column) for column in self.time.columns]
        if self.time.format is not None:
            pairs.append(("--time-format", self.time.format))
        pairs += [("--time-part", part) for part in self.time.parts or ()]
        pairs += [("--frequency", self.frequency), ("--available-after", str(self.available_after))]
        given = {name: getattr(self, name) for name in _AS_BEFORE}
        pairs += [(f"--{name}", str(value)) for name, value in given.items() if value != _AS_BEFORE[name]]
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
    aggregate = {} if feature.aggregate is None else {"aggregate": feature.aggregate}
    numbers = {name: json.loads(_number(limit)) for name, limit in limits.items() if limit is not None}
    ahead = {"known_ahead": True} if feature.known_ahead else {}
    value = {"column": feature.column, "lags": list(feature.lags), **numbers, **ahead, **aggregate}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _pair(name: str, value: str) -> list[str]:
    # argparse would take a value that starts with "-" for the next option.
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
