"""The DAGs that ``bench/parse.py`` compares: ours, and what one would write without City Fleet.

stock       a loop over the Amazon provider's own operators, eight for each city, on a cron string
dagfactory  the same eight operators, told to dag-factory as YAML
bare        DAG and BaseOperator objects with the tasks, the edges and the timetable of ours, and nothing else in them
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

CRON = "0 2 * * *"
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
_PROVIDER = "airflow.providers.amazon.aws.operators.sagemaker"


def write_fleet(folder: Path, cities: int, more: str = "") -> None:
    """Write a fleet file of so many cities.

    :param more: lines beside the fleet's own.
    """
    lines = "".join(f"  c{number}: {{name: City {number}}}\n" for number in range(cities))
    (folder / "bench.yaml").write_text(f"{FLEET}{more}cities:\n{lines}", encoding="utf-8")


def ours(folder: Path, cities: int, retries: int) -> list[Any]:
    from city_fleet.orchestration.city_dags import city_dags  # noqa: PLC0415 - after the settings

    return list(city_dags(folder))


def stock(folder: Path, cities: int, retries: int) -> list[Any]:
    import airflow.providers.amazon.aws.operators.sagemaker as provider  # noqa: PLC0415 - after the settings
    from airflow.sdk import DAG  # noqa: PLC0415 - after the settings

    dags = []
    for number in range(cities):
        with DAG(
            f"stock.c{number}",
            schedule=CRON,
            start_date=datetime(2024, 1, 1, tzinfo=UTC),
            catchup=False,
            default_args={"retries": retries},
        ) as dag:
            tasks: list[Any] = [
                getattr(provider, name)(task_id=task_id, **arguments)
                for task_id, name, arguments in _stock_tasks(f"c{number}")
            ]
            for before, after in itertools.pairwise(tasks):
                before >> after
        dags.append(dag)
    return dags


def dagfactory(folder: Path, cities: int, retries: int) -> list[Any]:
    from dagfactory import load_yaml_dags  # noqa: PLC0415 - a peer, which need not be there

    path = folder / f"dagfactory_{retries}.yaml"
    if not path.is_file():
        everything = {}
        for number in range(cities):
            tasks, before = [], []
            for task_id, name, arguments in _stock_tasks(f"c{number}"):
                told = {"task_id": task_id, "operator": f"{_PROVIDER}.{name}", "dependencies": before}
                tasks.append(told | arguments)
                before = [task_id]
            everything[f"factory.c{number}"] = {
                "default_args": {"retries": retries, "start_date": "2024-01-01"},
                "schedule": CRON,
                "catchup": False,
                "tasks": tasks,
            }
        path.write_text(yaml.safe_dump(everything), encoding="utf-8")
    found: dict[str, Any] = {}
    load_yaml_dags(globals_dict=found, config_filepath=str(path))
    return list(found.values())


def bare(folder: Path, cities: int, retries: int) -> list[Any]:
    from airflow.sdk import DAG, BaseOperator  # noqa: PLC0415 - after the settings

    from city_fleet import plan  # noqa: PLC0415
    from city_fleet.orchestration.timetables import FleetTimetable  # noqa: PLC0415

    steps = plan.steps("auto")
    dags = []
    for number in range(cities):
        dag = DAG(
            f"bare.c{number}",
            schedule=FleetTimetable(CRON),
            start_date=datetime(2024, 1, 1, tzinfo=UTC),
            catchup=False,
            default_args={"retries": retries},
        )
        tasks = {step.task_id: BaseOperator(task_id=step.task_id, dag=dag) for step in steps}
        for step in steps:
            for before in step.upstream:
                tasks[before] >> tasks[step.task_id]
        dags.append(dag)
    return dags


def _stock_tasks(city: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the task id, the operator and the arguments of each of a city's tasks, one after the other."""

    def job(step: str) -> dict[str, Any]:
        return {
            "ProcessingJobName": f"bench-{city}-{step}",
            "RoleArn": "arn:aws:iam::123456789012:role/bench",
        }

    yield "preprocess", "SageMakerProcessingOperator", {"config": job("preprocess")}
    yield "train", "SageMakerTrainingOperator", {"config": job("train")}
    yield "evaluate", "SageMakerProcessingOperator", {"config": job("evaluate")}
    yield (
        "register",
        "SageMakerRegisterModelVersionOperator",
        {"image_uri": "image", "model_url": "s3://bench/model", "package_group_name": city},
    )
    condition = {"type": "Equals", "left_value": "{{ 1 }}", "right_value": "1"}
    yield (
        "gate",
        "SageMakerConditionOperator",
        {"conditions": [condition], "if_task_ids": "model", "else_task_ids": []},
    )
    yield "model", "SageMakerModelOperator", {"config": {"ModelName": city}}
    yield "endpoint_config", "SageMakerEndpointConfigOperator", {"config": {"EndpointConfigName": city}}
    yield (
        "endpoint",
        "SageMakerEndpointOperator",
        {"operation": "update", "config": {"EndpointName": "bench"}},
    )


#: Each builds the DAGs of so many cities; of ours the fleet file in the folder says which.
SIDES: dict[str, Callable[[Path, int, int], list[Any]]] = {
    "ours": ours,
    "events": ours,
    "stock": stock,
    "dagfactory": dagfactory,
    "bare": bare,
}
