"""The dataset section as command-line arguments of preprocess.py, and SageMaker's limits on them.

In a module of its own because the limits are checked while the fleet file is read, long before a job starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from city_fleet.config.config_types import Problem

if TYPE_CHECKING:
    from city_fleet.config.config_models import Dataset

MAX_ARGUMENT_CHARACTERS = 256
MAX_ARGUMENTS = 100
# city, as_of, raw folder, raw URI, output folder and message file: a name and a value each.
ARGUMENTS_OF_A_RUN = 12


def dataset_arguments(dataset: Dataset) -> list[str]:
    """:return: names and values in a fixed order, without those of a run (``--city``, ``--as-of``, …)."""
    return [part for _, parts in _arguments(dataset) for part in parts]


def argument_problems(dataset: Dataset) -> list[Problem]:
    """:return: what SageMaker would refuse: arguments that are too long or too many."""
    problems = []
    count = ARGUMENTS_OF_A_RUN
    for path, parts in _arguments(dataset):
        count += len(parts)
        longest = max(len(part) for part in parts)
        if longest > MAX_ARGUMENT_CHARACTERS:
            problems.append(
                Problem(
                    f"{longest} characters as a job argument",
                    f"at most {MAX_ARGUMENT_CHARACTERS}",
                    hint="Use fewer lags or a shorter column name.",
                    path=path,
                )
            )
    if count > MAX_ARGUMENTS:
        problems.append(
            Problem(
                f"a dataset of {count} job arguments",
                f"at most {MAX_ARGUMENTS}: each feature, target lag and calendar entry takes two",
                path=("features",),
            )
        )
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
        value = {
            "column": feature.column,
            "lags": list(feature.lags),
            **{name: json.loads(_number(limit)) for name, limit in limits.items() if limit is not None},
        }
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
