"""Clients of tasks are the provider's own, made from models that are read once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.loaders import JSONFileLoader

from city_fleet.orchestration.aws_hooks import SERVICES, AwsHook, JobsHook, read_models
from city_fleet.orchestration.task_clients import CLIENT_SETTINGS, TaskClients

_REGION = {"aws_conn_id": None, "region_name": "eu-central-1"}


class Task:
    """Something with an execute, as an operator has."""

    def execute(self, hook: AwsBaseHook[Any]) -> Any:
        return hook.get_client_type()


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the models that are read from now on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "unused")
    found: list[str] = []
    load = JSONFileLoader.load_file
    monkeypatch.setattr(
        JSONFileLoader, "load_file", lambda self, path: found.append(path) or load(self, path)
    )
    return found


def test_what_a_client_is_does_not_change(read_files: list[str]) -> None:
    ours = Task().execute(AwsHook(client_type="sagemaker", **_REGION))
    theirs = Task().execute(AwsBaseHook(client_type="sagemaker", **_REGION))
    for client in (ours, JobsHook(**_REGION).conn):
        assert client.meta.method_to_api_mapping == theirs.meta.method_to_api_mapping
        assert client.meta.endpoint_url == theirs.meta.endpoint_url
    assert "Caller/Task " in ours.meta.config.user_agent_extra
    assert ours.meta.config.user_agent_extra == theirs.meta.config.user_agent_extra, "AWS is told the same"
    assert "Caller/Unknown " in JobsHook(**_REGION).conn.meta.config.user_agent_extra


def test_models_are_read_once(read_files: list[str]) -> None:
    read_models()
    read_files.clear()
    for service in SERVICES:
        AwsHook(client_type=service, **_REGION).get_client_type()
    JobsHook(**_REGION).conn.describe_training_job  # noqa: B018 - the method is there
    assert read_files == []
    AwsHook(client_type="braket", **_REGION).get_client_type()  # which no other test asks for
    assert read_files, "another service's model is read when it is needed"


def test_a_tasks_clients_ask_for_their_connection_once(
    read_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"config_kwargs": {"read_timeout": 7}, "service_config": {"s3": {"endpoint_url": "http://here"}}}
    monkeypatch.setenv("AIRFLOW_CONN_OURS", json.dumps({"conn_type": "aws", "extra": said}))
    asked: list[str] = []
    ask = AwsHook.get_connection
    monkeypatch.setattr(AwsHook, "get_connection", staticmethod(lambda name: asked.append(name) or ask(name)))
    clients = TaskClients("ours", "eu-central-1")
    found = [clients.s3, clients.sagemaker, clients.runtime]
    assert asked == ["ours"]
    assert [client.meta.service_model.service_name for client in found] == list(SERVICES)
    assert found[0].meta.endpoint_url == "http://here"
    assert {client.meta.region_name for client in found} == {"eu-central-1"}
    assert {client.meta.config.read_timeout for client in found} == {7}, "what the connection says counts"
    assert {client.meta.config.connect_timeout for client in found} == {CLIENT_SETTINGS["connect_timeout"]}
    assert len({id(client._request_signer._credentials) for client in found}) == 1
