"""Nights of 1,000, 10,000 and 100,000 cities, reckoned and simulated: ``make bench-nights``. JSON on stdout.

Each night is reckoned by the closed form of ``./fleet plan`` and simulated (:mod:`night_queues`); one that is more than
a quarter off ends this with 1. ``--pictures`` draws docs/pictures anew, ``--table`` prints that of docs/scaling.md.

    make bench-nights ARGS="--night one.json --against two.json"

calibrates the simulation on one real night, which ``make bench-night`` has measured, and holds it against another: more
than 20 % off ends it with 1.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from line_chart import Axis, Line, chart
from night_queues import Simulated, Site, simulate

from city_fleet.config import Fleet, load_fleet
from city_fleet.night.measured import MEASURED, Measured
from city_fleet.night.night_model import Limits, NightModel, predict
from city_fleet.night.prices import list_prices
from city_fleet.night.service_quotas import PROCESSING, TRAINING, quota_name
from city_fleet.night.workload import Workload, imagined

REPOSITORY = Path(__file__).resolve().parents[1]
FLEET = REPOSITORY / "include" / "fleets" / "texas_housing.yaml"
PICTURES = REPOSITORY / "docs" / "pictures"
START_UPS = (60, 150, 300)
TRAIN, PREPARE = quota_name("ml.m5.large", TRAINING), quota_name("ml.t3.medium", PROCESSING)
#: Quotas as an account may well have them, beside none.
QUOTAS = {TRAIN: 50, PREPARE: 100}
FAR_OFF, OFF = 0.25, 0.2


def main() -> int:
    """Reckon, simulate, print JSON."""
    parser = argparse.ArgumentParser(description="Nights of many cities, reckoned and simulated.")
    parser.add_argument("--cities", default="1000,10000,100000", help="(default: %(default)s)")
    parser.add_argument("--cohort", type=int, default=50, help="cities of a cohort (default: %(default)s)")
    parser.add_argument("--pictures", action="store_true", help="draw docs/pictures anew")
    parser.add_argument("--table", action="store_true", help="print the table of docs/scaling.md instead")
    parser.add_argument("--drawn", type=int, help="compare so many nights drawn at random instead")
    parser.add_argument("--night", type=Path, help="a real night, as bench-night prints it")
    parser.add_argument("--against", type=Path, help="another real night")
    chosen = parser.parse_args()
    if chosen.night:
        return _calibrated(chosen.night, chosen.against)
    fleet = load_fleet(FLEET, environ={})
    if chosen.drawn:
        json.dump(_drawn(fleet, chosen.drawn), sys.stdout, indent=2)
        print()
        return 0
    numbers = [int(each) for each in chosen.cities.split(",")]
    rows = list(_nights(fleet, numbers, chosen.cohort))
    if chosen.pictures:
        _draw(fleet, rows, chosen.cohort)
    if chosen.table:
        print("\n".join(_table(rows)))
    else:
        json.dump(
            {"nights": rows, "start_ups": _start_ups(fleet, numbers, chosen.cohort)}, sys.stdout, indent=2
        )
        print()
    far = [row for row in rows if abs(row["reckoned_beside_simulated"] - 1) > FAR_OFF]
    for row in far:
        print(f"more than {FAR_OFF:.0%} off: {row}", file=sys.stderr)
    return 1 if far else 0


def _nights(fleet: Fleet, numbers: list[int], cohort: int) -> Iterator[dict[str, Any]]:
    for cities in numbers:
        for size in (None, cohort):
            work = imagined(fleet, cities, MEASURED, cohort=size)
            for quotas in ({}, QUOTAS):
                model = predict(work, MEASURED, list_prices(), Limits(quotas=quotas))
                began = time.monotonic()
                # As many slots as the scheduler can fill: those are not what is scarce.
                found = simulate(work, MEASURED, Site(parallelism=64, quotas=quotas))
                print(f"{cities} cities, cohort {size}, {quotas or 'no quotas'}", file=sys.stderr, flush=True)
                yield _row(model, found, size, quotas) | {
                    "simulated_in_seconds": round(time.monotonic() - began, 1)
                }


def _row(model: NightModel, found: Simulated, cohort: int | None, quotas: dict[str, int]) -> dict[str, Any]:
    billed = sum(found.billed.values())
    return {
        "cities": model.cities,
        "cohort": cohort,
        "quotas": quotas,
        "jobs": model.jobs,
        "starts": model.starts,
        "reckoned_seconds": round(model.seconds),
        "simulated_seconds": round(found.seconds),
        "reckoned_beside_simulated": round(model.seconds / found.seconds, 3),
        "bounded_by": model.bounded_by,
        "peak_reckoned": model.peak,
        "peak_simulated": found.peak,
        "calls_of_sagemaker_a_city": round(model.calls_of_sagemaker / model.cities, 1),
        "billable_seconds_reckoned": round(sum(model.billable_seconds.values())),
        "billable_seconds_simulated": round(billed),
        "dollars_without_endpoint": round(model.dollars, 2),
    }


def _drawn(fleet: Fleet, count: int) -> dict[str, Any]:
    """Compare nights of any kind: sizes, cohorts, quotas, pools, windows, starts of AWS and of Airflow."""
    draw = random.Random(7)  # noqa: S311
    found = []
    for _ in range(count):
        cities, cohort = int(10 ** draw.uniform(0.5, 3.2)), draw.choice([None, None, 10, 50, 200])
        start_up, starts = draw.choice([20, 60, 120, 300]), draw.choice([2.8, 4.1, 10])
        measured = replace(MEASURED, start_up_seconds=float(start_up), starts_per_second=starts)
        quotas = {name: int(10 ** draw.uniform(0.3, 2.2)) for name in QUOTAS if draw.random() < 0.5}
        pool = int(10 ** draw.uniform(0.5, 2.3)) if draw.random() < 0.4 else None
        spread = draw.choice([0, 0, 30, 120])
        work = imagined(fleet, cities, measured, cohort=cohort, spread_minutes=spread)
        simulated = simulate(work, measured, Site(parallelism=64, quotas=quotas, pool=pool)).seconds
        model = predict(work, measured, list_prices(), Limits(pool, quotas))
        night = {"cities": cities, "cohort": cohort, "quotas": quotas, "pool": pool, "spread_minutes": spread}
        ratio = model.seconds / simulated
        found.append((ratio, night | {"bounded_by": model.bounded_by, "ratio": round(ratio, 3)}))
    found.sort(key=lambda each: each[0])
    within = {f"{off:.0%}": sum(abs(ratio - 1) <= off for ratio, _ in found) for off in (0.15, FAR_OFF)}
    return {"nights": count, "within": within, "worst": [found[0][1], found[-1][1]]}


def _start_ups(fleet: Fleet, numbers: list[int], cohort: int) -> list[dict[str, Any]]:
    """Each night at each delay of AWS's start, by the closed form."""
    found = []
    for seconds in START_UPS:
        measured = replace(MEASURED, start_up_seconds=float(seconds))
        for cities in numbers:
            for size in (None, cohort):
                work = imagined(fleet, cities, measured, cohort=size)
                model = predict(work, measured, list_prices(), Limits(quotas=QUOTAS))
                found.append(
                    {
                        "start_up_seconds": seconds,
                        "cities": cities,
                        "cohort": size,
                        "seconds_with_quotas": round(model.seconds),
                        "billable_seconds": round(sum(model.billable_seconds.values())),
                    }
                )
    return found


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    head = (
        "cities",
        "",
        "jobs",
        "wall time, reckoned (simulated)",
        "with quotas of 50 and 100",
        "instances at most",
    )
    yield f"| {' | '.join((*head, 'calls of SageMaker a city', 'dollars'))} |"
    yield f"|{'---|' * 8}"
    for free, limited in zip(rows[::2], rows[1::2], strict=True):
        way = "a DAG each" if free["cohort"] is None else f"cohorts of {free['cohort']}"
        most = " and ".join(
            f"{number:,} {name.split()[0]}" for name, number in sorted(free["peak_simulated"].items())
        )
        yield (
            f"| {free['cities']:,} | {way} | {free['jobs']:,} | {_both(free)} | {_both(limited)} | {most} |"
            f" {free['calls_of_sagemaker_a_city']} | {free['dollars_without_endpoint']:,.2f} |"
        )


def _both(row: dict[str, Any]) -> str:
    return f"{_duration(row['reckoned_seconds'])} ({_duration(row['simulated_seconds'])})"


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{seconds / 60:.0f} min" if hours < 1 else f"{hours:.1f} h"


def _draw(fleet: Fleet, rows: list[dict[str, Any]], cohort: int) -> None:
    numbers = [100, 300, 1000, 3000, 10_000, 30_000, 100_000]
    ways = [(None, {}, "a DAG each"), (cohort, {}, f"cohorts of {cohort}")]
    ways += [(size, QUOTAS, f"{title}, with quotas") for size, _, title in ways]
    lines = []
    for colour, (size, quotas, title) in enumerate(ways):
        points = []
        for cities in numbers:
            work = imagined(fleet, cities, MEASURED, cohort=size)
            points.append(
                (cities, predict(work, MEASURED, list_prices(), Limits(quotas=quotas)).seconds / 3600)
            )
        lines.append(Line(title, points, colour, dashed=bool(quotas)))
        simulated = [
            (row["cities"], row["simulated_seconds"] / 3600)
            for row in rows
            if row["cohort"] == size and row["quotas"] == quotas
        ]
        lines.append(Line("", simulated, colour, dots=True))
    across = Axis("cities", [(number, f"{number:,}") for number in (100, 1000, 10_000, 100_000)], True)
    hours = [
        (0.1, "6 min"),
        (1 / 2, "30 min"),
        (1, "1 h"),
        (6, "6 h"),
        (24, "a day"),
        (168, "a week"),
        (720, ""),
    ]
    note = (
        "Wall time of a night over the number of cities, on logarithmic axes; circles are simulated nights."
    )
    title = "How long a night takes: reckoned (lines) and simulated (circles)"
    text = chart(title, across, Axis("wall time", hours, True), lines, note=note)
    (PICTURES / "night-times.svg").write_text(text, encoding="utf-8")
    _draw_instances(fleet, cohort)


def _draw_instances(fleet: Fleet, cohort: int) -> None:
    lines = []
    for colour, (size, title) in enumerate(((None, "a DAG each"), (cohort, f"cohorts of {cohort}"))):
        found = simulate(imagined(fleet, 10_000, MEASURED, cohort=size), MEASURED, Site(parallelism=64))
        most: dict[int, int] = {}
        for moment, busy in found.running:
            minute = int(moment // 60)
            most[minute] = max(most.get(minute, 0), busy)
        points = [(minute / 60, float(number)) for minute, number in sorted(most.items())]
        # The tasks that register and publish go on without an instance.
        most_of_all = max(number for _, number in points)
        lines.append(Line(title, [*points, (points[-1][0] + 1 / 60, 0.0)], colour, beside=most_of_all))
    longest = max(line.points[-1][0] for line in lines)
    across = Axis("hours since the night began", [(hour, str(hour)) for hour in range(int(longest) + 2)])
    up = Axis("instances at a time", [(number, f"{number}") for number in (0, 100, 200, 300, 400)])
    note = "Instances that a night of 10,000 cities uses over time, with a DAG per city and in cohorts."
    text = chart("Instances of a night of 10,000 cities, simulated", across, up, lines, note=note)
    (PICTURES / "night-instances.svg").write_text(text, encoding="utf-8")


def _calibrated(one: Path, two: Path | None) -> int:
    """Fit the one free figure, processor seconds of a start, to a night; hold another night against it."""
    first = json.loads(one.read_text(encoding="utf-8"))
    low, high = 0.01, 20.0
    for _ in range(30):
        cpu = (low + high) / 2
        low, high = (cpu, high) if _of_real(first, cpu).seconds < first["seconds"] else (low, cpu)
    found: dict[str, Any] = {"start_cpu_seconds": round(cpu, 2), "calibrated_on": first["cities"]}
    code = 0
    if two is not None:
        second = json.loads(two.read_text(encoding="utf-8"))
        seconds = _of_real(second, cpu).seconds
        off = seconds / second["seconds"] - 1
        found |= {
            "cities": second["cities"],
            "measured_seconds": second["seconds"],
            "simulated_seconds": round(seconds),
            "off": round(off, 3),
        }
        code = 0 if abs(off) <= OFF else 1
    json.dump(found, sys.stdout, indent=2)
    print()
    return code


def _of_real(night: dict[str, Any], start_cpu: float) -> Simulated:
    """Simulate a night of the laptop: jobs are processes there, on the same processors as Airflow."""
    measured = replace(
        MEASURED,
        starts_per_second=50.0,  # the scheduler is one of the processes that share the processors
        start_up_seconds=float(night.get("start_up_seconds") or 0),
        download_seconds=0.0,
        upload_seconds=0.0,
        creates_per_second=1e6,
        city_task_seconds=0.5,
    )
    work = _workload(night, measured)
    site = Site(night["parallelism"], processors=night["processors"], start_cpu=start_cpu)
    return simulate(work, measured, site)


def _workload(night: dict[str, Any], measured: Measured) -> Workload:
    fleet = load_fleet(FLEET, environ={})
    base = imagined(fleet, night["cities"], measured, cohort=night.get("cohort"))
    runs = []
    for kind in base.runs:
        jobs = tuple(replace(job, work_seconds=night["job_cpu_seconds"][job.step]) for job in kind.jobs)
        runs.append(replace(kind, jobs=jobs))
    return Workload(tuple(runs), 0.0, float(night["poll_seconds"]))


if __name__ == "__main__":
    sys.exit(main())
