"""What reading the DAG files costs Airflow: building and serialising, CPU time for each DAG, beside a stock loop.

The stock loop is what one would write with the Amazon provider alone: for each city a DAG of eight of its SageMaker
operators, on a cron string. Both are measured in turns in one process, so that the ratio holds on a noisy machine.

    PYTHONPATH=plugins python bench/parse.py --cities 200
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
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
cities:
"""


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
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415 - after the settings

    start = time.process_time()
    dags = build()
    built = time.process_time()
    stored = [DagSerialization.to_dict(dag) for dag in dags]
    end = time.process_time()
    size = sum(len(json.dumps(each)) for each in stored)
    return {
        "build_ms": (built - start) / len(dags) * 1000,
        "serialise_ms": (end - built) / len(dags) * 1000,
        "kilobytes": size / len(dags) / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cities", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cities = "".join(f"  c{number}: {{name: City {number}}}\n" for number in range(given.cities))
        (folder / "bench.yaml").write_text(FLEET + cities)
        sides: dict[str, Callable[[], list[Any]]] = {
            "ours": lambda: ours(folder),
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
    passes = {side: found["build_ms"] + found["serialise_ms"] for side, found in medians.items()}
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
