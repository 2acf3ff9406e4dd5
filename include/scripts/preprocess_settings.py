"""The arguments of preprocess.py: read, and checked against each other."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calendar_grid import FREQUENCIES, Duration, parse_as_of
from feature_table import CALENDAR, FeatureColumn, TableLayout
from job_failure import ArgumentParser, JobFailure, listed, nearest
from raw_data import Limits
from target_transform import TargetTransform
from time_columns import TimeColumns


@dataclass(frozen=True)
class Settings:
    """The arguments, read and checked.

    :param as_of: rows known later do not exist.
    :param available_after: a row is known at the start of its period plus this.
    :param layout: which examples to make.
    :param time: how a row says its period.
    :param limits: number columns → what their values may be.
    :param minimum_periods: usable periods needed.
    :param validation_periods: periods before the holdout, for early stopping.
    :param holdout_periods: the last periods, which the model never sees.
    """

    as_of: datetime
    available_after: Duration
    layout: TableLayout
    time: TimeColumns
    limits: dict[str, Limits]
    minimum_periods: int
    validation_periods: int
    holdout_periods: int


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    :return: the arguments, still as text where they need checking.
    :raises JobFailure: when one is missing, unknown or no number.
    """
    parser = ArgumentParser("Makes train, validation and test sets of what was known of a city at as_of.")
    parser.add_argument("--city", action="append", required=True, metavar="SLUG", help="repeatable")
    parser.add_argument("--as-of", required=True, metavar="20140101T000000Z")
    parser.add_argument("--raw-dir", type=Path, required=True, help="holds city=<slug>/ folders")
    parser.add_argument("--raw-uri", required=True, help="S3 URI of --raw-dir, for messages and the manifest")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--message-file", type=Path, help="where the sentence of a failure goes")
    parser.add_argument("--time-column", action="append", required=True, help="a date, or year, month[, day]")
    parser.add_argument("--time-format", help="strptime format of a single time column; default ISO 8601")
    parser.add_argument("--frequency", choices=FREQUENCIES, required=True)
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
    parser.add_argument("--minimum-periods", type=int, default=60)
    parser.add_argument("--validation-periods", type=int, default=12)
    parser.add_argument("--holdout-periods", type=int, default=12)
    return parser.parse_args(arguments)


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Check the arguments against each other.

    :raises JobFailure: naming the argument, what was got and what is allowed.
    """
    as_of, available_after = _read_times(arguments)
    try:
        transform = TargetTransform.parse(arguments.target_transform, arguments.target)
    except ValueError as error:
        raise JobFailure(f"--target-transform: {error}.") from None
    if len(arguments.time_column) > 3 or (len(arguments.time_column) > 1 and arguments.time_format):
        raise JobFailure(
            f"--time-column: got {listed(arguments.time_column)}; "
            "allowed: one column (with --time-format if it is not ISO 8601), "
            "or year, month[, day] without --time-format."
        )
    for name in ("minimum_periods", "validation_periods", "holdout_periods"):
        if getattr(arguments, name) < 1:
            option = "--" + name.replace("_", "-")
            raise JobFailure(
                f"{option}: got {getattr(arguments, name)}; allowed: a whole number of at least 1."
            )
    layout, limits = _read_layout(arguments, transform)
    return Settings(
        as_of=as_of,
        available_after=available_after,
        layout=layout,
        time=TimeColumns(tuple(arguments.time_column), arguments.time_format, arguments.frequency),
        limits=limits,
        minimum_periods=arguments.minimum_periods,
        validation_periods=arguments.validation_periods,
        holdout_periods=arguments.holdout_periods,
    )


def _read_times(arguments: argparse.Namespace) -> tuple[datetime, Duration]:
    """Read --as-of and --available-after."""
    try:
        as_of = parse_as_of(arguments.as_of)
    except ValueError:
        raise JobFailure(
            f"--as-of: got '{arguments.as_of}'; allowed: a UTC time written as 20140101T000000Z."
        ) from None
    try:
        return as_of, Duration.parse(arguments.available_after)
    except ValueError:
        raise JobFailure(
            f"--available-after: got '{arguments.available_after}'; "
            "allowed: a duration such as P1M, P2W or P10D."
        ) from None


def _read_layout(
    arguments: argparse.Namespace, transform: TargetTransform
) -> tuple[TableLayout, dict[str, Limits]]:
    """Read which examples to make, and what the values of each column may be."""
    above_zero = transform.needs_positive_target
    limits = {arguments.target: Limits(arguments.target_min, arguments.target_max, above_zero)}
    columns = []
    for text in arguments.feature:
        column, allowed = _read_feature(text)
        if column.column in limits:
            raise JobFailure(
                f"--feature: column '{column.column}' is there twice; allowed: once, and not the target."
            )
        limits[column.column] = allowed
        columns.append(column)
    _check_lags("--target-lag", arguments.target_lag)
    layout = TableLayout(
        target=arguments.target,
        transform=transform,
        target_lags=tuple(arguments.target_lag),
        columns=tuple(columns),
        calendar=tuple(arguments.calendar),
        frequency=arguments.frequency,
    )
    if not layout.features:
        raise JobFailure("the model would have no features: give --target-lag, --feature or --calendar.")
    repeated = {name for name in layout.features if layout.features.count(name) > 1}
    if repeated:
        raise JobFailure(f"feature {listed(sorted(repeated))} is there more than once; allowed: once.")
    return layout, limits


def _read_feature(text: str) -> tuple[FeatureColumn, Limits]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("column"), str):
        raise JobFailure(
            f'--feature: got {text}; allowed: JSON such as {{"column":"sales","lags":[1,12],"min":0}}.'
        )
    where = f"--feature of column '{value['column']}'"
    unknown = sorted(set(value) - {"column", "lags", "min", "max"})
    if unknown:
        hint = nearest(unknown[0], ("column", "lags", "min", "max"))
        raise JobFailure(f"{where}: got key '{unknown[0]}'; allowed: column, lags, min, max.{hint}")
    lags = value.get("lags")
    if not isinstance(lags, list) or not lags:
        raise JobFailure(
            f"{where}: got lags {json.dumps(lags)}; allowed: a list of whole numbers of at least 1."
        )
    _check_lags(where, lags)
    for key in ("min", "max"):
        bound = value.get(key)
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
            raise JobFailure(f"{where}: got {key} {json.dumps(bound)}; allowed: a number.")
    return FeatureColumn(value["column"], tuple(lags)), Limits(value.get("min"), value.get("max"))


def _check_lags(where: str, lags: Sequence[Any]) -> None:
    for lag in lags:
        if isinstance(lag, bool) or not isinstance(lag, int) or lag < 1:
            raise JobFailure(
                f"{where}: got lag {json.dumps(lag)}; allowed: a whole number of at least 1 "
                "(a lag of 0 would show the model what it is to predict)."
            )
