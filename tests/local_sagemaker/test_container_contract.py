"""The code that runs inside the image, started as the host starts it, over HTTP and the file system alone."""

from __future__ import annotations

import ast
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONTAINER = REPOSITORY / "local_sagemaker" / "container"
INFERENCE = """
import pathlib, time
def model_fn(model_dir):
    text = pathlib.Path(model_dir, "model.txt").read_text()
    if text == "huge":
        raise MemoryError("no room")
    return text
def input_fn(body, content_type):
    return body
def predict_fn(data, model):
    if data == "sleep":
        time.sleep(1.0)
    if data == "teapot":
        error = ValueError("ignored")
        error.status_code, error.message = 418, "I am a teapot"
        raise error
    return f"{model}:{data}"
def output_fn(prediction, accept, context):
    return (prediction + ":" + str(context.get_request_header(0, "X-Asked-By")), "text/plain")
"""


def image_python() -> str:
    """Interpreter that stands for the managed image, or this one where that environment is not made."""
    found = REPOSITORY / ".venv-image" / "bin" / "python"
    return str(found if found.exists() else sys.executable)


class ModelServer:
    """A running model server."""

    def __init__(self, base: Path, wait_until: Any) -> None:
        self.base = base
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {
            "PATH": os.environ["PATH"],
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/code.tar.gz",
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "SAGEMAKER_MULTI_MODEL": "true",
        }
        self.process = subprocess.Popen([image_python(), CONTAINER / "__main__.py", "serve"], env=environment)
        wait_until(self.answers, 30, "the model server answers")

    def answers(self) -> bool:
        """Whether /ping is answered."""
        assert self.process.poll() is None
        try:
            return self.call("GET", "/ping")[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request on a connection of its own; JSON answers are decoded."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return self.on(connection, method, path, body, **headers)
        finally:
            connection.close()

    def on(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, **headers: str
    ) -> tuple[int, Any]:
        """One request on a given connection."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, {name.replace("_", "-"): v for name, v in headers.items()})
        response = connection.getresponse()
        content = response.read()
        if response.headers.get("Content-Type") == "application/json":
            return response.status, json.loads(content or b"null")
        return response.status, content.decode()

    def load(self, name: str, text: str = "model") -> tuple[int, Any]:
        """Load a model whose only file holds a text."""
        folder = self.base / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.txt").write_text(text)
        return self.call("POST", "/models", {"model_name": name, "url": str(folder)})


@pytest.fixture
def server(tmp_path: Path, wait_until: Callable[..., Any]) -> Iterator[ModelServer]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(INFERENCE)
    server = ModelServer(tmp_path, wait_until)
    yield server
    server.process.kill()
    server.process.wait()


def test_load_list_invoke_unload(server: ModelServer) -> None:
    assert server.load("one", "first")[0] == 200
    assert server.load("one")[0] == 409
    assert server.load("two", "second")[0] == 200
    assert server.load("a name/with%odd characters", "third")[0] == 200
    folder = str(server.base / "models")
    assert server.call("GET", "/models/one") == (200, {"modelName": "one", "modelUrl": f"{folder}/one"})
    assert server.call("GET", "/models/none")[0] == 404

    status, page = server.call("GET", "/models?limit=2")
    assert status == 200
    assert [each["modelName"] for each in page["models"]] == ["one", "two"]
    status, rest = server.call("GET", f"/models?limit=2&next_page_token={page['nextPageToken']}")
    assert [each["modelName"] for each in rest["models"]] == ["a name/with%odd characters"]
    assert "nextPageToken" not in rest
    assert server.call("GET", "/models?limit=none")[0] == 400

    answer = server.call("POST", "/models/one/invoke", b"1", Content_Type="text/csv", X_Asked_By="test")
    assert answer == (200, "first:1:test")
    odd = "/models/a%20name%2Fwith%25odd%20characters"
    assert server.call("POST", f"{odd}/invoke", b"1", Content_Type="text/csv") == (200, "third:1:None")
    assert server.call("DELETE", odd)[0] == 200
    assert server.call("DELETE", odd)[0] == 404
    assert server.call("POST", f"{odd}/invoke", b"1")[0] == 404
    assert server.call("GET", "/nothing")[0] == 404


def test_errors(server: ModelServer) -> None:
    status, answer = server.load("huge", "huge")
    assert status == 507
    assert "no room" in answer["message"]
    assert server.call("POST", "/models", {"model_name": "x", "url": "/nowhere"})[0] == 400
    assert server.call("POST", "/models", b"not json")[0] == 400
    server.load("one")
    status, text = server.call("POST", "/models/one/invoke", b"teapot", Content_Type="text/csv")
    assert status == 418
    assert text.splitlines()[0] == "I am a teapot"


def test_a_connection_is_kept_alive_and_bodies_reach_the_handler_as_the_toolkit_says(
    server: ModelServer,
) -> None:
    server.load("one")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    first = connection.sock.getsockname()
    for content_type, expected in (("text/csv", "model:1:None"), ("application/x-other", "model:b'1':None")):
        answer = server.on(connection, "POST", "/models/one/invoke", b"1", Content_Type=content_type)
        assert answer == (200, expected)
    assert server.on(connection, "POST", "/models/none/invoke", b"1")[0] == 404
    assert connection.sock.getsockname() == first
    connection.close()


def test_sigterm_finishes_what_runs(server: ModelServer) -> None:
    server.load("one")
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    idle.connect()
    started = concurrent.futures.Future[None]()

    def ask() -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", "/models/one/invoke", b"sleep", {"Content-Type": "text/csv"})
        started.set_result(None)
        response = connection.getresponse()
        return response.status, response.read()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        started.result(10)
        # The request is being answered when a second one on the same model has to wait for it.
        while server.call("GET", "/ping")[0] != 200:
            pass
        server.process.send_signal(signal.SIGTERM)
        assert answer.result(20) == (200, b"model:sleep:None")
    assert server.process.wait(20) == 0
    idle.close()


def test_the_container_needs_nothing_but_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {
        "numpy",
        "xgboost",
    }  # the image has both; imported where they are used
    for path in CONTAINER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert str(node.module).split(".")[0] in allowed, path


def test_script_mode_without_its_program(tmp_path: Path) -> None:
    for folder in ("input/config", "code", "output"):
        (tmp_path / folder).mkdir(parents=True)
    parameters = {"sagemaker_program": json.dumps("train.py")}
    (tmp_path / "input/config/hyperparameters.json").write_text(json.dumps(parameters))
    (tmp_path / "code" / "other.py").touch()
    done = subprocess.run(
        [image_python(), CONTAINER / "__main__.py", "train"],
        env={"SAGEMAKER_BASE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    failure = (tmp_path / "output/failure").read_text()
    assert "'train.py'" in failure
    assert "it holds ['other.py']" in failure
    assert failure in done.stderr


def test_hyperparameters_are_spelled_as_the_toolkit_spells_them(tmp_path: Path) -> None:
    for folder in ("input/config", "code", "output"):
        (tmp_path / folder).mkdir(parents=True)
    parameters = {
        "sagemaker_program": '"show.py"',
        "sagemaker_job_name": '"x"',
        "n": "3",
        "text": '"a b"',
        "plain": "word",
        "flag": "true",
        "nothing": "null",
        "mapping": '{"b": 1, "a": 2}',
        "items": "[1, 2]",
    }
    (tmp_path / "input/config/hyperparameters.json").write_text(json.dumps(parameters))
    (tmp_path / "code" / "show.py").write_text("import sys, json; print('SHOWN', json.dumps(sys.argv[1:]))")
    done = subprocess.run(
        [image_python(), CONTAINER / "__main__.py", "train"],
        env={"SAGEMAKER_BASE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SHOWN ")]
    expected = "--flag True --items|[1, 2]|--mapping a=2,b=1 -n 3 --nothing||--plain word --text|a b"
    words = [
        word
        for part in expected.split("|")
        for word in ([part] if part in ("[1, 2]", "", "a b") else part.split())
    ]
    assert json.loads(line.removeprefix("SHOWN ")) == words
