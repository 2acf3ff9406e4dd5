"""The zip that Lambda runs: what it holds, that it runs with boto3 alone, and what its policy has to allow."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import forecast_city
from tests.support.forecast_city import ForecastCity
from tests.support.iam_policies import Policy
from tests.support.lambda_runtime import LambdaRuntime, pack
from tests.support.paths import ROOT
from tests.support.serving import KEYS, ROW, Serving, city_name


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    pack(folder, "predict")
    return folder / "predict.zip"


def imported(source: Path) -> set[Path]:
    """The library's files that a file's import statements name, and their packages'."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    found: set[Path] = set()
    for name in names:
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            path = ROOT / "plugins" / Path(*parts[:count])
            found |= {each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()}
    return found


def test_the_zip_holds_the_handler_and_the_modules_it_imports_and_nothing_else(package: Path) -> None:
    handler = ROOT / "include" / "lambda" / "predict" / "handler.py"
    reached, ahead = {handler}, {handler}
    while ahead := set().union(*map(imported, ahead)) - reached:
        reached |= ahead
    expected = {
        "handler.py" if each == handler else f"{each.relative_to(ROOT / 'plugins')}": each for each in reached
    }
    assert "city_fleet/prediction/predict.py" in expected
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == set(expected)
        for member in archive.infolist():
            assert member.external_attr >> 16 == 0o100644
            assert archive.read(member) == expected[member.filename].read_bytes()
    assert package.stat().st_size < 360_000


def test_the_same_code_is_the_same_zip(package: Path, tmp_path: Path) -> None:
    said = pack(tmp_path, "predict", TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    again = tmp_path / "predict.zip"
    assert again.read_bytes() == package.read_bytes()
    assert re.search(r"CodeSha256 \S{44}$", said.strip())


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> LambdaRuntime:
    return LambdaRuntime(tmp_path_factory.mktemp("runtime"))


def test_the_zip_runs_in_a_bare_interpreter_with_boto3_alone(
    package: Path,
    runtime: LambdaRuntime,
    serving: Serving,
    environment: dict[str, str],
    http_event: Callable[..., dict[str, Any]],
) -> None:
    row, expected = serving.expected(1)
    events = [
        {"city": "waco", "features": row},
        http_event(
            json.dumps({"cities": [{"city": "waco", "features": row}, {"city": "wacko", "features": row}]})
        ),
        http_event(json.dumps({"city": "waco", "features": {}})),
    ]
    direct, several, bad = runtime.answers(package, environment, events)
    assert direct["prediction"] == pytest.approx(expected, rel=1e-9)
    results = json.loads(several["body"])["results"]
    assert [result["status"] for result in results] == [200, 404]
    assert results[1]["nearest"] == "waco"
    assert bad["statusCode"] == 400


def test_a_start_without_settings_says_what_to_set(package: Path, runtime: LambdaRuntime) -> None:
    done = runtime.start(package, {"AWS_DEFAULT_REGION": "us-east-1"}, [])
    assert done.returncode != 0
    assert "CITY_FLEET_BUCKET is not set; allowed: the fleet's S3 bucket." in done.stderr


@pytest.fixture
def policy(folder: Path) -> Policy:
    return Policy(
        folder / "policy.json",
        BUCKET=KEYS.bucket,
        FLEET=KEYS.fleet,
        ENVIRONMENT=KEYS.environment,
        ENDPOINT="houses",
        FUNCTION="city-fleet-predict",
    )


@pytest.fixture
def strict(
    load: Callable[[dict[str, str]], ModuleType], environment: dict[str, str], policy: Policy
) -> Iterator[tuple[ModuleType, list[str]]]:
    """The function in an account that lets it do what its policy says: everything else is denied."""
    function = load(environment)
    denied: list[str] = []

    def check(params: dict[str, Any], model: Any, **_: Any) -> None:
        denied.extend(policy.denied(model.service_model.service_name, model.name, params))

    for client in (function.S3, function.RUNTIME):
        client.meta.events.register("provide-client-params", check)
    return function, denied


def test_the_policy_allows_what_the_function_does_and_no_more(
    strict: tuple[ModuleType, list[str]],
    policy: Policy,
    serving: Serving,
    fort_worth: ForecastCity,
    http_event: Callable[..., dict[str, Any]],
) -> None:
    function, denied = strict
    known = fort_worth.jobs.out("report", "city=fort_worth", "known.json").read_bytes()
    forecast_city.keep(serving, known, forecast_city.AS_OF, "fort_worth")
    gone = city_name()
    pointer = serving.publish(gone)
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(pointer.target_model))
    for request, status in (
        ({"city": "austin", "features": ROW}, 200),
        ({"city": "austn", "features": ROW}, 404),
        ({"city": "../../austin", "features": ROW}, 200),  # as people write it: no path
        ({"city": "../../.", "features": ROW}, 404),
        ({"city": "fort_worth"}, 200),
        ({"city": "austin", "features": {}}, 400),
        ({"city": gone, "features": ROW}, 502),
    ):
        assert function.handler(request, None)["status"] == status
    for path in ("/cities", "/cities/fort_worth", "/openapi.json"):
        assert function.handler(http_event(None, method="GET", path=path), None)["statusCode"] == 200
    assert denied == []
    own_log = {"logs:CreateLogStream", "logs:PutLogEvents"}  # what Lambda itself does in the function's name
    assert policy.used == policy.actions - own_log
    # What is not asked for is not allowed.
    assert not policy.allows("s3:GetObject", f"arn:aws:s3:::{KEYS.bucket}/{KEYS.model('austin/x.tar.gz')}")
    assert not policy.allows("s3:ListBucket", f"arn:aws:s3:::{KEYS.bucket}", f"{KEYS.fleet}/raw/")
    assert not policy.allows(
        "sagemaker:InvokeEndpoint", "arn:aws:sagemaker:us-east-1:123456789012:endpoint/other"
    )


@pytest.mark.parametrize("listable", [True, False])
def test_s3_denies_what_is_not_there_to_whoever_may_not_list_it(
    strict: tuple[ModuleType, list[str]], listable: bool
) -> None:
    """As AWS does: GetObject on a missing key is 404 with s3:ListBucket, and 403 without."""
    function, _ = strict

    def deny(operation: str) -> None:
        def answer(**_: Any) -> None:
            error = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
            raise ClientError(error, operation)

        function.S3.meta.events.register(f"before-call.s3.{operation}", answer)

    deny("GetObject")
    if not listable:
        deny("ListObjectsV2")
    unknown = function.handler({"city": "nobody", "features": ROW}, None)
    known = function.handler({"city": "austin", "features": ROW}, None)
    # Whoever may list finds out; whoever may not is told that access is denied, which is all that is known.
    assert (unknown["status"], known["status"]) == ((404, 502) if listable else (502, 502))
    assert "AccessDenied" in known["message"]
