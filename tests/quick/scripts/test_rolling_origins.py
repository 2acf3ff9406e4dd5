"""A model is judged by models that could not know what they are asked, and what serves knows everything."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import series_city
from backtest import Backtest, distance
from calendar_grid import FREQUENCIES, Duration, begins_at, period_index, period_start
from feature_table import build_examples, trend
from judged_blocks import Blocks, Parts, made_at, periods_of
from judged_halves import judged_champion, judged_half
from model_card import ArtifactError
from paired_losses import covariance, paired
from preprocess_settings import Settings
from raw_data import Limits
from rolling_origins import MOST_DISTANCE, judge_and_refit
from series_layout import SeriesLayout
from table_schema import Table
from target_transform import TargetTransform
from time_columns import TimeColumns

FIRST = {name: period_index(datetime(2000, 1, 1, tzinfo=UTC).date(), name) for name in FREQUENCIES}
WAVES = {FIRST["month"] + at: 100.0 + at % 7 for at in range(80)}


def settings_of(frequency: str, available_after: str, horizon: int = 1, **sizes: int) -> Settings:
    layout = SeriesLayout(
        target="price",
        transform=TargetTransform.parse("none", "price"),
        target_lags=(1,),
        columns=(),
        calendar=(),
        frequency=frequency,
        available_after=Duration.parse(available_after),
        horizon=horizon,
    )
    given_sizes = {
        "minimum_periods": 10,
        "validation_periods": 6,
        "holdout_periods": 6,
        "backtest_periods": 24,
    }
    return Settings(
        as_of=datetime(2030, 1, 1, tzinfo=UTC),
        layout=layout,
        time=TimeColumns(("date",), None, frequency),
        limits={"price": Limits()},
        **(given_sizes | sizes),
    )


@dataclass
class Prepared:
    """A city as train.py gets it, with all rows that could be made."""

    parts: Parts
    all: Table


def prepared(asked: Settings, values: dict[int, float]) -> Prepared | None:
    """Prepare a city; None where some part is empty, which is too little data."""
    known: dict[int, dict[str, float | None]] = {index: {"price": value} for index, value in values.items()}
    examples = build_examples(asked.layout, known)
    last = max(known)
    count = series_city.count_blocks(examples, last, asked)
    parts = series_city.split(examples, last, asked, count)
    if not all(parts.values()) or len({each.index for each in parts["train"]}) < 3:
        return None
    schema = series_city.series_schema("austin", asked)
    between = series_city._between(examples, parts)
    tables = {name: series_city.series_table(schema, part, asked) for name, part in parts.items()}
    return Prepared(
        Parts(
            **tables,
            between=series_city.series_table(schema, between, asked) if between else None,
            blocks=Blocks(count, asked.holdout_periods),
        ),
        series_city.series_table(schema, examples, asked),
    )


class Remembers:
    """A model that answers the newest period that it was fitted to, whatever it is asked."""

    def __init__(self, *tables: Table) -> None:
        self.rows = sum(map(len, tables))
        self.newest = max(int(periods_of(table).max()) for table in tables)

    def predict(self, values: np.ndarray) -> np.ndarray:
        return np.full(len(values), float(self.newest))

    def describe(self) -> dict[str, Any]:
        return {}

    def save(self, folder: object) -> None:
        raise NotImplementedError


@settings(deadline=None, max_examples=150)
@given(
    known=st.tuples(
        st.sampled_from(FREQUENCIES), st.sampled_from(["P0D", "P1D", "P8D", "P1M", "P3M", "P14M"])
    ),
    sizes=st.tuples(st.integers(1, 6), st.integers(6, 9), st.integers(6, 40)),
    gaps=st.sets(st.integers(0, 79), max_size=30),
)
def test_no_row_is_judged_by_a_model_that_could_know_it(
    known: tuple[str, str], sizes: tuple[int, int, int], gaps: set[int]
) -> None:
    (frequency, delay), (horizon, holdout, backtest) = known, sizes
    asked = settings_of(frequency, delay, horizon, holdout_periods=holdout, backtest_periods=backtest)
    values = {FIRST[frequency] + at: 100.0 + at % 7 for at in range(80) if at not in gaps}
    made = prepared(asked, values)
    if made is None:
        return
    test = made.parts.test
    assert test is not None
    first = Remembers(made.parts.train, made.parts.validation)
    judged = judge_and_refit(first, made.parts, Remembers, refit=True)
    learned = judged.backtest.answers(test)
    for period, step, newest in zip(
        periods_of(test).tolist(), test.baselines["ahead"].tolist(), learned.tolist(), strict=True
    ):
        moment = begins_at(period - int(step) + 1, frequency)
        known_at = asked.available_after.after(begins_at(int(newest), frequency))
        assert known_at <= moment, (period, step, newest)
        assert newest < period - step + 1
    # Every row has one place, and each of them is judged, or learned before the first that is.
    there = [made.parts.train, made.parts.validation, test]
    there += [made.parts.between] if made.parts.between is not None else []
    assert sum(map(len, there)) == len(made.all)
    assert len(judged.backtest.rows) == len(test)
    # A later block is judged by a model that knows more, and as many times as there are blocks.
    numbers = made.parts.blocks.of(test) if made.parts.blocks else np.zeros(len(test))
    assert np.ptp(made_at(test)) < made.parts.blocks.count * holdout if made.parts.blocks else False
    by_block = [set(learned[numbers == number].tolist()) for number in np.unique(numbers)]
    assert all(len(each) == 1 for each in by_block)
    order = [each.pop() for each in by_block]
    assert order == sorted(order)
    assert len(order) < 2 or order[-1] > order[0]


def test_what_serves_has_learned_every_known_row_or_is_the_newest_judged_model() -> None:
    asked = settings_of("month", "P2M", 3)
    made = prepared(asked, WAVES)
    assert made is not None
    assert made.parts.test is not None
    assert made.parts.blocks == Blocks(4, 6)
    assert made.parts.between is not None
    first = Remembers(made.parts.train, made.parts.validation)
    newest = period_start(FIRST["month"] + 79, "month").isoformat()
    judged = judge_and_refit(first, made.parts, Remembers, refit=True)
    assert isinstance(judged.serving, Remembers)
    assert (judged.serving.rows, sum(judged.rows.values())) == (len(made.all), len(made.all))
    assert (judged.backtest.refit, judged.backtest.known_until, judged.note) == (True, newest, "")
    assert 0 < judged.backtest.distance <= MOST_DISTANCE
    held = judge_and_refit(first, made.parts, Remembers, refit=False)
    assert isinstance(held.serving, Remembers)
    assert held.serving.newest == max(held.backtest.rows.values())
    assert not held.backtest.refit
    assert held.backtest.known_until < newest
    assert held.backtest.rows == judged.backtest.rows


def test_a_refit_model_that_answers_quite_otherwise_does_not_serve() -> None:
    made = prepared(settings_of("month", "P1M"), WAVES)
    assert made is not None
    assert made.parts.test is not None

    class Odd(Remembers):
        def predict(self, values: np.ndarray) -> np.ndarray:
            off = 900.0 if self.newest == FIRST["month"] + 79 else 101.0
            return np.full(len(values), off)

    judged = judge_and_refit(Odd(made.parts.train, made.parts.validation), made.parts, Odd, refit=True)
    assert isinstance(judged.serving, Odd)
    assert judged.serving.newest == FIRST["month"] + 79 - 6
    assert not judged.backtest.refit
    assert judged.backtest.distance == 0
    assert judged.note.endswith("so the newest judged model serves")
    # And whoever evaluates such a pair all the same refuses it.
    pair = replace(judged.backtest, refit=True)
    with pytest.raises(ArtifactError, match="It is not the model that was judged"):
        judged_half(pair, np.full(len(made.parts.test), 900.0), made.parts.test)


def test_a_refit_champion_is_compared_by_its_judged_half_and_not_by_what_it_has_learned() -> None:
    """The trap: it has learned the months that judge the challenger, and no challenger would ever pass again."""
    made = prepared(settings_of("month", "P1M"), WAVES)
    assert made is not None
    test, blocks = made.parts.test, made.parts.blocks
    assert test is not None
    assert blocks is not None
    count = len(test)
    # It was judged a month ago: the newest row is new to it, and the oldest was judged by no model of today's.
    judged = {
        (None, day, 1): 1.06 * value for day, value in zip(test.rows[:-1], test.target.tolist(), strict=False)
    }
    half = Backtest(True, test.rows[-2], 0.9, judged)
    asked: list[int] = []

    def serves(rows: Table) -> np.ndarray:
        asked.append(len(rows))
        return 1.017 * rows.target

    answers = judged_champion(half, test, blocks, serves)
    errors = np.abs(answers / test.target - 1)
    assert errors == pytest.approx([0.06] * (count - 1) + [0.017])
    assert asked == [1]
    challenger = 0.055
    assert errors.mean() > challenger > 0.017
    # Where a part of the rows is left, the others have no answer; where none is, that is said.
    older = Backtest(True, test.rows[-1], 0.9, {})
    with pytest.raises(ArtifactError, match="has learned them all"):
        judged_champion(older, test, blocks, serves)
    # One of an earlier version has learned all but the newest block.
    answers = judged_champion(None, test, blocks, serves)
    assert np.isfinite(answers).tolist() == (blocks.of(test) == 3).tolist()
    assert np.isfinite(answers).sum() == 6
    assert np.isfinite(judged_champion(None, test, None, serves)).all()


def test_blocks_leave_enough_to_learn_from() -> None:
    def count(periods: int, **sizes: int) -> int:
        asked = settings_of("month", "P1M", 1, **sizes)
        values = {FIRST["month"] + at: {"price": float(at + 1)} for at in range(periods)}
        return series_city.count_blocks(build_examples(asked.layout, values), max(values), asked)

    # The first period makes no row. Six of validation and ten more, and 40 %, lie before the judged ones.
    assert [count(periods) for periods in (13, 28, 29, 34, 35, 40, 41, 200)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert count(200, backtest_periods=5) == 1
    assert count(200, backtest_periods=120) == 19
    assert count(101, backtest_periods=120) == 10


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 2}, "format_version"),
        ({"refit": 1}, "refit"),
        ({"distance": -1}, "distance"),
        ({"known_until": "later"}, "later"),
        ({"rows": {}}, "rows"),
        ({"rows": [["a", "2015-01-01", 1]]}, "lists of member"),
        ({"rows": [[1, "2015-01-01", 1, 1.0]]}, "member"),
        ({"rows": [[None, "2015-01-01", True, 1.0]]}, "step"),
        ({"rows": [[None, "2015-01-01", 1, "1"]]}, "prediction"),
        ({"rows": [[None, "2015-01-01", 1, 1.0]] * 200_001}, "200000"),
    ],
)
def test_a_backtest_is_read_without_trusting_it(change: dict[str, Any], sentence: str) -> None:
    rows = {(None, "2015-01-01", 1): 1.5, ("austin", "2015-01-01", 2): 2.5}
    good = Backtest(True, "2015-07-01", 0.012, rows)
    assert Backtest.from_bytes(good.to_bytes()) == good
    assert json.loads(good.to_bytes())["rows"] == [
        [None, "2015-01-01", 1, 1.5],
        ["austin", "2015-01-01", 2, 2.5],
    ]
    with pytest.raises(ValueError, match=sentence):
        Backtest.from_bytes(json.dumps(json.loads(good.to_bytes()) | change).encode())
    with pytest.raises(ValueError, match=r"lists in lists|Expecting"):
        Backtest.from_bytes(b"[" * 100_000)


def test_the_distance_is_a_share_of_the_judged_error() -> None:
    actual, judged = np.array([10.0, 20.0]), np.array([11.0, 23.0])
    assert distance(judged, judged, actual) == 0
    assert distance(actual, judged, actual) == 1
    assert distance(np.array([11.0, 22.0]), judged, actual) == pytest.approx(0.25)
    assert distance(actual + 1e-12, actual, actual) < 1  # what is left of no error at all is rounding


def test_losses_of_an_origin_are_one_observation_and_those_nearby_hang_together() -> None:
    made = prepared(settings_of("month", "P1M", 2), WAVES)
    assert made is not None
    assert made.parts.test is not None
    test = made.parts.test
    draws = np.random.default_rng(3)
    model, other = (test.target * (1 + draws.normal(0, 0.05, len(test))) for _ in range(2))
    holes = other.copy()
    holes[made_at(test) == made_at(test).min()] = np.nan
    found = paired(test, model, {"naive": other, "champion": holes, "no": np.full(len(test), np.nan)})
    assert set(found) == {"naive", "champion"}
    by_origin = {
        number: (
            np.abs(model / test.target - 1)[made_at(test) == number].mean(),
            np.abs(other / test.target - 1)[made_at(test) == number].mean(),
        )
        for number in np.unique(made_at(test)).tolist()
    }
    losses = np.array(list(by_origin.values()))
    count = len(losses)
    assert found["naive"]["origins"] == count > found["champion"]["origins"]
    assert found["naive"]["means"] == pytest.approx(losses.mean(axis=0).tolist())
    # The same by sums over pairs of origins, with Bartlett's weights over three lags, for a reach of two periods.
    apart = losses - losses.mean(axis=0)
    wanted = np.zeros((2, 2))
    for first in range(count):
        for second in range(count):
            weight = max(0.0, 1 - abs(first - second) / 4)
            wanted += weight * np.outer(apart[first], apart[second])
    wanted /= count**2 * (count + 1 - 4 + 2 / count) / count
    assert np.array(found["naive"]["covariance"]) == pytest.approx(wanted)
    assert np.linalg.eigvalsh(covariance(draws.normal(size=(20, 2)).cumsum(axis=0), 9)).min() >= 0


def test_a_trend_is_one_where_it_is_larger_than_chance() -> None:
    draws = np.random.default_rng(5)
    season = np.tile(draws.normal(0, 50, 12), 20)
    rising = {at: {"y": 1000 + 2.0 * at + season[at] + draws.normal(0, 3)} for at in range(240)}
    flat = {at: {"y": 1000 + season[at] + draws.normal(0, 3)} for at in range(240)}
    assert trend(rising, 239, "y", 12) == pytest.approx(2.0, abs=0.05)
    assert trend(flat, 239, "y", 12) is None
    assert trend(rising, 47, "y", 12) is None  # three changes are too few
    assert trend(rising, 48, "y", 12) is not None
    assert trend({at: {"y": 7.0} for at in range(240)}, 239, "y", 12) is None
