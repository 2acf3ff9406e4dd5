"""The ``_endpoint`` DAG of a fleet with several endpoints: a chain of tasks for each, and one for containers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from city_fleet.config import Fleet, load_fleet
from city_fleet.doctor import aws_checks
from city_fleet.errors import EndpointUnderWay
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.state import shared_endpoints
from city_fleet.state.objects import ObjectStore
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.old_layout import BUCKET

SEVERAL = """\
endpoints:
  config: {algorithms: [linear], instance_type: ml.m5.xlarge}
  own: {images: [sklearn], kind: multi_container}
cities: {austin: , waco: {algorithm: {image: sklearn, name: knn}}}
"""


@pytest.fixture
def fleet(aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    path = tmp_path / "chains.yaml"
    text = SMALL.replace("fleet: small", "fleet: chains").replace("small-data", BUCKET)
    path.write_text(text + SEVERAL, encoding="utf-8")
    return load_fleet(path, {})


def test_each_endpoint_has_its_tasks_and_containers_are_described_before_a_model_comes(
    fleet: Fleet, aws: LocalSageMaker
) -> None:
    (dag,) = fleet_dags(fleet.path.parent, "chains._endpoint")
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == {
        "model": {"endpoint_config"},
        "endpoint_config": {"endpoint"},
        "endpoint": set(),
        "model-config": {"endpoint_config-config"},
        "endpoint_config-config": {"endpoint-config"},
        "endpoint-config": set(),
        "endpoint-own": set(),
    }
    name = "chains--laptop--own"
    said = [each.what for each in aws_checks.check(fleet, aws.client)]
    assert f"nobody has said what the containers of endpoint {name} are made with" in said
    assert "there is no endpoint chains--laptop--config" in said

    task: Any = dag.get_task("endpoint-own")
    for _ in range(2):
        assert task.execute({}) == {"endpoint": name, "endpoint_config_name": "", "status": ""}
    store = ObjectStore(aws.client("s3"), BUCKET)
    noted = shared_endpoints.read(store, fleet.keys)[name]
    assert noted.template["container"]["Environment"]["SAGEMAKER_PROGRAM"] == "inference.py"
    assert noted.template["variant"] == {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    assert "knn" in (noted.serving.algorithms or {})
    said = [each.what for each in aws_checks.check(fleet, aws.client)]
    assert f"endpoint {name} waits for its first model, which brings its container up" in said

    # While SageMaker makes one, whoever needs it waits in the triggerer.
    with pytest.raises(TaskDeferred) as caught:
        task.wait_out(EndpointUnderWay("it is being made"), "execute")
    assert caught.value.method_name == "resume"
