"""What of a batch transform needs no server: an input object as payloads, answers as an output object, its key.

Follows the API Reference (CreateTransformJob, TransformInput, TransformOutput).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class PayloadTooLarge(ValueError):
    """A record, or a file that is not split, that no request may carry; the message says how large."""


def payloads(body: bytes, *, lines: bool, many: bool, most_bytes: int) -> Iterator[bytes]:
    """The bodies of the requests for one input object.

    :param body: the object.
    :param lines: SplitType Line: a record is a line; else the object is one.
    :param many: BatchStrategy MultiRecord: as many records in a request as fit.
    :param most_bytes: of MaxPayloadInMB; 0 means there is no limit.
    :raises PayloadTooLarge: at the first record that does not fit.
    """
    records = body.splitlines(keepends=True) if lines else [body]
    batch: list[bytes] = []
    size = 0
    for number, record in enumerate(records, 1):
        if most_bytes and len(record) > most_bytes:
            what = f"record {number}" if lines else "the object"
            raise PayloadTooLarge(f"{what} has {len(record)} bytes; MaxPayloadInMB allows {most_bytes}")
        if batch and (not many or (most_bytes and size + len(record) > most_bytes)):
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield b"".join(batch)


def assembled(answers: Sequence[bytes], *, lines: bool) -> bytes:
    """The output object of an input object.

    :param answers: of its requests, in their order.
    :param lines: AssembleWith Line: each ends with a newline; one that does so already gets no second one.
    """
    if not lines:
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)


def output_key(prefix: str, relative: str) -> str:
    """Key of the output object of an input object.

    :param prefix: key of S3OutputPath.
    :param relative: path of the input object below the prefix that was asked for.
    """
    return f"{prefix.rstrip('/')}/{relative}.out".lstrip("/")
