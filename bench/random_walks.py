"""How often chance goes live: ``make bench-walks`` prints JSON, seeds drawn unless given.

Makes series that nothing forecasts better than one of the baselines by more than the gate's margin, runs prepare,
train, judge and gate on each for consecutive months, and counts those whose model *ever* passes. The kinds:

- ``walk``: a random walk in logarithms; the last value is the best forecast.
- ``drift``: the same with a trend; the drift is.
- ``seasonal``: the value of a year ago, changed by chance; the same period last season is.
- ``autoregressive``: noise that hardly reverts (first-order autoregressive by 0.9 to 0.99); what is to be gained over
  the last value is below the margin.

Beside them at one moment the example fleet ``texas_housing``, of which most models should pass, and panels of
bench/model_panels.py, such as ``departures``: flights a day, where the same weekday of last week is hard to beat.

    python bench/random_walks.py --walks 40 --months 24
    python bench/random_walks.py --walks 0 --panels life,departures,chicago
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from models import BENCH, IMAGE, ROOT, peers_python, run

sys.path.insert(0, str(ROOT / "plugins"))

from city_fleet.champions import gate
from city_fleet.config import Gate, load_fleet
from city_fleet.metrics import default_metric

KINDS = ("walk", "drift", "seasonal", "autoregressive")
FIRST_YEAR, SHORTEST, LONGEST = 1990, 120, 240
#: The settings of the fleet texas_housing, but for the columns that a walk has not.
DATASET = {
    "kind": "series",
    "time": {"columns": ["year", "month"], "format": None},
    "frequency": "month",
    "available_after": "P1M",
    "target": {"column": "value", "transform": "log_ratio_to_mean", "window": 12, "lags": [1, 2, 3, 6, 12]},
    "features": [],
    "calendar": ["month_of_year", "trend"],
    "horizon": 1,
    "minimum_periods": 60,
    "validation_periods": 12,
    "holdout_periods": 12,
    "backtest_periods": 60,
}


def values(kind: str, count: int, draws: random.Random) -> list[float]:
    """Make a series of positive values.

    :param count: how many months.
    """
    size = draws.uniform(0.01, 0.08)
    noise = [draws.gauss(0, size) for _ in range(count)]
    if kind == "seasonal":
        year = [draws.gauss(0, 4 * size) for _ in range(12)]
        levels = [*year]
        levels += [0.0] * (count - 12)
        for at in range(12, count):
            levels[at] = levels[at - 12] + noise[at]
    else:
        pull = draws.uniform(0.9, 0.99) if kind == "autoregressive" else 1.0
        trend = draws.choice((-1, 1)) * draws.uniform(0.1, 0.4) * size if kind == "drift" else 0.0
        levels, level = [], 0.0
        for each in noise:
            level = pull * level + trend + each
            levels.append(level)
    return [100_000 * math.exp(level) for level in levels]


def as_ofs(months: int, count: int, every: int) -> list[str]:
    """Return the stamps of the last months of a series, each when the month before it has just become known."""
    moments = range(months, months - count, -every)
    return [f"{FIRST_YEAR + at // 12}{at % 12 + 1:02d}01T000000Z" for at in sorted(moments)]


def write(folder: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write a city's raw data; the first row is the header."""
    folder.mkdir(parents=True)
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def nights(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run prepare, train and judge of each city and as_of, in the managed image's Python."""
    command = [str(IMAGE), str(ROOT / "bench" / "walk_fits.py"), str(ROOT / "include" / "scripts")]
    environment = {"PATH": os.environ["PATH"], "SM_NUM_CPUS": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        ["nice", "-n", "15", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        process.stdin.write(json.dumps(question))
        process.stdin.close()
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise RuntimeError(f"walk_fits.py ended with {process.returncode}")


def walks(count: int, runs: tuple[int, int], seed: int, keep: IO[str]) -> dict[str, Any]:
    """Run walks of all kinds, and count those that ever pass.

    :param runs: how many months each is followed, and every how many of them it is run.
    :param keep: where the reports go, a line for each night.
    """
    found: dict[str, Any] = {}
    for place, kind in enumerate(KINDS):
        draws = random.Random(f"{seed} {kind}")  # noqa: S311 - no secret
        passed, mine = [], range(place, count, len(KINDS))
        for number in mine:
            length = draws.randint(SHORTEST, LONGEST)
            months_made = [
                (FIRST_YEAR + at // 12, at % 12 + 1, round(value, 2))
                for at, value in enumerate(values(kind, length, draws))
            ]
            with tempfile.TemporaryDirectory(prefix="bench-walks-") as folder:
                slug = f"{kind}_{number}"
                write(Path(folder) / f"city={slug}", [("year", "month", "value"), *months_made])
                asked = question(
                    folder,
                    cities=[slug],
                    as_of=as_ofs(length, *runs),
                    dataset=DATASET,
                    candidates=texas_candidates(),
                    metric="mape",
                )
                answers = list(nights(asked))
            keep.writelines(json.dumps(each) + "\n" for each in answers)
            keep.flush()
            if any("report" in each and gate.decide(each["report"], Gate()).promote for each in answers):
                passed.append({"length": length, "number": number})
        found[kind] = {"of": len(mine), "ever_passed": len(passed), "which": passed}
    return found


def texas_candidates() -> list[dict[str, Any]]:
    """Return what the fleet texas_housing trains."""
    return _candidates(load_fleet(ROOT / "include" / "fleets" / "texas_housing.yaml").cities["austin"])


def _candidates(city: Any) -> list[dict[str, Any]]:
    return [{"algorithm": name, "hyperparameters": given} for _, name, given in city.algorithm.trained()]


def question(raw: str, **more: Any) -> dict[str, Any]:
    """Return what walk_fits.py is asked."""
    return {"raw": raw, "refit": True, "gains": False, **more}


def fleet(name: str, most: int, keep: IO[str]) -> dict[str, Any]:
    """Run an example fleet at the end of its data, by its own settings and rule."""
    read = load_fleet(ROOT / "include" / "fleets" / f"{name}.yaml")
    first = next(iter(read.cities.values()))
    with (ROOT / first.dataset.source).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    at = header.index(first.dataset.city_column)
    named = {row[at] for row in rows}
    # A parent has no rows of its own.
    cities = [city for city in read.cities.values() if named & {city.name, city.slug}][: most or None]
    with tempfile.TemporaryDirectory(prefix="bench-walks-") as folder:
        for city in cities:
            mine = [row for row in rows if row[at] in (city.name, city.slug)]
            write(Path(folder) / f"city={city.slug}", [header, *mine])
        asked = question(
            folder,
            cities=[city.slug for city in cities],
            as_of=[f"{first.end_date:%Y%m%d}T000000Z"],
            dataset=first.dataset.to_settings(),
            candidates=_candidates(first),
            metric=first.gate.metric or default_metric("regression"),
        )
        return summary(asked, first.gate, keep)


def panel(name: str, most: int, keep: IO[str]) -> dict[str, Any]:
    """Run a panel of bench/model_panels.py at the end of its data, by the defaults."""
    with tempfile.TemporaryDirectory(prefix="bench-walks-") as scratch:
        run(
            peers_python(),
            BENCH / "model_panels.py",
            scratch,
            ROOT / "include" / "data" / "txhousing.csv",
            name,
        )
        folder = Path(scratch, name)
        content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        cities = sorted(path.name.removeprefix("city=") for path in (folder / "raw").iterdir())
        holdout = content["dataset"].get("holdout_periods", 12)
        asked = question(
            str(folder / "raw"),
            cities=cities[: most or None],
            as_of=[content["as_of"]],
            dataset={"backtest_periods": max(60, 3 * holdout), **content["dataset"]},
            candidates=texas_candidates(),
            metric="mape",
        )
        return summary(asked, Gate(), keep)


def summary(asked: dict[str, Any], rule: Gate, keep: IO[str]) -> dict[str, Any]:
    """Run one night of many cities, and say how it ended."""
    judged = []
    for each in nights(asked | {"gains": True}):
        keep.write(json.dumps(each) + "\n")
        judged += [each] if "report" in each else []
    decided = {each["city"]: gate.decide(each["report"], rule) for each in judged}
    passed = [each for each in judged if decided[each["city"]].promote]
    return {
        "cities": len(asked["cities"]),
        "judged": len(judged),
        "passed": len(passed),
        "passed_and_lose_to_last_season": [
            each["city"]
            for each in passed
            if _loses(each["report"], "same period last season", asked["metric"])
        ],
        "held": {city: decision.reasons[0] for city, decision in decided.items() if not decision.promote},
        "seconds_of_training": _middle([each["seconds"]["train"] for each in judged]),
        "seconds_of_refit": _middle([each["backtest"]["seconds"] for each in judged]),
        "refit_gain": _gain([each["refit_gain"] for each in judged if each["refit_gain"] is not None]),
        "distance": _middle([each["backtest"]["distance"] for each in judged]),
        "furthest": max((each["backtest"]["distance"] for each in judged), default=None),
    }


def _gain(gains: list[dict[str, float]]) -> dict[str, Any] | None:
    """Return the mean errors of models that have learned the year before, and of those that have not."""
    if not gains:
        return None
    means = {name: round(statistics.fmean(each[name] for each in gains), 5) for name in ("with", "without")}
    return {**means, "better_in": sum(each["with"] < each["without"] for each in gains), "of": len(gains)}


def _loses(report: dict[str, Any], baseline: str, metric: str) -> bool:
    other = report["baselines"].get(baseline)
    return other is not None and bool(report["challenger"][metric] >= other[metric])


def _middle(numbers: list[float]) -> float | None:
    return round(statistics.median(numbers), 3) if numbers else None


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="How often the models of chance alone go live.")
    parser.add_argument("--walks", type=int, default=40, help="of all kinds together (default %(default)s)")
    parser.add_argument(
        "--months", type=int, default=24, help="consecutive runs of each (default %(default)s)"
    )
    parser.add_argument("--every", type=int, default=1, help="months between runs (default %(default)s)")
    parser.add_argument("--seed", type=int, help="default: drawn")
    parser.add_argument("--fleets", default="texas_housing", help="example fleets (default %(default)s)")
    parser.add_argument("--panels", default="departures", help="of model_panels.py (default %(default)s)")
    parser.add_argument("--cities", type=int, default=0, help="of each fleet the first so many, 0 = all")
    parser.add_argument("--reports", type=Path, help="where the reports go, a line for each")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(10**9)
    with (chosen.reports or Path(os.devnull)).open("w", encoding="utf-8") as keep:
        found: dict[str, Any] = {
            "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]},
            "seed": seed,
            "months": chosen.months,
            "every": chosen.every,
            "gate": Gate().model_dump(include={"margin", "confidence", "must_beat_all_baselines"}),
            "walks": walks(chosen.walks, (chosen.months, chosen.every), seed, keep) if chosen.walks else {},
            "fleets": {name: fleet(name, chosen.cities, keep) for name in chosen.fleets.split(",") if name},
            "panels": {name: panel(name, chosen.cities, keep) for name in chosen.panels.split(",") if name},
        }
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
