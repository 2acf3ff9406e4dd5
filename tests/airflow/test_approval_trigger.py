"""The trigger of a task that asks a person, in a real event loop against a real registry."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.triggers import hitl
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import TriggerEvent

from city_fleet import naming
from city_fleet.orchestration.city_tasks import approve_trigger
from city_fleet.orchestration.city_tasks.approve_trigger import ApprovalTrigger, SharedLook
from city_fleet.state import registry
from tests.support.local_sagemaker import LocalSageMaker, running_server

DEADLINE_SECONDS = 60


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        yield server


class Form:
    """Airflow's form of a task, as the trigger reads it."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = None
        self.asked = 0
        self.written: list[Any] = []

    def write(self, ti_id: Any, chosen_options: list[str], params_input: dict[str, Any]) -> None:
        self.written.append((chosen_options, params_input))

    def read(self, ti_id: Any) -> Any:
        self.asked += 1
        if self.answer is None:
            return SimpleNamespace(response_received=False, chosen_options=None, responded_at=None)
        return SimpleNamespace(response_received=True, responded_at=datetime.now(UTC), **self.answer)


@pytest.fixture(autouse=True)
def form(aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> Form:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    form = Form()
    monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", form.read)
    monkeypatch.setattr(approve_trigger, "update_hitl_detail_response", form.write)
    return form


class WaitingVersions:
    """A city with versions that wait, and a count of what SageMaker is asked."""

    def __init__(self, aws: LocalSageMaker) -> None:
        self.sagemaker = aws.client("sagemaker")
        self.fleet = f"f{uuid.uuid4().hex[:12]}"
        self.group = naming.package_group(self.fleet, "laptop", "austin")
        self.sagemaker.create_model_package_group(ModelPackageGroupName=self.group)

    def version(self) -> str:
        answer = self.sagemaker.create_model_package(
            ModelPackageGroupName=self.group, ModelApprovalStatus=registry.PENDING
        )
        return str(answer["ModelPackageArn"])

    def decide(self, arn: str, status: str) -> None:
        self.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)

    def trigger(self, arn: str, seconds: float = 3600, poll_seconds: float = 0.2) -> ApprovalTrigger:
        trigger = ApprovalTrigger(
            package_arn=arn,
            name_part=naming.package_groups_part(self.fleet, "laptop"),
            expires_at=naming.as_of_stamp(datetime.now(UTC) + timedelta(seconds=seconds)),
            poll_seconds=poll_seconds,
            aws_conn_id="aws_default",
            region_name="us-east-1",
            ti_id=uuid.uuid4(),
            options=["Approve", "Reject"],
            params={"note": {"value": "", "description": None, "schema": {"type": "string"}}},
        )
        # What Airflow does between the worker and the triggerer.
        path, arguments = trigger.serialize()
        again: ApprovalTrigger = import_string(path)(**json.loads(json.dumps(arguments, default=str)))
        return again


@pytest.fixture
def town(aws: LocalSageMaker) -> WaitingVersions:
    return WaitingVersions(aws)


async def first(events: AsyncIterator[TriggerEvent]) -> Any:
    async for event in events:
        return event.payload
    raise AssertionError("the trigger ended without an event")


@pytest.fixture(autouse=True)
def looked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Versions at which a trigger has looked in the registry, whatever came of it."""
    versions: set[str] = set()
    status = SharedLook.status

    async def noted(look: SharedLook, connect: Any, package_arn: str, *arguments: Any) -> str:
        try:
            return await status(look, connect, package_arn, *arguments)
        finally:
            versions.add(package_arn)

    monkeypatch.setattr(SharedLook, "status", noted)
    return versions


async def ends(*triggers: ApprovalTrigger, looked: set[str], then: Any = lambda: None) -> list[Any]:
    """Run triggers together, do something when all of them wait, and return their events."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        tasks = [asyncio.create_task(first(trigger.run())) for trigger in triggers]
        while not looked >= {trigger.package_arn for trigger in triggers}:
            await asyncio.sleep(0.02)
        assert not any(task.done() for task in tasks)
        then()
        return await asyncio.gather(*tasks)


@pytest.mark.parametrize(("status", "option"), [("Approved", "Approve"), ("Rejected", "Reject")])
def test_a_decision_in_the_registry_ends_the_wait_and_answers_the_form(
    town: WaitingVersions, form: Form, looked: set[str], status: str, option: str
) -> None:
    arn, other = town.version(), town.version()
    (event,) = asyncio.run(ends(town.trigger(arn), looked=looked, then=lambda: town.decide(arn, status)))
    assert event == {"decided": True, "package_arn": arn}
    assert form.written == [([option], {"note": "decided in the registry"})]
    assert registry.describe(town.sagemaker, other).status == registry.PENDING  # type: ignore[union-attr]


def test_the_deadline_ends_the_wait(town: WaitingVersions, form: Form, looked: set[str]) -> None:
    arn = town.version()
    events = asyncio.run(ends(town.trigger(arn, seconds=5), looked=looked))
    assert events == [{"expired": True, "package_arn": arn}]
    assert form.written == [(["Reject"], {"note": "expired"})]


def test_a_version_that_is_deleted_ends_the_wait(town: WaitingVersions, looked: set[str]) -> None:
    arn = town.version()

    def delete() -> None:
        town.sagemaker.delete_model_package(ModelPackageName=arn)

    events = asyncio.run(ends(town.trigger(arn), looked=looked, then=delete))
    assert events == [{"decided": True, "package_arn": arn}]


def test_an_answer_that_came_before_the_task_waited_is_found(town: WaitingVersions, form: Form) -> None:
    form.answer = {
        "chosen_options": ["Approve"],
        "params_input": {"note": "fine"},
        "responded_by_user": SimpleNamespace(id="1", name="ann"),
    }
    arn = town.version()
    event = asyncio.run(first(town.trigger(arn).run()))
    assert event["package_arn"] == arn
    assert event["chosen_options"] == ["Approve"]
    assert event["responded_by_user"] == {"id": "1", "name": "ann"}
    assert event["params_input"] == {"note": "fine"}


def test_waiting_asks_airflow_once_and_the_registry_once_for_all(
    town: WaitingVersions, form: Form, looked: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty tasks that wait cost what one costs: a list now and then."""
    import logging

    caplog.set_level(logging.DEBUG, logger="botocore.endpoint")
    arns = [town.version() for _ in range(50)]
    triggers = [town.trigger(arn, poll_seconds=1) for arn in arns]

    def decide() -> None:
        for arn in arns:
            town.decide(arn, "Approved")

    events = asyncio.run(ends(*triggers, looked=looked, then=decide))
    assert events == [{"decided": True, "package_arn": arn} for arn in arns]
    assert form.asked == 50
    calls = [record.getMessage() for record in caplog.records if "Making request" in record.getMessage()]
    lists = [call for call in calls if "ListModelPackages" in call]
    assert 2 <= len(lists) <= 20, len(lists)


def test_a_registry_that_can_not_be_asked_is_asked_again(
    town: WaitingVersions, looked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = town.version()
    trigger = town.trigger(arn)
    reachable = trigger._client
    broken = {"still": True}

    def client() -> Any:
        if broken["still"]:
            raise OSError("no route to host")
        return reachable()

    monkeypatch.setattr(trigger, "_client", client)

    def heal() -> None:
        town.decide(arn, "Rejected")
        broken["still"] = False

    assert asyncio.run(ends(trigger, looked=looked, then=heal)) == [{"decided": True, "package_arn": arn}]
