"""The checksums that S3 knows. Python has no CRC-32C and no CRC-64/NVME: they are reckoned here.

Polynomials: S3 User Guide, "Checking object integrity", names the algorithms; CRC-32C is that of RFC 3720, CRC-64/NVME
that of the NVM Express specification. XXHash is not reckoned.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import zlib
from collections.abc import Callable

#: Bit-reversed polynomials.
_CRC32C, _CRC64NVME = 0x82F63B78, 0x9A6C9329AC4BC9B5
#: Pieces of a body that are reckoned side by side.
LANES = 2048


def crc32(body: bytes) -> bytes:
    """CRC-32 of a body, four bytes."""
    return zlib.crc32(body).to_bytes(4, "big")


def crc32c(body: bytes) -> bytes:
    """CRC-32C of a body, four bytes."""
    return _crc(body, _CRC32C, 4)


def crc64nvme(body: bytes) -> bytes:
    """CRC-64/NVME of a body, eight bytes."""
    return _crc(body, _CRC64NVME, 8)


def _hash(name: str) -> Callable[[bytes], bytes]:
    return lambda body: hashlib.new(name, body, usedforsecurity=False).digest()


#: By the name that a header ``x-amz-checksum-<name>`` has.
ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": crc32,
    "crc32c": crc32c,
    "crc64nvme": crc64nvme,
    "md5": _hash("md5"),
    "sha1": _hash("sha1"),
    "sha256": _hash("sha256"),
    "sha512": _hash("sha512"),
}
SIZES = {name: len(reckon(b"")) for name, reckon in ALGORITHMS.items() if not name.startswith("crc")}
SIZES |= {"crc32": 4, "crc32c": 4, "crc64nvme": 8}
#: Those of S3 that are not reckoned here.
UNKNOWN = ("xxhash64", "xxhash3", "xxhash128")


def _crc(body: bytes, polynomial: int, size: int) -> bytes:
    """A reflected CRC. The body is cut into lanes that are reckoned side by side, and joined then.

    A CRC is linear: its value after two pieces is what the first piece's becomes over as many zeros as the second has,
    plus the second's. What each single bit becomes over a lane of zeros is reckoned beside the lanes.
    """
    import numpy as np  # noqa: PLC0415  # takes a tenth of a second, and few requests have such a checksum

    table = np.array(_table(polynomial), dtype=np.uint64)
    bits, length = 8 * size, len(body) // LANES
    ones = (1 << bits) - 1
    value = ones
    if length:
        lanes = np.frombuffer(body[: LANES * length], dtype=np.uint8).reshape(LANES, length)
        states, column = np.zeros((2, LANES + bits), dtype=np.uint64)
        states[LANES:] = [1 << bit for bit in range(bits)]
        for bytes_of_lanes in np.ascontiguousarray(lanes.T):
            column[:LANES] = bytes_of_lanes
            states = table[(states ^ column) & np.uint64(0xFF)] ^ (states >> np.uint64(8))
        after_zeros = [int(state) for state in states[LANES:]]
        for lane in states[:LANES]:
            over = functools.reduce(
                operator.xor, (each for bit, each in enumerate(after_zeros) if value >> bit & 1), 0
            )
            value = over ^ int(lane)
    for byte in body[LANES * length :]:
        value = _table(polynomial)[(value ^ byte) & 0xFF] ^ (value >> 8)
    return (value ^ ones).to_bytes(size, "big")


@functools.cache
def _table(polynomial: int) -> tuple[int, ...]:
    """What a byte comes to, for each of its values."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return tuple(table)
