"""The checksums of S3, against the values their specifications give."""

from __future__ import annotations

import zlib

from local.sagemaker.services.checksums import ALGORITHMS, LANES, SIZES, _crc

CHECK = b"123456789"  # what catalogues of CRCs give the value of


def test_each_has_the_value_of_its_specification() -> None:
    found = {name: reckon(CHECK).hex() for name, reckon in ALGORITHMS.items()}
    assert found["crc32"] == "cbf43926"
    assert found["crc32c"] == "e3069283"
    assert found["crc64nvme"] == "ae8b14860a799888"
    assert found["md5"] == "25f9e794323b453885f5181f1b624d0b"
    assert {name: len(reckon(b"")) for name, reckon in ALGORITHMS.items()} == SIZES


def test_lanes_come_to_what_the_whole_comes_to() -> None:
    body = bytes(range(256)) * 50
    for size in (0, 1, LANES - 1, LANES, LANES + 1, 5 * LANES + 7):
        assert _crc(body[:size], 0xEDB88320, 4) == zlib.crc32(body[:size]).to_bytes(4, "big")
