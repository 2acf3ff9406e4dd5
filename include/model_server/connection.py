"""One HTTP connection: requests are read whole and answered one after another, each step within a time limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from model_server.answers import closing, error_answer
from model_server.chunked_body import ChunkedBody
from model_server.http_head import LARGEST_HEAD_BYTES, BadRequest, Fields, parse_fields, parse_request_line
from model_server.web_pages import FORBIDDEN, refusal

READ_AHEAD_BYTES = 64 * 1024
#: A body above this size arrives a piece at a time, in turn with others; so many pieces between two looks at the rest.
LARGE_BYTES = 64 * 1024
PIECES_AT_A_TIME = 2
DISCARD_SECONDS = 2
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Handle = Callable[[str, str, Fields, bytes], "bytes | Awaitable[bytes]"]


class Connections:
    """All open connections, and the clock they are timed by.

    :param handle: answers a request; an awaitable it returns never raises.
    :param request_seconds: how long a request may take to arrive, and an answer to leave.
    :param idle_seconds: how long a connection may be idle.
    :param on_loopback: whether only this machine reaches the server.
    """

    def __init__(
        self,
        handle: Handle,
        *,
        most: int,
        body_bytes: int,
        request_seconds: int,
        idle_seconds: int,
        on_loopback: bool,
    ) -> None:
        self.handle = handle
        self.most = most
        self.body_bytes = body_bytes
        self.request_seconds = request_seconds
        self.idle_seconds = idle_seconds
        self.on_loopback = on_loopback
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self._arriving: deque[Connection] = deque()
        #: Seconds since the start, counted by :meth:`tick`: cheaper than a clock for every request.
        self.seconds = 0

    def make(self) -> Connection:
        """A connection for a client that has come."""
        return Connection(self)

    async def tick(self) -> None:
        """Count the seconds, and end what has taken too long; for ever."""
        while True:
            await asyncio.sleep(1)
            self.seconds += 1
            for connection in list(self.open):
                connection.check(self.seconds)

    def take_turns(self, connection: Connection) -> None:
        """Read no more of a large body until others have had their turn.

        Each piece costs the event loop milliseconds while a thread evaluates: without turns a ping would wait for a
        piece of every body that is arriving.
        """
        if not self._arriving:
            asyncio.get_running_loop().call_soon(self._read_on)
        self._arriving.append(connection)

    def _read_on(self) -> None:
        for _ in range(min(PIECES_AT_A_TIME, len(self._arriving))):
            self._arriving.popleft().read_on()
        if self._arriving:
            asyncio.get_running_loop().call_soon(self._read_on)

    def drain(self) -> None:
        """Close idle connections, and the others after the answer they wait for."""
        self.draining = True
        for connection in list(self.open):
            connection.drain()


class Connection(asyncio.Protocol):
    """One client.

    :param all_: the connections it is one of.
    """

    def __init__(self, all_: Connections) -> None:
        self._all = all_
        self._transport: Any = None
        self._buffer = bytearray()  # what has come and is not understood yet
        self._needed = 0  # how long the buffer must be before another look helps
        self._head: tuple[str, str, Fields, int] | None = (
            None  # of the request that is arriving, and its size
        )
        self._chunked: tuple[str, str, Fields, ChunkedBody] | None = None
        self._continued = False
        self._answering = False
        self._since = all_.seconds  # when what goes on has begun
        self._blocked_since: int | None = None
        self._ended = False  # nothing is read any more
        self._eof = False  # the client sends nothing any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        everyone = self._all
        everyone.open.add(self)
        if len(everyone.open) > everyone.most or everyone.draining:
            self._end(error_answer(503, "Too many connections are open."))

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.open.discard(self)
        self._ended = True

    def pause_writing(self) -> None:
        self._blocked_since = self._all.seconds

    def resume_writing(self) -> None:
        self._blocked_since = None

    def eof_received(self) -> bool:
        self._eof = True
        return self._answering  # a client may close its side after its request

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._answering:
            self._buffer += data
            if len(self._buffer) > READ_AHEAD_BYTES:
                self._transport.pause_reading()
            return
        if self._chunked is None:
            if not self._buffer:
                self._since = self._all.seconds
                self._read(data)
                return
            self._buffer += data
            if len(self._buffer) < self._needed:
                if self._needed > LARGE_BYTES:
                    self._pause()
                return
            data = self._take_all() if self._head is None else self._take_body(*self._head)
            if self._answering or self._ended:
                self._buffer += data
                return
        self._read(data)
        if self._chunked is not None and len(self._chunked[3].content) > LARGE_BYTES and not self._ended:
            self._pause()

    def check(self, seconds: int) -> None:
        """End it when something takes too long.

        :param seconds: the clock.
        """
        everyone = self._all
        if self._blocked_since is not None and seconds - self._blocked_since > everyone.request_seconds:
            self._transport.abort()
        elif self._ended:
            if seconds - self._since > DISCARD_SECONDS:
                self._transport.abort()
        elif self._answering:
            return
        elif self._buffer or self._chunked is not None:
            if seconds - self._since > everyone.request_seconds:
                self._end(error_answer(408, f"The request has not arrived in {everyone.request_seconds} s."))
        elif seconds - self._since > everyone.idle_seconds:
            self._transport.close()

    def drain(self) -> None:
        """Close it if it is idle."""
        if not self._answering and not self._buffer and self._chunked is None and not self._ended:
            self._transport.close()

    def read_on(self) -> None:
        """Go on with a large body, if nothing has happened to it meanwhile."""
        if not self._ended and not self._transport.is_closing():
            self._transport.resume_reading()

    def _pause(self) -> None:
        self._transport.pause_reading()
        self._all.take_turns(self)

    def _take_all(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def _take_body(self, method: str, target: str, fields: Fields, begin: int) -> bytes:
        """Answer the request whose body has arrived, which is copied once; what comes behind it."""
        self._head = None
        with memoryview(self._buffer) as view:
            body, rest = bytes(view[begin : self._needed]), bytes(view[self._needed :])
        self._buffer.clear()
        try:
            self._answer(method, target, fields, body)
        except BadRequest as error:
            self._end(error_answer(error.status, error.message))
        return rest

    def _read(self, data: bytes) -> None:
        """Answer the requests in some bytes until they end or an answer takes its time."""
        try:
            while data and not self._answering and not self._ended:
                rest = self._read_one(data)
                if rest is None:
                    return
                data = rest
            if data and not self._ended:
                self._buffer += data
        except BadRequest as error:
            self._end(error_answer(error.status, error.message))

    def _read_one(self, data: bytes) -> bytes | None:
        """Read one request and have it answered.

        :param data: begins where a request does, or goes on with a chunked body.
        :return: what comes behind it; None when it is not there as a whole.
        """
        if self._chunked is not None:
            return self._read_chunks(*self._chunked, data)
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0 or head_end > LARGEST_HEAD_BYTES:
            if len(data) > LARGEST_HEAD_BYTES:
                raise BadRequest(431, f"The header is larger than {LARGEST_HEAD_BYTES} bytes.")
            if not data[0:1].isupper():
                raise BadRequest(400, "The request line must be: METHOD /path HTTP/1.1")
            self._keep(data, len(data) + 1)
            return None
        line_end = data.find(b"\r\n", 0, head_end + 2)
        method, target, old = parse_request_line(data[:line_end])
        fields = parse_fields(data[line_end + 2 : head_end], old)
        if refused := refusal(fields.values, self._all.on_loopback):
            raise BadRequest(FORBIDDEN, refused)
        begin = head_end + 4
        if fields.chunked:
            self._continue(fields)
            self._chunked = (method, target, fields, ChunkedBody(self._all.body_bytes))
            return self._read_chunks(*self._chunked, data[begin:])
        end = begin + fields.length
        if end <= len(data):
            self._answer(method, target, fields, data[begin:end])
            return data[end:]
        if fields.length > self._all.body_bytes:
            raise BadRequest(413, f"The body is larger than {self._all.body_bytes} bytes.")
        self._continue(fields)
        self._keep(data, end)
        self._head = (method, target, fields, begin)
        return None

    def _read_chunks(
        self, method: str, target: str, fields: Fields, body: ChunkedBody, data: bytes
    ) -> bytes | None:
        rest = body.feed(data)
        if rest is not None:
            self._chunked = None
            self._answer(method, target, fields, bytes(body.content))
        return rest

    def _keep(self, data: bytes, needed: int) -> None:
        self._buffer += data
        self._needed = needed

    def _continue(self, fields: Fields) -> None:
        if fields.expects_continue and not self._continued:
            self._continued = True
            self._transport.write(_CONTINUE)

    def _answer(self, method: str, target: str, fields: Fields, body: bytes) -> None:
        if len(body) > self._all.body_bytes:
            raise BadRequest(413, f"The body is larger than {self._all.body_bytes} bytes.")
        self._continued = False
        result = self._all.handle(method, target, fields, body)
        if isinstance(result, bytes):
            self._write(result, fields.close)
            return
        self._answering = True
        task = asyncio.get_running_loop().create_task(self._wait(result, fields.close))
        self._all.tasks.add(task)
        task.add_done_callback(self._all.tasks.discard)

    async def _wait(self, result: Awaitable[bytes], close: bool) -> None:
        try:
            content = await result
        except Exception as error:  # a bug: this one request fails, and its connection ends
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a request failed", "exception": error})
            content, close = error_answer(500, "Internal error; the log of the server says more."), True
        if self._ended:
            return
        self._answering = False
        self._write(content, close)
        self._go_on()

    def _go_on(self) -> None:
        if self._buffer and not self._ended:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._transport.resume_reading()
            self._since = self._all.seconds
            self._read(data)
        if self._eof and not self._answering and not self._ended:
            self._transport.close()  # nothing more can come

    def _write(self, content: bytes, close: bool) -> None:
        self._since = self._all.seconds
        if close or self._all.draining:
            self._end(closing(content), already=True)
        else:
            self._transport.write(content)

    def _end(self, content: bytes, already: bool = False) -> None:
        """Send the last answer. What the client still sends is thrown away, else it might never see the answer."""
        if self._transport.is_closing():
            return
        self._ended = True
        self._buffer.clear()
        self._chunked = None
        self._since = self._all.seconds
        self._transport.write(content if already else closing(content))
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
