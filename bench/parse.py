"""What reading the DAG files costs Airflow: building and serialising, CPU time for each DAG, beside a stock loop.

The stock loop is what one would write with the Amazon provider alone: for each city a DAG of eight of its SageMaker
operators, on a cron string. Both are measured in turns in one process, so that the ratio holds on a noisy machine;
and so is the same fleet with `events.assets`. `timetable_ms` is what it costs to read the stored timetable as often as
Airflow does when it compares a DAG with its database (3.3.2: 17 times).

    PYTHONPATH=plugins python bench/parse.py --cities 200

With ``--files`` it looks at a whole fleet of so many cities instead, file by file and each in a process of its own, as
the DAG processor does: first without compiled forms, then with them, and what the start of one task costs.

    PYTHONPATH=plugins python bench/parse.py --files --cities 10000
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="bench-parse-"))
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")  # registers the timetable

FLEET = """\
fleet: bench
bucket: bench-data
role: arn:aws:iam::123456789012:role/bench
schedule: "0 2 * * *"
spread_minutes: 60
start_date: 2024-01-01
dataset:
  city_column: city
  time: {columns: [date]}
  frequency: day
  available_after: P1D
  target: {column: y, min: 1, lags: [1, 7]}
  calendar: [day_of_week]
"""
EVENTS = "events: {assets: true}\n"
_READ_TIMETABLE = 17


def ours(folder: Path) -> list[Any]:
    from city_fleet.orchestration.city_dags import city_dags  # noqa: PLC0415 - after the settings

    return list(city_dags(folder))


def stock(cities: int) -> list[Any]:
    from airflow.providers.amazon.aws.operators import sagemaker as provider  # noqa: PLC0415 - after the settings
    from airflow.sdk import DAG  # noqa: PLC0415 - after the settings

    def job(city: str, step: str) -> dict[str, Any]:
        return {
            "ProcessingJobName": f"bench-{city}-{step}",
            "RoleArn": "arn:aws:iam::123456789012:role/bench",
        }

    dags = []
    for number in range(cities):
        city = f"c{number}"
        with DAG(
            f"stock.{city}", schedule="0 2 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False
        ) as dag:
            tasks: list[Any] = [
                provider.SageMakerProcessingOperator(task_id="preprocess", config=job(city, "preprocess")),
                provider.SageMakerTrainingOperator(task_id="train", config=job(city, "train")),
                provider.SageMakerProcessingOperator(task_id="evaluate", config=job(city, "evaluate")),
                provider.SageMakerRegisterModelVersionOperator(
                    task_id="register",
                    image_uri="image",
                    model_url="s3://bench/model",
                    package_group_name=city,
                ),
                provider.SageMakerConditionOperator(
                    task_id="gate",
                    conditions=[{"type": "Equals", "left_value": "{{ 1 }}", "right_value": "1"}],
                    if_task_ids="model",
                    else_task_ids=[],
                ),
                provider.SageMakerModelOperator(task_id="model", config={"ModelName": city}),
                provider.SageMakerEndpointConfigOperator(
                    task_id="endpoint_config", config={"EndpointConfigName": city}
                ),
                provider.SageMakerEndpointOperator(
                    task_id="endpoint", operation="update", config={"EndpointName": "bench"}
                ),
            ]
            for before, after in itertools.pairwise(tasks):
                before >> after
        dags.append(dag)
    return dags


def measured(build: Callable[[], list[Any]]) -> dict[str, float]:
    """Return milliseconds of CPU for each DAG, and kilobytes as it is stored."""
    from airflow.serialization.decoders import decode_timetable  # noqa: PLC0415 - after the settings
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415

    gc.collect()  # the other side's DAGs are none of this one's cost
    start = time.process_time()
    dags = build()
    built = time.process_time()
    stored = [DagSerialization.to_dict(dag) for dag in dags]
    end = time.process_time()
    size = sum(len(json.dumps(each)) for each in stored)
    start_reading = time.process_time()
    for each in stored:
        for _ in range(_READ_TIMETABLE):
            decode_timetable(each["dag"]["timetable"])
    read = time.process_time() - start_reading
    return {
        "build_ms": (built - start) / len(dags) * 1000,
        "serialise_ms": (end - built) / len(dags) * 1000,
        "timetable_ms": read / len(dags) * 1000,
        "kilobytes": size / len(dags) / 1000,
    }


def in_a_process(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what some work finds in a fork of this process, which has imported what the DAG processor has."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found: dict[str, Any] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


def dag_file(index: int, only: str | None = None) -> dict[str, Any]:
    """Return what one DAG file of cities costs, as Airflow reads it: seconds of CPU, and megabytes."""
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415 - after the settings

    from city_fleet.orchestration.dag_shards import shard_dags  # noqa: PLC0415 - part of what is measured

    start = time.process_time()
    dags = shard_dags(index, only, starts=only is not None)
    built = time.process_time()
    if only is None:
        for dag in dags.values():
            DagSerialization.to_dict(dag)
    end = time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"dags": len(dags), "build_s": built - start, "all_s": end - start, "megabytes": memory}


def whole_fleet(folder: Path) -> dict[str, Any]:
    """Return what each DAG file of a fleet costs, and what one task does."""
    import airflow.providers.amazon.aws.operators.sagemaker  # noqa: PLC0415 - the processor imports it before it forks
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415 - as the processor has

    from city_fleet.orchestration.dag_shards import DAG_FILES, files_needed  # noqa: PLC0415

    assert airflow.providers
    assert DagSerialization
    os.environ["CITY_FLEET_FLEETS"] = str(folder)
    report: dict[str, Any] = {"files_at_work": files_needed(folder)}
    os.environ["CITY_FLEET_COMPILED"] = "/dev/null/nowhere"
    report["cold"] = summary([in_a_process(lambda i=index: dag_file(i)) for index in range(DAG_FILES)])  # type: ignore[misc]
    os.environ["CITY_FLEET_COMPILED"] = str(folder / "compiled")
    in_a_process(lambda: dag_file(0, "bench.c1"))
    report["warm"] = summary([in_a_process(lambda i=index: dag_file(i)) for index in range(DAG_FILES)])  # type: ignore[misc]
    report["one_task_s"] = round(in_a_process(lambda: dag_file(0, "bench.c1"))["all_s"], 3)
    return report


def summary(files: list[dict[str, Any]]) -> dict[str, Any]:
    assert sum(each["dags"] for each in files) > 0
    return {
        "dags": sum(each["dags"] for each in files),
        "dags_in_the_largest": max(each["dags"] for each in files),
        "slowest_build_s": round(max(each["build_s"] for each in files), 2),
        "slowest_s": round(max(each["all_s"] for each in files), 2),
        "all_s": round(sum(each["all_s"] for each in files), 1),
        "idle_ms": [round(each["all_s"] * 1000, 1) for each in files if not each["dags"]][:1],
        "megabytes": round(max(each["megabytes"] for each in files)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cities", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--files", action="store_true", help="look at each DAG file of a fleet of so many cities"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cities = "".join(f"  c{number}: {{name: City {number}}}\n" for number in range(given.cities))
        cities = f"cities:\n{cities}"
        (folder / "bench.yaml").write_text(FLEET + cities)
        with_events = folder / "events"
        with_events.mkdir()
        (with_events / "bench.yaml").write_text(FLEET + EVENTS + cities)
        os.environ.setdefault("CITY_FLEET_COMPILED", str(folder / "compiled"))
        if given.files:
            json.dump({"cities": given.cities, **whole_fleet(folder)}, sys.stdout, indent=2)
            print()
            return
        sides: dict[str, Callable[[], list[Any]]] = {
            "ours": lambda: ours(folder),
            "events": lambda: ours(with_events),
            "stock": lambda: stock(given.cities),
        }
        rounds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for number in range(given.rounds + 1):
            for side, build in sides.items():
                found = measured(build)
                if number:  # the first round imports and fills caches
                    rounds[side].append(found)
    medians = {
        side: {name: round(statistics.median(each[name] for each in found), 2) for name in found[0]}
        for side, found in rounds.items()
    }
    parts = ("build_ms", "serialise_ms", "timetable_ms")
    passes = {side: sum(found[part] for part in parts) for side, found in medians.items()}
    report = {
        "cities": given.cities,
        "rounds": given.rounds,
        **medians,
        "pass_ms": {side: round(value, 2) for side, value in passes.items()},
        "ratio": round(passes["ours"] / passes["stock"], 2),
    }
    json.dump(report, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
