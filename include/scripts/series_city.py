"""Prepares a city whose data are a series: periods become examples, split by time, and what there is is described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from calendar_grid import AS_OF_FORMAT, noun, period_index, period_start
from feature_hook import load_hook
from feature_table import Example, build_examples
from judged_blocks import BETWEEN, BLOCKS_FILE, Blocks
from newest_values import FILE as KNOWN_FILE
from newest_values import known_values
from preprocess_settings import Settings
from raw_data import RawCity, read_city
from report_file import Place, write_csv, write_json
from robust_scale import centre
from rows_ahead import MOST_AHEAD, RowsAhead
from table_file import PARTS, write_table
from table_schema import REGRESSION, SERIES, Feature, Schema, Table

FORMAT_VERSION = 1
#: Of the usable periods at least this share lies before the first that is judged, and rows to validate and as many:
LEAST_SHARE = 0.4
LEAST_ROWS = 10


def prepare_series(place: Place, settings: Settings) -> dict[str, Any]:
    """Write one city's sets, rows, manifest and status.

    :return: the content of status.json.
    :raises JobFailure: for bad data.
    """
    raw = read_periods(place, settings)
    settings = of_these_years(settings, raw)
    values = {row.index: row.values for row in raw.rows}
    examples = build_examples(settings.layout, values)
    last = max(values, default=0)
    blocks = count_blocks(examples, last, settings)
    parts = split(examples, last, settings, blocks)
    status = describe(place.city, raw, examples, parts, settings)
    _write_report(place, raw, settings)
    stamp = f"{settings.as_of:{AS_OF_FORMAT}}"
    known = known_values(place.city, stamp, settings.layout, {**values, **raw.ahead}).to_json()
    write_json(place.report / KNOWN_FILE, known)
    if status["status"] == "ready":
        write_parts(
            place, series_schema(place.city, settings), examples, parts, blocks=blocks, settings=settings
        )
        write_history(place.part("test") / "history.csv", raw, settings)
        write_json(place.part("test") / KNOWN_FILE, known)
    write_json(place.report / "status.json", status)
    return status


def read_periods(place: Place, settings: Settings) -> RawCity:
    """Read a city's known periods, with the columns that the user's own code makes of them.

    :raises JobFailure: for bad data.
    """
    hook = load_hook()
    raw = read_city(
        place.raw,
        place.uri,
        time=settings.time,
        limits=settings.limits,
        as_of=settings.as_of,
        available_after=settings.available_after,
        optional=frozenset(settings.limits) - {settings.layout.target} if hook else frozenset(),
        rule=settings.rule,
        order=settings.order,
        decimal_comma=settings.decimal_comma,
        ahead=_ahead(settings),
    )
    if hook is None:
        return raw
    # Here and not above: without a hook there is no frame.
    from series_hook import with_own_columns  # noqa: PLC0415

    return with_own_columns(raw, settings, place.city, hook)


def write_parts(
    place: Place,
    schema: Schema,
    examples: Sequence[Example],
    parts: Mapping[str, Sequence[Example]],
    *,
    blocks: int,
    settings: Settings,
) -> None:
    """Write the tables of the parts, the rows between them, and how the judged periods are divided.

    :param examples: all of them, in the order of their periods.
    :param blocks: how many times holdout_periods are held out.
    """
    for part in PARTS:
        write_table(place.part(part), part, series_table(schema, parts[part], settings))
    between = _between(examples, parts)
    if between:
        write_table(place.part("test"), BETWEEN, series_table(schema, between, settings))
    write_json(place.part("test") / BLOCKS_FILE, Blocks(blocks, settings.holdout_periods).to_json())


def _ahead(settings: Settings) -> RowsAhead | None:
    """Return what takes the columns that are known ahead of rows that are not known yet; None where there are none."""
    columns = settings.layout.known_ahead
    expected = expected_period(settings)
    if not columns or expected is None:
        return None
    limits = {name: settings.limits[name] for name in columns}
    return RowsAhead(limits, expected + MOST_AHEAD)


def of_these_years(settings: Settings, raw: RawCity) -> Settings:
    """Leave out the holidays of long before the data: an artifact carries the others."""
    layout = settings.layout
    if layout.holidays is None or not raw.rows:
        return settings
    first = period_start(raw.rows[0].index, layout.frequency)
    holidays = layout.holidays.between(date(max(first.year - 1, 1), 1, 1), layout.holidays.last)
    return replace(settings, layout=replace(layout, holidays=holidays))


def series_schema(city: str, settings: Settings) -> Schema:
    """Return what the tables of a series hold."""
    layout = settings.layout
    return Schema(
        kind=SERIES,
        task=REGRESSION,
        city=city,
        as_of=f"{settings.as_of:{AS_OF_FORMAT}}",
        target=layout.target,
        transform=layout.transform,
        features=tuple(Feature(name) for name in layout.features),
        layout=layout,
    )


def series_table(schema: Schema, examples: Sequence[Example], settings: Settings) -> Table:
    """Return examples as a table."""
    return Table(
        schema,
        [day_of(each.index, settings) for each in examples],
        target=np.array([each.target for each in examples]),
        label=np.array([each.label for each in examples]),
        weight=np.ones(len(examples)),
        values=np.array([each.features for each in examples], dtype=np.float64),  # None becomes NaN
        baselines={
            "naive": np.array([each.naive for each in examples]),
            "seasonal": np.array([each.seasonal for each in examples], dtype=np.float64),
            "drift": np.array([each.drift for each in examples], dtype=np.float64),
            "lead": np.array([each.lead for each in examples], dtype=np.float64),
            "ahead": np.array([each.step for each in examples], dtype=np.float64),
        },
        members=tuple(each.member for each in examples if each.member is not None),
    )


def write_history(path: Path, raw: RawCity, settings: Settings) -> None:
    """Write every column of numbers, for a model that serves and needs other features than the settings ask for."""
    headers = dict.fromkeys((tuple(row.values), row.other_names) for row in raw.rows)
    columns = list(
        dict.fromkeys([*settings.limits, *(name for names in headers for part in names for name in part)])
    )
    columns = [name for name in columns if name not in settings.time.columns or name in settings.limits]
    known = ((row, {**dict(row.others), **row.values}) for row in raw.rows)
    lines = (
        [row.index, day_of(row.index, settings), *(values.get(name) for name in columns)]
        for row, values in known
    )
    write_csv(path, ["index", "period", *columns], lines)


def _write_report(place: Place, raw: RawCity, settings: Settings) -> None:
    """Write what the sets were made of: the manifest, and the rows that were known."""
    manifest = {
        "format_version": FORMAT_VERSION,
        "city": place.city,
        "as_of": f"{settings.as_of:{AS_OF_FORMAT}}",
        "inputs": raw.inputs,
        "arguments": place.asked,
    }
    write_json(place.report / "manifest.json", manifest)
    columns = list(dict.fromkeys([*settings.time.columns, *settings.limits]))
    lines = (
        [row.file, row.number, day_of(row.index, settings), *(row.cells[name] for name in columns)]
        for row in raw.rows
    )
    write_csv(place.report / "rows.csv", ["file", "row", "period", *columns], lines)


def count_blocks(examples: Sequence[Example], last: int, settings: Settings) -> int:
    """Return how many blocks of holdout_periods judge models: as many as backtest_periods asks for and data allow.

    Before them lie at least :data:`LEAST_SHARE` of the usable periods, and enough to validate and to train on. There
    is always one block.
    """
    usable = {each.index for each in examples}
    least = max(LEAST_SHARE * len(usable), settings.validation_periods + LEAST_ROWS)
    blocks = max(1, settings.backtest_periods // settings.holdout_periods)
    while blocks > 1:
        until = _known_before(last - blocks * settings.holdout_periods + 1, settings)
        if sum(index <= until for index in usable) >= least:
            break
        blocks -= 1
    return blocks


def _between(examples: Sequence[Example], parts: Mapping[str, Sequence[Example]]) -> list[Example]:
    """Return the examples of no part: those that the first judged model can't know, and the later ones do."""
    there = {(each.index, each.step) for part in parts.values() for each in part}
    return [each for each in examples if (each.index, each.step) not in there]


def split(
    examples: Sequence[Example], last: int, settings: Settings, blocks: int = 1
) -> dict[str, list[Example]]:
    """Split examples by time: the last periods are held out, those before them validate, the rest trains.

    A held-out forecast is one that is made in the holdout, from a new origin each period. What is not known yet when
    the first of them is made is in none of the parts: the model that is judged could not have learned it. So it is
    between training and validation.

    :param examples: in the order of their periods.
    :param last: index of the last known period; windows count periods of the calendar, not rows.
    :param settings: the sizes of the windows.
    :param blocks: how many times holdout_periods are held out.
    :return: part → examples.
    """
    test_from = last - blocks * settings.holdout_periods + 1
    validation_until = _known_before(test_from, settings)
    validation_from = validation_until - settings.validation_periods + 1
    train_until = _known_before(validation_from, settings)
    return {
        "train": [each for each in examples if each.index <= train_until],
        "validation": [
            each for each in examples if validation_from <= each.made_at and each.index <= validation_until
        ],
        "test": [each for each in examples if each.made_at >= test_from],
    }


def _known_before(index: int, settings: Settings) -> int:
    """Return the newest period known when a period begins; one before all of them where that is beyond the calendar."""
    try:
        newest = settings.layout.origin.newest_known(index)
    except ValueError:
        newest = None
    return -1 if newest is None else newest


def describe(
    city: str, raw: RawCity, examples: Sequence[Example], parts: dict[str, list[Example]], settings: Settings
) -> dict[str, Any]:
    """Say what there is and whether it is enough.

    :return: the content of status.json.
    """
    indices = [row.index for row in raw.rows]
    on_grid = indices[-1] - indices[0] + 1 if indices else 0
    known = {name: sum(row.values[name] is not None for row in raw.rows) for name in settings.limits}
    reason = too_little(city, examples, parts, settings)
    return {
        "format_version": FORMAT_VERSION,
        "city": city,
        "as_of": f"{settings.as_of:{AS_OF_FORMAT}}",
        "status": "too_little_data" if reason else "ready",
        "reason": reason,
        "periods": {
            "first": day_of(indices[0], settings) if indices else None,
            "last": day_of(indices[-1], settings) if indices else None,
            "on_grid": on_grid,
            "usable": usable_periods(examples),
            "needed": settings.minimum_periods,
            "missing_periods": on_grid - len(indices),
            "missing_target": on_grid - known[settings.layout.target],
        },
        "later_rows": raw.later,
        "filled_periods": raw.filled,
        "newest": _newest(raw, settings),
        "missing_share": {
            name: round(1 - count / on_grid, 6) if on_grid else 1.0 for name, count in known.items()
        },
        "recent_missing_share": _recent_missing_share(raw, settings),
        "extremes": {name: _extreme(raw, name, settings) for name in settings.limits},
        "rows": {part: len(parts[part]) for part in PARTS},
        "judged_periods": len({each.made_at for each in parts["test"]}),
        "features": settings.layout.features,
    }


def _newest(raw: RawCity, settings: Settings) -> dict[str, Any]:
    """Compare the newest period whose target is known with the newest that could be known at as_of."""
    frequency = settings.layout.frequency
    known = [row.index for row in raw.rows if row.values[settings.layout.target] is not None]
    expected = expected_period(settings)
    return {
        "frequency": frequency,
        "period": day_of(known[-1], settings) if known else None,
        "expected": None if expected is None else day_of(expected, settings),
        "late_periods": max(0, expected - known[-1]) if known and expected is not None else None,
    }


def expected_period(settings: Settings) -> int | None:
    """Return the newest period that could be known at as_of; None for one before the calendar."""
    frequency = settings.layout.frequency
    index = period_index(settings.as_of, frequency)
    try:
        while settings.available_after.after(period_start(index, frequency)) > settings.as_of:
            index -= 1
    except ValueError:
        return None
    return index


def _recent_missing_share(raw: RawCity, settings: Settings) -> dict[str, float]:
    """Count what is missing of each column in the last periods, as many as the holdout has."""
    window = settings.holdout_periods
    last = max((row.index for row in raw.rows), default=0)
    recent = [row for row in raw.rows if row.index > last - window]
    return {
        name: round(1 - sum(row.values[name] is not None for row in recent) / window, 6)
        for name in settings.limits
    }


def _extreme(raw: RawCity, name: str, settings: Settings) -> dict[str, Any] | None:
    """Find the value that is furthest from the column's median, in robust standard deviations.

    :return: None for a column of which more than half is one value, or that has no value at all.
    """
    middle = centre(row.values[name] for row in raw.rows)
    if middle is None or middle.scale == 0:
        return None
    distances = [
        (middle.deviations(v) or 0.0, row) for row in raw.rows if (v := row.values[name]) is not None
    ]
    deviations, row = max(distances, key=lambda pair: pair[0])
    return {
        "period": day_of(row.index, settings),
        "value": row.values[name],
        "median": middle.median,
        "deviations": round(deviations, 3),
    }


def too_little(
    city: str, examples: Sequence[Example], parts: Mapping[str, Sequence[Example]], settings: Settings
) -> str:
    """Say what is lacking, or nothing when it is enough."""
    unit = noun(settings.layout.frequency)
    usable = usable_periods(examples)
    there = f"{city} has {usable} usable {unit}s as of {settings.as_of:%Y-%m-%d}"
    if usable < settings.minimum_periods:
        return (
            f"{there}; {settings.minimum_periods} are needed (minimum_periods). A {unit} is usable when its "
            f"'{settings.layout.target}' is known and enough of those before it are."
        )
    kept_back = settings.validation_periods + settings.holdout_periods
    windows = {
        "train": f"before the last {kept_back} {unit}s, to train on",
        "validation": f"in the {settings.validation_periods} {unit}s of validation",
        "test": f"in the {settings.holdout_periods} {unit}s of the holdout",
    }
    for part, window in windows.items():
        if not parts[part]:
            return f"{there}, but none {window}; at least 1 is needed there."
    return ""


def usable_periods(examples: Sequence[Example]) -> int:
    """Count the periods that there are examples of, however many steps ahead they are forecast."""
    return len({example.index for example in examples})


def day_of(index: int, settings: Settings) -> str:
    """Return the first day of a period, an ISO date."""
    return period_start(index, settings.layout.frequency).isoformat()
