"""Pages of a sorted list, and the NextToken that leads from one to the next.

A token holds where its page ended, so that the next one goes on there, also when resources came or went
meanwhile. It is signed for the very list it belongs to: one that was changed, or was answered to another
question or by another server process, is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from local.sagemaker.errors import ValidationException
from local.sagemaker.store import Document

DEFAULT_PAGE_SIZE = 10
#: Members of a request that choose the page, not what is listed.
PAGE_MEMBERS = frozenset({"NextToken", "MaxResults"})
#: What is sorted by, and the document's name, which decides where the former is equal.
Position = tuple[str, str]

_SECRET = secrets.token_bytes(32)


def take_page(
    operation: str,
    request: dict[str, Any],
    found: Iterable[Document],
    position: Callable[[Document], Position],
    *,
    descending: bool,
) -> tuple[list[Document], str | None]:
    """Sort documents and take the page that is asked for.

    :param request: the parsed request; MaxResults and NextToken choose the page, the rest is the question.
    :param position: where a document is in the order; two short texts.
    :returns: the page, and the token of the next one if there is one.
    :raises ValidationException: if the token is not one that was answered to this question.
    """
    placed = sorted(((position(each), each) for each in found), key=lambda item: item[0], reverse=descending)
    after = _read_token(operation, request)
    if after is not None:
        placed = [each for each in placed if (each[0] < after if descending else each[0] > after)]
    page = placed[: request.get("MaxResults", DEFAULT_PAGE_SIZE)]
    more = len(placed) > len(page)
    return [each for _, each in page], _write_token(operation, request, page[-1][0]) if more else None


def _write_token(operation: str, request: dict[str, Any], position: Position) -> str:
    content = json.dumps(position).encode()
    return base64.urlsafe_b64encode(_signature(operation, request, content) + content).decode()


def _read_token(operation: str, request: dict[str, Any]) -> Position | None:
    token = request.get("NextToken")
    if not token:
        return None
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    signature, content = raw[:32], raw[32:]
    # Compared whole and as it was written: base64 has several spellings of the same bytes.
    if (
        base64.urlsafe_b64encode(raw).decode() != token
        or not raw
        or not hmac.compare_digest(signature, _signature(operation, request, content))
    ):
        raise ValidationException("NextToken is not one that this list with these filters has answered.")
    value, name = json.loads(content)
    return value, name


def _signature(operation: str, request: dict[str, Any], content: bytes) -> bytes:
    question = {key: value for key, value in request.items() if key not in PAGE_MEMBERS}
    text = json.dumps([operation, question], sort_keys=True, default=str).encode()
    return hmac.digest(_SECRET, text + b"\n" + content, hashlib.sha256)
