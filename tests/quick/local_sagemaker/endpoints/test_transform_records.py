"""An input object as payloads, answers as an output object."""

from __future__ import annotations

import pytest

from local.sagemaker.endpoints.transform_records import PayloadTooLarge, assembled, output_key, payloads


def test_an_object_becomes_payloads(subtests: pytest.Subtests) -> None:
    body = b"1,2\n3,4\n\n5,6"
    for lines, many, most, expected in [
        (False, True, 100, [body]),
        (True, True, 100, [body]),
        (True, True, 9, [b"1,2\n3,4\n\n", b"5,6"]),
        (True, False, 9, [b"1,2\n", b"3,4\n", b"\n", b"5,6"]),
        (False, True, 0, [body]),
    ]:
        with subtests.test(lines=lines, many=many, most=most):
            assert list(payloads(body, lines=lines, many=many, most_bytes=most)) == expected
    assert list(payloads(b"", lines=True, many=True, most_bytes=1)) == []


def test_what_fits_in_no_request_is_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="record 2 has 4 bytes; MaxPayloadInMB allows 3"):
        list(payloads(b"1\n333\n", lines=True, many=False, most_bytes=3))
    with pytest.raises(PayloadTooLarge, match="the object has 6 bytes"):
        list(payloads(b"1\n333\n", lines=False, many=False, most_bytes=3))


def test_answers_become_an_object() -> None:
    assert assembled([b"1", b"2\n", b"3"], lines=False) == b"12\n3"
    assert assembled([b"1", b"2\n", b"3"], lines=True) == b"1\n2\n3\n"
    assert output_key("out/", "a/b.csv") == "out/a/b.csv.out"
    assert output_key("", "b.csv") == "b.csv.out"
