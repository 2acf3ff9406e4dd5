"""The target of a table's rows: numbers of a regression, or classes as the training part has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from column_values import Coded, coded, numbers
from job_failure import JobFailure, listed, quoted
from raw_data import Complaints
from table_features import complain
from table_rows import TableRows
from table_schema import BINARY, REGRESSION, UNKNOWN_CLASS, Baseline
from table_settings import TableSettings

MOST_CLASSES = 100_000


@dataclass(frozen=True)
class RawTarget:
    """The target before anything is learned of it.

    :param known: rows; whether there is one.
    :param values: rows; of a regression.
    :param coded: of a classification: its texts.
    """

    known: np.ndarray
    values: np.ndarray | None = None
    coded: Coded | None = None


@dataclass(frozen=True)
class Target:
    """The target as the tables have it.

    :param values: rows; a number in the target's own unit, or the class's number; NaN where missing.
    :param labels: rows; what a model learns.
    :param baseline: the prediction without a model; None where the training part has no row.
    :param counts: class → part → rows; those that the training part does not hold are among them.
    """

    values: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = ()
    baseline: Baseline | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def read_target(rows: TableRows, settings: TableSettings, complaints: Complaints) -> RawTarget:
    """Read the target's column.

    :param complaints: gets the cells that are no number, or none that may be.
    """
    cells = rows.texts[settings.target]
    if settings.task != REGRESSION:
        found = coded(cells)
        return RawTarget(known=found.code >= 0, coded=found)
    values, bad = numbers(cells)
    limits = settings.limits
    bad |= (values < (-np.inf if limits.low is None else limits.low)) | (
        values > (np.inf if limits.high is None else limits.high)
    )
    if limits.above_zero:
        bad |= values <= 0
    complain(rows, settings.target, bad, f"{limits}, or empty.", complaints)
    return RawTarget(known=~np.isnan(values) & ~bad, values=values)


def learn_target(raw: RawTarget, parts: Mapping[str, np.ndarray], settings: TableSettings) -> Target:
    """Number the classes, and find the prediction without a model, from the training part alone.

    :param parts: part → places of its rows.
    :raises JobFailure: a binary task has more than two classes, or not the one that is asked for.
    """
    train = parts["train"]
    if raw.values is not None:
        # One by one: numpy's logarithm differs in the last bit from one processor to the next.
        labels = raw.values.copy()
        labels[raw.known] = [settings.transform.apply(v, None) for v in raw.values[raw.known].tolist()]
        median = float(np.median(raw.values[train])) if len(train) else None
        return Target(raw.values, labels, baseline=None if median is None else Baseline("median", (median,)))
    found = raw.coded
    assert found is not None  # noqa: S101
    counts = {part: Counter(found.code[places].tolist()) for part, places in parts.items()}
    classes = _classes(sorted(found.texts[at] for at in counts["train"]), settings)
    numbered = {name: number for number, name in enumerate(classes)}
    values = found.map([float(numbered.get(text, UNKNOWN_CLASS)) for text in found.texts])
    places = {text: at for at, text in enumerate(found.texts)}
    shares = [counts["train"][places[name]] / len(train) for name in classes]
    return Target(
        values,
        labels=values,
        classes=classes,
        baseline=Baseline("class frequencies", tuple(shares)) if classes else None,
        counts={
            text: {part: counts[part][places[text]] for part in parts}
            for text in sorted(found.texts)
            if any(counts[part][places[text]] for part in parts)
        },
    )


def _classes(there: list[str], settings: TableSettings) -> tuple[str, ...]:
    """Order the classes of the training part: by their text; of a binary task the positive one last."""
    where = f"column '{settings.target}'"
    if len(there) > MOST_CLASSES:
        raise JobFailure(
            f"{where} has {len(there)} classes; allowed: at most {MOST_CLASSES}. "
            "A target of numbers needs task: regression."
        )
    long = [name for name in there if len(name) > 1000]
    if long:
        raise JobFailure(f"{where}: got class '{quoted(long[0])}'; allowed: at most 1000 characters.")
    if settings.task != BINARY:
        return tuple(there)
    if len(there) > 2:
        raise JobFailure(
            f"{where} has {len(there)} classes in the training rows ({listed([quoted(name) for name in there], 5)}); "
            "allowed: 2 for task: binary. Use task: multiclass."
        )
    positive = settings.positive
    if positive is not None and len(there) == 2:
        if positive not in there:
            raise JobFailure(
                f"positive: got '{quoted(positive)}'; allowed: a class of {where}: {', '.join(map(quoted, there))}."
            )
        there.sort(key=lambda name: name == positive)
    return tuple(there)
