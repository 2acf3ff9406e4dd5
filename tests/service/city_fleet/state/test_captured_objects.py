"""Captured predictions in a real S3: by city and day, whatever else somebody has put there."""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from datetime import date, timedelta

import pytest

from city_fleet.state import captured
from city_fleet.state.objects import ObjectStore
from tests.quick.city_fleet.state.test_captured import SEEN
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.town import BUCKET, Town


def test_those_of_a_day_are_read_and_what_is_none_is_passed_over(
    aws: LocalSageMaker, caplog: pytest.LogCaptureFixture
) -> None:
    town = Town(aws, f"f{uuid.uuid4().hex[:8]}", "austin")
    store, keys = ObjectStore(town.s3, BUCKET), town.keys
    later, other = replace(SEEN, latency_ms=99.0), replace(SEEN, city="waco")
    store.put(keys.capture("austin", SEEN.at, "b"), captured.lines([SEEN, other]) + b"{\n")
    store.put(keys.capture("austin", SEEN.at + timedelta(hours=1), "a"), captured.lines([later]))
    store.put(keys.capture("austin", SEEN.at + timedelta(days=1), "a"), captured.lines([later, later]))
    store.put(f"{keys.capture_prefix('austin')}day=soon/a", b"")
    with caplog.at_level(logging.WARNING):
        assert list(captured.read(store, keys, "austin", date(2015, 8, 1))) == [SEEN, later]
    assert "2 lines can't be read, the first: line 2: city: got 'waco'; allowed: 'austin'" in caplog.text
    assert captured.days(store, keys, "austin") == [date(2015, 8, 1), date(2015, 8, 2)]
    assert captured.days(store, keys, "waco") == []
