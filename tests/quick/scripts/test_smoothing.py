"""The theta method is statsmodels', exponential smoothing its own definition, and neither ever answers no number."""

from __future__ import annotations

import csv
import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smoothing
from newest_values import KnownValues, known_values
from series_layout import SeriesLayout
from smoothed_values import known_series, periods_smoothed, smoothed_forecast
from smoothing import forecast
from target_transform import TargetTransform
from tests.quick.scripts.test_feature_table import layout
from tests.support.paths import ROOT

#: ``ThetaModel(values, period=12).fit().forecast(14)`` of statsmodels 0.15.0, of the last 120 of a city's first so many
#: median prices: one, three and fourteen months ahead. Bound: one part in 10,000; its optimiser stops before that.
STATSMODELS = (
    ("Austin", 60, (152523.00, 152721.22, 153811.44)),  # the test finds no season
    ("Austin", 120, (178848.68, 184128.82, 186460.83)),
    ("Austin", 187, (261796.73, 253350.36, 256469.29)),
    ("Houston", 60, (127921.84, 133141.28, 134281.60)),
    ("Houston", 120, (140295.76, 147721.31, 147825.67)),
    ("Houston", 187, (216114.89, 202884.75, 213199.13)),
    ("Dallas", 187, (230736.56, 218199.65, 224189.96)),
    ("El Paso", 60, (95528.39, 93356.74, 95170.47)),
    ("El Paso", 187, (146856.98, 145386.86, 144504.75)),
)
#: The same of Austin's first 120 with 150,000 less.
ADDED = (29610.04, 34162.15, 36524.45)
NUMBERS = st.floats(-1e9, 1e9).map(lambda value: round(value, 3))


def prices(city: str) -> list[float]:
    with (ROOT / "include" / "data" / "txhousing.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(
            (int(row["year"]), int(row["month"]), float(row["median"]))
            for row in csv.DictReader(file)
            if row["city"] == city
        )
    return [price for *_, price in rows]


def test_theta_is_statsmodels_theta(subtests: pytest.Subtests) -> None:
    for city, count, wanted in STATSMODELS:
        with subtests.test(city=city, count=count):
            known = prices(city)[:count][-120:]
            made = [forecast("theta", known, 12, steps) for steps in (1, 3, 14)]
            assert made == pytest.approx(wanted, rel=1e-4)
    below = [price - 150_000 for price in prices("Austin")[:120]]
    assert min(below) < 0, "so the season is added"
    assert [forecast("theta", below, 12, steps) for steps in (1, 3, 14)] == pytest.approx(ADDED, rel=1e-4)


def test_ets_is_the_mean_of_its_grid() -> None:
    """The same once more by the book: one set of parameters at a time, in plain numbers."""
    season = 4
    draws = np.random.default_rng(3)
    times = np.arange(30)
    values = 50 + 0.3 * times + 4 * np.sin(times * np.pi / 2) + draws.normal(size=30)
    shape = smoothing.seasonal_shape(values, season, multiplicative=False)
    tried: list[tuple[float, list[float]]] = []
    grid: list[tuple[float, tuple[float, float], float, bool]] = [
        (alpha, trend, 0.0, False) for alpha, trend in product(smoothing._ALPHAS, smoothing._TRENDS)
    ]
    grid += [
        (*each, True) for each in product(smoothing._ALPHAS, smoothing._SEASONAL_TRENDS, smoothing._GAMMAS)
    ]
    for alpha, (share, damping), gamma, seasonal in grid:
        states = {place: float(shape[place]) if seasonal else 0.0 for place in range(season)}
        plain = [float(value) - states[at % season] for at, value in enumerate(values[:10])]
        if damping:
            slope, start = np.polyfit(range(10), plain, 1)
            level, slope = float(start - slope), float(slope)
        else:
            level, slope = float(np.mean(plain)), 0.0
        squares = 0.0
        for at, value in enumerate(values.tolist()):
            before = level + damping * slope
            off = value - before - states[at % season]
            squares += off * off
            level, slope = before + alpha * off, damping * slope + alpha * share * off
            states[at % season] += gamma * (1 - alpha) * off
        parameters = 3 + (0 if not damping else 2 if damping == 1 else 3)
        parameters += 0 if not seasonal else season - (gamma == 0)
        score = 30 * math.log(squares / 30) + 2 * parameters * 30 / (30 - parameters - 1)
        ahead = [
            level
            + slope * sum(damping**each for each in range(1, steps + 1))
            + states[(30 + steps - 1) % season]
            for steps in (1, 2, 7)
        ]
        tried.append((score, ahead))
    least = min(score for score, _ in tried)
    weights = [math.exp((least - score) / 2) for score, _ in tried]
    for at, steps in enumerate((1, 2, 7)):
        wanted = sum(w * ahead[at] for w, (_, ahead) in zip(weights, tried, strict=True)) / sum(weights)
        assert forecast("ets", values.tolist(), season, steps) == pytest.approx(wanted, rel=1e-6)


def test_what_is_plain_goes_on() -> None:
    line = [10.0 + 2 * at for at in range(40)]
    wave = [100.0 + 10 * math.sin(at * math.pi / 6) + at for at in range(96)]
    for method in smoothing.METHODS:
        assert forecast(method, [7.0] * 30, 12, 5) == pytest.approx(7)
        assert forecast(method, [0.0] * 30, 12, 5) == 0
        assert forecast(method, wave, 12, 3) == pytest.approx(198 + 10 * math.sin(98 * math.pi / 6), rel=0.03)
    assert forecast("ets", line, 1, 4) == pytest.approx(96, rel=1e-3)
    # Half of the slope, by the method's definition; the smoothed level is the last value.
    assert forecast("theta", line, 1, 4) == pytest.approx(92, rel=1e-3)


@given(
    st.sampled_from(sorted(smoothing.METHODS)),
    st.lists(NUMBERS, min_size=1, max_size=60),
    st.sampled_from([1, 4, 7, 12, 52]),
    st.integers(1, 100),
)
def test_every_history_gives_a_number_in_its_own_unit(
    method: str, values: list[float], season: int, steps: int
) -> None:
    made = forecast(method, values, season, steps)
    assert math.isfinite(made)
    if len(values) < smoothing.LEAST_VALUES:
        assert made == values[-1]
    # Powers of two are exact, so another unit is the same forecast.
    assert forecast(method, [value * 1024 for value in values], season, steps) == pytest.approx(made * 1024)


def series(*values: float | None) -> dict[int, dict[str, float | None]]:
    return {100 + at: {"price": value} for at, value in enumerate(values)}


def test_gaps_are_bridged_by_a_line_and_long_ones_end_the_history() -> None:
    def known(values: Any, season: int = 1, *, positive: bool = False) -> tuple[list[float], int]:
        return known_series(values, "price", 100 + len(values) - 1, season, positive=positive)

    assert known(series(1.0, None, None, 4.0, 6.0)) == ([1, 2, 3, 4, 6], 104)
    assert known(series(None, 3.0, 4.0, None)) == ([3, 4], 102), "from a known one to a known one"
    assert known(series(1.0, *[None] * 13, 5.0, 6.0)) == ([5, 6], 115)
    assert len(known(series(1.0, *[None] * 13, 5.0, 6.0), season=52)[0]) == 16
    assert len(known(series(1.0, *[None] * 12, 5.0, 6.0))[0]) == 15
    assert known(series(-1.0, 0.0, 2.0)) == ([-1, 0, 2], 102)
    assert known(series(-1.0, 1.0, 0.0, 2.0), positive=True) == ([1, 1.5, 2], 103)
    assert known(series(None, None)) == ([], 102)
    assert len(known(series(*map(float, range(500))))[0]) == periods_smoothed(1) == 120
    assert [periods_smoothed(season) for season in (4, 7, 12, 24, 52)] == [120, 120, 120, 240, 400]


def test_a_forecast_reaches_over_what_is_missing_at_the_end() -> None:
    values = [5.0, 6.0, 8.0, 9.0, 11.0, 12.0, 14.0]
    short = smoothed_forecast("ets", series(*values, None, None), "price", (108, 109), 1, positive=False)
    assert short == forecast("ets", values, 1, 3)
    assert smoothed_forecast("ets", series(None), "price", (100, 101), 1, positive=False) is None
    falling = series(*[100.0 - 9 * at for at in range(12)])
    far = (111, 140)
    assert (smoothed_forecast("ets", falling, "price", far, 1, positive=False) or 0) < 0
    assert smoothed_forecast("ets", falling, "price", far, 1, positive=True) == 1, "the last value"
    largest = series(*[1e307 * at for at in range(1, 18)])
    assert smoothed_forecast("ets", largest, "price", (116, 140), 1, positive=False) == 1.7e308


def test_known_json_keeps_all_that_is_smoothed_and_the_layout_reads_back() -> None:
    plain = layout("log_ratio_to_mean:12")
    made = SeriesLayout(**{**vars(plain), "smoothed": ("theta", "ets")})
    assert made.features[-2:] == ["price_theta_ratio", "price_ets_ratio"]
    assert (plain.known_periods, made.known_periods) == (12, 120)
    assert "smoothed" not in plain.to_json(), "the tables of others stay as they are"
    assert SeriesLayout.from_json(made.to_json(), "price", made.transform) == made
    assert SeriesLayout.from_json(plain.to_json(), "price", plain.transform) == plain
    for wrong in ("theta", ["arima"], [["theta"]], {}, None):
        with pytest.raises((ValueError, TypeError), match=r"smoothed|unhashable"):
            SeriesLayout.from_json(made.to_json() | {"smoothed": wrong}, "price", TargetTransform("none"))
    values = {24_000 + at: {"price": price, "sales": 1.0} for at, price in enumerate(prices("Austin"))}
    known = KnownValues.from_json(known_values("austin", "20150801T000000Z", made, values).to_json())
    assert len(known.values) == 120
    newest = max(values)
    for method, steps in product(made.smoothed, (1, 12)):
        asked = (method, "price", (newest, newest + steps), 12)
        kept = smoothed_forecast(method, known.values, *asked[1:], positive=True)
        assert kept == smoothed_forecast(method, values, *asked[1:], positive=True)


def test_an_algorithm_sees_its_own_forecast_and_the_others_none() -> None:
    made = SeriesLayout(
        **{**vars(layout("log_ratio_to_mean:12")), "smoothed": ("theta", "ets"), "horizon": 3}
    )
    assert made.seen_by("theta").features == ["step", "price_mean_12", "price_theta_ratio"]
    assert made.seen_by("ets").features == ["step", "price_mean_12", "price_ets_ratio"]
    assert made.seen_by("xgboost").features == made.features[:-2]
