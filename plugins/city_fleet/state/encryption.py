"""Objects that the library writes are encrypted with the fleet file's key, where it names one.

Without one S3 takes the bucket's default, so nothing is added to any request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_WRITES = ("PutObject", "CopyObject", "CreateMultipartUpload")


def encrypting(client: S3Client, kms_key: str | None) -> S3Client:
    """Return the client, which from now on encrypts with a key what it writes.

    :param kms_key: its ARN; None for the bucket's default.
    """
    if kms_key is not None:

        def add(params: dict[str, Any], **_: Any) -> None:
            params.setdefault("ServerSideEncryption", "aws:kms")
            params.setdefault("SSEKMSKeyId", kms_key)

        for operation in _WRITES:
            client.meta.events.register(f"provide-client-params.s3.{operation}", add)
    return client
