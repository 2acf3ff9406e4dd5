"""Whether a body is what its sender says: Content-MD5, x-amz-content-sha256, x-amz-checksum-*, in headers and trailers.

moto keeps what it is told and compares nothing. Codes and statuses are those of S3's API Reference, "Error responses",
and of the User Guide, "Checking object integrity".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import regex

from local.sagemaker.services.checksums import ALGORITHMS, SIZES, UNKNOWN
from local.sagemaker.services.service_errors import Refusal

PREFIX = "x-amz-checksum-"
#: Headers that begin like one with a checksum, and hold none.
_NO_VALUES = ("algorithm", "mode", "type")
_SHA256 = regex.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Body:
    """A body that is what its sender says.

    :param payload: without the chunks in which it may have been sent.
    :param checksums: what was given in header or trailer, in base64, by algorithm in lower case; at most one.
    """

    payload: bytes
    checksums: Mapping[str, str]


def check_body(fields: Mapping[str, str], body: bytes, *, of_object: bool) -> Body:
    """Compare a body with what its header and its trailer say of it.

    :param fields: the header, by name in lower case.
    :param body: as it was sent, in chunks or not.
    :param of_object: a checksum is about an object in S3, not about this body.
    :raises Refusal: if something is wrong.
    """
    stated = fields.get("x-amz-content-sha256", "")
    trailer: dict[str, str] = {}
    payload = body
    if stated.startswith("STREAMING-"):
        payload, trailer = read_chunks(body)
        length = fields.get("x-amz-decoded-content-length", "")
        if length and (not length.isdecimal() or int(length) != len(payload)):
            raise _incomplete()
    elif _SHA256.fullmatch(stated) and stated != (computed := hashlib.sha256(body).hexdigest()):
        raise Refusal(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            details={"ClientComputedContentSHA256": stated, "S3ComputedContentSHA256": computed},
        )
    _check_md5(fields.get("content-md5"), payload)
    given = read_checksums({**trailer, **fields})
    if not of_object:
        _check_named(fields.get("x-amz-sdk-checksum-algorithm", "").lower(), given)
        for name, value in given.items():
            if ALGORITHMS[name](payload) != value:
                raise bad_digest(name)
    return Body(payload, {name: base64.b64encode(value).decode() for name, value in given.items()})


def _check_named(name: str, given: Mapping[str, bytes]) -> None:
    if name and name not in (*ALGORITHMS, *UNKNOWN):
        raise Refusal("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    if name and name not in given:
        raise Refusal(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer"
            " headers were found.",
        )


def read_checksums(fields: Mapping[str, str]) -> dict[str, bytes]:
    """The checksums in headers, by algorithm; at most one.

    :param fields: headers by name in lower case. That of an object in parts ends with the number of parts.
    :raises Refusal: if one can't be a checksum, is of an algorithm that is not reckoned here, or there are several.
    """
    given: dict[str, bytes] = {}
    for field, text in fields.items():
        name = field.removeprefix(PREFIX)
        if name == field or name in _NO_VALUES:
            continue
        if name in UNKNOWN:
            raise Refusal(
                "NotImplemented", f"The local SageMaker does not reckon {field}: {', '.join(SIZES)}.", 501
            )
        invalid = Refusal("InvalidRequest", f"Value for {field} header is invalid.")
        if name not in SIZES:
            raise invalid
        given[name] = decoded(text.partition("-")[0], SIZES[name], invalid)
    if len(given) > 1:
        raise Refusal(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return given


def decoded(text: str, size: int, invalid: Refusal) -> bytes:
    """The bytes of a checksum.

    :param text: in base64.
    :param size: how many there must be.
    :param invalid: what is raised if it is not that.
    """
    try:
        value = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        raise invalid from None
    if len(value) != size:
        raise invalid
    return value


def bad_digest(name: str) -> Refusal:
    """S3's refusal of a body that has another checksum.

    :param name: the algorithm, in lower case.
    """
    return Refusal("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")


def read_chunks(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Payload and trailer of a body in chunks of S3's own ("aws-chunked"), signed or not.

    :raises Refusal: if it is cut, or no such body.
    """
    payload = bytearray()
    position = 0
    while True:
        end = body.find(b"\r\n", position)
        try:
            size = int(body[position:end].partition(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0:
            raise _incomplete()
        position = end + 2
        if size == 0:
            break
        if body[position + size : position + size + 2] != b"\r\n":
            raise _incomplete()
        payload += body[position : position + size]
        position += size + 2
    lines = (line.partition(":") for line in body[position:].decode("latin-1").split("\r\n") if ":" in line)
    return bytes(payload), {name.strip().lower(): value.strip() for name, _, value in lines}


def _incomplete() -> Refusal:
    message = "You did not provide the number of bytes specified by the Content-Length HTTP header"
    return Refusal("IncompleteBody", message)


def _check_md5(text: str | None, payload: bytes) -> None:
    if text is None:
        return
    details = {"Content-MD5": text}
    invalid = Refusal("InvalidDigest", "The Content-MD5 you specified was invalid.", details=details)
    value, found = decoded(text, 16, invalid), ALGORITHMS["md5"](payload)
    if value != found:
        raise Refusal(
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
            details={"ExpectedDigest": value.hex(), "CalculatedDigest": base64.b64encode(found).decode()},
        )
