"""How well the monitor notices: ``make bench-decay`` prints JSON, with the detectors of river beside ours.

A model per Texas city, as its fleet makes it (bench/live_error_fits.py), forecasts 24 live months, one to three ahead.

* ``noticed``: prices are a fifth higher, or lower, from one of three months on, and the lags follow them. Counted is an
  alarm within three periods that did not stand before; cities whose deviation is below 5 % apart from the others.
* ``false_alarms``: the undisturbed live errors in blocks of six months, drawn anew from the same city, so that what
  hangs together stays together; as they are, and with each city's mean taken out. ``as_they_came``: not drawn anew.

Each detector of river is measured by its defaults and by settings for short series: ``same_rate`` is the one that
notices most among those that alarm falsely no more than once in 1,000 city-periods.

    python bench/live_errors.py --series 10
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models import BENCH, IMAGE, ROOT, SCRIPTS, run

from city_fleet.monitoring import decay
from city_fleet.state.live_scores import Scored

PEERS = ROOT / ".local" / "bench" / "drift"
AS_OF = "20150801T000000Z"
LIVE, HELD_OUT = 24, 60
#: The months from which on prices are others, and by how much.
BEGINNINGS, FACTORS = ("2013-12", "2014-03", "2014-10"), (1.2, 0.8)
#: As decay.limit and decay.patience are by default.
LIMIT, PATIENCE = 5.0, 2
WITHIN, BLOCK, DRAWN, NARROW = 3, 6, 60, 0.05
DATASET = {
    "kind": "series",
    "time": {"columns": ["year", "month"]},
    "frequency": "month",
    "available_after": "P1M",
    "holdout_periods": 12,
    "validation_periods": 12,
    "minimum_periods": 60,
    "horizon": 3,
    "target": {
        "column": "median",
        "min": 1000,
        "max": 10_000_000,
        "transform": "log_ratio_to_mean",
        "window": 12,
        "lags": [1, 2, 3, 6, 12],
    },
    "features": [
        {"column": "sales", "lags": [1, 2, 12], "min": 0},
        {"column": "listings", "lags": [1, 12], "min": 0},
        {"column": "inventory", "lags": [1, 12], "min": 0},
    ],
    "calendar": ["month_of_year", "trend"],
}
Rows = list[dict[str, Any]]
Errors = list[float]


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="How well the monitor notices, and how often for nothing.")
    parser.add_argument(
        "--series", type=int, default=10, help="drawn of each city, 60 months each (default %(default)s)"
    )
    parser.add_argument(
        "--forecasts", type=Path, help="a file to keep the forecasts in, or to take them from"
    )
    chosen = parser.parse_args()
    if chosen.forecasts is not None and chosen.forecasts.is_file():
        found = json.loads(chosen.forecasts.read_text(encoding="utf-8"))
    else:
        found = forecast()
        if chosen.forecasts is not None:
            chosen.forecasts.write_text(json.dumps(found), encoding="utf-8")
    json.dump(measure(found, chosen.series), sys.stdout, indent=2)
    print()
    return 0


def forecast() -> dict[str, dict[str, Rows]]:
    """Make the data of each scenario, and let each city's models forecast it."""
    with open(ROOT / "include" / "data" / "txhousing.csv", encoding="utf-8", newline="") as file:
        raw = list(csv.DictReader(file))
    names = [f"{begins}:{factor}" for begins in BEGINNINGS for factor in FACTORS]
    with tempfile.TemporaryDirectory(prefix="bench-decay-") as scratch:
        folder = Path(scratch)
        prepare(folder, "plain", raw, HELD_OUT + LIVE)
        for name in names:
            print(f"{name} …", file=sys.stderr, flush=True)
            begins, factor = name.split(":")
            prepare(folder, name, [shifted(row, begins, float(factor)) for row in raw], LIVE)
        text = run(IMAGE, BENCH / "live_error_fits.py", SCRIPTS, folder, "plain", *names)
    return dict(json.loads(text.splitlines()[-1]))


def shifted(row: dict[str, str], begins: str, factor: float) -> dict[str, str]:
    """Return a row of raw data as it arrives from a month on."""
    if f"{row['year']}-{int(row['month']):02}" < begins or row["median"] in ("", "NA"):
        return row
    return row | {"median": str(float(row["median"]) * factor)}


def prepare(folder: Path, name: str, raw: list[dict[str, str]], judged: int) -> None:
    """Write the raw data of a scenario, and prepare it as a run does.

    :param judged: months that the last part has.
    """
    cities: dict[str, list[dict[str, str]]] = {}
    for row in raw:
        slug = re.sub("[^a-z0-9]+", "_", row["city"].lower()).strip("_")
        cities.setdefault(slug, []).append({key: value for key, value in row.items() if key != "city"})
    for slug, rows in cities.items():
        place = folder / f"raw-{name}" / f"city={slug}"
        place.mkdir(parents=True)
        with open(place / "data.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    dataset = DATASET | {"backtest_periods": judged}
    settings = {
        "format_version": 1,
        "as_of": AS_OF,
        "raw_uri": "s3://bench/texas/raw/",
        "cities": [{"city": city, "dataset": dataset, "candidates": []} for city in cities],
    }
    path = folder / f"settings-{name}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    folders = ("--raw-dir", folder / f"raw-{name}", "--output-dir", folder / name)
    run(IMAGE, SCRIPTS / "preprocess.py", "--settings", path, *folders)


def measure(found: dict[str, dict[str, Rows]], count: int) -> dict[str, Any]:
    """Hold our rule and the peers against the same series.

    :param count: series that are drawn of each city.
    """
    plain, shifts = found["plain"], {name: value for name, value in found.items() if ":" in name}
    deviations = {city: deviation_of(rows) for city, rows in plain.items()}
    narrow = {city for city, value in deviations.items() if value < NARROW}
    series: dict[str, list[Errors]] = {"narrow": [], "wide": [], "drawn": [], "centred": []}
    begins: dict[str, list[int]] = {"narrow": [], "wide": []}
    for name, cities in shifts.items():
        for city, rows in cities.items():
            months, errors = standardized(rows)
            first = f"{name.partition(':')[0]}-01"
            if first not in months:
                continue  # nothing was sold there in that month
            at = months.index(first)
            kind = "narrow" if city in narrow else "wide"
            series[kind].append(errors[: at + WITHIN])
            begins[kind].append(at)
    real = {city: standardized(rows)[1] for city, rows in plain.items()}
    chance = random.Random(1)  # noqa: S311 - no secret
    for errors in real.values():
        mean = statistics.fmean(errors)
        for _ in range(count):
            drawn: Errors = []
            while len(drawn) < DRAWN:
                place = chance.randrange(len(errors))
                drawn += (errors * 2)[place : place + BLOCK]
            series["drawn"].append(drawn)
            series["centred"].append([error - mean for error in drawn])
    series["as_they_came"] = list(real.values())
    series["once"] = [standardized(rows)[1] for rows in found["once"].values()]
    every = [error for errors in real.values() for error in errors]
    return {
        "cities": len(plain),
        "narrow": len(narrow),
        "deviations": [round(value, 4) for value in sorted(deviations.values())],
        "live_errors": {
            "mean": round(statistics.fmean(every), 3),
            "deviation": round(statistics.pstdev(every), 3),
            "largest": round(max(map(abs, every)), 2),
            "autocorrelation": round(
                statistics.fmean(statistics.correlation(each[:-1], each[1:]) for each in real.values()), 3
            ),
        },
        "ours": judged(
            {kind: [ours(each) for each in many] for kind, many in series.items()}, series, begins
        ),
        "river": {
            name: shown(
                {
                    settings: judged(alarms, series, begins) | {"settings": settings}
                    for settings, alarms in ways.items()
                }
            )
            for name, ways in peers(series).items()
        },
    }


def deviation_of(rows: Rows) -> float:
    return statistics.median(row["deviation"] / row["predicted"] for row in rows if row["step"] == 1)


def standardized(rows: Rows) -> tuple[list[str], Errors]:
    """Return the months of the nearest forecasts, and how many deviations each was too high."""
    nearest = sorted((row for row in rows if row["step"] == 1), key=lambda row: row["period"])
    errors = [(row["predicted"] - row["actual"]) / row["deviation"] for row in nearest]
    return [row["period"] for row in nearest], errors


def ours(errors: Errors) -> list[int]:
    """Return the places at which our rule begins to alarm."""
    rows = [
        Scored(
            key=f"{at:04}", step=1, target_model="x", at=f"{at:04}", predicted=error, deviation=1.0
        ).with_truth(0.0)
        for at, error in enumerate(errors)
    ]
    stand = [alarm is not None for alarm in decay.course(rows, LIMIT, PATIENCE)]
    return [at for at, now in enumerate(stand) if now and not (at and stand[at - 1])]


def judged(
    alarms: dict[str, list[list[int]]], series: dict[str, list[Errors]], begins: dict[str, list[int]]
) -> dict[str, Any]:
    """Say how often a detector noticed, and how often it alarmed for nothing.

    :param alarms: kind of series → at which places of each it alarms.
    :param begins: kind of shifted series → where the shift of each begins.
    """
    noticed = {
        kind: round(
            statistics.fmean(
                any(at >= begin for at in each) for each, begin in zip(alarms[kind], places, strict=True)
            ),
            3,
        )
        for kind, places in begins.items()
        if places
    }
    false = {
        kind: round(1000 * sum(map(len, alarms[kind])) / sum(map(len, series[kind])), 3)
        for kind in ("drawn", "centred", "as_they_came", "once")
    }
    periods = {kind: sum(map(len, series[kind])) for kind in false}
    return {"noticed": noticed, "false_alarms_in_1000": false, "city_periods": periods}


def shown(ways: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Choose what is said of a peer: its defaults, and the best at our rate of false alarms."""
    quiet = [way for way in ways.values() if way["false_alarms_in_1000"]["drawn"] <= 1]
    best: Callable[[dict[str, Any]], float] = lambda way: way["noticed"].get("narrow", 0.0)  # noqa: E731
    return {"defaults": ways["defaults"], "same_rate": max(quiet, key=best, default=None)}


def peers(series: dict[str, list[Errors]]) -> dict[str, dict[str, dict[str, list[list[int]]]]]:
    """Let the detectors of river look at the same series."""
    python, wanted = PEERS / "bin" / "python", BENCH / "requirements-drift.txt"
    stamp = PEERS / "requirements.txt"
    if not stamp.is_file() or stamp.read_bytes() != wanted.read_bytes():
        shutil.rmtree(PEERS, ignore_errors=True)
        print("installing the peers …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        run(python, "-m", "pip", "install", "--quiet", "-r", wanted)
        stamp.write_bytes(wanted.read_bytes())
    with tempfile.TemporaryDirectory(prefix="bench-decay-") as scratch:
        path = Path(scratch, "series.json")
        path.write_text(json.dumps(series), encoding="utf-8")
        return dict(json.loads(run(python, BENCH / "drift_peers.py", path).splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
