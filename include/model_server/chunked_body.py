"""Reads a body in the transfer coding ``chunked`` (RFC 9112, section 7.1), as it arrives."""

from __future__ import annotations

import re

from model_server.http_head import BadRequest, parse_field

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t !-~\x80-\xff]*)?")
LONGEST_LINE_BYTES = 256
LARGEST_TRAILER_BYTES = 4096
#: A chunk costs the event loop a microsecond or two, however small it is: so many, and then one for so many bytes.
MOST_SMALL_CHUNKS = 1000
SMALLEST_MEAN_BYTES = 64


class ChunkedBody:
    """A body that is arriving.

    :param limit: how many bytes it may hold.
    """

    def __init__(self, limit: int) -> None:
        self.content = bytearray()
        self._limit = limit
        self._waiting = bytearray()
        self._missing = 0  # of the chunk that has begun, its CR LF included
        self._chunks = 0
        self._trailer_bytes = -1  # counted from the last chunk on

    def feed(self, data: bytes) -> bytes | None:
        """Take what has arrived.

        :param data: the next bytes of the connection.
        :return: None while the body is incomplete; then what came behind it.
        :raises BadRequest: 400 for what is not well-formed or comes in crumbs, 413 for a body that is too large.
        """
        waiting = self._waiting
        waiting += data
        at = 0
        while True:
            if self._missing:
                at = self._take_content(at)
                if self._missing:
                    break
            end = waiting.find(b"\r\n", at)
            line = bytes(waiting[at:] if end < 0 else waiting[at:end])
            longest = LONGEST_LINE_BYTES if self._trailer_bytes < 0 else LARGEST_TRAILER_BYTES
            if len(line) > longest or b"\n" in line:
                raise BadRequest(400, "A line of the chunked body is not well-formed.")
            if end < 0:
                break
            at = end + 2
            if self._trailer_bytes < 0:
                self._begin_chunk(line)
            elif line:
                self._trailer_bytes += len(line)
                if self._trailer_bytes > LARGEST_TRAILER_BYTES:
                    raise BadRequest(431, f"The trailer is larger than {LARGEST_TRAILER_BYTES} bytes.")
                parse_field(line)  # trailers are allowed and mean nothing here
            else:
                return bytes(waiting[at:])
        del waiting[:at]
        return None

    def _take_content(self, at: int) -> int:
        """Take what there is of a chunk; returns where it ends."""
        piece = self._waiting[at : at + self._missing]
        self._missing -= len(piece)
        self.content += piece
        if not self._missing:
            if self.content[-2:] != b"\r\n":
                raise BadRequest(400, "A chunk is not followed by CR LF.")
            del self.content[-2:]
        return at + len(piece)

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadRequest(400, "The size of a chunk is not well-formed.")
        size = int(match[1], 16)
        if len(self.content) + size > self._limit:
            raise BadRequest(413, f"The body is larger than {self._limit} bytes.")
        self._chunks += 1
        if self._chunks > MOST_SMALL_CHUNKS + len(self.content) // SMALLEST_MEAN_BYTES:
            raise BadRequest(
                400,
                f"More than {MOST_SMALL_CHUNKS} chunks of less than {SMALLEST_MEAN_BYTES} bytes; send larger ones.",
            )
        if size:
            self._missing = size + 2
        else:
            self._trailer_bytes = 0
