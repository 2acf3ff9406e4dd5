"""HTTP as hostile or broken clients speak it: clear answers, never a crash, never one request's bytes in another."""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Callable

import h11
import pytest

from model_server.chunked_body import ChunkedBody
from model_server.http_head import BadRequest, parse_fields, parse_request_line
from tests.support.model_servers import ModelServer
from tests.support.waiting import wait_until

INVOKE = b"POST /models/one/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"


@pytest.fixture
def server(start: Callable[..., ModelServer]) -> ModelServer:
    server = start(
        MODEL_SERVER_REQUEST_SECONDS="2", MODEL_SERVER_IDLE_SECONDS="3", MODEL_SERVER_CONNECTIONS="40"
    )
    server.load("one")
    return server


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def test_what_is_not_well_formed_is_refused_and_ends_the_connection(
    server: ModelServer, subtests: pytest.Subtests
) -> None:
    for request_bytes, status in [
        (b"GET /ping HTTP/1.1\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /ping HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET  /ping HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://x/ping HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"get /ping HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\nContent-Length: 3\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (INVOKE + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1", 400),
        (INVOKE + b"Content-Length: 1, 1\r\n\r\n1", 400),
        (INVOKE + b"Content-Length: +1\r\n\r\n1", 400),
        (INVOKE + b"Content-Length: -1\r\n\r\n", 400),
        (INVOKE + b"Content-Length: 0x1\r\n\r\n1", 400),
        (INVOKE + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (INVOKE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (INVOKE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (INVOKE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (INVOKE + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1x\r\n0\r\n\r\n", 400),
        (INVOKE + b"Transfer-Encoding: chunked\r\n\r\n1\n1\r\n0\r\n\r\n", 400),
        (INVOKE + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n1", 417),
        (INVOKE + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (INVOKE + b"".join(b"X-%d: y\r\n" % number for number in range(120)) + b"\r\n", 431),
        (INVOKE + b"Content-Length: 6291457\r\n\r\n", 413),
        (INVOKE + b"Content-Length: 999999999999999999999\r\n\r\n", 400),
        (INVOKE + b"Transfer-Encoding: chunked\r\n\r\n600001\r\n", 413),
    ]:
        with subtests.test(request_bytes=request_bytes):
            answer = server.talk(request_bytes, INVOKE + b"Content-Length: 6\r\n\r\nsmuggl")
            assert statuses(answer) == [status]
            assert b"Connection: close" in answer
            assert b"smuggl" not in answer
            assert server.call("GET", "/ping")[0] == 200


def test_bodies_in_chunks_and_many_requests_at_once(server: ModelServer) -> None:
    chunked = INVOKE + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: z\r\n\r\n"
    plain = INVOKE + b"Content-Length: 2\r\n\r\nef"
    stream = (chunked + plain + b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n") * 5
    expected = [200] * 15
    took = []
    for _ in range(3):  # another process may take the processors for as long, once
        began = time.monotonic()
        whole = server.talk(stream)
        took.append(time.monotonic() - began)
    assert min(took) < 2.5  # closed after the last answer, not when it has been idle for long
    assert statuses(whole) == expected
    assert whole.count(b"model:abcd:None") == whole.count(b"model:ef:None") == 5
    # The same however it is cut.
    assert server.talk(*(stream[at : at + 7] for at in range(0, len(stream), 7))) == whole
    last = server.talk(INVOKE + b"Content-Length: 1\r\nConnection: close\r\n\r\n1" + plain)
    assert statuses(last) == [200]
    old = server.talk(b"GET /ping HTTP/1.0\r\n\r\n")
    assert statuses(old) == [200]
    assert b"Connection: close" in old


def test_a_client_that_waits_for_permission_to_send_gets_it(server: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(INVOKE + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ab")
        assert b"model:ab:None" in client.recv(1000)
        client.sendall(INVOKE + b"Content-Length: 7000000\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


def test_the_largest_body_is_six_mebibytes(server: ModelServer) -> None:
    body = b"x" * 6_291_456
    status, text = server.ask("one", body)
    assert (status, len(text)) == (200, len("model:") + len(body) + len(":None"))
    assert server.ask("one", body + b"x")[0] == 413


def test_slow_and_silent_clients_do_not_hold_a_connection_for_ever(server: ModelServer) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(INVOKE + b"Content-Length: 1000\r\n\r\n")
        received = b""
        slow.settimeout(0.3)
        while time.monotonic() - began < 15:  # a byte now and then does not help
            try:
                slow.sendall(b"1")
                received += slow.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                break
            if b"408" in received:
                break
    assert statuses(received) == [408]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
        assert silent.recv(1) == b""
    assert server.call("GET", "/ping")[0] == 200


def test_one_connection_too_many_is_told_so(server: ModelServer) -> None:
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(40)]
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as late:
            answer = late.recv(1000)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in answer
    finally:
        for each in held:
            each.close()
    wait_until(lambda: server.call("GET", "/ping")[0] == 200, 10, "there is room again")


def test_a_full_queue_answers_at_once(start: Callable[..., ModelServer]) -> None:
    server = start(MODEL_SERVER_THREADS="1", MODEL_SERVER_QUEUE="1")
    server.load("one")
    request = INVOKE + b"Content-Length: 5\r\n\r\nsleep"
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(5)]
    for client in clients:
        client.sendall(request)
    received = [client.recv(1000) for client in clients]
    for client in clients:
        client.close()
    assert sorted(answer[9:12] for answer in received) == [b"200", b"200", b"503", b"503", b"503"]
    assert all(b"Retry-After: 1" in answer for answer in received if answer[9:12] == b"503")
    assert server.metric("rejected_total") == 3


SEEDS = [
    b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n",
    b"POST /a HTTP/1.0\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"0",
    b"\x00",
    b",",
    b"Content-Length: 1\r\n",
    b"chunked",
    b"\t",
    b"\xff",
]


def ours(data: bytes) -> tuple[str, str, bytes] | None:
    """Method, target and body of the first request as we read it; None when it is refused or incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    line, _, block = data[:end].partition(b"\r\n")
    try:
        method, target, old = parse_request_line(line)
        fields = parse_fields(block, old)
        if not fields.chunked:
            body = data[end + 4 :][: fields.length]
            return (method, target, body) if len(body) == fields.length else None
        chunks = ChunkedBody(1 << 20)
        return None if chunks.feed(data[end + 4 :]) is None else (method, target, bytes(chunks.content))
    except BadRequest:
        return None


def theirs(data: bytes) -> tuple[str, str, bytes] | None:
    """The same as h11 reads it."""
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(data)
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return None
        return request.method.decode("latin-1"), request.target.decode("latin-1"), body
    except h11.RemoteProtocolError:
        return None


def test_we_never_read_a_request_differently_from_h11() -> None:
    """20,000 mutations: what we accept, h11 accepts and reads the same. (It accepts more, which is no danger.)"""
    chance = random.Random(7)
    accepted = 0
    for _ in range(20_000):
        data = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(3):
                case 0:
                    data[at:at] = chance.choice(PIECES)
                case 1:
                    del data[at : at + chance.randrange(1, 4)]
                case 2:
                    data[at : at + 1] = bytes([chance.randrange(256)])
        read = ours(bytes(data))
        if read is not None:
            accepted += 1
            assert theirs(bytes(data)) == read, bytes(data)
    assert accepted > 5_000
