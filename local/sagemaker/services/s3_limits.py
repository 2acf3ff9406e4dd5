"""What S3 refuses whatever there is in its buckets, and moto lets pass: names, keys, lengths, pages, operations.

Sources: S3 User Guide, "General purpose bucket naming rules" and "Naming Amazon S3 objects"; API Reference, "Error
responses" and the page of each operation. An operation that moto does not make falls through, within moto, to another
one of the same path: DeleteBucketMetricsConfiguration would delete the bucket. So those that are answered are listed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import regex
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.services.called import UNKNOWN, Call
from local.sagemaker.services.moto_s3 import ObjectAccess
from local.sagemaker.services.s3_conditions import header_not_implemented
from local.sagemaker.services.service_errors import Refusal

MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2048
MAX_KEYS = 1000
MAX_PARTS = 10_000
_MAX_INT = 2**31 - 1
#: Of these settings of a bucket moto keeps and answers what was put.
_SETTINGS = (
    "BucketAcl",
    "BucketCors",
    "BucketEncryption",
    "BucketInventoryConfiguration",
    "BucketLogging",
    "BucketOwnershipControls",
    "BucketPolicy",
    "BucketReplication",
    "BucketTagging",
    "BucketVersioning",
    "BucketWebsite",
    "ObjectAcl",
    "ObjectLegalHold",
    "ObjectLockConfiguration",
    "ObjectTagging",
    "PublicAccessBlock",
    "BucketAccelerateConfiguration",
    "BucketLifecycleConfiguration",
    "BucketNotificationConfiguration",
)
ANSWERED = frozenset(
    {
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateBucket",
        "CreateMultipartUpload",
        "DeleteBucket",
        "DeleteBucketLifecycle",
        "DeleteObject",
        "DeleteObjects",
        "GetBucketLocation",
        "GetBucketPolicyStatus",
        "GetObject",
        "GetObjectAttributes",
        "HeadBucket",
        "HeadObject",
        "ListBucketInventoryConfigurations",
        "ListBuckets",
        "ListMultipartUploads",
        "ListObjectVersions",
        "ListObjects",
        "ListObjectsV2",
        "ListParts",
        "PutObject",
        "PutObjectRetention",
        "UploadPart",
        "UploadPartCopy",
        *(f"{verb}{setting}" for verb in ("Get", "Put") for setting in _SETTINGS),
        *(
            f"Delete{setting}"
            for setting in (
                "BucketCors",
                "BucketEncryption",
                "BucketOwnershipControls",
                "BucketPolicy",
                "BucketReplication",
                "BucketTagging",
                "BucketWebsite",
                "ObjectTagging",
                "PublicAccessBlock",
            )
        ),
    }
)
#: Headers that change what is asked for, and that nothing here heeds. S3 itself takes the first three in directory
#: buckets alone.
NOT_HEEDED = (
    "x-amz-write-offset-bytes",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-object-lock-event-hold",
)
_OWNERS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")
_ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
_BUCKET_NAME = regex.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def check_request(request: BoundedRequest, call: Call) -> None:
    """Check a request by itself.

    :raises Refusal: if S3 would not take it, or moto can't answer it.
    """
    access, fields = call.access, request.fields
    if request.service == "s3express":
        raise _not_made("directory buckets")
    if call.operation == UNKNOWN:
        # A form that a page posts names its key in its body; an unsigned request may be for another service.
        form = fields.get("content-type", "").startswith("multipart/form-data")
        if request.service == "s3" and not form and request.method != "OPTIONS":
            raise _not_made(f"{request.method} {request.path}")
        return
    if call.operation not in ANSWERED:
        raise _not_made(call.operation)
    if access is None:
        return
    if call.operation == "CreateBucket" and not is_bucket_name(access.buckets[0]):
        message = "The specified bucket is not valid."
        raise Refusal("InvalidBucketName", message, details={"BucketName": access.buckets[0]})
    size = len(access.key.encode("utf-8", "surrogateescape"))
    if size > MAX_KEY_BYTES:
        details = {"Size": str(size), "MaxSizeAllowed": str(MAX_KEY_BYTES)}
        raise Refusal("KeyTooLongError", "Your key is too long", details=details)
    _check_fields(fields)
    _check_numbers(call.operation, access)
    if call.operation == "ListObjectsV2":
        _check_token(access)


def is_bucket_name(name: str) -> bool:
    """Whether a general purpose bucket may be called that."""
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return (
            bool(_BUCKET_NAME.fullmatch(name))
            and ".." not in name
            and not name.startswith(_RESERVED_STARTS)
            and not name.endswith(_RESERVED_ENDS)
        )
    return False


def _not_made(what: str) -> Refusal:
    return Refusal("NotImplemented", f"The local SageMaker does not answer {what} of s3.", 501)


def _check_fields(fields: Mapping[str, str]) -> None:
    for name in NOT_HEEDED:
        if name in fields:
            raise header_not_implemented(name, "The local SageMaker does not heed it.")
    for name in _OWNERS:
        if fields.get(name, DEFAULT_ACCOUNT_ID) != DEFAULT_ACCOUNT_ID:
            raise Refusal("AccessDenied", "Access Denied", 403)
    encryption = fields.get("x-amz-server-side-encryption")
    if encryption is not None and encryption not in _ENCRYPTIONS:
        raise _invalid(
            "The encryption method specified is not supported", "x-amz-server-side-encryption", encryption
        )
    prefix = "x-amz-meta-"
    metadata = sum(
        len(name.removeprefix(prefix)) + len(value.encode("latin-1"))
        for name, value in fields.items()
        if name.startswith(prefix)
    )
    if metadata > MAX_METADATA_BYTES:
        raise Refusal(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            details={"Size": str(metadata), "MaxSizeAllowed": str(MAX_METADATA_BYTES)},
        )


def _check_numbers(operation: str, access: ObjectAccess) -> None:
    for parameter in ("max-keys", "max-uploads", "max-parts", "part-number-marker"):
        if parameter in access.query:
            text = access.query[parameter][0]
            if not text.removeprefix("-").isdecimal() or abs(int(text)) > _MAX_INT:
                message = f"Provided {parameter} not an integer or within integer range"
                raise _invalid(message, parameter, text)
            if int(text) < 0:
                named = "maxKeys" if parameter == "max-keys" else parameter
                message = f"Argument {named} must be an integer between 0 and {_MAX_INT}"
                raise _invalid(message, parameter, text)
    if (
        operation in ("UploadPart", "UploadPartCopy", "GetObject", "HeadObject")
        and "partNumber" in access.query
    ):
        text = access.query["partNumber"][0]
        if not text.isdecimal() or not 1 <= int(text) <= MAX_PARTS:
            message = f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive"
            raise _invalid(message, "partNumber", text)


def _check_token(access: ObjectAccess) -> None:
    token = access.query.get("continuation-token", [None])[0]
    # moto would begin at the beginning again.
    if token is not None and token not in get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]._pagination_tokens:
        raise _invalid("The continuation token provided is incorrect", "continuation-token", "")


def _invalid(message: str, name: str, value: str) -> Refusal:
    details = {"ArgumentName": name} | ({"ArgumentValue": value} if value else {})
    return Refusal("InvalidArgument", message, details=details)
