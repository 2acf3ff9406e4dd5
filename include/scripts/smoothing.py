"""Exponential smoothing: forecasts of a series out of nothing but its own values, in NumPy alone.

Two methods, each a function of the values that are known: whatever they have to estimate they estimate anew for every
forecast, so there is no state to carry along and newer values count at once.

* ``theta``: simple exponential smoothing with half the slope of the straight line as its drift, of the seasonally
  adjusted values (Assimakopoulos & Nikolopoulos 2000; Hyndman & Billah 2003). The season is tested for, and taken out
  by classical decomposition: multiplicative where all values are above 0, additive otherwise. It is the ``ThetaModel``
  of statsmodels.
* ``ets``: additive level, damped or straight trend, and season (Holt-Winters). A grid of smoothing parameters, with
  and without trend and season, is run at once, and the forecasts are averaged by their Akaike weights: on short series
  a mean of the plausible ones is better than the one that happens to fit best (Burnham & Anderson 2002).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

#: Of fewer values there is nothing to smooth: the last one is the forecast.
LEAST_VALUES = 4
#: 1.645 squared: at 10 % a season's autocorrelation is above 0 by more than chance.
_SEASON_TEST = 2.705543454095404
_COARSE = np.linspace(0.0, 1.0, 41)
_FINE = np.linspace(-0.025, 0.025, 21)
_SMALLEST_ALPHA = 1e-4
#: What ``ets`` tries. A trend is its smoothing as a share of the level's, and how much of it stays each period.
_ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.98)
_NO_TREND = (0.0, 0.0)
_TRENDS = (
    _NO_TREND,
    *((0.01, 0.98), (0.05, 0.98), (0.15, 0.98)),
    *((0.05, 0.9), (0.2, 0.9), (0.5, 0.9)),
    *((0.05, 1.0), (0.2, 1.0), (0.5, 1.0)),
)
_SEASONAL_TRENDS = (_NO_TREND, (0.05, 0.98), (0.05, 0.9), (0.2, 0.9))
_GAMMAS = (0.0, 0.05, 0.15, 0.4)
_FIRST_VALUES = 10
#: Share of the values' mean square below which an error is rounding.
_ROUNDING = 1e-18


@dataclass(frozen=True)
class Path:
    """Where a series goes from its last value on.

    :param level: where it is.
    :param slopes: how much of it stays each period → what is added in the first one.
    :param seasonal: of the periods that come next, over and over; empty without a season.
    :param multiplicative: whether those are factors.
    """

    level: float
    slopes: tuple[tuple[float, float], ...] = ()
    seasonal: tuple[float, ...] = ()
    multiplicative: bool = False

    def at(self, steps: int) -> float:
        """Return the forecast so many periods behind the last value, at least 1."""
        value = self.level
        for damping, slope in self.slopes:
            share = float(steps) if damping == 1 else (1 - damping**steps) / (1 - damping)
            value += slope * share
        if self.seasonal:
            season = self.seasonal[(steps - 1) % len(self.seasonal)]
            value = value * season if self.multiplicative else value + season
        return value


def forecast(method: str, values: Sequence[float], season: int, steps: int) -> float:
    """Forecast a series.

    :param method: one of :data:`METHODS`.
    :param values: of consecutive periods, the oldest first; at least one.
    :param season: periods after which the calendar comes round; 1 for none.
    :param steps: how many periods behind the last value, at least 1.
    """
    return path(method, tuple(values), season).at(steps)


@lru_cache(maxsize=256)  # the steps of one origin, and questions that come again
def path(method: str, values: tuple[float, ...], season: int) -> Path:
    """Say where a series goes on, whose scale may be any."""
    largest = max(abs(value) for value in values)
    if len(values) < LEAST_VALUES or largest == 0:
        return Path(values[-1])
    made = METHODS[method](np.array(values) / largest, season)
    size = 1.0 if made.multiplicative else largest
    return Path(
        made.level * largest,
        tuple((damping, slope * largest) for damping, slope in made.slopes),
        tuple(each * size for each in made.seasonal),
        made.multiplicative,
    )


def theta(values: np.ndarray, season: int) -> Path:
    """Smooth by the theta method.

    :param values: at least :data:`LEAST_VALUES`.
    """
    count = len(values)
    adjusted, seasonal, multiplicative = values, np.empty(0), False
    if count >= 2 * season and is_seasonal(values, season):
        multiplicative = bool((values > 0).all())
        seasonal = seasonal_shape(values, season, multiplicative)
        if multiplicative and (seasonal <= 0).any():
            multiplicative, seasonal = False, seasonal_shape(values, season, multiplicative=False)
        repeated = seasonal[np.arange(count) % season]
        adjusted = values / repeated if multiplicative else values - repeated
    _, slope = _line(adjusted)
    alpha = _best_alpha(adjusted)
    level = float(adjusted[0])
    for value in adjusted[1:].tolist():
        level += alpha * (value - level)
    # Half of the line's drift; the smoothed level lags behind it by 1 / alpha - 1 periods.
    drift = slope / 2
    level += drift * (1 / alpha - (1 - alpha) ** count / alpha - 1)
    coming = np.roll(seasonal, -(count % season)) if len(seasonal) else seasonal
    return Path(level, ((1.0, drift),), tuple(coming.tolist()), multiplicative)


def ets(values: np.ndarray, season: int) -> Path:
    """Average exponential smoothing over a grid.

    :param values: at least :data:`LEAST_VALUES`.
    """
    count = len(values)
    has_season = season > 1 and count >= 2 * season + 2
    grid = [(*each, 0.0, 0.0) for each in product(_ALPHAS, _TRENDS)]
    if has_season:
        grid += [(*each, 1.0) for each in product(_ALPHAS, _SEASONAL_TRENDS, _GAMMAS)]
    alphas, trends, gammas, seasonal = map(np.array, zip(*grid, strict=True))
    shares, dampings = trends.T
    shape = seasonal_shape(values, season, multiplicative=False) if has_season else np.zeros(1)
    turn = len(shape)
    plain = np.stack([values, values - shape[np.arange(count) % turn]])
    starts = [_line(each[:_FIRST_VALUES]) for each in plain]
    kind = seasonal.astype(int)
    trended = dampings > 0
    slope = np.where(trended, np.array([start[1] for start in starts])[kind], 0.0)
    level = np.where(
        trended,
        np.array([start[0] - start[1] for start in starts])[kind],
        plain[:, :_FIRST_VALUES].mean(axis=1)[kind],
    )
    seasons = shape[:, np.newaxis] * seasonal
    slope_gain, season_gain = alphas * shares, gammas * (1 - alphas)
    squares, off, part = np.zeros(len(grid)), np.empty(len(grid)), np.empty(len(grid))
    for at, value in enumerate(values.tolist()):
        slope *= dampings
        level += slope
        np.subtract(value, level, out=off)
        if has_season:
            off -= seasons[at % turn]
            np.multiply(season_gain, off, out=part)
            seasons[at % turn] += part
        np.multiply(off, off, out=part)
        squares += part
        np.multiply(alphas, off, out=part)
        level += part
        np.multiply(slope_gain, off, out=part)
        slope += part
    # The parameters that are estimated: level and its start, trend and its start, damping, season and its starts.
    estimated = 3.0 + np.where(trended, np.where(dampings < 1, 3, 2), 0) + seasonal * (turn - (gammas == 0))
    spread = np.maximum(squares / count, _ROUNDING * float(np.mean(values**2)))
    scores = count * np.log(spread) + 2 * estimated * count / np.maximum(count - estimated - 1, 1)
    weights = np.exp(-(scores - scores.min()) / 2)
    weights /= weights.sum()
    slopes = [
        (damping, float((weights * slope)[dampings == damping].sum()) * damping)
        for damping in sorted(set(dampings[trended].tolist()))
    ]
    coming = np.roll((seasons * weights).sum(axis=1), -(count % turn)) if has_season else np.empty(0)
    return Path(float((weights * level).sum()), tuple(slopes), tuple(coming.tolist()))


METHODS: Mapping[str, Callable[[np.ndarray, int], Path]] = {"theta": theta, "ets": ets}


def is_seasonal(values: np.ndarray, season: int) -> bool:
    """Tell whether values of one season apart go together, by more than those in between would make them."""
    if season < 2:
        return False
    off = values - values.mean()
    own = float((off * off).sum())
    if own == 0:
        return False
    together = [float((off[lag:] * off[:-lag]).sum()) / own for lag in range(1, season + 1)]
    between = 1 + sum(each * each for each in together[:-1])
    return len(values) * together[-1] ** 2 / between > _SEASON_TEST


def seasonal_shape(values: np.ndarray, season: int, multiplicative: bool) -> np.ndarray:
    """Take the season out of a moving average over one.

    :param values: at least two seasons, of a season of at least 2.
    :return: of the first value's place in the season, the second's and so on; their mean is 1, or 0.
    """
    ends = season % 2 == 0
    width = season + 1 if ends else season
    weights = np.full(width, 1 / season)
    if ends:
        weights[[0, -1]] /= 2
    trend = np.convolve(values, weights, "valid")
    half = width // 2
    inner = values[half : half + len(trend)]
    rest = inner / trend if multiplicative else inner - trend
    shape = np.array([rest[(place - half) % season :: season].mean() for place in range(season)])
    return shape / shape.mean() if multiplicative else shape - shape.mean()


def _line(values: np.ndarray) -> tuple[float, float]:
    """Lay the straight line of least squares: where it begins, and its slope."""
    times = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float((times * values).sum() / (times * times).sum())
    return float(values.mean()) + slope * float(times[0]), slope


def _best_alpha(values: np.ndarray) -> float:
    """Find how much a new value counts, of simple exponential smoothing from the first value on."""
    alpha = float(_COARSE[_squares(values, _COARSE).argmin()])
    near = np.clip(alpha + _FINE, _SMALLEST_ALPHA, 1.0)
    squares = _squares(values, near)
    at = int(squares.argmin())
    if 0 < at < len(near) - 1:
        before, here, after = squares[at - 1 : at + 2].tolist()
        bend = before - 2 * here + after
        step = float(near[at + 1] - near[at])
        if bend > 0 and near[at] - near[at - 1] == near[at + 1] - near[at]:
            return float(near[at]) + step * (before - after) / (2 * bend)
    return float(near[at])


def _squares(values: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Sum the squares of what is forecast one step ahead, for each of some alphas."""
    level, squares = np.full(len(alphas), values[0]), np.zeros(len(alphas))
    off, part = np.empty(len(alphas)), np.empty(len(alphas))
    for value in values[1:].tolist():
        np.subtract(value, level, out=off)
        np.multiply(off, off, out=part)
        squares += part
        np.multiply(alphas, off, out=part)
        level += part
    return squares
