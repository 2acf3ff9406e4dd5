"""The settings of how raw rows become the periods of a series: time, frequency, and several rows of one period."""

from __future__ import annotations

from datetime import date

from calendar_grid import FREQUENCIES, MOST_EVERY, Duration, begins_at, frequency_text, noun, period_index
from job_failure import JobFailure, listed
from job_settings import Section
from period_rows import AGGREGATES, DUPLICATES, ERROR, LAST, PeriodRule
from series_layout import SeriesLayout
from time_columns import PARTS, TimeColumns

DECIMALS = (".", ",")
_COMPARED_FROM = date(2000, 1, 1)
_COMPARED_PERIODS = 60


def read_time(dataset: Section, frequency: str) -> TimeColumns:
    """Read how a row says its period.

    :raises JobFailure: naming the field, what was got and what is allowed.
    """
    time = dataset.section("time")
    columns, written, parts = time.texts("columns"), time.optional_text("format"), time.texts("parts")
    if not 1 <= len(columns) <= 4 or (len(columns) > 1 and written):
        raise JobFailure(
            f"{time.where('columns')}: got {listed(columns)}; "
            f"allowed: one column (with {time.where('format')} if it is not ISO 8601), "
            f"or those of the parts of a date without {time.where('format')}."
        )
    if parts and (tuple(parts) not in PARTS or len(parts) != len(columns)):
        allowed = "; ".join(", ".join(each) for each in PARTS if len(each) == len(columns))
        raise time.refuse("parts", allowed or "nothing, where there is one column")
    return TimeColumns(tuple(columns), written, frequency, tuple(parts) or None)


def read_frequency(dataset: Section) -> str:
    """Read the length of a period.

    :return: as :mod:`calendar_grid` writes it.
    :raises JobFailure: naming the field, what was got and what is allowed.
    """
    base, every = dataset.choice("frequency", FREQUENCIES), dataset.whole("every", 1, 1)
    if every > MOST_EVERY:
        raise dataset.refuse("every", f"a whole number from 1 to {MOST_EVERY}")
    anchor = dataset.optional_text("anchor")
    try:
        return frequency_text(base, every, None if anchor is None else date.fromisoformat(anchor))
    except ValueError:
        raise dataset.refuse("anchor", "a day such as 1952-01-01") from None


def read_period_rule(dataset: Section, layout: SeriesLayout) -> PeriodRule:
    """Read what becomes of several rows of one period.

    :raises JobFailure: naming the field, what was got and what is allowed.
    """
    duplicates = dataset.choice("duplicates", DUPLICATES, ERROR)
    if dataset.get("aggregate") is None:
        return PeriodRule(duplicates=duplicates)
    kind = dataset.choice("aggregate", AGGREGATES)
    kinds = {layout.target: kind}
    for feature in dataset.sections("features", 10_000):
        kinds[feature.text("column")] = feature.choice("aggregate", AGGREGATES, kind)
    if not _known_when_over(layout.frequency, layout.available_after):
        raise dataset.refuse(
            "available_after",
            f"at least as long as a {noun(layout.frequency)}: what its rows make together is not known before it is "
            "over",
        )
    # What nobody has asked for may be anything; to count its cells would make numbers of texts.
    return PeriodRule(kinds, LAST if kind == "count" else kind, duplicates)


def _known_when_over(frequency: str, available_after: Duration) -> bool:
    first = period_index(_COMPARED_FROM, frequency)
    return all(
        available_after.after(begins_at(index, frequency)) >= begins_at(index + 1, frequency)
        for index in range(first, first + _COMPARED_PERIODS)
    )
