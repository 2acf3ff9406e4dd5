"""SageMaker's container contract, over HTTP alone: what any container for a multi-model endpoint must do."""

from __future__ import annotations

import concurrent.futures
import http.client
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.model_servers import ModelServer
from tests.support.waiting import wait_until


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
    for query in ("limit=none", "limit=0", "limit=-1", "next_page_token=x", "limit=1e3"):
        assert server.call("GET", f"/models?{query}")[0] == 400, query

    answer = server.call("POST", "/models/one/invoke", b"1", Content_Type="text/csv", X_Asked_By="test")
    assert answer == (200, "first:1:test")
    odd = "/models/a%20name%2Fwith%25odd%20characters"
    assert server.call("POST", f"{odd}/invoke", b"1", Content_Type="text/csv") == (200, "third:1:None")
    assert server.call("DELETE", odd)[0] == 200
    assert server.call("DELETE", odd)[0] == 404
    assert server.call("POST", f"{odd}/invoke", b"1")[0] == 404
    assert server.names() == ["one", "two"]


def test_errors(server: ModelServer) -> None:
    status, answer = server.load("huge", "huge")
    assert status == 507
    assert "no room" in answer["message"]
    status, answer = server.load("broken", "broken")
    assert status == 500
    assert answer["message"] == "ValueError: this model is broken. The endpoint's log says more."
    for body in (
        {"model_name": "x", "url": "/nowhere"},
        {"model_name": "x", "url": str(server.base / "code" / "inference.py")},
        {"model_name": "", "url": str(server.base)},
        {"model_name": 1, "url": str(server.base)},
        {"model_name": "x"},
        [],
        b"not json",
        b"[" * 100_000,
        b"",
    ):
        assert server.call("POST", "/models", body)[0] == 400, body
    assert server.names() == []
    assert server.call("PUT", "/models/x")[0] == 405
    assert server.call("GET", "/nothing")[0] == 404
    assert server.call("GET", "/invocations")[0] == 404
    assert server.call("POST", "/invocations", b"1")[0] == 404

    server.load("one")
    status, text = server.call("POST", "/models/one/invoke", b"teapot", Content_Type="text/csv")
    assert (status, text) == (418, "I am a teapot")
    status, text = server.call("POST", "/models/one/invoke", b"crash", Content_Type="text/csv")
    # Callers learn nothing of where the code lies; the log has the traceback.
    assert (status, text) == (
        500,
        "RuntimeError: the booster of m.ubj is gone. The endpoint's log says more.",
    )
    assert "/opt/ml/model/m.ubj" in server.log.read_text()
    assert server.call("POST", "/models/one/invoke", b"\xff", Content_Type="text/csv")[0] == 400
    assert server.ask("one", b"1") == (200, "model:1:None")


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


def test_requests_to_one_model_take_turns_and_models_do_not_wait_for_each_other(server: ModelServer) -> None:
    server.load("one")
    server.load("two")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        slow = pool.submit(server.ask, "one", b"sleep")
        wait_until(lambda: server.metric("running") == 1, 10, "the slow request runs")
        queued = pool.submit(server.ask, "one", b"1")
        assert server.ask("two", b"1") == (200, "model:1:None")
        assert not slow.done()
        assert slow.result(10)[0] == 200
        assert queued.result(10) == (200, "model:1:None")


def test_the_list_is_true_at_every_moment_and_an_answer_is_of_the_model_that_was_asked(
    server: ModelServer,
) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(server.load, "one", "gated") for _ in range(2)]
        refused, _ = concurrent.futures.wait(loads, 10, concurrent.futures.FIRST_COMPLETED)
        assert [load.result()[0] for load in refused] == [409]
        assert server.names() == []
        assert server.call("GET", "/models/one")[0] == 404
        (server.base / "models" / "one" / "open").touch()
        assert sorted(load.result(10)[0] for load in loads) == [200, 409]
        assert server.names() == ["one"]

        running = pool.submit(server.ask, "one", b"sleep")
        wait_until(lambda: server.metric("running") == 1, 10, "the request runs")
        assert server.call("DELETE", "/models/one")[0] == 200
        assert server.names() == []
        assert server.ask("one", b"1")[0] == 404
        assert server.load("one", "another")[0] == 200
        assert server.names() == ["one"]
        assert server.ask("one", b"1") == (200, "another:1:None")
        assert not running.done()
        assert running.result(10) == (200, "gated:sleep:None")


def test_sigterm_finishes_what_runs(server: ModelServer) -> None:
    server.load("one")
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    idle.connect()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.ask, "one", b"sleep")
        wait_until(lambda: server.metric("running") == 1, 10, "the request runs")
        server.process.send_signal(signal.SIGTERM)
        assert answer.result(20) == (200, "model:sleep:None")
    assert server.process.wait(20) == 0
    idle.close()


def test_one_model_of_its_own(start: Callable[..., ModelServer]) -> None:
    server = start(wait=False, SAGEMAKER_MULTI_MODEL="false")
    assert server.process.wait(30) == 1
    assert "url must be a folder that exists" in server.log.read_text()
    (server.base / "model").mkdir()
    (server.base / "model" / "model.txt").write_text("mine")
    server = ModelServer(server.base, SAGEMAKER_MULTI_MODEL="false")
    try:
        call: Any = server.call
        assert call("POST", "/invocations", b"1", Content_Type="text/csv") == (200, "mine:1:None")
        assert call("GET", "/ping")[0] == 200
        for method, path in (("GET", "/models"), ("POST", "/models"), ("POST", "/models/model/invoke")):
            assert call(method, path, b"{}")[0] == 404
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MODEL_SERVER_THREADS": "0"}, "MODEL_SERVER_THREADS: got '0'; allowed: a whole number from 1"),
        ({"SAGEMAKER_BIND_TO_PORT": "99999"}, "SAGEMAKER_BIND_TO_PORT: got 99999; allowed: a port"),
        ({"MODEL_SERVER_EVICTION": "never"}, "got 'never'; allowed: lru, refuse"),
    ],
)
def test_a_wrong_setting_is_named(
    start: Callable[..., ModelServer], variables: dict[str, str], words: str
) -> None:
    server = start(wait=False, **variables)
    assert server.process.wait(30) == 2
    assert words in server.log.read_text()
