"""The commands that README.md tells an operator to run do what it says: against moto's Lambda, IAM and API Gateway."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from city_fleet.prediction import openapi
from tests.support.account import account_client, running_account, shell_environment
from tests.support.paths import ROOT


def test_the_readme_deploys_the_function(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    (block,) = [
        found for found in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "create-function" in found
    ]
    with running_account() as url:
        done = subprocess.run(
            ["sh", "-eu", "-c", block],
            cwd=ROOT,
            env=shell_environment(url),
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        _is_as_the_page_says(done.stdout, partial(account_client, url))


def _is_as_the_page_says(printed: str, client: Callable[[str], Any]) -> None:
    found = client("lambda").get_function(FunctionName="texas-housing-predict")["Configuration"]
    sha256 = base64.b64encode(hashlib.sha256((ROOT / "dist" / "predict.zip").read_bytes()).digest()).decode()
    assert found["CodeSha256"] == sha256
    assert f"CodeSha256 {sha256}" in printed
    assert found["Handler"] == "handler.handler"
    assert found["Timeout"] == 28
    assert found["Environment"]["Variables"] == {
        "CITY_FLEET_BUCKET": "city-fleet",
        "CITY_FLEET_FLEET": "texas_housing",
        "CITY_FLEET_ENVIRONMENT": "production",
        "CITY_FLEET_ENDPOINT": "texas-housing--production",
    }
    allowed = client("iam").get_role_policy(RoleName="texas-housing-predict", PolicyName="predict")[
        "PolicyDocument"
    ]
    resources = [statement["Resource"] for statement in allowed["Statement"]]
    assert resources == [
        [
            "arn:aws:s3:::city-fleet/texas_housing/production/live/*",
            "arn:aws:s3:::city-fleet/texas_housing/production/known/*",
            "arn:aws:s3:::city-fleet/texas_housing/production/state/endpoints.json",
            "arn:aws:s3:::city-fleet/texas_housing/production/state/challengers.json",
        ],
        "arn:aws:s3:::city-fleet",
        [
            "arn:aws:sagemaker:us-east-1:123456789012:endpoint/texas-housing--production",
            "arn:aws:sagemaker:us-east-1:123456789012:endpoint/texas-housing--production--*",
        ],
        "arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/texas-housing-predict:*",
    ]
    assert "$" not in str(allowed)
    gateway = client("apigatewayv2")
    (api,) = gateway.get_apis()["Items"]
    (integration,) = gateway.get_integrations(ApiId=api["ApiId"])["Items"]
    routes = gateway.get_routes(ApiId=api["ApiId"])["Items"]
    assert api["ProtocolType"] == "HTTP"
    assert integration["PayloadFormatVersion"] == "2.0"
    assert integration["IntegrationUri"] == found["FunctionArn"]
    documented = {
        f"{method.upper()} {path}"
        for path, methods in openapi.document()["paths"].items()
        for method in methods
    }
    signed = {route["RouteKey"] for route in routes if route["AuthorizationType"] == "AWS_IAM"}
    assert signed == documented | {"GET /openapi.json"}
    # A browser asks beforehand without a signature; what it may learn is who may ask.
    assert {route["RouteKey"] for route in routes} - signed <= {"OPTIONS /{path+}"}
    assert {route["Target"] for route in routes} == {f"integrations/{integration['IntegrationId']}"}
