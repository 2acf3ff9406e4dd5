"""The retrain function's zip, what its policy has to allow, and the commands of its README, against moto's AWS."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from city_fleet.airflow_rest.airflow_client import AirflowRest
from city_fleet.airflow_rest.mwaa_channel import MwaaChannel
from city_fleet.errors import AirflowError
from tests.support.account import account_client, shell_environment
from tests.support.arrival_airflow import ArrivalAirflow
from tests.support.iam_policies import Policy
from tests.support.lambda_runtime import LambdaRuntime, pack
from tests.support.paths import ROOT

FOLDER = ROOT / "include" / "lambda" / "retrain"


def test_the_zip_starts_a_run_in_a_bare_interpreter_with_boto3_alone(
    tmp_path: Path, airflow: ArrivalAirflow, environment: dict[str, str]
) -> None:
    pack(tmp_path, "retrain")
    package = tmp_path / "retrain.zip"
    with zipfile.ZipFile(package) as archive:
        names = set(archive.namelist())
    assert {
        "handler.py",
        "city_fleet/arrivals/messages.py",
        "city_fleet/airflow_rest/mwaa_channel.py",
    } <= names
    assert not [name for name in names if "/state/" in name or "/config/" in name]
    assert package.stat().st_size < 150_000
    (tmp_path / "runtime").mkdir()
    runtime = LambdaRuntime(tmp_path / "runtime")
    first, again = runtime.answers(package, environment, [{"city": "austin"}, {"city": "Austin"}])
    assert first["started"] == 1
    assert airflow.of("houses.austin") == [first["cities"][0]["run_id"]]
    assert again == {"raised": "RetrainFailed", "said": again["said"]}
    assert "got 'Austin'" in again["said"]
    (tmp_path / "again").mkdir()
    pack(tmp_path / "again", "retrain", TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    assert (tmp_path / "again" / "retrain.zip").read_bytes() == package.read_bytes()


def test_the_policy_allows_what_the_function_does_and_no_more(
    load: Any, environment: dict[str, str], airflow: ArrivalAirflow
) -> None:
    secret = environment["CITY_FLEET_AIRFLOW_SECRET_ARN"]
    policy = Policy(FOLDER / "policy.json", QUEUE="arrivals", SECRET=secret, FUNCTION="houses-retrain")
    function = load(environment)
    denied: list[str] = []
    asked: list[str] = []

    def check(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked.append(model.name)
        denied.extend(policy.denied(model.service_model.service_name, model.name, params))

    # The one client that it makes, within the way to Airflow.
    client = function.CHANNEL._login.__closure__
    (secrets,) = (cell.cell_contents for cell in client if hasattr(cell.cell_contents, "meta"))
    secrets.meta.events.register("provide-client-params", check)
    assert function.handler({"cities": "all"}, None)["started"] == 5
    assert (asked, denied) == (["GetSecretValue"], [])
    # What Lambda does in the function's name: polls the queue, keeps failures, writes the log.
    by_lambda = {
        *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"),
        *("logs:CreateLogStream", "logs:PutLogEvents"),
    }
    assert policy.actions == by_lambda | {"secretsmanager:GetSecretValue"}
    assert not policy.allows("secretsmanager:GetSecretValue", f"{secret}x")
    assert not policy.allows("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:arrivals")
    assert not policy.allows("s3:GetObject", "arn:aws:s3:::city-fleet/houses/raw/city=austin/a.csv")


def mwaa() -> tuple[AirflowRest, Stubber]:
    client = boto3.client(
        "mwaa", region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local"
    )
    stub = Stubber(client)
    return AirflowRest(MwaaChannel(client, "fleets")), stub


def test_requests_and_answers_of_mwaa_are_those_of_its_model() -> None:
    """As botocore's description of InvokeRestApi has them, which the Stubber holds them against."""
    airflow, stub = mwaa()
    at = datetime(2026, 5, 1, 12, 1, tzinfo=UTC)
    body = {
        "dag_run_id": "arrival__20260501T120100Z",
        "logical_date": None,
        "run_after": "2026-05-01T12:01:00+00:00",
        "conf": {},
    }
    request = {"Name": "fleets", "Path": "/dags/houses.austin/dagRuns", "Method": "POST", "Body": body}
    stub.add_response("invoke_rest_api", {"RestApiStatusCode": 200, "RestApiResponse": body}, request)
    stub.add_client_error(
        "invoke_rest_api",
        "RestApiClientException",
        http_status_code=400,
        modeled_fields={"RestApiStatusCode": 409, "RestApiResponse": {"detail": "there is one"}},
        expected_params=request,
    )
    missing = {"Name": "fleets", "Path": "/dags/houses.nowhere", "Method": "GET"}
    stub.add_client_error(
        "invoke_rest_api",
        "RestApiClientException",
        http_status_code=400,
        modeled_fields={"RestApiStatusCode": 404, "RestApiResponse": {"detail": "not found"}},
        expected_params=missing,
    )
    stub.add_client_error(
        "invoke_rest_api",
        "RestApiServerException",
        http_status_code=400,
        modeled_fields={"RestApiStatusCode": 503, "RestApiResponse": {"detail": "Database is locked."}},
    )
    stub.add_client_error("invoke_rest_api", "ThrottlingException", "Rate exceeded", http_status_code=429)
    stub.add_client_error("invoke_rest_api", "AccessDeniedException", "no", http_status_code=403)
    with stub:
        assert airflow.start_run("houses.austin", body["dag_run_id"], at, {}) is True  # type: ignore[arg-type]
        assert airflow.start_run("houses.austin", body["dag_run_id"], at, {}) is False  # type: ignore[arg-type]
        assert airflow.dag("houses.nowhere") is None
        for status, said in ((503, "Database is locked"), (429, "Rate exceeded"), (403, "AccessDenied")):
            with pytest.raises(AirflowError, match=said) as refused:
                airflow.check()
            assert refused.value.status == status
        stub.assert_no_pending_responses()


def test_the_readme_deploys_the_function(account_url: str, tmp_path: Path) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    deploy, notify = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (tmp_path / "airflow-login.json").write_text('{"username": "retrain", "password": "of-a-test"}')
    environment = shell_environment(account_url)
    environment |= {"HOME": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{environment['PATH']}"}
    # Version 1 of the command line looks for the address of SQS nowhere else.
    aws = tmp_path / "aws"
    aws.write_text(f'#!/bin/sh\nexec {Path(sys.executable).parent}/aws --endpoint-url {account_url} "$@"\n')
    aws.chmod(0o700)

    client = partial(account_client, account_url)
    client("s3").create_bucket(Bucket="city-fleet")
    done = subprocess.run(
        ["sh", "-eu", "-c", deploy + notify],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert "of-a-test" not in done.stdout + done.stderr
    function = client("lambda").get_function(FunctionName="texas-housing-retrain")["Configuration"]
    sha256 = base64.b64encode(hashlib.sha256((ROOT / "dist" / "retrain.zip").read_bytes()).digest()).decode()
    assert function["CodeSha256"] == sha256
    variables = function["Environment"]["Variables"]
    secret = client("secretsmanager").get_secret_value(SecretId=variables["CITY_FLEET_AIRFLOW_SECRET_ARN"])
    assert json.loads(secret["SecretString"]) == {"username": "retrain", "password": "of-a-test"}
    assert "of-a-test" not in str(function)
    (mapping,) = client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName="texas-housing--production--arrivals")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert int(queue["VisibilityTimeout"]) == 6 * function["Timeout"]
    redrive = json.loads(queue["RedrivePolicy"])
    assert (redrive["deadLetterTargetArn"], int(redrive["maxReceiveCount"])) == (
        f"{queue['QueueArn']}-failed",
        5,
    )
    (statement,) = json.loads(queue["Policy"])["Statement"]
    assert statement["Condition"]["ArnEquals"] == {"aws:SourceArn": "arn:aws:s3:::city-fleet"}
    (notification,) = client("s3").get_bucket_notification_configuration(Bucket="city-fleet")[
        "QueueConfigurations"
    ]
    assert notification["QueueArn"] == queue["QueueArn"]
    assert notification["Filter"]["Key"]["FilterRules"][0]["Value"] == "texas_housing/raw/"
    allowed = client("iam").get_role_policy(RoleName="texas-housing-retrain", PolicyName="retrain")
    assert "$" not in str(allowed["PolicyDocument"])
    # And a file that lands is in the queue.
    client("s3").put_object(Bucket="city-fleet", Key="texas_housing/raw/city=austin/a.csv", Body=b"x")
    bodies = [
        json.loads(message["Body"])
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    ]
    assert any("Records" in body for body in bodies)
