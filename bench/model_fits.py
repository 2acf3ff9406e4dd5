"""Our side of bench/models.py: ``python model_fits.py <scripts> <panel folder> <cities> <name>…``.

In the image's Python it prints JSON: for each way to make models the error of each city on its held-out rows, CPU
seconds of fitting, and what one row takes. The ways are names of algorithms, ``candidates`` (those but mlp),
and ``pooled <algorithm>``: one model of all cities, to which the city is a category. The held-out rows of a series are
judged in blocks: for each the model is fitted again, to all rows before it.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, sys.argv[1])

import algorithms
from candidates import choose
from hyperparameters import checked
from job_settings import Candidate
from table_file import read_table
from table_parts import joined, rows_of, seen_by
from table_schema import REGRESSION, SERIES, Feature, Schema, Table
from validation_loss import loss, untransformed

CANDIDATES = ("xgboost", "linear", "knn", "baseline")
SMOOTHED = ("theta", "ets")
#: Of the fleets that are carried along; the other algorithms go by their defaults.
HYPERPARAMETERS = {
    "xgboost": {"eta": 0.05, "max_depth": 4, "subsample": 0.8, "colsample_bytree": 0.5, "min_child_weight": 3}
}
PARTS = ("train", "validation", "test")
LATENCY_ROWS = 50
City = dict[str, Table]


def error(table: Table, labels: np.ndarray) -> float:
    """What is compared: of a regression the sum of errors by the sum of targets, otherwise the log loss."""
    if table.schema.task != REGRESSION:
        known = table.label >= 0
        shares = labels.copy()
        shares[~known] = 0  # a class that training never saw
        judged = replace(table, label=np.maximum(table.label, 0))
        return loss(judged, shares)
    predicted = untransformed(table.schema, labels, table.values)
    return float(np.abs(predicted - table.target).sum() / np.abs(table.target).sum())


def fitted(name: str, train: Table, validation: Table) -> tuple[Any, str]:
    """Make one model; which algorithm it is in the end."""
    if name == "candidates":
        ordered = train.schema.kind == SERIES  # the tables have no time
        layout = train.schema.layout
        names = (*CANDIDATES, *(layout.smoothed if layout is not None else ()))
        given = [Candidate(each, HYPERPARAMETERS.get(each, {})) for each in names]
        chosen = choose(train, validation, given, seed=0, threads=1, ordered=ordered)
        return chosen.fitted, chosen.algorithm
    train, validation = seen_by(name, train), seen_by(name, validation)
    module = algorithms.algorithm(name)
    hyperparameters = checked(module.SPEC, train.schema.task, HYPERPARAMETERS.get(name, {}))
    return module.fit(train, validation, hyperparameters, seed=0, threads=1), name


def blocks(parts: City, refit: int | None) -> list[tuple[Table, Table, Table]]:
    """Say what is fitted and judged: rows to fit, rows to choose on, rows to judge.

    :param refit: after how many held-out rows a model is fitted again; None for never.
    """
    train, validation, test = (parts[part] for part in PARTS)
    found, held = [], len(validation)
    for first in range(0, len(test), refit or len(test)):
        before = joined(train, validation, rows_of(test, slice(0, first)))
        judged = slice(first, first + (refit or len(test)))
        found.append(
            (rows_of(before, slice(0, -held)), rows_of(before, slice(-held, None)), rows_of(test, judged))
        )
    return found


def alone(name: str, cities: dict[str, City], refit: int | None) -> dict[str, Any]:
    """A model for each city."""
    errors, seconds, taken, chosen = {}, [], [], []
    for city, parts in cities.items():
        algorithm, labels, model = name, [], None
        for train, validation, judged in blocks(parts, refit):
            started = time.process_time()
            # Chosen once, on what was known before the first block, as a night does.
            model, algorithm = fitted(algorithm, train, validation)
            seconds.append(time.process_time() - started)
            labels.append(model.predict(seen_by(algorithm, judged).values))
        chosen.append(algorithm)
        errors[city] = error(parts["test"], np.concatenate(labels))
        taken.append(latency(model, seen_by(algorithm, parts["test"])))
    found = {"errors": errors, "cpu_seconds": sum(seconds), "row_ms": statistics.median(taken)}
    if name == "candidates":
        found["chosen"] = {each: chosen.count(each) for each in sorted(set(chosen))}
    return found


def latency(model: Any, test: Table) -> float:
    """The median time of one row, in milliseconds."""
    taken = []
    for number in range(LATENCY_ROWS):
        row = test.values[number % len(test)][np.newaxis]
        started = time.perf_counter()
        model.predict(row)
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def pooled(name: str, cities: dict[str, City], refit: int | None) -> dict[str, Any]:
    """One model of all cities."""
    cities = {
        city: {part: seen_by(name, table) for part, table in parts.items()} for city, parts in cities.items()
    }
    schema = _common_schema(cities)
    parts = {
        part: {
            city: _in_common(tables[part], schema, number)
            for number, (city, tables) in enumerate(cities.items())
        }
        for part in PARTS
    }
    own = {city: blocks({part: parts[part][city] for part in PARTS}, refit) for city in cities}
    labels: dict[str, list[np.ndarray]] = {city: [] for city in cities}
    seconds, model = 0.0, None
    for at in range(max(map(len, own.values()))):
        there = {city: each[at] for city, each in own.items() if at < len(each)}
        started = time.process_time()
        trains, validations, _ = zip(*there.values(), strict=True)
        model, _ = fitted(name, joined(*trains), joined(*validations))
        seconds += time.process_time() - started
        for city, (_, _, judged) in there.items():
            labels[city].append(model.predict(judged.values))
    tests = parts["test"]
    errors = {city: error(test, np.concatenate(labels[city])) for city, test in tests.items()}
    return {"errors": errors, "cpu_seconds": seconds, "row_ms": latency(model, next(iter(tests.values())))}


def _common_schema(cities: dict[str, City]) -> Schema:
    """Features that all cities have, with the categories of all, and the city as one more."""
    schemas = [tables["train"].schema for tables in cities.values()]
    features = []
    for feature in schemas[0].features:
        same = [each for schema in schemas for each in schema.features if each.name == feature.name]
        if len(same) == len(schemas) and len({each.kind for each in same}) == 1:
            categories = sorted({category for each in same for category in each.categories})
            features.append(Feature(feature.name, feature.kind, tuple(categories)))
    city = Feature("the city", "category", tuple(cities))
    classes = sorted({name for schema in schemas for name in schema.classes})
    if schemas[0].classes and len(classes) == len(schemas[0].classes):
        classes = list(schemas[0].classes)  # of a binary task the positive one stays the last
    return replace(schemas[0], features=(*features, city), classes=tuple(classes), baseline=None)


def _in_common(table: Table, schema: Schema, number: int) -> Table:
    columns = []
    for feature in schema.features[:-1]:
        at = table.schema.names.index(feature.name)
        column = table.values[:, at]
        if feature.kind == "category":
            own = table.schema.features[at]
            column = np.array([feature.encode(own.decode(value)) for value in column])
        columns.append(column)
    columns.append(np.full(len(table), float(number)))
    label = table.label
    if schema.classes:
        places = np.array([schema.classes.index(name) for name in table.schema.classes] + [-1], float)
        label = places[label.astype(int)]
    return replace(table, schema=schema, label=label, values=np.column_stack(columns))


def floors(cities: dict[str, City]) -> dict[str, Any]:
    """The baselines of a series that its rows bring along."""
    found: dict[str, Any] = {}
    for city, parts in cities.items():
        test = parts["test"]
        for name in {"naive", "seasonal", "drift"} & test.baselines.keys():
            predicted = test.baselines[name]
            known = np.where(np.isnan(predicted), test.baselines["naive"], predicted)
            value = float(np.abs(known - test.target).sum() / np.abs(test.target).sum())
            found.setdefault(name, {"errors": {}})["errors"][city] = value
    return found


def main() -> None:
    """Measure all ways that are asked for."""
    folder, most, names = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    # A city with too little data has a folder without a table.
    ready = sorted(
        path.parent.name.removeprefix("city=") for path in (folder / "out" / "test").glob("*/test.csv")
    )
    cities = {
        city: {part: read_table(folder / "out" / part, part, city) for part in PARTS}
        for city in ready[: most or None]
    }
    dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["dataset"]
    refit = dataset.get("holdout_periods")
    with contextlib.redirect_stdout(sys.stderr):  # XGBoost says how it is going
        ways = floors(cities) if next(iter(cities.values()))["train"].schema.kind == SERIES else {}
        for name in names:
            way, _, algorithm = name.rpartition(" ")
            make = pooled if way == "pooled" else alone
            ways[name] = make(algorithm, cities, refit)
    rows = {part: sum(len(tables[part]) for tables in cities.values()) for part in PARTS}
    print(json.dumps({"cities": len(cities), "rows": rows, "ways": ways}))


if __name__ == "__main__":
    main()
