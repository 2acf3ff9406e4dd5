"""Uploads in parts: what S3 refuses of them. moto fails on an upload that is not there, and takes parts in any order.

Sources: API Reference of CompleteMultipartUpload and UploadPart; User Guide, "Checking object integrity for multipart
uploads". Called while the bucket is held.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import ServiceException
from moto.s3 import models as moto_models
from moto.s3 import responses as moto_responses
from moto.s3.models import MultipartChecksumBuilder

from local.sagemaker.services.called import Call
from local.sagemaker.services.checksums import ALGORITHMS
from local.sagemaker.services.moto_s3 import ObjectAccess
from local.sagemaker.services.s3_integrity import bad_digest, read_checksums
from local.sagemaker.services.service_errors import Refusal

COMPLETE = "CompleteMultipartUpload"
OF_UPLOADS = (COMPLETE, "UploadPart", "UploadPartCopy", "ListParts", "AbortMultipartUpload")

_begin_checksum = MultipartChecksumBuilder.__init__


def install() -> None:
    """Have moto reckon checksums right, in this process: of two algorithms it has none, and takes CRC-32 for them."""
    moto_models.compute_checksum = moto_responses.compute_checksum = _compute_checksum
    MultipartChecksumBuilder.__init__ = _begin_named_checksum


def _compute_checksum(body: bytes, algorithm: str, encode_base64: bool = True) -> bytes:
    value = ALGORITHMS[algorithm.lower()](body)
    return base64.b64encode(value) if encode_base64 else value


def _begin_named_checksum(
    builder: MultipartChecksumBuilder, checksum_algorithm: str | None, checksum_type: str | None
) -> None:
    # Of an upload that names none moto keeps none, and reckons the slowest all the same.
    _begin_checksum(builder, checksum_algorithm or "CRC32", checksum_type)


def check_upload(call: Call, fields: Mapping[str, str], body: bytes) -> None:
    """Check a request about an upload in parts.

    :param fields: its header, by name in lower case.
    :raises Refusal: if there is no such upload, or it can't be completed with these parts.
    """
    access = call.access
    if access is None or call.operation not in OF_UPLOADS:
        return
    upload = _find_upload(access, completes=call.operation == COMPLETE)
    if call.operation == COMPLETE and upload is not None:
        _check_parts(upload, fields, body)


def malformed_xml() -> Refusal:
    """S3's refusal of a body that is not the XML it expects."""
    message = "The XML you provided was not well-formed or did not validate against our published schema"
    return Refusal("MalformedXML", message)


def read_xml(body: bytes, root: str) -> ElementTree.Element:
    """The XML of a body, its elements' names without namespaces.

    :param root: what its outermost element must be called.
    :raises Refusal: if it is something else.
    """
    try:
        document = ElementTree.fromstring(body)  # noqa: S314  # expat bounds what entities come to; it is this machine's own
    except ElementTree.ParseError:
        raise malformed_xml() from None
    for element in document.iter():
        element.tag = element.tag.rpartition("}")[2]
    if document.tag != root:
        raise malformed_xml()
    return document


def _find_upload(access: ObjectAccess, *, completes: bool) -> Any:
    """The upload as moto has it; None where moto answers: no such bucket, or it was completed already."""
    identity = access.query.get("uploadId", [""])[0]
    backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
    try:
        upload = backend.get_bucket(access.buckets[0]).multiparts.get(identity)
        present = backend.get_object(access.buckets[0], access.key) if completes else None
    except ServiceException:
        return None
    if present is not None and present.multipart and present.multipart.id == identity:
        return None
    if upload is None or upload.key_name != access.key:
        raise Refusal(
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been"
            " aborted or completed.",
            404,
            {"UploadId": identity},
        )
    return upload


def _check_parts(upload: Any, fields: Mapping[str, str], body: bytes) -> None:
    bodies: list[bytes] = []
    last = 0
    for element in read_xml(body, "CompleteMultipartUpload").iterfind("Part"):
        number, etag = element.findtext("PartNumber", ""), element.findtext("ETag", "")
        if not number.isdecimal() or not etag:
            raise malformed_xml()
        if int(number) <= last:
            message = "The list of parts was not in ascending order. Parts must be ordered by part number."
            raise Refusal("InvalidPartOrder", message)
        last = int(number)
        part = upload.parts.get(last)
        if part is None or part.etag.strip('"') != etag.strip('"') or not _has_checksums(part, element):
            raise Refusal(
                "InvalidPart",
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or"
                " the specified entity tag may not match the part's entity tag.",
                details={"UploadId": upload.id, "PartNumber": number, "ETag": etag.strip('"')},
            )
        bodies.append(part.value)
    if not bodies:
        raise malformed_xml()
    size = fields.get("x-amz-mp-object-size")
    total = sum(map(len, bodies))
    if size is not None and size != str(total):
        raise Refusal(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {size} does not match what was computed: {total}",
        )
    for name, value in read_checksums(fields).items():
        reckon = ALGORITHMS[name]
        full = name == "crc64nvme" or fields.get("x-amz-checksum-type") == "FULL_OBJECT"
        if value != reckon(b"".join(bodies if full else map(reckon, bodies))):
            raise bad_digest(name)


def _has_checksums(part: Any, element: ElementTree.Element) -> bool:
    """Whether a part has the checksums with which it is named."""
    for child in element:
        name = child.tag.removeprefix("Checksum").lower()
        if child.tag.startswith("Checksum") and name in ALGORITHMS:
            found = base64.b64encode(ALGORITHMS[name](part.value)).decode()
            if found != (child.text or "").strip():
                return False
    return True
