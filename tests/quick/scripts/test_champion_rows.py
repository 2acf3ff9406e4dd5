"""Rows of a champion whose features are not today's: what is known ahead, and holidays, as its own day made them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from calendar_grid import Duration, period_start
from champion_table import History, rows_for
from feature_table import build_examples
from holiday_calendar import HolidayCalendar
from model_card import ArtifactError, ModelCard
from series_layout import FeatureColumn, SeriesLayout
from table_schema import REGRESSION, SERIES, Feature, Schema, Table
from target_transform import TargetTransform

TEXAS = HolidayCalendar(
    "US", "TX", date(2010, 1, 1), date(2020, 12, 31), tuple(date(year, 7, 4) for year in range(2010, 2021))
)
PLAIN = SeriesLayout(
    target="y",
    transform=TargetTransform.parse("none", "y"),
    target_lags=(1,),
    columns=(),
    calendar=(),
    frequency="month",
    available_after=Duration.parse("P3M"),
    horizon=2,
)
VALUES: dict[int, dict[str, float | None]] = {
    24_180 + at: {"y": 100.0 + at, "promotion": at / 7, "x": at * 3.0} for at in range(30)
}


def schema(layout: SeriesLayout) -> Schema:
    features = tuple(Feature(name) for name in layout.features)
    return Schema(
        SERIES, REGRESSION, "austin", "20170801T000000Z", "y", layout.transform, features, layout=layout
    )


def held_out(layout: SeriesLayout) -> tuple[Table, np.ndarray]:
    examples = build_examples(layout, VALUES)[-9:]
    rows = [period_start(each.index, "month").isoformat() for each in examples]
    numbers = np.array([each.features for each in examples], dtype=np.float64)
    zeros = np.zeros(len(rows))
    baselines = {name: np.array([getattr(each, at) for each in examples], dtype=np.float64)
                 for name, at in (("ahead", "step"), ("lead", "lead"))}  # fmt: skip
    return Table(schema(layout), rows, zeros, zeros, zeros, numbers, baselines), numbers


HISTORY = History(
    {period_start(index, "month").isoformat(): index for index in VALUES},
    VALUES,
    frozenset({"y", "promotion", "x"}),
)
AHEAD = replace(PLAIN, columns=(FeatureColumn("promotion", (0, 2), known_ahead=True),), holidays=TEXAS)


def test_a_champion_gets_the_rows_that_its_own_settings_would_make() -> None:
    others = (
        PLAIN,
        # Features of the same names that mean something else: counted from the origin, of another country.
        replace(PLAIN, columns=(FeatureColumn("promotion", (1, 2)),), holidays=replace(TEXAS, country="DE", days=())),
        replace(PLAIN, columns=(FeatureColumn("promotion", (0, 1), known_ahead=True),)),
    )  # fmt: skip
    _, expected = held_out(AHEAD)
    assert not np.isnan(expected).any()
    for layout in others:
        test, _ = held_out(layout)
        np.testing.assert_array_equal(
            rows_for(ModelCard(schema(AHEAD), "linear", {}), test, HISTORY), expected
        )
    # And the other way round, what was no such column then.
    before = replace(PLAIN, columns=(FeatureColumn("promotion", (2,)),))
    test, _ = held_out(AHEAD)
    np.testing.assert_array_equal(
        rows_for(ModelCard(schema(before), "linear", {}), test, HISTORY), held_out(before)[1]
    )


def test_a_column_that_is_gone_is_named() -> None:
    test, _ = held_out(PLAIN)
    without = History(HISTORY.indices, VALUES, frozenset({"y", "x"}))
    with pytest.raises(ArtifactError, match="promotion_lag_0, promotion_lag_2"):
        rows_for(ModelCard(schema(AHEAD), "linear", {}), test, without)


def test_what_an_artifact_says_of_it_is_read_back_and_not_trusted(subtests: pytest.Subtests) -> None:
    written = AHEAD.to_json()
    assert SeriesLayout.from_json(written, "y", AHEAD.transform) == AHEAD
    plain = PLAIN.to_json()
    assert "holidays" not in plain  # bytes of others stay as they were
    assert SeriesLayout.from_json(plain, "y", PLAIN.transform) == PLAIN
    (column,) = written["columns"]
    for name, member, value in (
        ("a lag of 0 that is not known ahead", "columns", [{**column, "known_ahead": False}]),
        ("a word", "columns", [{**column, "known_ahead": "yes"}]),
        ("a negative lag", "columns", [{**column, "lags": [-1]}]),
        ("no days", "holidays", {"country": "US"}),
        ("a number", "holidays", math.pi),
    ):
        with subtests.test(name), pytest.raises(ValueError, match=r"^(layout|holidays): "):
            SeriesLayout.from_json({**written, member: value}, "y", AHEAD.transform)
