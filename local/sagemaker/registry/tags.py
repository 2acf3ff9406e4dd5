"""Tags, which every resource with an ARN can have. They live in the resource's document, under ``_tags``."""

from __future__ import annotations

from typing import Any

from local.sagemaker.errors import ValidationException, not_found
from local.sagemaker.protocol.operations import operation
from local.sagemaker.reach import Server
from local.sagemaker.store import Document, NotFound

MAX_TAGS = 50
#: The resources that have tags, by the type in their ARN, with the member that holds the ARN.
TAGGABLE = {
    "endpoint": "EndpointArn",
    "endpoint-config": "EndpointConfigArn",
    "model": "ModelArn",
    "model-package": "ModelPackageArn",
    "model-package-group": "ModelPackageGroupArn",
    "processing-job": "ProcessingJobArn",
    "training-job": "TrainingJobArn",
    "transform-job": "TransformJobArn",
}
VERSION_TAGS = (
    "A version of a model package has the tags of its group: ListTags answers those, AddTags and DeleteTags"
    " refuse it."
)

Tag = dict[str, str]


def check_tags(tags: list[Tag]) -> list[Tag]:
    """The tags of a request, if they may be set.

    :raises ValidationException: if a key is there twice or reserved.
    """
    keys = [tag["Key"] for tag in tags]
    for key in keys:
        if keys.count(key) > 1:
            raise ValidationException(f"Duplicate tag keys found: {key}. Tag keys must be unique.")
        if key.lower().startswith("aws:"):
            raise ValidationException(f"The tag key {key} begins with aws:, which is reserved for AWS use.")
    return tags


@operation("AddTags", differs=[VERSION_TAGS])
def add_tags(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Add tags; a key that is there already gets the new value."""
    added = check_tags(request["Tags"])

    def change(document: Document) -> None:
        tags = {tag["Key"]: tag["Value"] for tag in [*document.get("_tags", []), *added]}
        if len(tags) > MAX_TAGS:
            raise ValidationException(
                f"A resource can have {MAX_TAGS} tags; this request would make it {len(tags)}."
            )
        document["_tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]

    return {"Tags": _update(server, request["ResourceArn"], change)}


@operation("DeleteTags", differs=[VERSION_TAGS])
def delete_tags(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Remove tags; keys that are not there are ignored."""

    def change(document: Document) -> None:
        kept = [tag for tag in document.get("_tags", []) if tag["Key"] not in request["TagKeys"]]
        document["_tags"] = kept

    _update(server, request["ResourceArn"], change)
    return {}


@operation("ListTags", differs=[VERSION_TAGS])
def list_tags(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """All tags of a resource: there are never more than one page of them."""
    if request.get("NextToken"):
        raise ValidationException("NextToken is not one that this list has answered.")
    document = _find(server, request["ResourceArn"])
    if "ModelPackageVersion" in document:
        document = server.store.get("model-package-group", document["ModelPackageGroupName"]) or document
    return {"Tags": document.get("_tags", [])}


def _find(server: Server, arn: str) -> Document:
    """The document of a resource.

    :raises ValidationException: if there is none with this very ARN.
    """
    kind, _, name = arn.split(":", 5)[5].partition("/")
    document = server.store.get(kind, name) if kind in TAGGABLE else None
    if document is None or document.get(TAGGABLE[kind]) != arn:
        raise not_found(kind.replace("-", " "), arn)
    return document


def _update(server: Server, arn: str, change: Any) -> list[Tag]:
    if "ModelPackageVersion" in _find(server, arn):
        raise ValidationException(
            f"{arn} is a version of a model package, which has the tags of its group; tag the group."
        )
    kind, _, name = arn.split(":", 5)[5].partition("/")
    try:
        tags: list[Tag] = server.store.update(kind, name, change)["_tags"]
    except NotFound:
        raise not_found(kind.replace("-", " "), arn) from None
    return tags
