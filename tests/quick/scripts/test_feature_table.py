"""Examples are made of earlier periods only, and missing values stay missing."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calendar_grid import FREQUENCIES, Duration, begins_at, frequency_text, period_index
from feature_table import build_examples, row_of
from holiday_calendar import HolidayCalendar
from series_layout import CALENDAR, FeatureColumn, SeriesLayout
from target_transform import TargetTransform

PRICES = st.none() | st.floats(1, 1e7)
SERIES = st.dictionaries(
    st.integers(24_000, 24_060), st.fixed_dictionaries({"price": PRICES, "sales": PRICES}), min_size=1
)
CALENDAR_OF_2012 = HolidayCalendar(
    "US", None, date(2012, 1, 1), date(2012, 12, 31), (date(2012, 1, 2), date(2012, 7, 4), date(2012, 12, 25))
)
TRANSFORMS = st.sampled_from(["none", "log", "log_ratio_to_mean:3", "log_ratio_to_mean:12"])


SMOOTHED = st.sampled_from([(), ("theta",), ("theta", "ets")])


def layout(transform: str, calendar: tuple[str, ...] = (), smoothed: tuple[str, ...] = ()) -> SeriesLayout:
    return SeriesLayout(
        target="price",
        transform=TargetTransform.parse(transform, "price"),
        target_lags=(1, 12),
        columns=(FeatureColumn("sales", (1, 2)),),
        calendar=calendar,
        frequency="month",
        available_after=Duration.parse("P1M"),
        smoothed=smoothed,
    )


@given(SERIES, TRANSFORMS, SMOOTHED, st.integers(24_000, 24_061), st.data())
def test_an_example_does_not_depend_on_its_own_period_or_later_ones(
    values: dict[int, dict[str, float | None]],
    transform: str,
    smoothed: tuple[str, ...],
    cut: int,
    data: st.DataObject,
) -> None:
    made = layout(transform, (), smoothed)
    later = data.draw(st.dictionaries(st.integers(cut, 24_070), st.just({"price": 5e6, "sales": None})))
    changed = {index: row for index, row in values.items() if index < cut} | later
    before = [e for e in build_examples(made, values) if e.index < cut]
    after = [e for e in build_examples(made, changed) if e.index < cut]
    assert before == after
    # The features and the naive forecast of the first period of the future do not see it either.
    here = {e.index: (e.features, e.naive) for e in build_examples(made, values)}
    there = {e.index: (e.features, e.naive) for e in build_examples(made, changed)}
    if cut in here and cut in there:
        assert here[cut] == there[cut]


DURATIONS = st.builds(
    Duration, months=st.integers(0, 14), days=st.integers(0, 70), hours=st.integers(0, 50)
) | st.builds(Duration, months=st.just(0), days=st.integers(0, 3), hours=st.integers(0, 50))
GRIDS = st.sampled_from(FREQUENCIES) | st.builds(
    frequency_text,
    st.sampled_from(FREQUENCIES),
    st.integers(2, 7),
    st.dates(date(1990, 1, 1), date(2030, 1, 1)),
)


@given(GRIDS, DURATIONS, st.integers(1, 4), TRANSFORMS, st.data())
def test_an_example_knows_nothing_that_was_not_known_when_its_forecast_was_made(
    frequency: str, available_after: Duration, horizon: int, transform: str, data: st.DataObject
) -> None:
    first = period_index(date(2011, 11, 20), frequency)
    cells = st.none() | st.floats(1, 1e7)
    numbers = st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True)
    rows = {first + at: {"price": data.draw(cells), "sales": data.draw(cells)} for at in data.draw(numbers)}
    made = replace(
        layout(transform, ("trend",), data.draw(SMOOTHED)),
        frequency=frequency,
        available_after=available_after,
        horizon=horizon,
    )
    for example in build_examples(made, rows):
        begins = begins_at(example.made_at, frequency)
        late = [
            index
            for index in rows
            if index >= example.made_at or available_after.after(begins_at(index, frequency)) > begins
        ]
        changed = rows | {index: {"price": 5e6, "sales": 5e6} for index in late}
        seen = next(
            each
            for each in build_examples(made, changed)
            if (each.index, each.step) == (example.index, example.step)
        )
        known = (example.features, example.naive, example.seasonal)
        assert (seen.features, seen.naive, seen.seasonal) == known


AHEAD_LAGS = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)


@given(st.sampled_from(FREQUENCIES), DURATIONS, st.integers(1, 4), AHEAD_LAGS, st.data())
def test_of_what_was_not_known_a_row_holds_only_what_is_known_ahead_until_its_own_period(
    frequency: str,
    available_after: Duration,
    horizon: int,
    lags: list[int],
    data: st.DataObject,
) -> None:
    """A training row is what a forecast made at its origin gets of the rows known then, and of the plan for later ones:
    everything else may be anything."""
    first, transform = period_index(date(2011, 11, 20), frequency), data.draw(TRANSFORMS)
    cells = st.none() | st.floats(1, 1e7)
    numbers = st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True)
    rows = {
        first + at: {name: data.draw(cells) for name in ("price", "sales", "promotion")}
        for at in data.draw(numbers)
    }
    made = replace(
        layout(transform, ("trend",)),
        frequency=frequency,
        available_after=available_after,
        horizon=horizon,
        columns=(FeatureColumn("sales", (1, 2)), FeatureColumn("promotion", tuple(lags), known_ahead=True)),
        holidays=CALENDAR_OF_2012,
    )
    for example in build_examples(made, rows):
        begins = begins_at(example.made_at, frequency)

        def known(index: int, moment: datetime = begins, before: int = example.made_at) -> bool:
            return index < before and available_after.after(begins_at(index, frequency)) <= moment

        at_origin: dict[int, dict[str, float | None]] = {
            index: row if known(index) else {"promotion": row["promotion"]}
            for index, row in rows.items()
            if index <= example.index
        }
        newest = made.origin.newest_known(example.index, example.step)
        assert newest is not None
        assert row_of(made, at_origin, newest, example.index, example.step) == example.features
        for lag in lags:
            seen = example.features[made.features.index(f"promotion_lag_{lag}")]
            assert seen == rows.get(example.index - lag, {}).get("promotion")


def test_lags_of_late_data_begin_at_the_newest_known_period() -> None:
    values: dict[int, dict[str, Any]] = {
        index: {"price": float(index), "sales": index / 10} for index in range(24_000, 24_040)
    }
    for text, step, lead, season in (
        ("P1M", 1, 1, 12),
        ("P3M", 1, 3, 12),
        ("P0D", 1, 1, 12),  # known when its period begins, and yet no feature of itself
        ("P1M1D", 1, 2, 12),
        ("P13M", 1, 13, 24),
        ("P1M", 3, 3, 12),
        ("P3M", 2, 4, 12),
    ):
        made = replace(layout("none"), available_after=Duration.parse(text), horizon=step)
        last = build_examples(made, values)[-1]
        lags = last.features[1:] if step > 1 else last.features
        assert (last.index, last.step, last.lead) == (24_039, step, lead), text
        assert last.naive == lags[0] == 24_039 - lead, text
        assert lags[1] == 24_039 - lead - 11, text  # lag 12
        assert last.seasonal == 24_039 - season, text


@given(GRIDS, DURATIONS, st.integers(0, 400))
def test_the_next_forecast_is_of_the_first_period_whose_origin_is_the_newest_known_one(
    frequency: str, available_after: Duration, after: int
) -> None:
    made = replace(layout("none"), frequency=frequency, available_after=available_after)
    newest = period_index(date(2011, 11, 20), frequency) + after
    ahead = made.origin.first_ahead(newest)
    assert ahead > newest
    assert (made.origin.newest_known(ahead) or 0) >= newest
    assert ahead == newest + 1 or (made.origin.newest_known(ahead - 1) or 0) < newest


@given(SERIES, TRANSFORMS)
def test_the_label_leads_back_to_the_target(
    values: dict[int, dict[str, float | None]], transform: str
) -> None:
    made = layout(transform)
    for example in build_examples(made, values):
        back = example.label
        if made.transform.reference:
            back = math.exp(back) * example.features[made.features.index(made.transform.reference)]  # type: ignore[operator]
        elif transform == "log":
            back = math.exp(back)
        assert back == pytest.approx(example.target, rel=1e-9)
        assert len(example.features) == len(made.features)


def test_what_a_row_holds() -> None:
    prices: list[float | None] = [100, 110, None, 120, 130]
    values: dict[int, dict[str, Any]] = {
        24_000 + at: {"price": price, "sales": 10.0 * at} for at, price in enumerate(prices)
    }
    made = layout("log_ratio_to_mean:4")
    assert made.features == [
        "price_mean_4",
        "price_lag_1_ratio",
        "price_lag_12_ratio",
        "sales_lag_1",
        "sales_lag_2",
    ]
    examples = {example.index - 24_000: example for example in build_examples(made, values)}
    # 0 and 1 have too few periods before them, 2 has no target.
    assert sorted(examples) == [3, 4]
    assert examples[3].features == (105.0, None, None, 20.0, 10.0)
    assert examples[3].naive == 110
    assert examples[3].label == pytest.approx(math.log(120 / 105))
    assert examples[4].features == (110.0, 120 / 110, None, 30.0, 20.0)
    assert examples[4].naive == 120


def test_a_gap_longer_than_the_naive_window_ends_the_forecast() -> None:
    values = {index: {"price": 100.0, "sales": 1.0} for index in (24_000, 24_012, 24_025)}
    assert [example.index for example in build_examples(layout("none"), values)] == [24_012]


def test_calendar_features_turn_once_per_cycle() -> None:
    made = layout("none", CALENDAR)
    values = {24_168 + month: {"price": 100.0, "sales": 1.0} for month in range(13)}
    by_month = [dict(zip(made.features, e.features, strict=True)) for e in build_examples(made, values)]
    march, june, december = by_month[1], by_month[4], by_month[10]
    assert (march["month_of_year_sin"], march["quarter_of_year_sin"]) == (pytest.approx(0.8660254), 0.0)
    assert (june["month_of_year_sin"], june["month_of_year_cos"]) == (0.5, pytest.approx(-0.8660254))
    assert june["trend"] == pytest.approx(14 + 151 / 365.25)
    assert december["quarter_of_year_cos"] == 0.0
    assert by_month[11]["week_of_year_cos"] == pytest.approx(1.0)


def test_other_transforms_are_refused(subtests: pytest.Subtests) -> None:
    for text in ["", "log:12", "log_ratio_to_mean", "log_ratio_to_mean:0", "log_ratio_to_mean:-1", "sqrt"]:
        with subtests.test(text=text), pytest.raises(ValueError, match="log_ratio_to_mean:<periods>"):
            TargetTransform.parse(text, "price")
