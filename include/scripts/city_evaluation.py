"""Judges a city's new model on the held-out rows, beside the baselines and the model that is live now.

All are judged on the same rows, and the models predict through inference.py, the code that will serve them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import inference
from backtest import Backtest
from calendar_grid import period_start
from category_shares import category_shares, distance
from champion_columns import RawColumns, values_for
from champion_table import History, read_history, rows_for
from importances import importances
from job_failure import JobFailure, listed
from judged_blocks import Blocks, frequency_of, known_at, read_blocks, whole
from judged_halves import judged_champion, judged_half, newest_block
from model_artifact import Model
from model_card import ArtifactError
from paired_losses import paired
from prediction_metrics import class_metrics, regression_metrics
from robust_scale import centre
from table_file import read_table
from table_parts import rows_of
from table_schema import REGRESSION, SERIES, Feature, Table

FORMAT_VERSION = 1
LAST_VALUE, LAST_SEASON, DRIFT = "last known value", "same period last season", "drift"
#: Held-out rows that are kept with their predictions: publishing has the endpoint answer every one of them.
KEPT_ROWS = 2000
#: Probabilities that are kept; of many classes fewer rows are.
KEPT_PROBABILITIES = 100_000
LEAST_KEPT_ROWS = 50
_ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of a city.

    :param names: name of each row's class, also of one that the training part does not hold; None where nobody knows.
        Empty for a regression.
    :param history: of a series: what an older model's features are made of.
    :param raw: of a table: the same.
    :param blocks: of a series: how the judged periods are divided; None where one model judges them all.
    """

    table: Table
    names: list[str | None]
    history: History
    raw: RawColumns
    blocks: Blocks | None = None

    def metrics(
        self, classes: Sequence[str], predicted: np.ndarray, rows: np.ndarray | None = None
    ) -> dict[str, float | None]:
        """Measure predictions.

        :param classes: those that the columns of probabilities stand for.
        :param predicted: rows, or rows × classes.
        :param rows: of a regression: numbers of the rows that count; None for all.
        """
        schema = self.table.schema
        if schema.task == REGRESSION:
            chosen = slice(None) if rows is None else rows
            return regression_metrics(self.table.target[chosen], predicted[chosen])
        return class_metrics(schema.task, self.names, classes, predicted, schema.classes[-1])


@dataclass(frozen=True)
class Parent:
    """The model of the city's parent that serves.

    :param city: slug of the parent.
    :param backtest: how it was judged, or the sentence why nobody knows.
    """

    city: str
    target_model: str
    as_of: str
    backtest: Backtest | str


@dataclass(frozen=True)
class Champion:
    """The model that serves now.

    :param etag: ETag of the live pointer it was read from.
    :param model: what was loaded, or the sentence why it can't be.
    :param backtest: how it was judged; None of a table, or of an earlier version.
    """

    target_model: str | None
    etag: str | None
    as_of: str | None
    model: Model | str
    backtest: Backtest | None = None


def read_held_out(test_dir: Path, city: str) -> HeldOut:
    """Read a city's held-out rows.

    :param test_dir: holds ``city=<slug>/test.csv``.
    :raises JobFailure: they are not there, or not as preprocess.py writes them.
    """
    table = read_table(test_dir, "test", city)
    folder = test_dir / f"city={city}"
    raw = RawColumns(folder / "raw.csv", len(table))
    schema = table.schema
    names: list[str | None] = []
    if schema.task != REGRESSION:
        numbers = table.target.astype(int).tolist()
        # A class that the training part does not hold has no number.
        texts = raw.column(schema.target) if -1 in numbers else None
        unknown: Sequence[str | None] = texts or [None] * len(numbers)
        names = [
            schema.classes[number] if number >= 0 else text
            for number, text in zip(numbers, unknown, strict=True)
        ]
    blocks = read_blocks(folder) if schema.kind == SERIES else None
    return HeldOut(table, names, read_history(folder / "history.csv"), raw, blocks)


def baselines(held_out: HeldOut) -> dict[str, np.ndarray]:
    """Return what can be predicted without a model: name → predictions, the naive one first.

    Where the same period of the season before is not known, or the target does not trend, the last known value stands
    in: the rows stay the same.
    """
    table, schema = held_out.table, held_out.table.schema
    if schema.kind == SERIES:
        last = table.baselines["naive"]
        others = {LAST_SEASON: table.baselines.get("seasonal"), DRIFT: table.baselines.get("drift")}
        there = {name: each for name, each in others.items() if each is not None and np.isfinite(each).any()}
        return {LAST_VALUE: last} | {
            name: np.where(np.isfinite(each), each, last) for name, each in there.items()
        }
    if schema.baseline is None:
        return {}
    values = np.array(schema.baseline.values)
    if len(values) != max(len(schema.classes), 1) or not np.isfinite(values).all():
        raise JobFailure(
            f"schema.json of {schema.city}: baseline: got {len(values)} values; allowed: a number for each class, "
            "or one for a regression."
        )
    shape = len(table) if schema.task == REGRESSION else (len(table), len(values))
    return {schema.baseline.name: np.broadcast_to(values, shape)}


def predict(model: Model, values: np.ndarray) -> np.ndarray:
    """Predict rows the way the endpoint will.

    :param values: rows × features, in the model's order.
    :return: rows, or rows × classes.
    :raises ArtifactError: a prediction is not a number, or no probability.
    :raises BadRequest: the model does not take a row.
    """
    classes = len(model.card.schema.classes)
    step = min(_ROWS_AT_A_TIME, inference.SLICE_PROBABILITIES // max(classes, 1)) or 1
    parts = []
    for first in range(0, len(values), step):
        answers = inference.predict_fn(values[first : first + step].tolist(), model)
        parts.append(answers.probabilities if classes else answers)
    predicted = np.concatenate(parts)
    if not np.isfinite(predicted).all():
        raise ArtifactError(f"the model of {model.card.as_of} predicts something that is not a number.")
    if classes and not ((predicted >= 0).all() and np.allclose(predicted.sum(axis=1), 1, atol=1e-3)):
        raise ArtifactError(
            f"the model of {model.card.as_of} predicts probabilities that do not add up to 1."
        )
    return predicted


def judge(
    held_out: HeldOut,
    as_of: str,
    model: Model,
    champion: Champion | None,
    *,
    backtest: Backtest | None = None,
    parent: Parent | None = None,
) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Judge a new model.

    :param as_of: of the run.
    :param backtest: how a model of a series was judged while it was trained; None where the model judges itself.
    :param parent: None where the city has none, or none serves.
    :return: the contents of evaluation.json, but for the artifact's digest, and of holdout.json; and the predictions
        that judge it.
    :raises ArtifactError: the model does not fit the rows, or predicts nonsense.
    """
    table, schema = held_out.table, held_out.table.schema
    _refuse_misfit(model, held_out)
    columns = [schema.names.index(name) for name in model.card.features]
    served = predict(model, table.values[:, columns])
    predicted, judged = (served, None) if backtest is None else judged_half(backtest, served, table)
    without_model = baselines(held_out)
    measured = {name: held_out.metrics(schema.classes, each) for name, each in without_model.items()}
    last = len(table) - 1
    is_series = schema.kind == SERIES
    entry, theirs = (None, None) if champion is None else judge_champion(champion, as_of, held_out, predicted)
    others = without_model | ({} if theirs is None else {"champion": theirs})
    beside, pooled = (
        (None, None) if parent is None else judge_parent(parent, as_of, held_out, predicted, theirs)
    )
    others |= {} if pooled is None else {"parent": pooled}
    newest = table if held_out.blocks is None else rows_of(table, newest_block(held_out.blocks, table))
    report = {
        "format_version": FORMAT_VERSION,
        "city": schema.city,
        "as_of": as_of,
        "kind": schema.kind,
        "task": schema.task,
        "algorithm": model.card.algorithm,
        "rows": len(table),
        "zero_rows": int(np.count_nonzero(table.target == 0)) if schema.task == REGRESSION else 0,
        "holdout": {
            "first": table.rows[0] if is_series else None,
            "last": table.rows[last] if is_series else None,
        },
        "features": model.card.features,
        "classes": list(schema.classes) if schema.classes else None,
        "challenger": held_out.metrics(model.card.schema.classes, predicted)
        | {"rows_trained": rows_trained(model)},
        "naive": next(iter(measured.values()), None),
        "baselines": measured,
        "champion": entry,
        **({} if parent is None else {"parent": beside}),
        "backtest": judged,
        "paired": paired(table, predicted, others) if schema.layout is not None else None,
        "steps": _by_step(held_out, predicted),
        "drift": drift(model, newest),
        "category_drift": category_drift(model, newest),
        "importances": importances(model, table.values[:, columns], table.target),
    }
    halves = predicted, served if backtest is not None else None
    holdout = _holdout(held_out, model, halves, next(iter(without_model.values()), None))
    return report, holdout, predicted


def _origins(held_out: HeldOut) -> dict[str, list[Any]]:
    """Say of each row which champion may be asked for it: what was known then, and the block that judges it."""
    table = held_out.table
    frequency = frequency_of(table)
    known = [period_start(number, frequency).isoformat() for number in known_at(table).tolist()]
    blocks = held_out.blocks or whole(table)
    return {"known_until": known, "block": blocks.of(table).tolist()}


def _by_step(held_out: HeldOut, predicted: np.ndarray) -> dict[str, dict[str, float | None]] | None:
    """Measure predictions by how many periods ahead they reach; None where they reach no further than one."""
    table = held_out.table
    steps = table.baselines.get("ahead")
    if steps is None or not (steps > 1).any():
        return None
    return {
        f"{step:g}": regression_metrics(table.target[steps == step], predicted[steps == step])
        for step in np.unique(steps).tolist()
    }


def _refuse_misfit(model: Model, held_out: HeldOut) -> None:
    """Refuse a model of other rows than these.

    :raises ArtifactError: it is one.
    """
    mine, schema = model.card.schema, held_out.table.schema
    known: dict[str, Feature] = {feature.name: feature for feature in schema.features}
    lacking = [name for name in model.card.features if name not in known]
    if lacking:
        raise ArtifactError(
            f"the model of {mine.as_of} needs feature {listed(lacking)}, which the test set lacks (it has "
            f"{listed(schema.names)})"
        )
    other = [feature.name for feature in mine.features if feature != known[feature.name]]
    if other or (mine.task, mine.classes) != (schema.task, schema.classes):
        what = f"encodes {listed(other)} otherwise" if other else "has another task or other classes"
        raise ArtifactError(f"the model of {mine.as_of} {what} than the test set")


def judge_champion(
    champion: Champion, as_of: str, held_out: HeldOut, challenger: np.ndarray
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Measure the live model on the rows that it has not learned, and the new one on the same rows.

    :param challenger: the new model's answers.
    :return: its entry in evaluation.json; with ``error`` when it cannot be measured: it does not keep a good challenger
        from being judged, the gate decides. And its answers, NaN where it has none; None where it is no regression.
    """
    entry: dict[str, Any] = {
        "target_model": champion.target_model,
        "etag": champion.etag,
        "as_of": champion.as_of,
    }
    if (champion.as_of or "") > as_of:  # stamps of one form sort as the instants they stand for
        # It was trained on rows that are held out here, so its errors would look far too small.
        return entry | {"error": f"The champion was made as of {champion.as_of}."}, None
    try:
        if isinstance(champion.model, str):
            raise ArtifactError(champion.model)
        card, schema = champion.model.card, held_out.table.schema
        theirs = card.schema
        if theirs.target != schema.target:
            raise ArtifactError(f"it predicts '{theirs.target}', the new model '{schema.target}'.")
        if (theirs.kind, theirs.task) != (schema.kind, schema.task):
            raise ArtifactError(
                f"it is of a {theirs.kind} and its task {theirs.task}, the new model of a {schema.kind} and "
                f"{schema.task}."
            )
        if schema.kind == SERIES:
            live = champion.model
            answers = judged_champion(
                champion.backtest,
                held_out.table,
                held_out.blocks,
                lambda rows: predict(live, rows_for(card, rows, held_out.history)),
            )
            rows = np.flatnonzero(np.isfinite(answers))
            same = {"rows": len(rows), "challenger": held_out.metrics((), challenger, rows)}
            measured: dict[str, Any] = {**same, **held_out.metrics((), answers, rows)}
        else:
            answers = None
            values = values_for(card, held_out.table, held_out.raw)
            measured = {**held_out.metrics(theirs.classes, predict(champion.model, values))}
    except (ArtifactError, inference.BadRequest) as error:
        return entry | {"error": f"The champion cannot be compared: {error}"}, None
    lost = [name for name in theirs.classes if name not in schema.classes]
    more = {"vanished_classes": lost} if theirs.classes else {}
    return entry | {"rows_trained": rows_trained(champion.model)} | more | measured, answers


def judge_parent(
    parent: Parent, as_of: str, held_out: HeldOut, challenger: np.ndarray, champion: np.ndarray | None
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Measure what the models that judged the city's parent have answered for this city, and the others beside it.

    The pooled model that serves may have learned these rows: it is not asked.

    :param challenger: the new model's answers, and ``champion`` those of the model that serves, NaN where it has none.
    :return: its entry in evaluation.json: its metrics, the challenger's on the same rows, and under ``champion`` both
        models' on the rows that the champion has too; with ``error`` where it can't be compared. And its answers.
    """
    entry: dict[str, Any] = {
        "city": parent.city,
        "target_model": parent.target_model,
        "as_of": parent.as_of,
    }
    if isinstance(parent.backtest, str):
        return entry | {"error": f"The model of {parent.city} cannot be compared: {parent.backtest}"}, None
    if parent.as_of > as_of:
        return entry | {"error": f"The model of {parent.city} was made as of {parent.as_of}."}, None
    table = held_out.table
    answers = parent.backtest.answers(replace(table, members=(table.schema.city,) * len(table)))
    rows = np.flatnonzero(np.isfinite(answers))
    if not len(rows):
        return entry | {"error": f"The model of {parent.city} was judged on none of these rows."}, None
    entry |= {"rows": len(rows), "challenger": held_out.metrics((), challenger, rows)}
    if champion is not None:
        both = np.flatnonzero(np.isfinite(answers) & np.isfinite(champion))
        theirs = {
            who: held_out.metrics((), each, both)
            for who, each in (("parent", answers), ("champion", champion))
        }
        entry["champion"] = {"rows": len(both), **theirs} if len(both) else None
    return entry | held_out.metrics((), answers, rows), answers


def rows_trained(model: Model) -> int:
    """Return how many rows a model was fitted to: those of training and validation."""
    return sum(model.card.rows.values())


def drift(model: Model, test: Table) -> dict[str, float | None]:
    """Measure how far the held-out rows lie from what a model was trained on, number by number.

    It is the distance of the medians, in robust standard deviations of the training rows. The usual population
    stability index needs hundreds of rows: over ten bins, with 12 rows against 170, its expected value without any
    drift is 9 × (1/12 + 1/170) = 0.8 (Yurdakul & Naranjo 2020, "Statistical properties of the population stability
    index"), three times the 0.25 that is commonly called a serious shift.

    :return: feature → distance; None where it cannot be measured (no value is known, or nearly all were equal).
    """
    found: dict[str, float | None] = {}
    for name, trained in model.card.centres.items():
        at = test.schema.names.index(name)
        if test.schema.features[at].kind != "number":  # a date always moves on, and a category has no median
            continue
        recent = centre(test.values[:, at].tolist())
        distance = trained.deviations(recent.median) if recent else None
        found[name] = None if distance is None else round(distance, 3)
    return found


def category_drift(model: Model, test: Table) -> dict[str, float]:
    """Measure which share of the held-out rows has gone over to other categories, feature by feature."""
    found = {}
    for name, trained in model.card.shares.items():
        at = test.schema.names.index(name)
        recent = category_shares(test.schema.features[at], test.values[:, at])
        found[name] = round(distance(trained, recent, len(test)), 3)
    return found


def _holdout(
    held_out: HeldOut,
    model: Model,
    halves: tuple[np.ndarray, np.ndarray | None],
    naive: np.ndarray | None,
) -> dict[str, Any]:
    """Return what holdout.json holds: the rows as a request has them, with their predictions.

    Of many rows some are kept, evenly spread.

    :param halves: what judges the model, and what the serving model answers; None where that is the same.
    """
    predicted, served = halves
    table, schema = held_out.table, held_out.table.schema
    classes = schema.classes
    most = max(LEAST_KEPT_ROWS, min(KEPT_ROWS, KEPT_PROBABILITIES // len(classes))) if classes else KEPT_ROWS
    kept = np.unique(np.linspace(0, len(table) - 1, min(most, len(table))).round().astype(int)).tolist()
    steps = table.baselines.get("ahead")
    origins = _origins(held_out) if schema.layout is not None else {}
    places = [(schema.names.index(feature.name), feature) for feature in model.card.schema.features]
    rows = []
    for at in kept:
        values = table.values[at].tolist()
        rows.append(
            {
                "period": table.rows[at],
                **({"member": table.members[at]} if table.members else {}),
                **({"step": int(steps[at])} if steps is not None else {}),
                "values": [feature.decode(values[place]) for place, feature in places],
                "actual": held_out.names[at] if classes else float(table.target[at]),
                "predicted": dict(zip(classes, predicted[at].tolist(), strict=True))
                if classes
                else float(predicted[at]),
                **({"served": float(served[at])} if served is not None else {}),
                **{name: values[at] for name, values in origins.items()},
                "naive": None if classes or naive is None else float(naive[at]),
            }
        )
    return {
        "format_version": FORMAT_VERSION,
        "city": schema.city,
        "task": schema.task,
        "of_rows": len(table),
        "features": model.card.features,
        "classes": list(classes) if classes else None,
        "rows": rows,
    }
