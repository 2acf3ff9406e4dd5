"""The breaker counts each city once, stops a night for all, and a person's word ends it."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.champions import breaker
from city_fleet.champions.breaker import Count, StoppedNight, trips
from city_fleet.config import Breaker
from city_fleet.naming import Keys
from tests.support.local_sagemaker import LocalSageMaker

RULE = Breaker(max_failed_share=0.3, minimum_sample=10)
NIGHT = "20140101T000000Z"


@pytest.fixture
def keys() -> Keys:
    return Keys("city-fleet", f"f{uuid.uuid4().hex}", "laptop")


def judge(s3: Any, keys: Keys, fit: int, unfit: int, as_of: str = NIGHT) -> None:
    for number in range(fit + unfit):
        breaker.mark(s3, keys, as_of, f"city_{number}", ("poisoned",) if number < unfit else ())


@pytest.mark.parametrize(
    ("judged", "unfit", "stops"),
    [(9, 9, False), (10, 3, False), (10, 4, True), (100, 30, False), (100, 31, True), (0, 0, False)],
)
def test_the_share_counts_from_the_sample_on(judged: int, unfit: int, stops: bool) -> None:
    assert trips(Count(judged, unfit), RULE) is stops


@given(
    st.builds(Breaker, max_failed_share=st.floats(0, 1), minimum_sample=st.integers(1, 50)),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_more_unfit_models_never_let_a_night_go_on(rule: Breaker, judged: int, unfit: int) -> None:
    unfit = min(unfit, judged)
    if trips(Count(judged, unfit), rule):
        assert judged >= rule.minimum_sample
        assert all(trips(Count(judged, more), rule) for more in range(unfit, judged + 1))
    assert not trips(Count(judged, judged), Breaker(max_failed_share=1))


def test_a_city_counts_once_a_night_with_its_newest_mark(aws: LocalSageMaker, keys: Keys) -> None:
    s3 = aws.client("s3")
    for against in (("too bad",), (), ("too bad", "really")):
        breaker.mark(s3, keys, NIGHT, "austin", against)
    breaker.mark(s3, keys, NIGHT, "waco", ())
    breaker.mark(s3, keys, "20140201T000000Z", "waco", ("of another night",))
    assert breaker.count(s3, keys, NIGHT) == Count(2, 1)


def test_more_cities_than_one_page_are_all_counted(aws: LocalSageMaker, keys: Keys) -> None:
    s3 = aws.client("s3")
    pages: list[Any] = []

    def short(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        pages.append(params)
        return {**params, "MaxKeys": 20}

    judge(s3, keys, fit=40, unfit=5)
    s3.meta.events.register("provide-client-params.s3.ListObjectsV2", short)
    try:
        assert breaker.count(s3, keys, NIGHT) == Count(45, 5)
    finally:
        s3.meta.events.unregister("provide-client-params.s3.ListObjectsV2", short)
    assert len(pages) == 3


def test_a_stopped_night_stays_stopped_until_a_person_decides(aws: LocalSageMaker, keys: Keys) -> None:
    s3 = aws.client("s3")
    judge(s3, keys, fit=6, unfit=3)
    assert breaker.stop_or_read(s3, keys, NIGHT, RULE) is None
    judge(s3, keys, fit=6, unfit=4)
    night = breaker.stop_or_read(s3, keys, NIGHT, RULE)
    assert night is not None
    assert (night.state, night.judged, night.unfit) == (breaker.TRIPPED, 10, 4)
    assert night.sentence == (
        "4 of the 10 challengers judged so far in the night 20140101T000000Z are unfit, so the rest of that night "
        "awaits approval"
    )
    judge(s3, keys, fit=96, unfit=4)  # the share is small again, but the night has seen something
    assert breaker.stop_or_read(s3, keys, NIGHT, RULE) == night
    assert breaker.stop_or_read(s3, keys, "20140201T000000Z", RULE) is None
    approved = breaker.settle(s3, keys, NIGHT, breaker.APPROVED, by="ann", note="known gap")
    assert approved is not None
    assert (approved.state, approved.judged, approved.by) == (breaker.APPROVED, 10, "ann")
    assert approved.sentence.endswith("are unfit; the rest of that night was approved by ann: known gap")
    assert breaker.stop_or_read(s3, keys, NIGHT, RULE) == approved


def test_a_night_that_was_not_stopped_needs_no_decision(aws: LocalSageMaker, keys: Keys) -> None:
    s3 = aws.client("s3")
    assert breaker.settle(s3, keys, NIGHT, breaker.APPROVED, by="ann", note="") is None
    assert breaker.read(s3, keys, NIGHT) is None


def test_stopped_nights_are_found_by_their_day(aws: LocalSageMaker, keys: Keys) -> None:
    s3 = aws.client("s3")
    for as_of in ("20140101T020000Z", "20140101T140000Z", "20140102T020000Z"):
        judge(s3, keys, fit=0, unfit=10, as_of=as_of)
        assert breaker.stop_or_read(s3, keys, as_of, RULE)
    assert list(breaker.nights(s3, keys, "20140101")) == ["20140101T020000Z", "20140101T140000Z"]
    assert list(breaker.nights(s3, keys, "20140102T020000Z")) == ["20140102T020000Z"]
    assert list(breaker.nights(s3, keys, "2015")) == []


def test_cities_that_end_at_the_same_moment_see_each_other(aws: LocalSageMaker, keys: Keys) -> None:
    """Each marks first and looks then, so whoever looks last sees all: the night is stopped, and once only."""
    seen: list[StoppedNight | None] = []
    start = threading.Barrier(12)

    def end(number: int) -> None:
        s3 = aws.client("s3")
        start.wait()
        breaker.mark(s3, keys, NIGHT, f"city_{number}", ("poisoned",) if number < 6 else ())
        seen.append(breaker.stop_or_read(s3, keys, NIGHT, RULE))

    threads = [threading.Thread(target=end, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stopped = [night for night in seen if night is not None]
    assert stopped
    assert len(set(stopped)) == 1
    assert breaker.read(aws.client("s3"), keys, NIGHT) == stopped[0]
