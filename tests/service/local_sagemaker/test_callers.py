"""No web page uses the local SageMaker, whatever address it listens on, and no GET changes anything."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import ROOT

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


def _compose_options() -> list[str]:
    """What docker-compose.yaml tells the server about who may reach it."""
    command = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]["local-sagemaker"][
        "command"
    ]
    return [word for word in command if word.startswith(("--host", "--allow"))]


@pytest.fixture(scope="module")
def compose_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    """A server that is reached as the one in docker-compose.yaml; S3 holds an object."""
    with running_server(tmp_path_factory.mktemp("compose"), *_compose_options()) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        server.client("s3").put_object(Bucket="bucket", Key="raw.csv", Body=b"secret", ACL="public-read")
        yield server


def _get(server: LocalSageMaker, **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{server.url}/bucket/raw.csv", headers=fields, trust_env=False)


def test_the_compose_profile_listens_on_all_addresses() -> None:
    assert "--host=0.0.0.0" in _compose_options()
    assert "--allow-non-loopback" in _compose_options()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "172.17.0.2", "local-sagemaker"]
)
def test_its_own_names_and_addresses_are_answered(compose_server: LocalSageMaker, host: str) -> None:
    port = urlsplit(compose_server.url).port
    assert _get(compose_server, Host=f"{host}:{port}").text == "secret"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "local-sagemaker.evil.example",
    ],
)
def test_a_name_that_was_made_to_lead_here_reads_nothing(compose_server: LocalSageMaker, host: str) -> None:
    answer = _get(compose_server, Host=host)
    assert answer.status_code == 403
    assert "secret" not in answer.text
    assert "--allowed-host" in answer.text


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin"])
def test_what_a_page_sends_without_an_origin_is_refused(compose_server: LocalSageMaker, site: str) -> None:
    assert _get(compose_server, Sec_Fetch_Site=site).status_code == 403
    assert _get(compose_server, Sec_Fetch_Site="none").status_code == 200


def test_another_name_has_to_be_allowed(start_server: Callable[..., Any]) -> None:
    server = start_server("--host", "0.0.0.0", "--allow-non-loopback", "--allowed-host", "Build.Example")
    request = urllib.request.Request(f"{server.url}/_local/health", headers={"Host": "build.example:80"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert answer.status == 200


def test_an_allowed_name_without_another_address_is_a_mistake(start_server: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="--allowed-host goes with --allow-non-loopback"):
        start_server("--allowed-host", "build.example")


def _signed(server: LocalSageMaker, method: str, path: str, service: str, **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, f"{server.url}{path}", headers=fields)
    SigV4Auth(Credentials("local", "local"), service, "us-east-1").add_auth(request)
    return httpx.request(
        method, f"{server.url}{path}", headers=dict(request.headers.items()), trust_env=False
    )


def test_no_get_changes_anything(
    compose_server: LocalSageMaker, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    server = compose_server
    iam, sagemaker = server.client("iam"), server.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="group")
    delete = "Action=DeleteRole&Version=2010-05-08&RoleName=city-fleet"
    group = {
        "X_Amz_Target": "SageMaker.DeleteModelPackageGroup",
        "Content_Type": "application/x-amz-json-1.1",
    }
    attempts: dict[str, Callable[[], httpx.Response]] = {
        "a query by its signature": lambda: _signed(server, "GET", f"/?{delete}", "iam"),
        "a query by moto's own path": lambda: httpx.get(
            f"{server.url}/iam_us-east-1/?{delete}", trust_env=False
        ),
        "two actions": lambda: _signed(server, "GET", f"/?Action=GetRole&{delete}&Action=GetRole", "iam"),
        "a body": lambda: httpx.request(
            "GET",
            f"{server.url}/iam_us-east-1/",
            content=delete,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            trust_env=False,
        ),
        "head": lambda: _signed(server, "HEAD", f"/?{delete}", "iam"),
        "a control plane operation": lambda: _signed(server, "GET", "/", "sagemaker", **group),
        "an unsigned one": lambda: httpx.get(
            server.url, headers={"X-Amz-Target": "SageMaker.DeleteModelPackageGroup"}, trust_env=False
        ),
        "an invocation": lambda: _signed(server, "GET", "/endpoints/any/invocations", "sagemaker"),
        "moto's reset": lambda: httpx.get(f"{server.url}/moto-api/reset", trust_env=False),
        "moto's recorder": lambda: httpx.get(
            f"{server.url}/moto-api/recorder/start-recording", trust_env=False
        ),
        "moto's seed": lambda: httpx.get(f"{server.url}/moto-api/seed?a=1", trust_env=False),
        "moto's reset by post": lambda: httpx.post(f"{server.url}/moto-api/reset", trust_env=False),
    }
    for what, attempt in attempts.items():
        with subtests.test(what):
            answer = attempt()
            assert answer.status_code in (404, 405), answer.text
            assert iam.get_role(RoleName="city-fleet")
            assert sagemaker.describe_model_package_group(ModelPackageGroupName="group")
    faults = f"{server.url}/_local/faults"
    before = httpx.get(faults, trust_env=False).json()
    for path in ("", "/1", "?kind=throttling", "/clear"):
        httpx.get(f"{faults}{path}", trust_env=False)
    assert httpx.get(faults, trust_env=False).json() == before


def test_reading_by_get_goes_on(compose_server: LocalSageMaker) -> None:
    assert _signed(compose_server, "GET", "/?Action=ListRoles&Version=2010-05-08", "iam").status_code == 200
    s3 = boto3.client(
        "s3",
        endpoint_url=compose_server.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        region_name="us-east-1",
    )
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "raw.csv"})
    assert httpx.get(url, trust_env=False).text == "secret"
