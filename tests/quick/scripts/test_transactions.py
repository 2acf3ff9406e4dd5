"""From transactions to examples: nothing that has not happened is in a feature, and pandas makes the same next row."""

from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calendar_grid import FREQUENCIES, Duration, begins_at, frequency_text, period_index, split_frequency
from feature_table import build_examples, row_of
from period_rows import AGGREGATES, PeriodRule
from raw_data import read_city
from row_reader import Limits
from series_layout import FeatureColumn, SeriesLayout
from target_transform import TargetTransform
from time_columns import TimeColumns

BEGIN = datetime(2014, 3, 27, tzinfo=UTC)  # a Thursday; clocks change three days later in Europe
LENGTH = {"hour": 1 / 24, "day": 1, "business_day": 1.4, "week": 7, "month": 31, "quarter": 92, "year": 366}
GRIDS = st.sampled_from(FREQUENCIES) | st.builds(
    frequency_text,
    st.sampled_from(FREQUENCIES),
    st.integers(2, 5),
    st.dates(date(2000, 1, 1), date(2014, 1, 1)),
)


def days_of(frequency: str) -> float:
    base, every, _ = split_frequency(frequency)
    return LENGTH[base] * every


def layout(
    frequency: str, available_after: Duration, horizon: int = 1, transform: str = "none"
) -> SeriesLayout:
    return SeriesLayout(
        target="amount",
        transform=TargetTransform.parse(transform, "amount"),
        target_lags=(1, 2, 3),
        columns=(FeatureColumn("guests", (1, 2)),),
        calendar=("trend",),
        frequency=frequency,
        available_after=available_after,
        horizon=horizon,
    )


def examples_of(
    rows: pd.DataFrame, made: SeriesLayout, kind: str, as_of: datetime, every: str
) -> dict[Any, Any]:
    """Read the transactions as a job does, and return the examples by period and step."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data.csv").write_text(rows.to_csv(index=False), encoding="utf-8")
        city = read_city(
            Path(folder),
            "s3://bucket/",
            time=TimeColumns(("at",), None, made.frequency),
            limits={"amount": Limits(), "guests": Limits()},
            as_of=as_of,
            available_after=made.available_after,
            rule=PeriodRule({"amount": kind, "guests": every}, kind),
        )
    examples = build_examples(made, {row.index: row.values for row in city.rows})
    return {(each.index, each.step): each for each in examples}


@settings(max_examples=30, deadline=None)
@given(
    GRIDS,
    st.sampled_from(AGGREGATES),
    st.sampled_from(AGGREGATES),
    st.integers(1, 3),
    st.integers(0, 50),
    st.randoms(use_true_random=False),
)
def test_a_transaction_that_had_not_happened_changes_no_feature(  # noqa: PLR0917
    frequency: str, kind: str, other: str, horizon: int, hours: int, random: Any
) -> None:
    base, every, _ = split_frequency(frequency)
    unit = {"hour": "PT{}H", "day": "P{}D", "week": "P{}W", "month": "P{}M", "year": "P{}Y"}
    text = {"business_day": f"P{3 + 2 * every}D", "quarter": f"P{3 * every}M"}.get(base) or unit[base].format(
        every
    )
    known = Duration.parse(text)
    after = Duration(known.months, known.days, known.hours + hours)
    length = days_of(frequency) * 86_400
    moments = sorted(BEGIN + timedelta(seconds=random.random() * 14 * length) for _ in range(40))
    if base == "business_day":
        moments = [moment - timedelta(days=max(0, moment.weekday() - 4)) for moment in moments]
    rows = pd.DataFrame({
        "at": [moment.isoformat() for moment in moments],
        "amount": [round(random.uniform(1, 100), 2) for _ in moments],
        "guests": [None if random.random() < 0.1 else random.randrange(1, 9) for _ in moments],
    })  # fmt: skip
    assume(len(rows) > 1)
    end = BEGIN + timedelta(seconds=20 * length) + timedelta(days=400)
    made = layout(frequency, after, horizon)
    everything = examples_of(rows, made, kind, end, other)
    for key in random.sample(sorted(everything), min(4, len(everything))):
        example = everything[key]
        origin = begins_at(example.made_at, frequency)
        ahead = [datetime.fromisoformat(at) >= origin for at in rows["at"]]
        changed = rows.copy()
        changed.loc[ahead, ["amount", "guests"]] = 77
        # Of those that had not happened some never happen: all but the target's own, and one that ends the data.
        gone = [late and random.random() < 0.5 and at < len(rows) - 1 for at, late in enumerate(ahead)]
        there = [period_index(datetime.fromisoformat(at), frequency) == example.index for at in rows["at"]]
        thinned = rows[[own or not away for own, away in zip(there, gone, strict=True)]]
        for other_rows in (changed, thinned):
            seen = examples_of(other_rows, made, kind, end, other)[key]
            assert seen.features == example.features
            assert (seen.naive, seen.seasonal, seen.lead) == (example.naive, example.seasonal, example.lead)


@pytest.mark.parametrize(
    ("frequency", "rule", "after"),
    [
        ("hour", "h", "PT1H"),
        ("day", "D", "P1D"),
        ("business_day", "B", "P3D"),
        ("week", "W-MON", "P1W"),
        ("month", "MS", "P1M"),
    ],
)
@pytest.mark.parametrize("late", [0, 2])
def test_pandas_makes_the_same_next_row(frequency: str, rule: str, after: str, late: int) -> None:
    random = np.random.default_rng(len(frequency) + late)
    length = days_of(frequency) * 86_400
    seconds = np.sort(random.uniform(0, 60 * length, 900))
    moments = [BEGIN + timedelta(seconds=float(each)) for each in seconds]
    if frequency == "business_day":
        moments = [moment - timedelta(days=max(0, moment.weekday() - 4)) for moment in moments]
    rows = pd.DataFrame({
        "at": [moment.isoformat() for moment in moments], "amount": random.uniform(1, 9, 900).round(2), "guests": 1,
    })  # fmt: skip
    base = Duration.parse(after)
    whole = Duration(base.months * (1 + late), base.days * (1 + late), base.hours * (1 + late))
    made = layout(frequency, whole, transform="log_ratio_to_mean:3")
    as_of = BEGIN + timedelta(seconds=50.3 * length)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data.csv").write_text(rows.to_csv(index=False), encoding="utf-8")
        city = read_city(
            Path(folder), "s3://bucket/", time=TimeColumns(("at",), None, frequency), as_of=as_of,
            limits={"amount": Limits(), "guests": Limits()}, available_after=whole,
            rule=PeriodRule({"amount": "sum", "guests": "count"}, "sum"),
        )  # fmt: skip
    values = {row.index: row.values for row in city.rows}
    newest = max(values)
    ahead = made.origin.first_ahead(newest)
    row = dict(zip(made.features, row_of(made, values, newest, ahead, 1), strict=True))

    frame = rows.assign(at=pd.to_datetime(rows["at"])).set_index("at")
    frame = frame.resample(rule, label="left", closed="left").agg({"amount": "sum", "guests": "count"})
    offset = pd.DateOffset(months=whole.months, days=whole.days, hours=whole.hours)
    known = frame[[start + offset <= pd.Timestamp(as_of) for start in frame.index]]
    assert begins_at(newest, frequency) == known.index[-1].to_pydatetime()
    assert period_index(known.index[0].to_pydatetime(), frequency) == min(values)
    mean = known["amount"].iloc[-3:].mean()
    assert row["amount_mean_3"] == pytest.approx(mean, rel=1e-12)
    for lag in (1, 2, 3):
        assert row[f"amount_lag_{lag}_ratio"] == pytest.approx(known["amount"].iloc[-lag] / mean, rel=1e-12)
    assert [row["guests_lag_1"], row["guests_lag_2"]] == known["guests"].iloc[[-1, -2]].tolist()
    # The next forecast is of the first period that begins when the newest row is there.
    starts = frame.index[frame.index > known.index[-1]]
    assert begins_at(ahead, frequency) == next(start for start in starts if known.index[-1] + offset <= start)
