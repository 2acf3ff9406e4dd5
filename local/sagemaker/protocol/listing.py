"""What all List operations share: filters, order and pages, by the members that an operation's input shape has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from botocore.model import ListShape, StructureShape

from local.sagemaker import moments
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.paging import Position, take_page
from local.sagemaker.store import Document

#: Operations whose CreationTimeAfter means "at or after" (API Reference); elsewhere it means "after".
AT_OR_AFTER = frozenset({"ListModels", "ListEndpoints", "ListEndpointConfigs"})


def list_page(
    operation: str,
    request: dict[str, Any],
    documents: Iterable[Document],
    *,
    name: str,
    status: str | None = None,
    keep: Callable[[Document], bool] = lambda document: True,
    shown_name: Callable[[Document], str] | None = None,
    default_order: str = "Descending",
) -> dict[str, Any]:
    """Answer a List operation.

    Understands NameContains, StatusEquals, CreationTimeAfter/Before, LastModifiedTimeAfter/Before, SortBy,
    SortOrder, MaxResults and NextToken. A page goes on where the last one ended, also when resources came or
    went meanwhile.

    :param operation: for example ``ListModels``; its output shape tells which members a summary has.
    :param request: the parsed request.
    :param documents: what there is, as the store lists it.
    :param name: member that holds a document's unique name, for example ``ModelName``.
    :param status: member that holds its status, where the operation can filter by one.
    :param keep: further filter of the operation.
    :param shown_name: the name that NameContains means, if it is another one.
    :param default_order: the order the documentation gives: ``Ascending`` or ``Descending``.
    :returns: the operation's result, with NextToken if there is more.
    """
    field = {"Name": name, "Status": status, None: "CreationTime"}.get(request.get("SortBy"), "CreationTime")

    def position(document: Document) -> Position:
        value = document.get(field or name, "")
        return (
            moments.sortable(value) if isinstance(value, datetime) else value,
            document[name],
        )

    def wanted(document: Document) -> bool:
        shown = shown_name(document) if shown_name else document[name]
        return (
            request.get("NameContains", "") in shown
            and (not status or request.get("StatusEquals") in (None, document[status]))
            and _in_time(document, request, inclusive=operation in AT_OR_AFTER)
            and keep(document)
        )

    page, token = take_page(
        operation,
        request,
        filter(wanted, documents),
        position,
        descending=request.get("SortOrder", default_order) == "Descending",
    )
    member, summary = _summaries(operation)
    result: dict[str, Any] = {
        member: [{key: value for key, value in each.items() if key in summary.members} for each in page]
    }
    return {**result, "NextToken": token} if token else result


def _summaries(operation: str) -> tuple[str, StructureShape]:
    """The result's member that is the list, and the shape of one summary."""
    for member, shape in wire.operation_model(operation).output_shape.members.items():
        if isinstance(shape, ListShape):
            return member, shape.member
    raise LookupError(f"{operation} answers no list")


def _in_time(document: Document, request: dict[str, Any], *, inclusive: bool) -> bool:
    for time in ("CreationTime", "LastModifiedTime"):
        moment = document.get(time)
        after, before = request.get(f"{time}After"), request.get(f"{time}Before")
        if before is not None and (moment is None or moment >= before):
            return False
        if after is None:
            continue
        if (
            moment is None
            or moment < after
            or (moment == after and not (inclusive and time == "CreationTime"))
        ):
            return False
    return True
