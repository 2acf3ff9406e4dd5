"""Tasks of one installation leave alone what is another's, and what an earlier version has left and not moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from city_fleet import naming
from city_fleet.config import Fleet, load_fleet
from city_fleet.doctor import aws_checks
from city_fleet.doctor.findings import Level
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.fleet_tasks.endpoint_operators import SharedEndpointOperator
from tests.support.factors import create_endpoint
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.old_layout import BUCKET, OldInstallation


@pytest.fixture(autouse=True)
def connection(aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))


def write(folder: Path, name: str, environment: str, more: str = "") -> Fleet:
    text = SMALL.replace("fleet: small", f"fleet: {name}\nenvironment: {environment}")
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("small-data", BUCKET) + more + "cities: {austin: }\n", encoding="utf-8")
    return load_fleet(path, {})


class NoState:
    """A task's store with nothing in it."""

    def get(self, key: str) -> Any:
        return None

    def set(self, key: str, value: Any) -> None:
        raise AssertionError("nothing is started")


def context(results: dict[str, Any]) -> Any:
    """What a task asks of Airflow before it does anything."""
    ti = SimpleNamespace(
        xcom_pull=lambda *, task_ids, key="return_value": results.get(task_ids),
        xcom_push=lambda **_: None,
        get_task_states=lambda **named: {named["run_ids"][0]: {}},
        max_tries=0,
        try_number=1,
    )
    moment = datetime(2014, 1, 1, tzinfo=UTC)
    run = SimpleNamespace(run_id="r", logical_date=moment, run_after=moment, start_date=moment)
    return {"ti": ti, "dag_run": run, "params": {"dry_run": False}, "task_state_store": NoState()}


def test_every_task_that_writes_waits_for_the_move(
    aws: LocalSageMaker, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    old = OldInstallation(aws)
    old.city("austin", nights=1)
    before = old.objects()
    write(tmp_path, old.fleet, old.environment)
    tasks: dict[str, BaseOperator] = {}
    for dag in (*city_dags(tmp_path), *fleet_dags(tmp_path)):
        purpose = dag.dag_id.partition(".")[2]
        tasks |= {f"{purpose}.{task.task_id}": task for task in dag.tasks}
    asked = context({"register": {"package_arn": old.versions("austin", before=True)[0].arn}})
    for name in (
        "austin.preprocess",
        "austin.register",
        "austin.publish",
        "austin.record",
        "_endpoint.model",
        "_retire.retire",
        "_reconcile.reconcile",
    ):
        with (
            subtests.test(name),
            pytest.raises(AirflowFailException, match=f"`./fleet migrate --fleet {old.fleet}` moves it"),
        ):
            tasks[name].execute(asked)
    assert old.objects() == before


@pytest.fixture
def theirs(aws: LocalSageMaker) -> Iterator[tuple[str, Any]]:
    """An endpoint that another installation has made."""
    sagemaker = aws.client("sagemaker")
    found = sagemaker.describe_endpoint(EndpointName=create_endpoint(aws))
    tags = {naming.TAG_FLEET: "small", naming.TAG_ENVIRONMENT: "production"}
    sagemaker.add_tags(
        ResourceArn=found["EndpointArn"], Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )
    yield found["EndpointName"], sagemaker
    sagemaker.delete_tags(ResourceArn=found["EndpointArn"], TagKeys=list(tags))


def test_an_endpoint_name_set_by_hand_does_not_take_over_anothers(
    theirs: tuple[str, Any], aws: LocalSageMaker, tmp_path: Path
) -> None:
    endpoint, sagemaker = theirs
    fleet = write(tmp_path, "small", "rehearsal", f"endpoint: {{name: {endpoint}}}\n")
    config = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    task = SharedEndpointOperator(task_id="endpoint", fleet=fleet)
    asked = context({"endpoint_config": {"endpoint_config_name": "another"}, "model": {"model_name": "m"}})
    with pytest.raises(AirflowFailException, match="Endpoint factors: belongs to fleet 'small'") as caught:
        task.execute(asked)
    assert "environment 'production', and this is fleet 'small', environment 'rehearsal'" in str(caught.value)
    assert "Set endpoint.name in the fleet file to a name that is free" in str(caught.value)
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"] == config
    said = [each.what for each in aws_checks.check(fleet, aws.client) if each.level == Level.FAIL]
    assert "endpoint factors belongs to fleet 'small', environment 'production'" in said
    # Whose own it is goes on.
    own = write(tmp_path, "small", "production", f"endpoint: {{name: {endpoint}}}\n")
    said = [each.what for each in aws_checks.check(own, aws.client) if each.level == Level.FAIL]
    assert not any("belongs to" in each for each in said)
