"""An endpoint changes while it serves: another one is made beside it, warmed, and takes over; no caller sees it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import WaiterError

from city_fleet.config import Fleet, load_fleet
from city_fleet.doctor import aws_checks
from city_fleet.doctor.findings import Level
from city_fleet.errors import PublishError
from city_fleet.orchestration.fleet_tasks import endpoint_operators as tasks
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.serving import (
    endpoint_change,
    endpoint_scaling,
    endpoint_state,
    endpoint_sweep,
    warming,
)
from city_fleet.state import scalable_targets, shared_endpoints
from city_fleet.state.objects import ObjectStore
from tests.support.factors import INFERENCE, KEYS, City
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.waiting import wait_until

SHARED = "shared"
# Serving code whose container ends at once.
ENDS = "import os\nos._exit(3)\n"


class Dies(Exception):
    """The worker is gone."""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    """A server of its own: warming asks every champion of the fleet."""
    with running_server(tmp_path_factory.mktemp("aws")) as server, pytest.MonkeyPatch.context() as patch:
        server.client("s3").create_bucket(Bucket="city-fleet")
        extra = {"endpoint_url": server.url, "region_name": "us-east-1"}
        value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
        yield server


@pytest.fixture(scope="module")
def city(aws: LocalSageMaker) -> City:
    city = City(aws, "austin")
    city.go_live(2.0, 1)
    return city


class Installation:
    """A fleet file with serving code beside it, and its ``_endpoint`` DAG run by hand."""

    def __init__(self, aws: LocalSageMaker, folder: Path) -> None:
        self.aws, self.folder = aws, folder
        self.sagemaker, self.s3 = aws.client("sagemaker"), aws.client("s3")
        self.store = ObjectStore(self.s3, KEYS.bucket)

    def fleet(self, code: str = INFERENCE, **endpoint: Any) -> Fleet:
        """Write and read the fleet file, with serving code of its own."""
        scripts = self.folder / "scripts"
        scripts.mkdir(exist_ok=True)
        (scripts / "inference.py").write_text(code)
        section = {"name": SHARED, "change": "switch", "scripts": str(scripts), **endpoint}
        text = SMALL.replace("fleet: small", "fleet: factors\nenvironment: laptop")
        text = text.replace("role/small", "role/city-fleet").replace("small-data", KEYS.bucket)
        text += f"endpoint: {json.dumps(section)}\n"
        path = self.folder / "factors.yaml"
        path.write_text(text + "defaults: {waiter_delay_seconds: 1}\ncities: {austin: }\n", encoding="utf-8")
        return load_fleet(path, {})

    def run(self, fleet: Fleet) -> dict[str, Any]:
        """Run the tasks of the DAG, one after the other."""
        results: dict[str, Any] = {}
        ti = SimpleNamespace(
            xcom_pull=lambda *, task_ids, key="return_value": results.get(task_ids),
            xcom_push=lambda **_: None,
        )
        context: Any = {"ti": ti}
        results[tasks.MODEL] = tasks.SharedModelOperator(task_id=tasks.MODEL, fleet=fleet).execute(context)
        config = tasks.SharedEndpointConfigOperator(task_id=tasks.ENDPOINT_CONFIG, fleet=fleet)
        results[tasks.ENDPOINT_CONFIG] = config.execute(context)
        endpoint = tasks.SharedEndpointOperator(task_id=tasks.ENDPOINT, fleet=fleet)
        endpoint.deferrable = False  # as without aiobotocore: it waits in its worker
        self.last, self.context = endpoint, context
        return endpoint.execute(context)

    def said(self) -> shared_endpoints.SharedEndpoint:
        return shared_endpoints.read(self.store, KEYS)[SHARED]

    def there(self) -> set[str]:
        return {each["EndpointName"] for each in self.sagemaker.list_endpoints()["Endpoints"]}

    def sweep(self, **later: float) -> list[str]:
        """Look for endpoints that may go, as if some time had passed."""
        now = datetime.now(UTC) + timedelta(**later)
        swept = endpoint_sweep.sweep(self.sagemaker, self.store, KEYS, SHARED, now)
        assert not swept.problems
        return swept.deleted

    def swept_clean(self, **later: float) -> None:
        """Look until nothing that was replaced is left."""

        def clean() -> bool:
            self.sweep(**later)
            return not self.said().replaced

        wait_until(clean, 120, "what was replaced is gone")


@contextmanager
def asking(city: City) -> Iterator[list[str]]:
    """Ask for predictions all the while, as an application does; yields the names of the endpoints that answered."""
    answered: list[str] = []
    wrong: list[BaseException] = []
    over = threading.Event()
    pointer = city.pointer
    assert pointer is not None
    endpoints = Endpoints(city.s3, KEYS, SHARED, ttl_seconds=0.2)

    def loop() -> None:
        try:
            while not over.wait(0.02):
                at = endpoints.address_of(pointer, Deadline(5))
                answer = city.runtime.invoke_endpoint(**at.request, ContentType="text/csv", Body=b"1.0,")
                assert json.loads(answer["Body"].read())["predictions"] == [2.0]
                answered.append(at.endpoint)
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield answered
    finally:
        over.set()
        thread.join()
    assert not wrong, wrong


def test_another_instance_type_without_a_failed_request(
    aws: LocalSageMaker, city: City, tmp_path: Path
) -> None:
    here = Installation(aws, tmp_path)
    assert here.run(here.fleet())["endpoint"] == SHARED
    first = here.said()
    assert (first.serving.name, first.replaced, first.making) == (SHARED, (), None)
    with asking(city) as answered:
        wait_until(lambda: SHARED in answered, 120, "it answers")
        larger = here.fleet(instance_type="ml.m5.xlarge")
        result = here.run(larger)
        beside = result["endpoint"]
        assert beside.startswith(f"{SHARED}---")
        wait_until(lambda: beside in answered, 120, "the new one answers")
        said = here.said()
        assert (said.serving.name, [each.name for each in said.replaced]) == (beside, [SHARED])
        assert here.run(larger)["endpoint"] == beside, "once more changes nothing"
        assert here.there() == {SHARED, beside}
        # Callers may not have read it yet: the old one stays for a while, and then goes with what it was made of.
        assert here.sweep(minutes=20) == []
        old = here.sagemaker.describe_endpoint(EndpointName=SHARED)["EndpointConfigName"]
        assert here.sweep(minutes=31) == [SHARED]
        wait_until(lambda: here.there() == {beside}, 120, "the old one is gone")
        here.swept_clean(minutes=32)
        with pytest.raises(here.sagemaker.exceptions.ClientError):
            here.sagemaker.describe_endpoint_config(EndpointConfigName=old)
        # Both were made of one model, which serves on.
        answered.clear()
        wait_until(lambda: beside in answered, 120, "it goes on answering")
    wanted = endpoint_state.wanted_config_name(larger)
    found = aws_checks.check(larger, aws.client, {"": wanted})
    assert f"endpoint {beside} is in service" in [each.what for each in found if each.level == Level.OK]
    # The way back makes the plain name once more or one beside; while it is kept, it is only taken up again.
    smaller = here.run(here.fleet())["endpoint"]
    assert smaller != beside
    assert here.run(larger)["endpoint"] == beside
    assert here.said().serving.name == beside
    assert here.there() == {smaller, beside}
    here.swept_clean(hours=1)


def test_whoever_is_interrupted_goes_on_and_no_endpoint_is_left_over(
    aws: LocalSageMaker, city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Installation(aws, tmp_path)
    here.run(here.fleet(instance_type="ml.m5.2xlarge"))
    served = here.said().serving.name
    wanted = here.fleet(instance_type="ml.m5.4xlarge")
    before = here.there()
    steps = [
        (tasks.SageMakerEndpointOperator, "execute"),
        (warming, "warm"),
        (shared_endpoints, "take_over"),
    ]
    for owner, name in steps:

        def dies(*args: Any, **named: Any) -> Any:
            raise Dies

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dies)
            with pytest.raises(Dies):
                here.run(wanted)
        said = here.said()
        assert said.serving.name == served
        assert said.making is not None
        made = said.making.name
        assert said.making.name not in here.sweep(hours=1), "it is still being made"
    # Nobody goes on: it is not paid for for ever, and does not take over when it is on its way out.
    assert made in here.there()
    assert made in here.sweep(hours=4)
    assert here.said().making is None
    wait_until(lambda: made not in here.there(), 120, "it is gone")
    here.swept_clean(hours=4)
    assert here.run(wanted)["endpoint"] == made, "its name follows from what it is"
    assert here.there() - before <= {made}
    here.swept_clean(hours=4)


def test_an_endpoint_that_answers_otherwise_does_not_take_over(
    aws: LocalSageMaker, city: City, tmp_path: Path
) -> None:
    here = Installation(aws, tmp_path)
    here.run(here.fleet())
    served = here.said().serving.name
    other = here.fleet(INFERENCE.replace("row * factor", "row * factor + 1"))
    with pytest.raises(PublishError, match=r"city 'austin': endpoint .* answers 201\.0") as caught:
        here.run(other)
    assert f"Endpoint {served!r} does answer as it should and serves on" in str(caught.value)
    assert here.said().serving.name == served
    # A city that nobody can be answered for keeps no one from a switch.
    lost = City(aws, "lost")
    lost.remove_artifact(lost.go_live(3.0, 1))
    right = here.fleet(INFERENCE + "\n# mended\n")
    assert here.run(right)["endpoint"] == here.said().serving.name != served
    switching = warming.Switching(shared=SHARED, own=SHARED, serves=served, to=here.said().serving.name)
    done = warming.warm(city.context().aws, KEYS, switching, 10)
    assert (done.models, done.left, len(done.unwell)) == (1, 0, 1)
    assert done.unwell[0].startswith("lost: ")
    assert warming.warm(city.context().aws, KEYS, switching, 0) == warming.Warmed(0, 2)
    here.swept_clean(hours=4)


def test_an_endpoint_that_can_not_be_made_leaves_the_old_one_alone(
    aws: LocalSageMaker, city: City, tmp_path: Path
) -> None:
    here = Installation(aws, tmp_path)
    here.run(here.fleet())
    here.swept_clean(hours=1)
    served = here.said().serving.name
    broken = here.fleet(ENDS)
    with pytest.raises(WaiterError):
        here.run(broken)
    with pytest.raises(AirflowException) as caught:
        here.last.execute_complete(here.context, {"status": "error", "message": "waiter"})
    assert "did not pass the ping health check" in str(caught.value)
    assert f"It is deleted, and {served} serves on" in str(caught.value)
    assert here.said().serving.name == served
    wait_until(lambda: here.there() == {served}, 120, "the one that has failed is gone")
    here.swept_clean(hours=4)


def test_an_update_changes_the_endpoint_itself(aws: LocalSageMaker, city: City, tmp_path: Path) -> None:
    here = Installation(aws, tmp_path)
    here.run(here.fleet())
    here.swept_clean(hours=1)
    served = here.said().serving.name
    canary = {"kind": "canary", "percent": 50, "wait_seconds": 0}
    changed = here.fleet(change="update", instance_type="ml.c5.large", deployment=canary)
    assert here.run(changed)["endpoint"] == served
    assert here.there() == {served}
    assert endpoint_change.deployment_config(changed.endpoint.deployment) == {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 0,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            },
            "TerminationWaitInSeconds": 0,
            "MaximumExecutionTimeoutInSeconds": 3600,
        }
    }


def test_an_endpoint_scales_through_updates_and_switches_until_the_setting_goes(
    aws: LocalSageMaker, city: City, tmp_path: Path
) -> None:
    here = Installation(aws, tmp_path)
    scaling = aws.client("application-autoscaling")
    limits = {"min_instances": 1, "max_instances": 4, "invocations_per_instance": 600}

    def known() -> scalable_targets.Registered:
        return scalable_targets.registered(scaling, here.said().serving.name)

    def count(name: str) -> int:
        return endpoint_scaling.instances(here.sagemaker.describe_endpoint(EndpointName=name))

    def doctor(fleet: Fleet) -> list[str]:
        return [each.what for each in aws_checks.check(fleet, aws.client) if "scal" in each.what]

    plain = {"change": "update", "instance_type": "ml.c5.xlarge"}
    here.run(here.fleet(**plain))
    served = here.said().serving.name
    assert known() == scalable_targets.Registered()
    # What somebody has registered by hand is none of ours.
    named = scalable_targets.variant(served)
    scaling.register_scalable_target(**named, MinCapacity=1, MaxCapacity=9)
    here.run(here.fleet(**plain))
    assert known().limits == (1, 9)
    scaled = here.fleet(**plain, scaling=limits)
    assert doctor(scaled) == [f"endpoint {served} scales from 1 to 9 instances, not from 1 to 4"]
    here.run(scaled)
    assert scalable_targets.difference(known(), scaled.endpoint.scaling) is None
    assert doctor(scaled) == [f"endpoint {served} scales from 1 to 4 instances"]
    here.run(scaled)
    here.run(here.fleet(**plain, scaling={**limits, "max_instances": 5}))
    assert known().limits == (1, 5)

    # Another instance type, which SageMaker refuses for a scalable target, with the instances that it has reached.
    weights = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 3}]
    here.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=served, DesiredWeightsAndCapacities=weights
    )
    larger = here.fleet(change="update", instance_type="ml.c5.2xlarge", scaling=limits)
    assert here.run(larger)["endpoint"] == served
    assert (count(served), known().limits) == (3, (1, 4))
    # One that is rolled back scales on.
    broken = here.fleet(
        ENDS,
        change="update",
        instance_type="ml.c5.4xlarge",
        scaling=limits,
    )
    with pytest.raises(AirflowException):
        here.run(broken)
    assert known().limits == (1, 4)

    # A switch begins with as many instances as serve.
    beside = here.run(here.fleet(instance_type="ml.c5.9xlarge", scaling=limits))["endpoint"]
    assert beside == here.said().serving.name != served
    assert (count(beside), known().limits) == (3, (1, 4))
    here.sweep(minutes=31)
    wait_until(lambda: served not in here.there(), 120, "the old one is gone")
    assert scalable_targets.registered(scaling, served) == scalable_targets.Registered()

    without = here.fleet(instance_type="ml.c5.9xlarge")
    assert doctor(without) == [f"endpoint {beside} scales, and the fleet file has no scaling"]
    here.run(without)
    assert (count(beside), known()) == (1, scalable_targets.Registered())
    here.swept_clean(hours=1)
