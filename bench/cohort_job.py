"""What one job of many small cities saves: cohort.py beside the three scripts of each city, by the image's Python.

Here is no SageMaker: a job is a process, and what its instance takes to come up is not in the seconds. The cities have
the settings of one of the Texas fleet, and its data with noise of their own. The three scripts are run for some cities,
and their seconds scaled to all; the bytes of those models are compared. On a machine that is busy with other things go
by the seconds of CPU: an instance of its own takes about as long.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from city_fleet.config import load_fleet
from city_fleet.jobs import job_files
from city_fleet.plan import EVALUATE, PREPROCESS, TRAIN, Run, plan_city

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "include" / "scripts"
PYTHON = ROOT / ".venv-image" / "bin" / "python"
LIKE = "austin"
AS_OF = datetime(2015, 8, 1, tzinfo=UTC)
#: What an instance takes to come up, in seconds, for the comparison of nights.
START_UPS = (60, 150, 300)


@dataclass(frozen=True)
class Cost:
    """What a process cost, its children's included."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(script: str, arguments: Sequence[str] = (), **environment: str) -> Cost:
    """Run a script to a good end.

    :raises RuntimeError: it had another one.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [str(PYTHON), str(SCRIPTS / script), *arguments],
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "SM_NUM_CPUS": "1", **environment},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{script}: exit code {process.returncode}")
    return Cost(
        round(time.monotonic() - started, 3),
        round(usage.ru_utime + usage.ru_stime, 3),
        round(usage.ru_maxrss / 1024, 1),
    )


def write_raw(raw: Path, cities: Sequence[str], seed: int) -> None:
    """Write a file for each city: one city's rows, each number off by up to 3 %."""
    with (ROOT / "include" / "data" / "txhousing.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = (row for row in csv.reader(file) if row[0] in ("city", "Austin"))
    noisy = [header.index(name) for name in ("sales", "median", "listings")]
    draw = random.Random(seed)  # noqa: S311
    for city in cities:
        folder = raw / f"city={city}"
        folder.mkdir(parents=True)
        with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for row in rows:
                changed = list(row)
                for at in noisy:
                    if row[at] not in ("", "NA"):
                        changed[at] = f"{float(row[at]) * draw.uniform(0.97, 1.03):.0f}"
                writer.writerow(changed)


def settings(cities: Sequence[str], folder: Path, steps: Sequence[str]) -> Path:
    """Write the settings of some steps together.

    :return: the file's folder.
    """
    plan = plan_city(load_fleet(ROOT / "include" / "fleets" / "texas_housing.yaml", {}), LIKE)
    value: dict[str, Any] = {}
    item: dict[str, Any] = {}
    for step in steps:
        value = job_files.settings(plan, Run("bench", "0" * 10, AS_OF), step)
        item |= value["cities"][0]
    folder.mkdir(parents=True)
    content = value | {"cities": [item | {"city": city} for city in cities]}
    (folder / "settings.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def cohort(root: Path, raw: Path, cities: Sequence[str]) -> Cost:
    """Run the one job of all."""
    model = root / "model"
    model.mkdir(parents=True)
    cost = run(
        "cohort.py",
        SM_CHANNEL_SETTINGS=str(settings(cities, root / "settings", (PREPROCESS, TRAIN, EVALUATE))),
        SM_CHANNEL_RAW=str(raw),
        SM_MODEL_DIR=str(model),
        SM_OUTPUT_DIR=str(root),
        SM_OUTPUT_DATA_DIR=str(root),
    )
    outcomes = json.loads((model / "outcome.json").read_text(encoding="utf-8"))["cities"]
    wrong = {city: each for city, each in outcomes.items() if each["status"] != "evaluated"}
    if wrong:
        raise RuntimeError(f"not evaluated: {wrong}")
    return cost


def three_jobs(root: Path, raw: Path, city: str) -> list[Cost]:
    """Run the three jobs of one city."""
    tables, model, packed = root / "tables", root / "model", root / "packed"
    for folder in (model, packed):
        folder.mkdir(parents=True)
    asked = {step: settings([city], root / step, [step]) for step in (PREPROCESS, TRAIN, EVALUATE)}
    paths = {step: str(folder / "settings.json") for step, folder in asked.items()}
    places = ("--raw-dir", str(raw), "--output-dir", str(tables))
    costs = [run("preprocess.py", ("--settings", paths[PREPROCESS], *places))]
    channels = {f"SM_CHANNEL_{part.upper()}": str(tables / part) for part in ("train", "validation", "test")}
    costs.append(
        run(
            "train.py",
            SM_CHANNEL_SETTINGS=str(asked[TRAIN]),
            SM_MODEL_DIR=str(model),
            SM_OUTPUT_DIR=str(root),
            SM_OUTPUT_DATA_DIR=str(root),
            **channels,
        )
    )
    with tarfile.open(packed / "model.tar.gz", "w:gz") as archive:
        archive.add(model, arcname=".")
    test = ("--test-dir", str(tables / "test"), "--model-dir", str(packed), "--output-dir", str(root))
    costs.append(run("evaluate.py", ("--settings", paths[EVALUATE], *test)))
    return costs


def measure(cities: int, alone: int, seed: int) -> dict[str, Any]:
    """Measure both ways.

    :param cities: of the cohort, of which so many as ``alone`` are done by three jobs too.
    """
    names = [f"city_{number:04d}" for number in range(cities)]
    with tempfile.TemporaryDirectory(prefix="cohort-bench-") as temporary:
        root = Path(temporary)
        write_raw(root / "raw", names, seed)
        together = cohort(root / "together", root / "raw", names)
        single = [three_jobs(root / name, root / "raw", name) for name in names[:alone]]
        same = [
            (root / name / "evaluation" / f"city={name}" / "model.tar.gz").read_bytes()
            == (root / "together" / "model" / "evaluation" / f"city={name}" / "model.tar.gz").read_bytes()
            for name in names[:alone]
        ]
    seconds = statistics.median(sum(cost.seconds for cost in costs) for costs in single)
    cpu = statistics.median(sum(cost.cpu_seconds for cost in costs) for costs in single)
    return {
        "cities": cities,
        "cohort": vars(together) | {"jobs": 1, "seconds_per_city": round(together.seconds / cities, 3)},
        "three_jobs": {
            "measured_cities": alone,
            "jobs": 3 * cities,
            "seconds_per_city": round(seconds, 3),
            "cpu_seconds_per_city": round(cpu, 3),
            "seconds": round(seconds * cities, 1),
            "peak_mb": max(cost.peak_mb for costs in single for cost in costs),
        },
        "same_bytes": f"{sum(same)} of {len(same)}",
        "ratio": round(seconds * cities / together.seconds, 1),
        "cpu_ratio": round(cpu * cities / together.cpu_seconds, 1),
        "instance_seconds_with_start_up": {
            str(start_up): {
                "cohort": round(start_up + together.cpu_seconds),
                "three_jobs": round(cities * (3 * start_up + cpu)),
            }
            for start_up in START_UPS
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cities", type=int, default=100, help="of the cohort (default %(default)s)")
    parser.add_argument(
        "--alone", type=int, default=5, help="cities that are done by three jobs too (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(json.dumps(measure(given.cities, min(given.alone, given.cities), given.seed), indent=2))
