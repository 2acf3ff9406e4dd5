"""How often intervals cover what happens: ``make bench-intervals`` prints JSON, with an automatic ETS beside ours.

For each panel of series: models are made as of one holdout before the newest data, their intervals from the errors on
the holdout before that; then they are asked for one to three periods ahead from each origin that followed, and held
against what really came. The share that lies within, how far the interval of 80 % reaches on average (as a share of
the mean target), and the pinball loss of its two ends (10 % and 90 %), as a share of the mean target.

    python bench/intervals.py --panels texas,life --cities 0
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from models import BENCH, IMAGE, ROOT, SCRIPTS, peers_python, run

PANELS = ("texas", "chicago", "departures", "life")
HORIZON = 3


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="How often intervals cover what happens.")
    parser.add_argument("--panels", default=",".join(PANELS), help="(default %(default)s)")
    parser.add_argument(
        "--cities", type=int, default=0, help="the first so many, 0 = all (default %(default)s)"
    )
    parser.add_argument("--no-peers", action="store_true", help="without ETS, which takes longest")
    chosen = parser.parse_args()
    panels = chosen.panels.split(",")
    if unknown := set(panels) - set(PANELS):
        parser.error(f"--panels: got {', '.join(sorted(unknown))}; allowed: {', '.join(PANELS)}")
    python = peers_python()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-intervals-") as scratch:
        run(python, BENCH / "model_panels.py", scratch, ROOT / "include" / "data" / "txhousing.csv", *panels)
        for name in panels:
            print(f"{name} …", file=sys.stderr, flush=True)
            folder = Path(scratch, name)
            prepare(folder)
            ours = run(IMAGE, BENCH / "interval_fits.py", SCRIPTS, folder, chosen.cities)
            found[name] = {"ours": json.loads(ours.splitlines()[-1])}
            if not chosen.no_peers:
                theirs = run(python, BENCH / "interval_peers.py", folder, chosen.cities)
                found[name]["auto ETS"] = json.loads(theirs.splitlines()[-1])
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


def prepare(folder: Path) -> None:
    """Prepare a panel twice: as of now (``out``), and as of one holdout before (``before``)."""
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    dataset = content["dataset"] | {"horizon": HORIZON}
    # One block judges, so that what the intervals are made of and what they are measured by do not overlap.
    periods = dataset["backtest_periods"] = dataset.get("holdout_periods", 12)
    now = pd.Timestamp(content["as_of"])
    before = now - pd.DateOffset(**{f"{dataset['frequency']}s": periods})
    cities = sorted(path.name.removeprefix("city=") for path in (folder / "raw").iterdir())
    for name, as_of in (("out", now), ("before", before)):
        settings = {
            "format_version": 1,
            "as_of": f"{as_of:%Y%m%dT%H%M%SZ}",
            "raw_uri": f"s3://bench/{folder.name}/raw/",
            "cities": [{"city": city, "dataset": dataset, "candidates": []} for city in cities],
        }
        path = folder / f"settings-{name}.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        folders = ("--raw-dir", folder / "raw", "--output-dir", folder / name)
        run(IMAGE, SCRIPTS / "preprocess.py", "--settings", path, *folders)


if __name__ == "__main__":
    sys.exit(main())
