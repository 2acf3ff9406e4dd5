"""The peers of bench/models.py: ``python model_peers.py <panel folder>``, in an environment with them.

Automatic ARIMA and ETS of each city's series, from its first value on, with gaps bridged by a line; fitted again for
each block of held-out rows, as our models are, and asked for one period at a time, each with all periods before known.
Prints JSON like model_fits.py, and how far our theta is from that of statsmodels on the same values.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from statsforecast.models import AutoARIMA, AutoETS
from statsmodels.tsa.forecasting.theta import ThetaModel

SEASONS = {"month": 12, "day": 7, "year": 1, "week": 52, "quarter": 4}
#: As smoothed_values.py has them.
SMOOTHED_PERIODS = 120


def main() -> None:
    """Measure both."""
    folder = Path(sys.argv[1])
    content = json.loads((folder / "dataset.json").read_text())
    season, target = SEASONS[content["dataset"]["frequency"]], content["dataset"]["target"]
    # As a model of a logarithm, where ours is one.
    turn, back = (np.log, np.exp) if target["transform"] != "none" else (np.asarray, np.asarray)
    ready = sorted(path.parent for path in (folder / "out" / "test").glob("*/test.csv"))
    ways: dict[str, Any] = {}
    for name, kind in (("auto ARIMA", AutoARIMA), ("auto ETS", AutoETS)):
        errors, failed, started = {}, [], time.process_time()
        for place in ready:
            values, at, actual = series(place, target["column"])
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
                    warnings.simplefilter("ignore")
                    predicted = []
                    for number, now in enumerate(at):
                        if number % content["dataset"]["holdout_periods"] == 0:
                            model = kind(season_length=season).fit(turn(values[:now]))
                        ahead = model.forward(turn(values[:now]), h=1)["mean"]
                        predicted.append(float(back(ahead)[0]))
            except Exception as error:  # a peer may not manage every series
                failed.append(f"{place.name}: {error!r:.80}")
                continue
            off = np.abs(np.array(predicted) - actual).sum() / np.abs(actual).sum()
            errors[place.name.removeprefix("city=")] = float(off)
        ways[name] = {"errors": errors, "failed": failed, "cpu_seconds": time.process_time() - started}
    print(json.dumps({"ways": ways, "theta_off_statsmodels": beside_statsmodels(ready, target, season)}))


def series(place: Path, column: str) -> tuple[np.ndarray, list[int], np.ndarray]:
    """Read a city's series, up to its last held-out period.

    :return: all values on the calendar from the first known one on, gaps bridged; where the held-out ones stand in it;
        and those.
    """
    history = pd.read_csv(place / "history.csv").set_index("index")
    test = pd.read_csv(place / "test.csv")
    known = history[column].astype(float).dropna()
    known = known.reindex(range(known.index[0], known.index[-1] + 1))
    numbers = pd.Series(history.index, index=history["period"])
    at = [int(numbers[period]) - int(known.index[0]) for period in test["period"]]
    return known.interpolate().to_numpy(), at, test["target"].to_numpy(float)


def beside_statsmodels(ready: list[Path], target: dict[str, Any], season: int) -> dict[str, Any]:
    """Compare the column theta of every eighth held-out row with statsmodels' forecast of the same values."""
    found: list[float] = []
    for place in ready:
        values, at, _ = series(place, target["column"])
        test = pd.read_csv(place / "test.csv")
        name = f"{target['column']}_theta"
        if name in test:
            ours = test[name]
        elif f"{name}_ratio" in test:
            ours = test[f"{name}_ratio"] * test[f"{target['column']}_mean_{target['window']}"]
        else:
            continue
        for number in range(0, len(at), 8):
            known = values[max(0, at[number] - SMOOTHED_PERIODS) : at[number]]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = ThetaModel(known, period=max(season, 2), deseasonalize=season > 1).fit()
            theirs = float(np.asarray(model.forecast(1))[0])
            found.append(abs(ours[number] / theirs - 1))
    shares = {
        "median": np.median(found),
        "within 0.1 %": np.mean(np.array(found) < 1e-3),
        "largest": max(found),
    }
    return {"forecasts": len(found)} | {key: float(value) for key, value in shares.items()}


if __name__ == "__main__":
    main()
