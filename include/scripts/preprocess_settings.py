"""The settings of a series: from the run's settings file, or by hand from the command line; both go one way."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from calendar_grid import FREQUENCIES, Duration, parse_as_of
from holiday_calendar import HolidayCalendar
from job_failure import ArgumentParser, JobFailure, listed, nearest, option_value
from job_settings import CitySettings, JobSettings, Section
from period_rows import AGGREGATES, DUPLICATES, ERROR, PeriodRule
from row_reader import Limits
from series_layout import CALENDAR, LONGEST_HORIZON, FeatureColumn, SeriesLayout
from series_rows import DECIMALS, read_frequency, read_period_rule, read_time
from smoothing import METHODS
from target_transform import TargetTransform
from time_columns import TimeColumns

#: Field of the dataset → the argument that stands for it by hand.
_ARGUMENTS = {
    "time.columns": "--time-column",
    "time.format": "--time-format",
    "time.parts": "--time-part",
    "frequency": "--frequency",
    "every": "--every",
    "anchor": "--anchor",
    "aggregate": "--aggregate",
    "duplicates": "--duplicates",
    "decimal": "--decimal",
    "available_after": "--available-after",
    "target.column": "--target",
    "target.min": "--target-min",
    "target.max": "--target-max",
    "target.transform": "--target-transform",
    "target.lags": "--target-lag",
    "features": "--feature",
    "calendar": "--calendar",
    "holidays": "--holidays",
    "horizon": "--horizon",
    "minimum_periods": "--minimum-periods",
    "validation_periods": "--validation-periods",
    "holdout_periods": "--holdout-periods",
    "backtest_periods": "--backtest-periods",
}
_FEATURE = ("column", "lags", "min", "max", "known_ahead", "aggregate")


@dataclass(frozen=True)
class Settings:
    """The settings of a series, read and checked.

    :param as_of: rows known later do not exist.
    :param layout: which examples to make.
    :param time: how a row says its period.
    :param limits: number columns → what their values may be.
    :param minimum_periods: usable periods needed.
    :param validation_periods: periods before the holdout, for early stopping.
    :param holdout_periods: of a block: as many periods are judged by one model.
    :param backtest_periods: the last periods, which judge models; as many whole blocks of them as there are data for.
    :param rule: what becomes of several rows of one period.
    :param order: names of the raw files, the newest last; None where the run does not say.
    :param decimal_comma: CSV files write numbers as 1.234,5.
    """

    as_of: datetime
    layout: SeriesLayout
    time: TimeColumns
    limits: dict[str, Limits]
    minimum_periods: int
    validation_periods: int
    holdout_periods: int
    backtest_periods: int
    rule: PeriodRule = field(default_factory=PeriodRule)
    order: tuple[str, ...] | None = None
    decimal_comma: bool = False

    @property
    def available_after(self) -> Duration:
        """A row is known at the start of its period plus this."""
        return self.layout.available_after


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line: ``--settings``, or by hand the settings of one series.

    :return: the arguments, still as text where they need checking.
    :raises JobFailure: when one is missing, unknown or no number.
    """
    if option_value(arguments, "--settings") is not None:
        parser = ArgumentParser("Makes train, validation and test sets of what was known at as_of.")
        parser.add_argument("--settings", type=Path, required=True, help="settings.json, or its folder")
        _add_folders(parser)
        return parser.parse_args(arguments)
    parser = ArgumentParser("Makes train, validation and test sets of what was known of a city at as_of.")
    parser.add_argument("--city", action="append", required=True, metavar="SLUG", help="repeatable")
    parser.add_argument("--as-of", required=True, metavar="20140101T000000Z")
    _add_folders(parser)
    parser.add_argument("--raw-uri", required=True, help="S3 URI of --raw-dir, for messages and the manifest")
    parser.add_argument("--time-column", action="append", required=True, help="a date, or year, month[, day]")
    parser.add_argument("--time-format", help="strptime format of a single time column; default ISO 8601")
    parser.add_argument(
        "--time-part", action="append", help="what each of several time columns holds, in order"
    )
    parser.add_argument("--frequency", choices=FREQUENCIES, required=True)
    parser.add_argument("--every", type=int, default=1, help="how many of them make a period")
    parser.add_argument("--anchor", metavar="1952-01-01", help="a day on which a period of several begins")
    parser.add_argument(
        "--aggregate", choices=AGGREGATES, help="rows are transactions; what a period makes of them"
    )
    parser.add_argument("--duplicates", choices=DUPLICATES, default=ERROR, help="several rows of one period")
    parser.add_argument("--decimal", choices=DECIMALS, default=".", help="in numbers of CSV files")
    parser.add_argument("--available-after", required=True, metavar="P1M", help="when a row is known")
    parser.add_argument("--target", required=True)
    parser.add_argument("--target-min", type=float)
    parser.add_argument("--target-max", type=float)
    parser.add_argument("--target-transform", default="none", help="none, log or log_ratio_to_mean:<periods>")
    parser.add_argument("--target-lag", action="append", type=int, default=[], help="in periods; repeatable")
    parser.add_argument(
        "--feature", action="append", default=[], help='{"column":"sales","lags":[1,2],"min":0}'
    )
    parser.add_argument("--calendar", action="append", choices=CALENDAR, default=[], help="repeatable")
    parser.add_argument("--holidays", type=Path, metavar="FILE", help="JSON, as settings.json has them")
    parser.add_argument("--horizon", type=int, default=1, help="how many periods ahead a forecast reaches")
    parser.add_argument("--minimum-periods", type=int, default=60)
    parser.add_argument("--validation-periods", type=int, default=12)
    parser.add_argument("--holdout-periods", type=int, default=12)
    parser.add_argument("--backtest-periods", type=int, help="default: as many as --holdout-periods")
    return parser.parse_args(arguments)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--raw-dir", type=Path, required=True, help="holds city=<slug>/ folders")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--message-file", type=Path, help="where the sentence of a failure goes")


def settings_by_hand(arguments: argparse.Namespace) -> JobSettings:
    """Turn the arguments of a series into the settings that a settings file would have given.

    :raises JobFailure: naming the argument, what was got and what is allowed.
    """
    try:
        parse_as_of(arguments.as_of)
    except ValueError:
        raise JobFailure(
            f"--as-of: got '{arguments.as_of}'; allowed: a UTC time written as 20140101T000000Z."
        ) from None
    dataset = {
        "kind": "series",
        "time": {
            "columns": arguments.time_column,
            "format": arguments.time_format,
            "parts": arguments.time_part,
        },
        "frequency": arguments.frequency,
        "every": arguments.every,
        "anchor": arguments.anchor,
        "aggregate": arguments.aggregate,
        "duplicates": arguments.duplicates,
        "decimal": arguments.decimal,
        "available_after": arguments.available_after,
        "target": {
            "column": arguments.target,
            "min": arguments.target_min,
            "max": arguments.target_max,
            "transform": arguments.target_transform,
            "lags": arguments.target_lag,
        },
        "features": [_feature_by_hand(text) for text in arguments.feature],
        "calendar": arguments.calendar,
        "holidays": _holidays_by_hand(arguments.holidays),
        "horizon": arguments.horizon,
        "minimum_periods": arguments.minimum_periods,
        "validation_periods": arguments.validation_periods,
        "holdout_periods": arguments.holdout_periods,
        "backtest_periods": arguments.backtest_periods or arguments.holdout_periods,
    }
    cities = {city: CitySettings(city, dataset, "", spelled=_ARGUMENTS) for city in arguments.city}
    return JobSettings(arguments.as_of, arguments.raw_uri.rstrip("/") + "/", cities)


def _holidays_by_hand(path: Path | None) -> Any:
    try:
        return None if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobFailure(
            f"--holidays: {path}: {error}; allowed: a JSON file of country, subdivision, first, last and days."
        ) from None


def _feature_by_hand(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("column"), str):
        raise JobFailure(
            f'--feature: got {text}; allowed: JSON such as {{"column":"sales","lags":[1,12],"min":0}}.'
        )
    return value


def read_settings(city: CitySettings, as_of: datetime) -> Settings:
    """Check the settings of a series against each other.

    :raises JobFailure: naming the field, what was got and what is allowed.
    """
    dataset = city.dataset_section()
    frequency = read_frequency(dataset)
    asked = {candidate.algorithm for candidate in city.candidates}
    layout, limits = _read_layout(dataset, frequency, tuple(name for name in METHODS if name in asked))
    holdout = dataset.whole("holdout_periods", 12, 1)
    return Settings(
        as_of=as_of,
        layout=layout,
        time=read_time(dataset, frequency),
        limits=limits,
        minimum_periods=dataset.whole("minimum_periods", 60, 1),
        validation_periods=dataset.whole("validation_periods", 12, 1),
        holdout_periods=holdout,
        # Settings of an earlier version have none: one model judged all that was held out.
        backtest_periods=dataset.whole("backtest_periods", holdout, 1),
        rule=read_period_rule(dataset, layout),
        order=city.files,
        decimal_comma=dataset.choice("decimal", DECIMALS, ".") == ",",
    )


def _read_horizon(dataset: Section) -> int:
    """Read how far a forecast reaches.

    :raises JobFailure: further than it could be judged.
    """
    most = min(LONGEST_HORIZON, dataset.whole("holdout_periods", 12, 1))
    horizon = dataset.whole("horizon", 1, 1)
    if horizon > most:
        raise dataset.refuse(
            "horizon", f"a whole number from 1 to {most}: holdout_periods, at most {LONGEST_HORIZON}"
        )
    return horizon


def _read_holidays(dataset: Section) -> HolidayCalendar | None:
    """Read the calendar that whoever prepares a run writes into its settings.

    :raises JobFailure: it is none, as where somebody has written a country alone.
    """
    value = dataset.get("holidays")
    if value is None:
        return None
    try:
        return HolidayCalendar.from_json(value)
    except ValueError as error:
        raise JobFailure(
            f"{dataset.where('holidays')}: {error}; its days are written when a run is prepared."
        ) from None


def read_duration(dataset: Section, member: str, default: str | None = None) -> Duration:
    """Read after which time a row is known.

    :raises JobFailure: it is no duration.
    """
    text = dataset.text(member, default)
    try:
        return Duration.parse(text)
    except ValueError:
        raise JobFailure(
            f"{dataset.where(member)}: got '{text}'; allowed: a duration such as P1M, P2W or P10D."
        ) from None


def _read_layout(
    dataset: Section, frequency: str, smoothed: tuple[str, ...]
) -> tuple[SeriesLayout, dict[str, Limits]]:
    """Read which examples to make, and what the values of each column may be."""
    target = dataset.section("target")
    name, window = target.text("column"), target.get("window")
    kind = target.text("transform", "none")
    try:
        transform = TargetTransform.parse(kind if window is None else f"{kind}:{window}", name)
    except ValueError as error:
        raise JobFailure(f"{target.where('transform')}: {error}.") from None
    limits = {name: Limits(target.number("min"), target.number("max"), transform.needs_positive_target)}
    where = dataset.where("features")
    columns = []
    for item in dataset.items("features", 10_000):
        column, allowed = _read_feature(Section(item, f"{where}: "), where)
        if column.column in limits:
            raise JobFailure(
                f"{where}: column '{column.column}' is there twice; allowed: once, and not the target."
            )
        limits[column.column] = allowed
        columns.append(column)
    lags = target.items("lags", 1000)
    _check_lags(target.where("lags"), lags)
    calendar = dataset.texts("calendar")
    if not set(calendar) <= set(CALENDAR):
        raise dataset.refuse("calendar", f"some of {', '.join(CALENDAR)}")
    layout = SeriesLayout(
        target=name,
        transform=transform,
        target_lags=tuple(lags),
        columns=tuple(columns),
        calendar=tuple(calendar),
        frequency=frequency,
        available_after=read_duration(dataset, "available_after"),
        horizon=_read_horizon(dataset),
        unit=target.optional_text("unit"),
        smoothed=smoothed,
        holidays=_read_holidays(dataset),
    )
    if not layout.features:
        given = ", ".join((target.where("lags"), where))
        raise JobFailure(f"the model would have no features: give {given} or {dataset.where('calendar')}.")
    repeated = {name for name in layout.features if layout.features.count(name) > 1}
    if repeated:
        raise JobFailure(f"feature {listed(sorted(repeated))} is there more than once; allowed: once.")
    return layout, limits


def _read_feature(feature: Section, where: str) -> tuple[FeatureColumn, Limits]:
    column = feature.text("column")
    where = f"{where} of column '{column}'"
    unknown = sorted(set(feature.members) - set(_FEATURE))
    if unknown:
        hint = nearest(unknown[0], _FEATURE)
        raise JobFailure(f"{where}: got key '{unknown[0]}'; allowed: {', '.join(_FEATURE)}.{hint}")
    known_ahead = feature.get("known_ahead") or False
    if not isinstance(known_ahead, bool):
        raise JobFailure(f"{where}: got known_ahead {json.dumps(known_ahead)[:50]}; allowed: true or false.")
    least = 0 if known_ahead else 1
    lags = feature.get("lags") or ([0] if known_ahead else None)
    if not isinstance(lags, list) or not lags:
        raise JobFailure(
            f"{where}: got lags {json.dumps(lags)}; allowed: a list of whole numbers of at least {least}."
        )
    _check_lags(where, lags, least)
    for key in ("min", "max"):
        bound = feature.get(key)
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
            raise JobFailure(f"{where}: got {key} {json.dumps(bound)}; allowed: a number.")
    return FeatureColumn(column, tuple(lags), known_ahead), Limits(feature.get("min"), feature.get("max"))


def _check_lags(where: str, lags: Sequence[Any], least: int = 1) -> None:
    for lag in lags:
        if isinstance(lag, bool) or not isinstance(lag, int) or lag < least:
            why = " (a lag of 0 would show the model what it is to predict)" if least else ""
            raise JobFailure(
                f"{where}: got lag {json.dumps(lag)}; allowed: a whole number of at least {least}{why}."
            )
