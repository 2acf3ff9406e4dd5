"""Timestamps of AWS's answers: read fast where they are as S3 writes them, and as botocore does in any case."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.utils import parse_timestamp

from city_fleet.cli import aws
from tests.support.fleets import texas


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-26T22:53:50.000Z",
        "2026-11-26T22:53:50Z",
        "Thu, 26 Nov 2026 22:53:50 GMT",
        1795733630,
        1795733630.5,
        "1795733630",
        "2026-11-26T22:53:50+02:00",
    ],
)
def test_a_moment_is_what_botocore_makes_of_it(value: Any) -> None:
    found = aws._moment(value)
    assert found == parse_timestamp(value)
    assert found.tzinfo is not None


def test_clients_of_commands_read_them_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    aws.client(texas(), "s3")
    session: Any = boto3.DEFAULT_SESSION
    factory = session._session.get_component("response_parser_factory")
    assert factory.create_parser("rest-xml")._timestamp_parser is aws._moment
