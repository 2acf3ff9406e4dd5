"""The function behind a port, as `make serve` puts it there, and the lines of its README that ask it."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from local.stack.lambda_http import LambdaServer, event_of
from tests.support.paths import ROOT

README = ROOT / "include" / "lambda" / "predict" / "README.md"


@pytest.fixture(scope="module")
def server(function: ModuleType, forecast: dict[str, Any]) -> Iterator[LambdaServer]:
    """The function on loopback; Fort Worth is live."""
    with LambdaServer(function.handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join(10)


def sample(language: str) -> str:
    """The README's sample in a language."""
    section = README.read_text(encoding="utf-8").split("\n## Ask it\n")[1].split("\n## ")[0]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(found)


def run(command: list[str], server: LambdaServer) -> str:
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "URL": server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_lines_ask_for_a_forecast(server: LambdaServer, forecast: dict[str, Any]) -> None:
    steps = forecast["forecasts"]
    printed = [f"{each['period']} {round(each['prediction'])}" for each in steps]
    assert json.loads(run(["sh", "-c", sample("bash")], server))["forecasts"] == steps
    assert run([sys.executable, "-c", sample("python")], server).split("\n")[0].strip() == printed[0]
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on this machine; the sample in JavaScript was not run")
    script = ["--input-type=module", "-e", sample("javascript")]
    assert run([node, *script], server).splitlines() == printed


def test_paths_queries_and_mistakes_arrive(server: LambdaServer) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.url}/cities?after=houston", timeout=30) as response:
        cities = json.load(response)["cities"]
    assert "waco" in cities
    assert "austin" not in cities
    with opener.open(f"{server.url}/cities/Fort%20Worth", timeout=30) as response:
        assert json.load(response)["city"] == "fort_worth"
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    for method, path, body, headers, status in (
        ("POST", "/predict", b"{", {}, 400),
        ("POST", "/predict", b"", {}, 400),
        ("PUT", "/predict", b"{}", {}, 405),
        ("POST", "/nowhere", b"{}", {}, 404),
        ("GET", "/cities", None, {"host": "evil.example.com"}, 421),
        ("GET", "/cities", None, {"host": "localhost:1"}, 200),
    ):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        assert response.status == status, content
        assert status == 421 or "status" in json.loads(content)
    connection.request("POST", "/predict", b"0\r\n\r\n", {"transfer-encoding": "chunked"})
    assert connection.getresponse().status == 411


def test_an_event_is_as_api_gateway_makes_it() -> None:
    event = event_of("POST", "/predict?a=1&b=&a=2", {"Content-Type": "application/json"}, b"\xff")
    assert event["rawPath"] == "/predict"
    assert event["rawQueryString"] == "a=1&b=&a=2"
    assert event["queryStringParameters"] == {"a": "1,2", "b": ""}
    assert event["headers"] == {"content-type": "application/json"}
    assert (event["body"], event["isBase64Encoded"]) == ("/w==", True)
