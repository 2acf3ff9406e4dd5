"""Who may write below ``state/`` of the bucket says what people see, and neither deletes nor publishes what serves."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from city_fleet.retiring import retire_sweep
from city_fleet.state import index, live, retire_marks, run_records
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.town import BUCKET, RULE, Town


@pytest.fixture
def make_town(aws: LocalSageMaker) -> Callable[[str], Town]:
    fleet = f"f{uuid.uuid4().hex[:8]}"
    return lambda slug: Town(aws, fleet, slug)


@pytest.fixture
def town(make_town: Callable[[str], Town]) -> Town:
    """Four nights were published in turn; the last one serves."""
    made = make_town("austin")
    for night in range(4):
        made.publish(night)
    return made


def forge(town: Town, key: str, body: bytes) -> None:
    town.s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def going(town: Town, *names: str, **more: Any) -> bytes:
    """Marks that say what is being deleted."""
    whose = {"fleet": town.keys.fleet, "environment": "laptop", "city": town.slug}
    return json.dumps({"format_version": 1, **whose, "marked": {}, "going": names, **more}).encode()


def test_what_serves_is_not_deleted_whatever_the_marks_say(town: Town) -> None:
    serving = retire_marks.model_unit(town.target(3))
    run = retire_marks.run_unit(town.slug, town.run_key(3))
    forge(town, town.keys.retired(town.slug), going(town, serving, run))
    before = town.left()
    report = town.retire()
    assert "serves again; nothing of this city was deleted" in report.problem
    assert town.left() == before
    pointer = live.read(town.s3, town.keys, town.slug)
    assert pointer is not None
    assert pointer.pointer.target_model == town.target(3)
    # The next pass goes on as if nothing had been.
    assert town.retire().problem == ""
    assert 3 in town.left()[0]


def test_marks_of_one_city_reach_no_other_and_nothing_beside_models_and_runs(
    make_town: Callable[[str], Town], town: Town
) -> None:
    other = make_town("waco")
    other.publish(0)
    theirs = (
        retire_marks.model_unit(other.target(0)),
        retire_marks.run_unit(other.slug, other.run_key(0)),
        f"live/{town.slug}.json",
        f"../{town.keys.fleet}/laptop/live/{other.slug}.json",
        f"history/{town.slug}/00000001.json",
        "",
        "models/",
        f"runs/{town.slug}/",
    )
    forge(town, town.keys.retired(town.slug), going(town, *theirs))
    before = town.keys_below(town.keys.prefix)
    report = town.retire()
    assert report.problem == ""
    assert before - town.keys_below(town.keys.prefix) == set()
    assert other.left() == ({0}, {0}, {0})


def test_marks_of_long_ago_do_not_shorten_the_grace_period(town: Town) -> None:
    """When something was written is for S3 to say."""
    old = {
        retire_marks.model_unit(town.target(night)): {
            "since": "2000-01-01T00:00:00+00:00",
            "status": "Approved",
        }
        for night in range(4)
    }
    forge(town, town.keys.retired(town.slug), going(town, marked=old))
    before = town.left()
    assert town.retire().problem == ""
    assert town.left() == before


def test_no_index_record_or_event_deletes_or_publishes(town: Town, subtests: pytest.Subtests) -> None:
    etag = town.s3.head_object(Bucket=BUCKET, Key=town.keys.live(town.slug))["ETag"]
    truth = index.build(town.s3, town.keys).cities[town.slug].champion
    assert truth is not None
    honest = gzip.decompress(_index(town))
    lie = honest.replace(town.target(3).encode(), town.target(0).encode())
    assert lie != honest
    key = town.keys.index()
    for what, body in {
        "another champion": gzip.compress(lie),
        "no cities": gzip.compress(json.dumps({**json.loads(honest), "cities": {}}).encode()),
        "garbage": b"x",
        "deep": gzip.compress(b"[" * 100_000),
    }.items():
        forge(town, key, body)
        before = town.left()
        with subtests.test(what):
            assert town.retire().problem == ""
            assert town.left() == before
            assert town.s3.head_object(Bucket=BUCKET, Key=town.keys.live(town.slug))["ETag"] == etag
            assert index.build(town.s3, town.keys).cities[town.slug].champion == truth, (
                "made anew, it is right"
            )
    record = {
        "city": town.slug,
        "as_of": "20300101T000000Z",
        "outcome": "live",
        "target_model": town.target(0),
    }
    moment = town.as_of(2000)
    run_records.write(
        town.s3,
        town.keys,
        {**record, "finished_at": "2030-01-01T00:00:00+00:00"},
        as_of=moment,
        key_of_run="0123456789",
    )
    refreshed = index.refresh(town.s3, town.keys).index.cities[town.slug]
    assert town.s3.head_object(Bucket=BUCKET, Key=town.keys.live(town.slug))["ETag"] == etag
    assert refreshed.champion is None or refreshed.champion.target_model != town.target(0)


def _index(town: Town) -> bytes:
    index.refresh(town.s3, town.keys)
    return bytes(town.s3.get_object(Bucket=BUCKET, Key=town.keys.index())["Body"].read())


def test_a_forged_cursor_leaves_no_city_out(make_town: Callable[[str], Town], town: Town) -> None:
    """It says with which city a pass begins; those before it get their turn at the end."""
    make_town("waco").publish(0)
    for body in (
        b'{"format_version": 1, "after": "zz"}',
        b'{"after": "austin"}',
        b'{"after": ["x"]}',
        b"[",
        b"[" * 100_000,
    ):
        forge(town, town.keys.retire_cursor(), body)
        assert {report.city for report in retire_sweep.run(town.source, RULE)} == {"austin", "waco"}, body[
            :30
        ]
