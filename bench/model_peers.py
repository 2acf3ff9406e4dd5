"""The peers of bench/models.py: ``python model_peers.py <panel folder> <cities>``, in an environment with them.

Automatic ARIMA and ETS, fitted to each city's series up to the holdout, as our models are; then asked for one period at
a time, each with all periods before known. Prints JSON like model_fits.py.
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

SEASONS = {"month": 12, "day": 7, "year": 1, "week": 52, "quarter": 4}


def main() -> None:
    """Measure both."""
    folder, most = Path(sys.argv[1]), int(sys.argv[2])
    section = json.loads((folder / "dataset.json").read_text())["dataset"]
    season = SEASONS[section["frequency"]]
    ready = sorted(path.parent for path in (folder / "out" / "test").glob("*/test.csv"))
    ways: dict[str, Any] = {}
    for name, kind in (("auto ARIMA", AutoARIMA), ("auto ETS", AutoETS)):
        errors, failed, started = {}, [], time.process_time()
        for place in ready[: most or None]:
            # Fitted to the same rows as our models; those without a target or features are not among them.
            before = [
                pd.read_csv(folder / "out" / part / place.name / f"{part}.csv")
                for part in ("train", "validation")
            ]
            test = pd.read_csv(place / "test.csv")
            known = np.concatenate([part["target"].to_numpy(float) for part in before])
            # As a model of a logarithm, where ours is one.
            logarithm = section["target"]["transform"] != "none"
            turn, back = (np.log, np.exp) if logarithm else (np.asarray, np.asarray)
            actual = test["target"].to_numpy(float)
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
                    warnings.simplefilter("ignore")
                    model = kind(season_length=season).fit(turn(known))
                    predicted = [
                        float(back(model.forward(turn(np.concatenate([known, actual[:at]])), h=1)["mean"])[0])
                        for at in range(len(actual))
                    ]
            except Exception as error:  # a peer may not manage every series
                failed.append(f"{place.name}: {error!r:.80}")
                continue
            off = np.abs(np.array(predicted) - actual).sum() / np.abs(actual).sum()
            errors[place.name.removeprefix("city=")] = float(off)
        ways[name] = {"errors": errors, "failed": failed, "cpu_seconds": time.process_time() - started}
    print(json.dumps({"ways": ways}))


if __name__ == "__main__":
    main()
