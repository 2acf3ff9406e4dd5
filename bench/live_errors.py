"""How well the monitor notices: ``make bench-decay`` prints JSON, with the detectors of river beside ours.

A model per Texas city, as its fleet makes it (bench/live_error_fits.py), forecasts 24 live months, one to three ahead.

* ``noticed``: prices are a fifth higher, or lower, from one of three months on, and the lags follow them. Counted is an
  alarm within three periods that did not stand before; cities whose deviation is below 5 % apart from the others.
* ``false_alarms``: the undisturbed live errors in blocks of six months, drawn anew from the same city, so that what
  hangs together stays together; as they are, and with each city's mean taken out. ``as_they_came``: not drawn anew.
* ``columns``: broken columns, by bench/broken_columns.py.

``ours`` is our rule by its defaults, ``limits`` the same with another ``decay.limit``. Each detector of river is
measured by its defaults and by settings for short series: ``same_rate`` is the one that notices most among those that
alarm falsely no more than once in 1,000 city-periods. It takes some five minutes of CPU, and two CPUs are used.

    python bench/live_errors.py --series 10
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import broken_columns
from models import BENCH, IMAGE, ROOT, SCRIPTS, run
from texas_months import Cities, read, shifted, write

from city_fleet.monitoring import decay
from city_fleet.state.live_scores import Scored

PEERS = ROOT / ".local" / "bench" / "drift"
AS_OF = "20150801T000000Z"
LIVE, HELD_OUT = 24, 60
#: The months from which on prices are others, and by how much.
BEGINNINGS, FACTORS = ("2013-12", "2014-03", "2014-10"), (1.2, 0.8)
#: As decay.limit and decay.patience are by default.
LIMIT, PATIENCE = 5.0, 2
LIMITS = (4.0, 7.0)
WITHIN, BLOCK, DRAWN, NARROW = 3, 6, 60, 0.05
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
    started = time.monotonic()
    cities = read()
    if chosen.forecasts is not None and chosen.forecasts.is_file():
        found = json.loads(chosen.forecasts.read_text(encoding="utf-8"))
    else:
        found = forecast(cities)
        if chosen.forecasts is not None:
            chosen.forecasts.write_text(json.dumps(found), encoding="utf-8")
    narrow = sorted(city for city, rows in found["plain"].items() if deviation_of(rows) < NARROW)
    print("breaking columns …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-decay-") as scratch:
        columns = broken_columns.measure(cities, narrow, Path(scratch), chosen.series)
    result = measure(found, narrow, chosen.series) | {"columns": columns}
    machine = {"cpus": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]}
    result |= {"machine": machine, "seconds": round(time.monotonic() - started)}
    json.dump(result, sys.stdout, indent=2)
    print()
    return 0


def forecast(cities: Cities) -> dict[str, dict[str, Rows]]:
    """Make the data of each scenario, and let each city's models forecast it."""
    scenarios = {f"{begins}:{factor}": (begins, factor) for begins in BEGINNINGS for factor in FACTORS}
    with tempfile.TemporaryDirectory(prefix="bench-decay-") as scratch:
        folder = Path(scratch)

        def prepare(name: str) -> None:
            print(f"{name} …", file=sys.stderr, flush=True)
            data = shifted(cities, *scenarios[name]) if name in scenarios else cities
            judged = LIVE if name in scenarios else HELD_OUT + LIVE
            run(IMAGE, SCRIPTS / "preprocess.py", *write(folder, name, data, AS_OF, backtest_periods=judged))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(prepare, ["plain", *scenarios]))
        print("fitting …", file=sys.stderr, flush=True)
        text = run(IMAGE, BENCH / "live_error_fits.py", SCRIPTS, folder, "plain", *scenarios)
    return dict(json.loads(text.splitlines()[-1]))


def measure(found: dict[str, dict[str, Rows]], narrow: Collection[str], count: int) -> dict[str, Any]:
    """Hold our rule and the peers against the same series.

    :param narrow: cities that are counted apart from the others.
    :param count: series that are drawn of each city.
    """
    plain, shifts = found["plain"], {name: value for name, value in found.items() if ":" in name}
    deviations = {city: deviation_of(rows) for city, rows in plain.items()}
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
        "ours": by_ours(LIMIT, series, begins),
        "limits": {f"{limit:g}": by_ours(limit, series, begins) for limit in LIMITS},
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


def by_ours(limit: float, series: dict[str, list[Errors]], begins: dict[str, list[int]]) -> dict[str, Any]:
    return judged(
        {kind: [ours(each, limit) for each in many] for kind, many in series.items()}, series, begins
    )


def ours(errors: Errors, limit: float) -> list[int]:
    """Return the places at which our rule begins to alarm."""
    rows = [
        Scored(
            key=f"{at:04}", step=1, target_model="x", at=f"{at:04}", predicted=error, deviation=1.0
        ).with_truth(0.0)
        for at, error in enumerate(errors)
    ]
    stand = [alarm is not None for alarm in decay.course(rows, limit, PATIENCE)]
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
    best: Callable[[dict[str, Any]], list[float]] = lambda way: [  # noqa: E731
        way["noticed"].get(kind, 0.0) for kind in ("narrow", "wide")
    ]
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
