"""Our side of bench/intervals.py: ``python interval_fits.py <scripts> <panel folder> <cities>``.

In the image's Python. Each city's model is the best of the candidates, as in bench/models.py.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from interval_score import score
from model_fits import fitted

from intervals import LEVELS, Residuals
from table_file import read_table
from validation_loss import untransformed


def main() -> None:
    """Measure the intervals of all cities."""
    folder, most = Path(sys.argv[2]), int(sys.argv[3])
    rows = []
    for city in ready(folder)[: most or None]:
        before = {
            part: read_table(folder / "before" / part, part, city) for part in ("train", "validation", "test")
        }
        came = read_table(folder / "out" / "test", "test", city)
        with contextlib.redirect_stdout(sys.stderr):  # XGBoost says how it is going
            model, _ = fitted("candidates", before["train"], before["validation"])
        judged, schema = before["test"], before["test"].schema
        residuals = Residuals.of(
            judged.target,
            untransformed(schema, model.predict(judged.values), judged.values),
            judged.baselines["ahead"],
            ratio=schema.transform.kind != "none",
        )
        predicted = untransformed(schema, model.predict(came.values), came.values)
        for actual, value, ahead in zip(came.target, predicted, came.baselines["ahead"], strict=True):
            ends = residuals.around(float(value), int(ahead))
            rows.append((float(actual), int(ahead), {level: ends[str(level)] for level in LEVELS}))
    print(json.dumps(score(rows)))


def ready(folder: Path) -> list[str]:
    """Cities that have enough data both times."""
    both = (
        {path.parent.name for path in (folder / name / "test").glob("*/test.csv")}
        for name in ("before", "out")
    )
    return sorted(name.removeprefix("city=") for name in set.intersection(*both))


if __name__ == "__main__":
    main()
