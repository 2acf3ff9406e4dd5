"""Reads the head of an HTTP/1.1 request, strictly: what two readers could understand differently is refused.

RFC 9112. A body has either one Content-Length or the transfer coding ``chunked``, never both; lines end with CR LF;
no field is folded, no name is followed by a space; no bare CR, LF or NUL anywhere. So there is nothing to smuggle a
second request with, whatever stands in front of this server.
"""

from __future__ import annotations

import re
from functools import lru_cache

LARGEST_HEAD_BYTES = 16 * 1024
MOST_FIELDS = 100
CACHED_FIELDS_BYTES = 1024
LONGEST_LENGTH_DIGITS = 15

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.([01])")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class BadRequest(Exception):
    """A request that is not understood, or not wanted.

    :param status: HTTP status of the answer.
    :param message: what is wrong with it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Fields:
    """The header fields of a request, and what they say about its body.

    :param values: by name in lower case; several of one name are joined by commas.
    """

    __slots__ = ("accept", "chunked", "close", "content_type", "expects_continue", "length", "values")

    def __init__(self, values: dict[str, str], old: bool) -> None:
        self.values = values
        self.content_type = values.get("content-type")
        self.accept = values.get("accept")
        self.close = old or "close" in {
            part.strip() for part in values.get("connection", "").lower().split(",")
        }
        self.chunked = False
        self.length = 0
        coding = values.get("transfer-encoding")
        length = values.get("content-length")
        if coding is not None:
            if length is not None:
                raise BadRequest(400, "Content-Length and Transfer-Encoding in one request.")
            if old or coding.lower() != "chunked":
                raise BadRequest(501, "Transfer-Encoding: only chunked is understood, in HTTP/1.1.")
            self.chunked = True
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) <= LONGEST_LENGTH_DIGITS):
                raise BadRequest(400, "Content-Length must be one whole number.")
            self.length = int(length)
        expected = values.get("expect")
        if expected is not None and expected.lower() != "100-continue":
            raise BadRequest(417, "Expect: only 100-continue is understood.")
        self.expects_continue = expected is not None


def parse_request_line(line: bytes) -> tuple[str, str, bool]:
    """Read the first line of a request.

    :param line: without its end.
    :return: method, target, and whether it is HTTP/1.0.
    :raises BadRequest: when it is anything else.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest(400, "The request line must be: METHOD /path HTTP/1.1")
    return match[1].decode(), match[2].decode(), match[3] == b"0"


def parse_fields(block: bytes, old: bool) -> Fields:
    """Read the header fields. A client's are mostly the same from request to request: short blocks are remembered.

    :param block: the lines, without the end of the last one.
    :param old: whether the request is HTTP/1.0.
    :raises BadRequest: for anything that is not well-formed.
    """
    return _remembered_fields(block, old) if len(block) <= CACHED_FIELDS_BYTES else _read_fields(block, old)


def parse_field(line: bytes) -> tuple[str, str]:
    """Read one field, of a header or a trailer.

    :param line: without its end.
    :return: name in lower case, and value.
    :raises BadRequest: when it is not well-formed.
    """
    name, colon, value = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None or _CONTROL.search(value):
        raise BadRequest(400, "A header field is not well-formed.")
    return name.decode().lower(), value.strip(b" \t").decode("latin-1")


def _read_fields(block: bytes, old: bool) -> Fields:
    lines = block.split(b"\r\n") if block else []
    if len(lines) > MOST_FIELDS:
        raise BadRequest(431, f"More than {MOST_FIELDS} header fields.")
    values: dict[str, str] = {}
    for line in lines:
        name, text = parse_field(line)
        if name in values:
            if name in ("content-length", "transfer-encoding", "host", "expect", "content-type"):
                raise BadRequest(400, f"More than one {name} field.")
            text = f"{values[name]}, {text}"
        values[name] = text
    if not old and "host" not in values:
        raise BadRequest(400, "HTTP/1.1 needs a Host field.")
    return Fields(values, old)


_remembered_fields = lru_cache(maxsize=256)(_read_fields)
