"""Prepares a city whose data are a table: known rows are split, encoded as the training part says, and described."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np

from calendar_grid import AS_OF_FORMAT
from column_values import numbers
from feature_hook import load_hook
from raw_data import Complaints
from report_file import Place, write_csv, write_json
from robust_scale import tail_centre
from table_features import LearnedFeatures, complain, iso_day, learn_features, raw_cells
from table_file import PARTS, write_table
from table_rows import TableRows, read_rows
from table_schema import REGRESSION, TABLE, UNKNOWN_CLASS, Schema, Table
from table_settings import TableSettings
from table_split import split
from table_target import Target, learn_target, read_target

FORMAT_VERSION = 1
_DAY_MICROSECONDS = 86_400_000_000


def prepare_table(place: Place, settings: TableSettings) -> dict[str, Any]:
    """Write one city's parts, manifest and status.

    :return: the content of status.json.
    :raises JobFailure: for bad data.
    """
    hook = load_hook()
    free = frozenset(settings.needed) - settings.reserved.keys() if hook else frozenset()
    rows = read_rows(place.raw, place.uri, settings, free)
    complaints = Complaints()
    raw_target = read_target(rows, settings, complaints)
    weight = _weights(rows, settings, complaints)
    parts = split(rows, raw_target.known, settings)
    target = learn_target(raw_target, parts, settings)
    if hook is not None:
        # Here and not above: without a hook nothing needs a frame of all rows.
        from table_hook import with_own_features  # noqa: PLC0415

        complaints.raise_any()
        rows = with_own_features(rows, parts["test"], settings, place.city, hook)
    if settings.task != REGRESSION:  # a class that nothing is learned of is for the holdout alone
        parts["validation"] = parts["validation"][target.values[parts["validation"]] != UNKNOWN_CLASS]
    learned = learn_features(rows, parts["train"], settings, complaints)
    complaints.raise_any()
    status = _status(place.city, rows, parts, target, learned, settings)
    write_json(place.report / "manifest.json", _manifest(place, rows, settings))
    if status["status"] == "ready":
        schema = _schema(place.city, target, learned, settings)
        names = _names(rows, settings)
        for part, places in parts.items():
            values = np.empty((len(places), len(learned.columns)))
            for at, column in enumerate(learned.columns):
                values[:, at] = column.values[places]
            table = Table(
                schema,
                rows=[names(row) for row in places.tolist()],
                target=target.values[places],
                label=target.labels[places],
                weight=weight[places],
                values=values,
            )
            write_table(place.part(part), part, table)
        header, cells = raw_cells(rows, parts["test"], schema.features, settings)
        write_csv(place.part("test") / "raw.csv", header, cells)
    write_json(place.report / "status.json", status)
    return status


def _weights(rows: TableRows, settings: TableSettings, complaints: Complaints) -> np.ndarray:
    if settings.weight is None:
        return np.ones(len(rows))
    values, _ = numbers(rows.texts[settings.weight])
    complain(rows, settings.weight, ~(values > 0), "a number above 0.", complaints)
    return values


def _names(rows: TableRows, settings: TableSettings) -> Any:
    """Return what names a row: its key, or file and row."""
    if settings.key is not None:
        keys = rows.texts[settings.key]
        return lambda row: keys[row].as_py().strip()
    files = [uri.rsplit("/", 1)[-1] for uri in rows.files]
    return lambda row: f"{files[rows.file_of[row]]}:{rows.number[row]}"


def _schema(city: str, target: Target, learned: LearnedFeatures, settings: TableSettings) -> Schema:
    return Schema(
        kind=TABLE,
        task=settings.task,
        city=city,
        as_of=f"{settings.as_of:{AS_OF_FORMAT}}",
        target=settings.target,
        transform=settings.transform,
        features=tuple(column.feature for column in learned.columns),
        classes=target.classes,
        baseline=target.baseline,
    )


def _manifest(place: Place, rows: TableRows, settings: TableSettings) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "city": place.city,
        "as_of": f"{settings.as_of:{AS_OF_FORMAT}}",
        "inputs": rows.inputs,
        "arguments": place.asked,
    }


def _status(  # noqa: PLR0917
    city: str,
    rows: TableRows,
    parts: Mapping[str, np.ndarray],
    target: Target,
    learned: LearnedFeatures,
    settings: TableSettings,
) -> dict[str, Any]:
    usable = sum(map(len, parts.values()))
    reason = _too_little(city, usable, parts, target, learned, settings)
    missing = {settings.target: np.isnan(target.values), **learned.missing}
    recent = (
        parts["test"]
        if rows.moment is None or not len(rows)
        else np.argsort(rows.moment)[-len(parts["test"]) :]
    )
    regression = settings.task == REGRESSION
    return {
        "format_version": FORMAT_VERSION,
        "city": city,
        "as_of": f"{settings.as_of:{AS_OF_FORMAT}}",
        "kind": TABLE,
        "task": settings.task,
        "status": "too_little_data" if reason else "ready",
        "reason": reason,
        "known_rows": len(rows),
        "later_rows": rows.later,
        "usable_rows": usable,
        "needed_rows": settings.minimum_rows,
        "rows": {part: len(parts[part]) for part in PARTS},
        "classes": None if regression else target.counts,
        "newest": _newest(rows, settings),
        "missing_share": {name: _share(gone) for name, gone in missing.items()},
        "recent_missing_share": {name: _share(gone[recent]) for name, gone in missing.items()},
        "other_share": {
            column.feature.name: round(column.shares, 6)
            for column in learned.columns
            if column.feature.kind == "category"
        },
        "extremes": {
            **({settings.target: _extreme(rows, target.values, settings)} if regression else {}),
            **{
                column.feature.name: _extreme(rows, column.values, settings)
                for column in learned.columns
                if column.feature.kind == "number"
            },
        },
        "features": [column.feature.name for column in learned.columns],
        "left_out": learned.left_out,
    }


def _share(gone: np.ndarray) -> float:
    return round(float(gone.mean()), 6) if len(gone) else 1.0


def _newest(rows: TableRows, settings: TableSettings) -> dict[str, Any]:
    """Compare the newest known row with the newest that could be known at as_of, in days."""
    if rows.moment is None:
        return {"frequency": None, "period": None, "expected": None, "late_periods": None}
    expected = settings.as_of.date()
    try:
        while settings.available_after.after(expected) > settings.as_of:
            expected -= timedelta(days=1)
    except OverflowError:
        return {"frequency": "day", "period": None, "expected": None, "late_periods": None}
    if not len(rows):
        return {"frequency": "day", "period": None, "expected": expected.isoformat(), "late_periods": None}
    day = int(rows.moment.max()) // _DAY_MICROSECONDS
    period = iso_day(day)
    late = expected.toordinal() - 719_163 - day
    return {
        "frequency": "day",
        "period": period,
        "expected": expected.isoformat(),
        "late_periods": max(0, late),
    }


def _extreme(rows: TableRows, values: np.ndarray, settings: TableSettings) -> dict[str, Any] | None:
    """Find the value that is furthest from the column's median, beside the width of all but the outermost."""
    middle = tail_centre(values)
    if middle is None or middle.scale == 0:
        return None
    row = int(np.nanargmax(np.abs(values - middle.median)))
    deviations = middle.deviations(float(values[row])) or 0.0
    return {
        "period": _names(rows, settings)(row),
        "value": float(values[row]),
        "median": middle.median,
        "deviations": round(deviations, 3),
    }


def _too_little(  # noqa: PLR0917
    city: str,
    usable: int,
    parts: Mapping[str, np.ndarray],
    target: Target,
    learned: LearnedFeatures,
    settings: TableSettings,
) -> str:
    """Say what is lacking, or nothing when it is enough."""
    there = f"{city} has {usable} usable rows as of {settings.as_of:%Y-%m-%d}"
    if usable < settings.minimum_rows:
        return (
            f"{there}; {settings.minimum_rows} are needed (minimum_rows). A row is usable when it was known by then "
            f"and its '{settings.target}' is there."
        )
    for part in PARTS:
        if not len(parts[part]):
            return f"{there}, but none in part '{part}'; at least 1 is needed there."
    if settings.task != REGRESSION and len(target.classes) < 2:
        return f"{there}, but those to train on are all of class '{target.classes[0]}'; at least 2 classes are needed."
    if not learned.columns:
        left = "; ".join(f"'{name}': {why}" for name, why in list(learned.left_out.items())[:5])
        return f"{there}, but no column that a model could learn from ({left or 'there is none'})."
    return ""
