"""Copies of what is known of a city, in a real S3: the newest is found, and only the newest stay."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from city_fleet import naming
from city_fleet.errors import BrokenKnown
from city_fleet.retiring import retire_sweep
from city_fleet.state import known_values
from city_fleet.state.objects import ObjectStore
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.town import BUCKET, RULE, Town


@pytest.fixture
def town(aws: LocalSageMaker) -> Town:
    return Town(aws, f"f{uuid.uuid4().hex[:8]}", "austin")


def keep(town: Town, night: int, value: float = 1.0, city: str = "austin") -> str:
    stamp = naming.as_of_stamp(datetime(2015, 8, 1, tzinfo=UTC) + timedelta(days=night))
    body = json.dumps(
        {
            "format_version": 1,
            "city": city,
            "as_of": stamp,
            "frequency": "day",
            "known_until": "2015-07-01",
            "columns": ["median"],
            "first": "2015-07-01",
            "rows": [[value]],
        }
    ).encode()
    known = known_values.parse(body, "there", city, stamp)
    return known_values.keep(ObjectStore(town.s3, BUCKET), town.keys, known, body)


def newest(town: Town) -> known_values.KnownValues | None:
    found = known_values.copies(ObjectStore(town.s3, BUCKET), town.keys, "austin")
    return known_values.read_copy(town.s3, town.keys, "austin", found[0]) if found else None


def test_the_newest_by_as_of_is_read_whatever_was_written_last(town: Town) -> None:
    assert newest(town) is None
    keep(town, 5)
    keep(town, 3)  # a backfill, written later
    keep(town, 9, city="austin_north")  # its folder's name begins with this one's
    found = newest(town)
    assert found is not None
    assert found.as_of == "20150806T000000Z"
    assert keep(town, 5) == keep(town, 5)
    town.put(f"{town.keys.known_prefix('austin')}20990101T000000Z-notes.txt")
    assert newest(town) == found


def test_bytes_that_were_changed_since_are_not_believed(town: Town) -> None:
    key = keep(town, 1)
    body = town.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    town.put(key, body.replace(b"1.0", b"9.0"))
    with pytest.raises(BrokenKnown, match="is not the one of its name"):
        newest(town)
    with pytest.raises(BrokenKnown, match="holds other bytes than its name says"):
        keep(town, 1)


def test_retiring_keeps_the_newest_five_of_each_city_and_no_fewer(town: Town) -> None:
    town.publish(0)
    keys = [keep(town, night) for night in range(8)]
    other = keep(town, 0, city="austin_north")
    (report,) = retire_sweep.run(town.source, RULE, only=["austin"], dry_run=True)
    assert report.totals().objects == 3
    assert town.keys_below(town.keys.known_prefix("austin")) == set(keys)
    report = town.retire()
    assert (report.problem, report.deletion.known_keys) == ("", tuple(keys[2::-1]))
    for _ in range(2):
        assert town.keys_below(town.keys.known_prefix("austin")) == set(keys[3:])
        assert town.retire().deletion.known_keys == ()
    assert town.has(other)
