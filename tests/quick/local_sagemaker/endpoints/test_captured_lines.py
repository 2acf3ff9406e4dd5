"""What data capture keeps of a body, and how DescribeEndpoint sums it up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.sagemaker.endpoints.data_capture import Body, DataCapture, is_on, summary

CONFIG: dict[str, Any] = {
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket",
    "CaptureOptions": [{"CaptureMode": "Input"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}


class Puts:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def put_object(self, **request: Any) -> None:
        self.seen.append(request)


def captured(asked: Body, **more: Any) -> tuple[Puts, list[dict[str, Any]]]:
    puts = Puts()
    capture = DataCapture(puts, "fleet", {**CONFIG, **more})
    capture.note("AllTraffic", asked, Body(b"7"))
    capture.close()
    return puts, [json.loads(line) for put in puts.seen for line in put["Body"].splitlines()]


@pytest.mark.parametrize(
    ("content", "content_type", "encoding", "data"),
    [
        (b"1,2\n", "text/csv; charset=utf-8", "CSV", "1,2\n"),
        (b"{}", "application/JSON", "JSON", "{}"),
        (b"\xff", "text/csv", "BASE64", "/w=="),
        (b"1", "", "BASE64", "MQ=="),
    ],
)
def test_a_body_is_text_where_its_type_is_listed(
    content: bytes, content_type: str, encoding: str, data: str
) -> None:
    puts, (line,) = captured(Body(content, content_type))
    assert line["captureData"] == {
        "endpointInput": {
            "observedContentType": content_type or "application/octet-stream",
            "mode": "INPUT",
            "data": data,
            "encoding": encoding,
        }
    }
    assert puts.seen[0]["Key"].startswith("fleet/AllTraffic/")
    assert "SSEKMSKeyId" not in puts.seen[0]


def test_share_key_and_switch_are_the_configurations() -> None:
    puts, _ = captured(Body(b"1"), KmsKeyId="alias/mine")
    assert (puts.seen[0]["ServerSideEncryption"], puts.seen[0]["SSEKMSKeyId"]) == ("aws:kms", "alias/mine")
    assert captured(Body(b"1"), InitialSamplingPercentage=0)[1] == []
    assert not is_on({**CONFIG, "EnableCapture": False})
    assert summary({**CONFIG, "EnableCapture": False})["CaptureStatus"] == "Stopped"
