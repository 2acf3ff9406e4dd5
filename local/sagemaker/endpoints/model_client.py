"""A small HTTP/1.1 client for our own model servers: it keeps connections open, and can do only what they need.

It relies on model_server answering every request with a Content-Length. A general-purpose client takes several
times as long as the prediction itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_IDLE = 64
LARGEST_HEAD_BYTES = 64 * 1024


class NoAnswer(Exception):
    """The model server does not listen, or closed the connection before it had answered."""


@dataclass(frozen=True)
class Answer:
    """What a model server answered.

    :param headers: by name in lower case.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def message(self) -> str:
        """The container's own words about an error."""
        if self.headers.get("content-type", "").startswith("application/json"):
            try:
                body = json.loads(self.content)
            except ValueError:
                body = None
            if isinstance(body, dict) and isinstance(body.get("message"), str):
                return str(body["message"])
        return self.content.decode("utf-8", "replace")


class ModelClient:
    """Client of one model server. For one event loop at a time.

    :param port: where the server listens on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Send a request, and wait for the whole answer.

        :param timeout_seconds: until the whole answer is there; None = no limit.
        :raises NoAnswer: when the server does not answer.
        :raises TimeoutError: when it does not answer in time.
        """
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        data = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        if timeout_seconds is None:
            return await self._ask(data)
        async with asyncio.timeout(timeout_seconds):
            return await self._ask(data)

    async def _ask(self, data: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(loop):
                try:
                    return await self._on(connection, data)
                except NoAnswer:
                    if connection.began:
                        raise
                    # Closed while it was idle: the request has not been looked at.
        try:
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        except OSError as error:
            raise NoAnswer(f"The model server does not answer: {error}") from error
        return await self._on(connection, data)

    async def _on(self, connection: _Connection, data: bytes) -> Answer:
        try:
            answer = await connection.ask(data)
        except BaseException:
            connection.close()
            raise
        if answer.headers.get("connection") == "close" or len(self._idle) >= MOST_IDLE:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close the idle connections. From the event loop's thread."""
        while self._idle:
            self._idle.pop().close()


class _Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._buffer = bytearray()
        self._answered: asyncio.Future[Answer] | None = None
        self._head: tuple[int, dict[str, str]] | None = None
        self._length = 0
        self._lost = False
        self.began = False  # to answer the question asked last

    def usable(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the connection is open and belongs to the running event loop."""
        return self._loop is loop and not self._lost

    async def ask(self, data: bytes) -> Answer:
        """Send a request and wait for its answer.

        :raises NoAnswer: when the connection is closed first.
        """
        if self._lost:
            raise NoAnswer("The model server does not answer: it has closed the connection.")
        self._buffer.clear()
        self._head, self.began = None, False
        self._answered = self._loop.create_future()
        self._transport.write(data)
        return await self._answered

    def close(self) -> None:
        """Close it."""
        self._lost = True
        if self._transport is not None and not self._loop.is_closed():
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.began = True
        self._buffer += data
        try:
            self._look()
        except (ValueError, IndexError, KeyError) as error:
            self._fail(NoAnswer(f"The model server does not speak HTTP: {error!r}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._fail(NoAnswer(f"The model server does not answer: {exc or 'it has closed the connection'}."))

    def _look(self) -> None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > LARGEST_HEAD_BYTES:
                    raise ValueError("endless headers")
                return
            status, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = {}
            for line in lines:
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            self._head = int(status.split(" ", 2)[1]), headers
            self._length = int(headers["content-length"])
            del self._buffer[: end + 4]
        if len(self._buffer) >= self._length and self._answered is not None and not self._answered.done():
            self._answered.set_result(Answer(*self._head, bytes(self._buffer[: self._length])))

    def _fail(self, error: NoAnswer) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
