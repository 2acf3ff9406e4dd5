"""Search: training jobs, model packages, package groups and endpoints by what they hold.

Expressions and filters are in search_filters.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from botocore.model import Shape

from local.sagemaker import moments
from local.sagemaker.errors import ValidationException
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.operations import operation
from local.sagemaker.protocol.paging import take_page
from local.sagemaker.reach import Server
from local.sagemaker.registry.search_filters import Test, expression_test, find_property
from local.sagemaker.store import Document

#: Resources that can be searched for: the kind in the store, and the member that tells them apart.
RESOURCES = {
    "TrainingJob": ("training-job", "TrainingJobName"),
    "ModelPackage": ("model-package", "_sort_name"),
    "ModelPackageGroup": ("model-package-group", "ModelPackageGroupName"),
    "Endpoint": ("endpoint", "EndpointName"),
}
#: Texts are sorted by this much of them, which keeps tokens short.
_SORTED_LENGTH = 200


@operation(
    "Search",
    source="API Reference: Search, SearchExpression, Filter, NestedFilters, VisibilityConditions",
    differs=[
        "Searches for TrainingJob, ModelPackage, ModelPackageGroup and Endpoint; other resources are refused.",
        "There is one account: CrossAccountFilterOption CrossAccount finds none.",
        "TotalHits is always exact; what was just created is found at once.",
    ],
)
def search(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Find resources that match an expression."""
    resource = request["Resource"]
    if resource not in RESOURCES:
        raise ValidationException(
            f"Resource: the local SageMaker does not search for {resource}; it searches for:"
            f" {', '.join(RESOURCES)}."
        )
    kind, name = RESOURCES[resource]
    server.warm_pools.expire()
    shape = wire.service_model().shape_for("SearchRecord").members[resource]
    expression = request.get("SearchExpression")
    matches = expression_test(shape, expression) if expression is not None else lambda record: True
    visible = [_visibility(condition) for condition in request.get("VisibilityConditions", [])]
    # The default is LastModifiedTime, which a group never has, and a package only after its first change.
    sorted_by = find_property(shape, request.get("SortBy", "CreationTime"))

    def position(document: Document) -> tuple[str, str]:
        values = sorted_by.values(_record(shape, document))
        if request.get("SortBy", "LastModifiedTime") == "LastModifiedTime":
            values = [document.get("LastModifiedTime", document["CreationTime"])]
        return _sortable(values[0]) if values else "", document[name]

    documents = [] if request.get("CrossAccountFilterOption") == "CrossAccount" else server.store.list(kind)
    found = []
    for document in documents:
        record = _record(shape, document)
        if matches(record) and all(condition(record) for condition in visible):
            found.append(document)
    descending = request.get("SortOrder", "Descending") == "Descending"
    page, token = take_page("Search", request, found, position, descending=descending)
    return {
        "Results": [{resource: _record(shape, document)} for document in page],
        "TotalHits": {"Value": len(found), "Relation": "EqualTo"},
        "NextToken": token,
    }


def _record(shape: Shape, document: Document) -> dict[str, Any]:
    """A document as a search record shows it."""
    record = {key: value for key, value in document.items() if key in shape.members}
    if "Tags" in shape.members and document.get("_tags"):
        record["Tags"] = document["_tags"]
    return record


def _visibility(condition: dict[str, Any]) -> Test:
    """A resource is hidden if it has the tag with another value (API Reference: VisibilityConditions)."""
    prefix, _, key = condition.get("Key", "").partition(".")
    if prefix != "Tags" or not key:
        raise ValidationException("VisibilityConditions: Key must have the form Tags.<key>.")
    return lambda record: all(
        tag["Value"] == condition.get("Value") for tag in record.get("Tags", []) if tag["Key"] == key
    )


def _sortable(value: Any) -> str:
    """A value as a text that sorts like it."""
    if isinstance(value, datetime):
        return moments.sortable(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        # Negative numbers first, the larger their size the earlier.
        size = f"{abs(value):040.6f}"
        return (
            f"1{size}" if value >= 0 else "0" + "".join(str(9 - int(c)) if c.isdigit() else c for c in size)
        )
    return str(value)[:_SORTED_LENGTH]
