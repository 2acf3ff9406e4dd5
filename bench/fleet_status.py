"""What it costs to know how a fleet is: ``make bench-status`` prints JSON.

calls      what S3 is asked: to build the index anew, when nothing is new, and on the morning after a night in which
           every tenth city's run went live. Peer: reading every live pointer and each city's newest record, which is
           what there is without an index.
seconds    how long that takes against the local S3 of this machine (which answers some hundred calls a second).
index      its size in S3, and the CPU seconds to read the fleet file, to unpack the index, to join and to pack them.
command    ``./fleet status`` as a process, with an index that is up to date: seconds from start to end, and of the CPU.

Cities are made without Airflow: a live pointer, and a record with its event for each night.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stand_in import running

from city_fleet import naming
from city_fleet.config import load_fleet
from city_fleet.naming import Keys
from city_fleet.state import index, live, run_records
from city_fleet.state.index_state import Index
from city_fleet.views import fleet as fleet_state
from city_fleet.views import fleet_facts

ROOT = Path(__file__).resolve().parents[1]
AWS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}
NIGHT = datetime(2014, 1, 1, tzinfo=UTC)
FLEET = """
fleet: many
bucket: bench
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2010-01-01
end_date: 2014-01-03
dataset:
  city_column: city
  time: {columns: [day]}
  frequency: day
  available_after: P1D
  target: {column: value, lags: [1]}
cities:
"""


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="What it costs to know how a fleet is.")
    parser.add_argument(
        "--cities", type=int, default=10_000, help="cities of the fleet (default %(default)s)"
    )
    parser.add_argument("--nights", type=int, default=3, help="nights they have run (default %(default)s)")
    chosen = parser.parse_args()
    with running() as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.yaml"
        cities = [f"city{number:05}" for number in range(chosen.cities)]
        path.write_text(FLEET + "".join(f"  {city}:\n" for city in cities), encoding="utf-8")
        s3, keys = server.client("s3"), Keys("bench", "many", "laptop")
        s3.create_bucket(Bucket=keys.bucket)
        make(s3, keys, cities, chosen.nights)
        found = {
            "machine": {
                "python": platform.python_version(),
                "cpus": os.cpu_count(),
                "load": os.getloadavg()[0],
            },
            "cities": len(cities),
            "nights": chosen.nights,
            **of_index(s3, keys, path, cities),
        }
        environ = {**os.environ, **AWS, "AWS_ENDPOINT_URL": server.url, "CITY_FLEET_FLEETS": folder}
        found["command"] = of_command(environ)
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


def make(s3: Any, keys: Keys, cities: list[str], nights: int) -> None:
    """Let all cities go live, and run some nights."""

    def one(city: str) -> None:
        go_live(s3, keys, city, 1)
        for day in range(nights):
            end_run(s3, keys, city, NIGHT + timedelta(days=day))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, cities))


def go_live(s3: Any, keys: Keys, city: str, sequence: int) -> None:
    """Put a live pointer."""
    pointer = live.LivePointer(
        sequence=sequence,
        city=city,
        target_model=f"{city}/20140103T000000Z-{sequence:012}.tar.gz",
        package_arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/many--laptop--{city}/{sequence}",
        as_of="20140103T000000Z",
        metrics={"mape": 0.051234, "rmse": 12345.6, "mae": 1234.5, "r2": 0.91},
        features=("median_lag_1", "median_lag_12", "trend"),
        artifact_sha256="0" * 64,
        published_at="2014-01-03T02:10:46+00:00",
        published_by=f"many.{city}/scheduled__2014-01-03T00:00:00+00:00",
        settings_digest="0123456789abcdef",
        code_digest="fedcba9876543210",
    )
    s3.put_object(Bucket=keys.bucket, Key=keys.live(city), Body=pointer.to_json())


def end_run(s3: Any, keys: Keys, city: str, as_of: datetime) -> None:
    """Write the record of a run."""
    run_id = f"scheduled__{as_of.isoformat()}"
    job = {"status": "Completed", "instance_type": "ml.m5.large", "billable_seconds": 61}
    record = {
        "city": city,
        "as_of": naming.as_of_stamp(as_of),
        "run_id": run_id,
        "outcome": "live",
        "reasons": [
            "MAPE 5.1% on 12 held-out rows beats the naive forecast's 5.8%",
            "MAPE 5.1% holds against the champion's 5.2% (tolerance 2%)",
        ],
        "target_model": f"{city}/{naming.as_of_stamp(as_of)}-000000000001.tar.gz",
        "package_version": 17,
        "jobs": [
            {**job, "step": step, "job": f"many-{city}-{step}-0123456789-1"} for step in ("train", "evaluate")
        ],
        "finished_at": (as_of + timedelta(hours=2)).isoformat(),
    }
    key = naming.run_key(f"{city} {run_id}", 1)
    run_records.write(s3, keys, record, as_of=as_of, key_of_run=key)


def of_index(s3: Any, keys: Keys, path: Path, cities: list[str]) -> dict[str, Any]:
    """Measure building, folding, reading and joining."""
    found: dict[str, Any] = {"calls": {}, "seconds": {}}

    def measure(name: str, work: Callable[[], Any]) -> Any:
        with counted(s3) as calls:
            began = time.perf_counter()
            result = work()
            found["seconds"][name] = round(time.perf_counter() - began, 2)
        found["calls"][name] = dict(calls)
        return result

    measure("build", lambda: index.refresh(s3, keys))
    # The events of the nights before are still young here; on AWS a day has passed.
    index.refresh(s3, keys)
    measure("nothing_new", lambda: index.refresh(s3, keys))
    some = cities[::10]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda city: go_live(s3, keys, city, 2), some))
        list(pool.map(lambda city: end_run(s3, keys, city, NIGHT + timedelta(days=30)), some))
    refreshed = measure("every_tenth_city_new", lambda: index.refresh(s3, keys))
    measure("peer_without_index", lambda: one_by_one(s3, keys, cities))

    body = refreshed.index.to_bytes()
    fleet = load_fleet(path)
    digests = fleet_facts.code_digests(fleet)
    found["index"] = {
        "megabytes": round(len(body) / 1e6, 2),
        "pack_cpu_seconds": cpu_seconds(refreshed.index.to_bytes),
        "unpack_cpu_seconds": cpu_seconds(lambda: Index.from_bytes(body)),
        "load_fleet_cpu_seconds": cpu_seconds(lambda: load_fleet(path)),
        "join_cpu_seconds": cpu_seconds(
            lambda: fleet_state.take(fleet, refreshed.index, datetime.now(UTC), code_digests=digests)
        ),
    }
    return found


def one_by_one(s3: Any, keys: Keys, cities: list[str]) -> None:
    """Read each city's pointer and newest record, 16 at a time."""

    def one(city: str) -> None:
        live.read(s3, keys, city)
        prefix = f"{keys.records_prefix()}{city}/"
        listed = s3.list_objects_v2(Bucket=keys.bucket, Prefix=prefix)["Contents"]
        s3.get_object(Bucket=keys.bucket, Key=listed[-1]["Key"])["Body"].read()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, cities))


def of_command(environ: dict[str, str]) -> dict[str, float]:
    """Return how long the command takes."""
    command = [sys.executable, "-m", "city_fleet.cli.app", "status"]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"seconds": round(took, 2), "cpu_seconds": round(cpu, 2)}


def cpu_seconds(work: Callable[[], Any], times: int = 3) -> float:
    """Return the CPU seconds of the fastest of some times: others use the machine too."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return round(min(found), 2)


@contextlib.contextmanager
def counted(s3: Any) -> Iterator[Counter[str]]:
    """Count the client's calls meanwhile."""
    counts: Counter[str] = Counter()

    def count(model: Any, **_: Any) -> None:
        counts[model.name] += 1

    s3.meta.events.register("before-call.s3", count)
    yield counts
    s3.meta.events.unregister("before-call.s3", count)


if __name__ == "__main__":
    sys.exit(main())
