"""What the pages inside Airflow cost: ``make bench-page`` prints JSON.

seconds    of the fleet's page from a real API server on SQLite, for fleets of 46, 1,000 and 10,000 cities: to the first
           byte (``first_byte``), also while runs end all the time (``during_a_night``) and right after a look has found
           something new (``after_a_change``); and until a person may act in headless Chromium (``interactive``).
           Aims at 10,000 cities: 0.050 and 0.300.
look       how long the first look takes: it reads every live pointer once.

Median and the worst of the repetitions. Cities are made without Airflow: a live pointer, and an index of ten nights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fleet_status
import httpx
from stand_in import running

from city_fleet import naming
from city_fleet.config import Fleet, load_fleet
from city_fleet.state import installation
from city_fleet.state.index_state import Index, RunSummary
from tests.support.api_server import ApiServer, running_api_server
from tests.support.page_browser import browsing, open_page, person_at

NIGHT = datetime(2014, 1, 1, tzinfo=UTC)
NIGHTS = 10
ENDS = ("live", "live", "live", "held", "failed")


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="What the pages inside Airflow cost.")
    parser.add_argument("--cities", type=int, nargs="+", default=[46, 1_000, 10_000], help="sizes of fleets")
    parser.add_argument(
        "--requests", type=int, default=30, help="requests of each kind (default %(default)s)"
    )
    chosen = parser.parse_args()
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    found: dict[str, Any] = {"machine": machine, "fleets": []}
    for count in chosen.cities:
        with running() as aws, tempfile.TemporaryDirectory() as folder:
            print(f"{count} cities", file=sys.stderr)
            found["fleets"].append(measure(aws, Path(folder), count, chosen.requests))
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


def measure(aws: Any, folder: Path, count: int, requests: int) -> dict[str, Any]:
    """Measure a fleet of some size."""
    fleets, home = folder / "fleets", folder / "home"
    for each in (fleets, home):
        each.mkdir()
    path = fleets / "many.yaml"
    cities = [f"city{number:05}" for number in range(count)]
    path.write_text(fleet_status.FLEET + "".join(f"  {city}:\n" for city in cities), encoding="utf-8")
    fleet, s3 = load_fleet(path), aws.client("s3")
    s3.create_bucket(Bucket=fleet.bucket)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda city: fleet_status.go_live(s3, fleet.keys, city, 1), cities))
    s3.put_object(Bucket=fleet.bucket, Key=fleet.keys.index(), Body=index_of(fleet, cities).to_bytes())
    environ = {**fleet_status.AWS, "AWS_ENDPOINT_URL": aws.url, "AWS_DEFAULT_REGION": "us-east-1"}
    with running_api_server(home, {**environ, "CITY_FLEET_FLEETS": str(fleets)}) as server:
        with server.person("vera") as vera:
            began = time.perf_counter()
            while 'id="city-' not in vera.get("fleets/many").text:
                time.sleep(0.2)
            look = time.perf_counter() - began
            seconds = {"first_byte": spread(lambda: first_byte(vera), requests)}
            with runs_that_end(s3, fleet, cities):
                seconds["during_a_night"] = spread(lambda: first_byte(vera), requests)
            seconds["after_a_change"] = spread(
                lambda: after_a_change(vera, s3, fleet, cities), max(3, requests // 10)
            )
        seconds["interactive"] = spread(interactive(server), max(5, requests // 5))
    return {"cities": count, "seconds": seconds, "look": round(look, 2)}


def index_of(fleet: Fleet, cities: list[str]) -> Index:
    """Return the index that some nights leave."""
    runs = []
    for night in range(NIGHTS):
        as_of = NIGHT + timedelta(days=night)
        stamp = naming.as_of_stamp(as_of)
        for number, city in enumerate(cities):
            name = f"{city}/{stamp}-{night:010}.json"
            summary = RunSummary(
                as_of=stamp,
                run_key=f"{night:010}",
                finished_at=(as_of + timedelta(hours=2)).isoformat(),
                record=name,
                outcome=ENDS[(number * 7 + night) % len(ENDS)],
                run_id=f"scheduled__{as_of.isoformat()}",
                reasons=("MAPE 5.1% on 12 held-out rows beats the naive forecast's 5.8%",),
                metric="mape",
                value=0.05 + number % 7 / 1000 + night / 5000,
                baseline=0.058,
                against=0.052,
            )
            runs.append((city, summary))
    stamp = naming.as_of_stamp(NIGHT + timedelta(days=NIGHTS))
    return Index(stamp, **installation.stamp(fleet.keys)).with_runs(runs)


def first_byte(person: httpx.Client) -> float:
    """Return the seconds to the first byte of a page."""
    began = time.perf_counter()
    with person.stream("GET", "fleets/many") as answer:
        pieces = answer.iter_raw()
        next(pieces)
        found = time.perf_counter() - began
        for _ in pieces:
            pass
    return found


@contextmanager
def runs_that_end(s3: Any, fleet: Fleet, cities: list[str]) -> Iterator[None]:
    """Let runs end all the time."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.wait(0.1):
            fleet_status.end_run(s3, fleet.keys, cities[number % len(cities)], NIGHT + timedelta(days=20))
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def after_a_change(person: httpx.Client, s3: Any, fleet: Fleet, cities: list[str]) -> float:
    """Return the seconds to the first byte right after a look that has found something new."""
    moment = datetime.now(UTC).replace(microsecond=0)
    fleet_status.end_run(s3, fleet.keys, cities[0], moment)
    day, deadline = f"{moment:%Y-%m-%d}", time.monotonic() + 60
    while day not in person.get("fleets/many?q=city00000").text and time.monotonic() < deadline:
        time.sleep(0.2)
    return first_byte(person)


def interactive(server: ApiServer) -> Callable[[], float]:
    """Return what measures until a person may act: markup, styles and scripts are there and have run."""

    def once() -> float:
        with browsing() as browser, person_at(browser, server, "vera") as window:
            open_page(window, f"{server.url}fleets/many")  # scripts and styles are kept from now on
            open_page(window, f"{server.url}fleets/many")
            entry = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
            return float(window.evaluate(entry)) / 1000

    return once


def spread(work: Callable[[], float], times: int) -> dict[str, float]:
    found = [work() for _ in range(times)]
    return {"median": round(statistics.median(found), 4), "worst": round(max(found), 4)}


if __name__ == "__main__":
    raise SystemExit(main())
