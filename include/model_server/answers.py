"""Answers as the bytes that are sent."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
RETRY_AFTER_SECONDS = 1
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_CLOSE = b"\r\nConnection: close"


class RequestError(Exception):
    """A request or a load that failed, with the status it is answered with.

    :param message: body of the answer; its first line says what is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def answer(status: int, body: bytes, content_type: str, extra: str = "") -> bytes:
    """An answer that leaves the connection open.

    :param extra: more header lines, each with its end.
    """
    kind = (
        content_type.encode("latin-1", "replace").replace(b"\r", b" ").replace(b"\n", b" ").decode("latin-1")
    )
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nContent-Type: {kind}\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def json_answer(value: Any, status: int = 200, extra: str = "") -> bytes:
    """An answer in JSON.

    :param extra: more header lines, each with its end.
    """
    return answer(status, json.dumps(value).encode(), JSON, extra)


def error_answer(status: int, message: str, as_text: bool = False) -> bytes:
    """The answer to a request that failed.

    :param as_text: the bare text, as SageMaker's inference toolkit answers a failed invocation.
    """
    extra = f"Retry-After: {RETRY_AFTER_SECONDS}\r\n" if status == 503 else ""
    if as_text:
        return answer(status, message.encode("utf-8", "replace"), TEXT, extra)
    kind = _REASONS.get(status, "Unknown").replace(" ", "")
    return json_answer({"code": status, "type": kind, "message": message}, status, extra)


def closing(content: bytes) -> bytes:
    """The same answer, saying that the connection is closed after it."""
    head, end, body = content.partition(b"\r\n\r\n")
    return head + _CLOSE + end + body
