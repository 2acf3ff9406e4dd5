"""No page that a browser shows asks a model server on this machine anything, and no GET changes what it holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model_server.web_pages import is_loopback, refusal
from tests.support.model_servers import ModelServer


def _status(server: ModelServer, *fields: str, request: str = "GET /ping HTTP/1.1") -> int:
    head = "\r\n".join([request, *fields, "Connection: close", "", ""])
    return int(server.talk(head.encode()).split(b" ", 2)[1])


def test_a_page_is_refused_whatever_it_asks(start: Callable[..., ModelServer]) -> None:
    server = start()
    server.load("one")
    invoke = "POST /models/one/invoke HTTP/1.1"
    for request in ("GET /ping HTTP/1.1", "GET /models HTTP/1.1", "DELETE /models/one HTTP/1.1", invoke):
        assert _status(server, "Host: evil.example", request=request) == 403
        assert _status(server, f"Host: evil.example:{server.port}", request=request) == 403
        assert _status(server, "Host: localhost", "Origin: https://evil.example", request=request) == 403
        assert _status(server, "Host: localhost", "Origin: null", request=request) == 403
        assert _status(server, "Host: localhost", "Sec-Fetch-Site: cross-site", request=request) == 403
    assert server.names() == ["one"]
    for host in ("localhost", "LocalHost:1", "127.0.0.1", f"127.0.0.1:{server.port}", "[::1]", "[::1]:80"):
        assert _status(server, f"Host: {host}") == 200
    assert _status(server, "Host: localhost", "Sec-Fetch-Site: none") == 200


def test_the_refusal_says_why(start: Callable[..., ModelServer]) -> None:
    server = start()
    answer = server.talk(b"GET /ping HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert b"This server is not called 'evil.example'; ask it as localhost or 127.0.0.1." in answer


def test_no_get_changes_anything(start: Callable[..., ModelServer]) -> None:
    server = start()
    server.load("one")
    for path in (
        "/models/one?method=DELETE",
        "/models?model_name=two&url=/tmp",
        "/models/one/invoke",
        "/invocations",
    ):
        server.call("GET", path)
        server.call("HEAD", path)
    assert server.names() == ["one"]


def test_in_a_container_any_name_leads_to_the_server_and_pages_are_refused_all_the_same() -> None:
    # SageMaker asks a container by a name of its own.
    assert refusal({"host": "model.aws.local:8080"}, on_loopback=False) == ""
    assert refusal({"host": "169.254.180.2:8080"}, on_loopback=False) == ""
    assert "header field origin" in refusal({"host": "localhost", "origin": "null"}, on_loopback=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.53", "a.localhost"])
def test_loopback_is_known_by_its_names_and_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "localhost.evil", "127.0.0.1.evil", "10.0.0.1", "[::2]:80"]
)
def test_all_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)
