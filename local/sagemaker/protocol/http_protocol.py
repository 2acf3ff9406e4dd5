"""uvicorn's HTTP protocol with two changes: an answer is sent in one piece, and a handler can close the connection."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class HttpConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """One connection of a caller."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Let requests of this connection know its transport."""
        super().connection_made(GatheringTransport(transport))
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


class GatheringTransport:
    """Sends what is written in one step of the event loop at once.

    uvicorn writes an answer's head and body one after the other; each would be a system call of its own and wake the
    caller.

    :param transport: the transport that does the sending.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, in the order in which they are written.

        :param data: the bytes.
        """
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self._transport.writelines(self._waiting)
        self._waiting = []
