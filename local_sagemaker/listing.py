"""One way to list: filters, order and pages of every List operation, by the members its input shape has."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from botocore.model import ListShape, StructureShape

from local_sagemaker import wire
from local_sagemaker.errors import ValidationException
from local_sagemaker.store import Document

DEFAULT_PAGE_SIZE = 10
#: Members of a request that choose the page, not what is listed.
_PAGE_MEMBERS = frozenset({"NextToken", "MaxResults"})


def list_page(
    operation: str,
    request: dict[str, Any],
    documents: Iterable[Document],
    *,
    name: str,
    status: str | None = None,
    keep: Callable[[Document], bool] = lambda document: True,
    default_order: str = "Descending",
) -> dict[str, Any]:
    """Answer a List operation.

    Understands NameContains, StatusEquals, CreationTimeAfter/Before, LastModifiedTimeAfter/Before, SortBy,
    SortOrder, MaxResults and NextToken. A page goes on where the last one ended, also when resources came or
    went meanwhile.

    :param operation: for example ``ListModels``; its output shape tells which members a summary has.
    :param request: the parsed request.
    :param documents: what there is, as the store lists it.
    :param name: member that holds a document's name, for example ``ModelName``.
    :param status: member that holds its status, where the operation can filter by one.
    :param keep: further filter of the operation.
    :param default_order: the order the documentation gives: ``Ascending`` or ``Descending``.
    :returns: the operation's result, with NextToken if there is more.
    """
    field = {"Name": name, "Status": status, None: "CreationTime"}.get(request.get("SortBy"), "CreationTime")
    descending = request.get("SortOrder", default_order) == "Descending"

    def position(document: Document) -> tuple[str, str]:
        value = document.get(field or name, "")
        return (
            value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value,
            document[name],
        )

    found = [each for each in documents if _wanted(each, request, name, status) and keep(each)]
    found.sort(key=position, reverse=descending)
    after = _read_token(operation, request)
    if after is not None:
        found = [each for each in found if (position(each) < after if descending else position(each) > after)]
    page = found[: request.get("MaxResults", DEFAULT_PAGE_SIZE)]
    member, summary = _summaries(operation)
    result: dict[str, Any] = {
        member: [{key: value for key, value in each.items() if key in summary.members} for each in page]
    }
    if len(found) > len(page):
        result["NextToken"] = _write_token(operation, request, position(page[-1]))
    return result


def _summaries(operation: str) -> tuple[str, StructureShape]:
    """The result's member that is the list, and the shape of one summary."""
    for member, shape in wire.operation_model(operation).output_shape.members.items():
        if isinstance(shape, ListShape):
            return member, shape.member
    raise LookupError(f"{operation} answers no list")


def _wanted(document: Document, request: dict[str, Any], name: str, status: str | None) -> bool:
    if "NameContains" in request and request["NameContains"] not in document[name]:
        return False
    if status and "StatusEquals" in request and document[status] != request["StatusEquals"]:
        return False
    for time in ("CreationTime", "LastModifiedTime"):
        moment = document.get(time)
        if f"{time}After" in request and (moment is None or moment <= request[f"{time}After"]):
            return False
        if f"{time}Before" in request and (moment is None or moment >= request[f"{time}Before"]):
            return False
    return True


def _fingerprint(operation: str, request: dict[str, Any]) -> str:
    """What a token belongs to: a page can only be turned in the same list."""
    question = {key: value for key, value in request.items() if key not in _PAGE_MEMBERS}
    text = json.dumps([operation, question], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_token(operation: str, request: dict[str, Any], position: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(
        json.dumps([_fingerprint(operation, request), *position]).encode()
    ).decode()


def _read_token(operation: str, request: dict[str, Any]) -> tuple[str, str] | None:
    token = request.get("NextToken")
    if not token:
        return None
    try:
        fingerprint, value, name = json.loads(base64.urlsafe_b64decode(token.encode()))
        if (
            fingerprint == _fingerprint(operation, request)
            and isinstance(value, str)
            and isinstance(name, str)
        ):
            return value, name
    except (ValueError, TypeError, binascii.Error):
        pass
    raise ValidationException("NextToken is not one that this list with these filters has answered.")
