"""A template that is too large for a request: CloudFormation reads it from the fleet's bucket, and it goes again.

The bucket may be one that the stack has yet to make. Then its own part of the template comes first, which is small.

Source: AWS CloudFormation API Reference, ``CreateChangeSet``: a ``TemplateBody`` has at most 51,200 bytes, what a
``TemplateURL`` names at most 1 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import ClientError
from botocore.loaders import create_loader

from city_fleet import aws_errors
from city_fleet.config import Fleet
from city_fleet.errors import PlatformError
from city_fleet.infrastructure import storage
from city_fleet.infrastructure.names import StackNames

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: What CloudFormation takes in a request.
MAX_BODY_BYTES = 51_200


def is_large(body: str) -> bool:
    """Tell whether a template does not fit into a request."""
    return len(body.encode()) > MAX_BODY_BYTES


def storage_part(names: StackNames, made: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a template that makes the bucket and its key, with every parameter of the whole."""
    first = storage.resources(names)
    return made | {
        "Resources": {name: each for name, each in made["Resources"].items() if name in first},
        "Outputs": {"KeyArn": made["Outputs"]["KeyArn"]},
    }


@contextmanager
def sendable(fleet: Fleet, s3: S3Client, body: str) -> Iterator[dict[str, str]]:
    """Give the member of a request that carries a template; a copy in the bucket is there as long as the block lasts.

    Where the bucket has versions, CloudFormation is told the version that was written: what somebody else may have
    written over it meanwhile is not what it reads.

    :raises PlatformError: the template is large, and there is no bucket, or one that may not be written to.
    """
    if not is_large(body):
        yield {"TemplateBody": body}
        return
    raw = body.encode()
    key = fleet.keys.template(hashlib.sha256(raw).hexdigest()[:16])
    try:
        version = s3.put_object(Bucket=fleet.bucket, Key=key, Body=raw, ContentType="application/json").get(
            "VersionId"
        )
    except ClientError as error:
        if aws_errors.is_no_bucket(error) or aws_errors.is_denied(error):
            why = "there is no such bucket" if aws_errors.is_no_bucket(error) else "you may not write to it"
            raise PlatformError(
                f"the template has {len(raw)} bytes, CloudFormation takes {MAX_BODY_BYTES} in a request and reads "
                f"a larger one from {fleet.keys.uri(key)}: {why}"
            ) from None
        raise
    try:
        yield {"TemplateURL": _url(s3, fleet, key, version)}
    finally:
        _delete(s3, fleet.bucket, key, version)


def _url(s3: S3Client, fleet: Fleet, key: str, version: str | None) -> str:
    """Return the address of an object as CloudFormation wants it: AWS's own, wherever this client asks."""
    partitions = create_loader().load_data("partitions")["partitions"]
    suffix = next(each["outputs"]["dnsSuffix"] for each in partitions if each["id"] == s3.meta.partition)
    url = f"https://s3.{fleet.region}.{suffix}/{fleet.bucket}/{quote(key)}"
    return f"{url}?versionId={quote(version)}" if version else url


def _delete(s3: S3Client, bucket: str, key: str, version: str | None) -> None:
    try:
        if version:
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
        else:
            s3.delete_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        # Who may write and not delete leaves a copy of what `--template` prints.
