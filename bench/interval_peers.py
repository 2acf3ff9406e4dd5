"""The peer of bench/intervals.py, an automatic ETS: ``python interval_peers.py <panel folder> <cities>``."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from interval_score import score
from model_peers import SEASONS
from statsforecast.models import AutoETS


def main() -> None:
    """Fit ETS to each city up to the origins that are judged, and ask it from each of them."""
    folder, most = Path(sys.argv[1]), int(sys.argv[2])
    section = json.loads((folder / "dataset.json").read_text())["dataset"]
    logarithm = section["target"]["transform"] != "none"
    turn, back = (np.log, np.exp) if logarithm else (np.asarray, np.asarray)
    both = (
        {path.parent.name for path in (folder / name / "test").glob("*/test.csv")}
        for name in ("before", "out")
    )
    rows, failed = [], []
    for city in sorted(set.intersection(*both))[: most or None]:
        parts = [
            pd.read_csv(folder / "out" / part / city / f"{part}.csv") for part in ("train", "validation")
        ]
        before = pd.concat(parts)
        # The newest origin of all was before the first held-out one; a period stands there once for each step.
        known = before[before["ahead"] == 1]["target"].to_numpy(float)
        came = pd.read_csv(folder / "out" / "test" / city / "test.csv")
        steps = int(came["ahead"].max())
        ahead = came[came["ahead"] == 1].set_index("period")["target"]
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
                warnings.simplefilter("ignore")
                model = AutoETS(season_length=SEASONS[section["frequency"]]).fit(turn(known))
                for at in range(len(ahead)):
                    so_far = np.concatenate([known, ahead.to_numpy(float)[:at]])
                    found = model.forward(turn(so_far), h=steps, level=[80, 95])
                    for step in range(1, steps + 1):
                        if at + step > len(ahead):
                            break
                        ends = {
                            level: [float(back(found[f"{side}-{level}"])[step - 1]) for side in ("lo", "hi")]
                            for level in (80, 95)
                        }
                        rows.append((float(ahead.iloc[at + step - 1]), step, ends))
        except Exception as error:  # a peer may not manage every series
            failed.append(f"{city}: {error!r:.80}")
    print(json.dumps(score(rows) | {"failed": failed}))


if __name__ == "__main__":
    main()
