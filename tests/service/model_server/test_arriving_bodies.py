"""Large bodies arrive in turns, whole and in order, however they are cut and whatever follows them."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from pathlib import Path

import pytest

from tests.support.model_servers import ModelServer

NAME = "model-1"


@pytest.fixture(scope="module")
def case(plain_server: ModelServer, artifacts: Path) -> tuple[str, str]:
    plain_server.load_folder("arriving", artifacts / NAME)
    row, prediction = json.loads((artifacts / f"{NAME}.expected.json").read_text())["rows"][0]
    return str(row), str(prediction)


def request(body: bytes, chunked: bool, chance: random.Random, close: bool) -> bytes:
    """A request with a body, as a whole or in chunks of random sizes."""
    head = "POST /models/arriving/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"
    head += "Connection: close\r\n" if close else ""
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces, at = [f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()], 0
    while at < len(body):
        size = chance.randrange(1, 200_000)
        piece = body[at : at + size]
        pieces.append(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        at += size
    return b"".join([*pieces, b"0\r\n\r\n"])


def answers(port: int, content: bytes, chance: random.Random) -> bytes:
    """Send requests cut anywhere, one behind the other; all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:

        def send() -> None:
            at = 0
            while at < len(content):
                size = chance.choice((1, 100, 65_536, 1_000_000, 7_000_000))
                client.sendall(content[at : at + size])
                at += size

        sending = threading.Thread(target=send)
        sending.start()
        received = b""
        while piece := client.recv(1 << 20):
            received += piece
        sending.join()
        return received


@pytest.mark.parametrize("chunked", [False, True])
def test_requests_behind_each_other_on_many_connections(
    plain_server: ModelServer, case: tuple[str, str], chunked: bool
) -> None:
    row, prediction = case
    sizes = (1, 20, 600, 12_000, 1, 500)
    expected = [",".join([prediction] * count).encode() for count in sizes]

    def converse(number: int) -> None:
        chance = random.Random(number)
        content = b"".join(
            request(f"{row}\n".encode() * count, chunked, chance, at == len(sizes) - 1)
            for at, count in enumerate(sizes)
        )
        received = answers(plain_server.port, content, chance)
        found = [part.split(b"HTTP/1.1 ")[0] for part in received.split(b"\r\n\r\n")[1:]]
        if found == expected:
            right.append(number)

    right: list[int] = []
    threads = [threading.Thread(target=converse, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(right) == list(range(12))


def test_a_body_that_stops_on_its_way_keeps_nobody_from_arriving(
    plain_server: ModelServer, case: tuple[str, str], request: pytest.FixtureRequest
) -> None:
    row, prediction = case
    head = b"POST /models/arriving/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
    head += b"Content-Length: 6000000\r\n\r\n"
    stuck = [socket.create_connection(("127.0.0.1", plain_server.port)) for _ in range(40)]
    for client in stuck:
        request.addfinalizer(client.close)
        client.sendall(head + b"1,2\n" * 50_000)
    status, text = plain_server.ask("arriving", f"{row}\n".encode() * 10_000)
    assert (status, text) == (200, ",".join([prediction] * 10_000))


def test_a_body_that_is_too_large_is_refused_in_either_form(
    plain_server: ModelServer, case: tuple[str, str]
) -> None:
    row, _ = case
    for chunked in (False, True):
        content = request(f"{row}\n".encode() * 60_000, chunked, random.Random(1), close=True)
        assert b" 413 " in answers_or_reset(plain_server.port, content)


def test_a_body_in_crumbs_is_refused(plain_server: ModelServer, case: tuple[str, str]) -> None:
    """Each chunk costs the event loop as much, however small it is."""
    head = "POST /models/arriving/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"
    head += "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    crumbs = head.encode() + b"1\r\n1\r\n" * 200_000 + b"0\r\n\r\n"
    answer = answers_or_reset(plain_server.port, crumbs)
    assert b" 400 " in answer
    assert b"send larger ones" in answer
    row, prediction = case
    chunks = "".join(f"1\r\n{each}\r\n" for each in row)
    good = answers_or_reset(plain_server.port, f"{head}{chunks}0\r\n\r\n".encode())
    assert good.endswith(prediction.encode())


def answers_or_reset(port: int, content: bytes) -> bytes:
    """What is answered before the server has had enough."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        received = b""
        with contextlib.suppress(OSError):
            client.sendall(content)
        with contextlib.suppress(OSError):
            while piece := client.recv(65_536):
                received += piece
        return received
