"""Passes of retiring against real S3 and a real registry, also when they die halfway and when others move meanwhile."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from city_fleet import naming
from city_fleet.errors import PublishError
from city_fleet.retiring import remove, retire_sweep
from city_fleet.retiring.retire_inventory import cities
from city_fleet.retiring.retire_report import CityReport
from city_fleet.state import live, objects, registry, retire_marks
from city_fleet.state.author import Author
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.town import BUCKET, RULE, Town

DAY = timedelta(days=1)


@pytest.fixture
def make_town(aws: LocalSageMaker) -> Callable[..., Town]:
    fleet = f"f{uuid.uuid4().hex[:8]}"
    return lambda slug="austin": Town(aws, fleet, slug)


@pytest.fixture
def town(make_town: Callable[..., Town]) -> Town:
    """Eight nights: 0 to 5 were published in turn, 6 and 7 were held."""
    made = make_town()
    for night in range(6):
        made.publish(night)
    made.train(6, "Rejected")
    made.train(7, "Rejected")
    return made


def test_two_passes_a_grace_period_apart_leave_what_is_needed(town: Town) -> None:
    raw, record = f"{town.keys.raw(town.slug)}data.csv", f"{town.keys.city_records(town.slug)}other.json"
    town.put(raw)
    town.put(record)
    history = town.keys_below(town.keys.history_prefix(town.slug))
    before = town.left()
    first = town.retire(days_later=15)
    assert (first.problem, first.deletion.models, first.marked) == ("", 0, 8)
    assert town.left() == before
    second = town.retire(days_later=30)
    assert second.problem == ""
    assert (second.deletion.models, second.deletion.runs) == (4, 4)
    assert second.deletion.size_bytes == 4 * 100 + 4 * 300
    assert town.left() == ({4, 5}, {4, 5, 6, 7}, {4, 5, 6, 7})
    assert town.has(raw)
    assert town.has(record)
    assert town.keys_below(town.keys.history_prefix(town.slug)) == history
    third = town.retire(days_later=60)
    assert (third.deletion.models, third.deletion.runs, third.marked) == (0, 0, 0)


def test_what_served_within_the_grace_period_is_not_even_marked(town: Town) -> None:
    """Callers keep a pointer for a while."""
    assert town.retire().marked == 0
    assert town.retire(days_later=13).marked == 0
    assert town.retire(days_later=15).marked == 8


def test_what_somebody_else_has_put_there_stays(town: Town) -> None:
    odd = [
        f"{town.keys.models_prefix()}{town.slug}/by-hand.tar.gz",
        f"{town.keys.models_prefix()}README",
        f"{town.keys.runs_prefix()}{town.slug}/notes/today.txt",
        f"{town.keys.runs_prefix()}{town.slug}/0123456789",
        f"{town.keys.runs_prefix()}No City/0123456789/a",
    ]
    for key in odd:
        town.put(key)
    arn = town.sagemaker.create_model_package(
        ModelPackageGroupName=town.group, ModelPackageDescription="registered in the console"
    )["ModelPackageArn"]
    other = registry.package_description(
        "20250101T000000Z", f"{0:064x}", "another_fleet.austin/manual__0", "0" * 10
    )
    second = town.sagemaker.create_model_package(
        ModelPackageGroupName=town.group, ModelPackageDescription=other
    )["ModelPackageArn"]
    town.retire(days_later=15)
    town.retire(days_later=30)
    assert town.left()[0] == {4, 5}
    assert all(town.has(key) for key in odd)
    assert {arn, second} <= {version.arn for version in registry.versions(town.sagemaker, town.group)}


def test_a_run_that_trained_no_model_goes_once_it_has_a_record(town: Town) -> None:
    town.train(8, register=False)
    town.train(9, register=False)
    key = town.run_folder(9).rstrip("/").rsplit("/", 1)[1]
    town.put(f"{town.keys.city_records(town.slug)}20250110T000000Z-{key}.json")
    town.retire(days_later=15)
    town.retire(days_later=30)
    assert {8, 9} & town.left()[2] == {8}
    town.retire(days_later=91)
    town.retire(days_later=106)
    assert {8, 9} & town.left()[2] == set()


def test_a_dry_run_says_the_same_and_changes_nothing(town: Town) -> None:
    town.retire(days_later=15)
    before, marks = town.left(), retire_marks.read(town.s3, town.keys, town.slug)
    now = datetime.now(UTC) + 30 * DAY
    (would,) = retire_sweep.run(town.source, RULE, only=[town.slug], dry_run=True, clock=lambda: now)
    assert town.left() == before
    assert retire_marks.read(town.s3, town.keys, town.slug) == marks
    done = town.retire(days_later=30)
    assert done.deletion == would.deletion


def test_versions_stay_when_the_fleet_file_says_so(town: Town) -> None:
    keeping = replace(RULE, delete_packages=False)
    town.retire(15, keeping)
    town.retire(30, keeping)
    assert town.left() == ({4, 5}, set(range(8)), {4, 5, 6, 7})
    assert town.retire(60, keeping).marked == 0


def test_a_claimed_model_stays_for_another_grace_period(town: Town) -> None:
    town.retire(days_later=15)
    retire_marks.claim(town.s3, town.keys, town.slug, town.target(1))
    retire_marks.claim(town.s3, town.keys, "nowhere", "nowhere/x")
    town.retire(days_later=30)
    assert town.left() == ({1, 4, 5}, {1, 4, 5, 6, 7}, {1, 4, 5, 6, 7})
    town.move(1, move=live.ROLLBACK, restores=2, pinned=True)
    town.retire(days_later=45)
    assert 1 in town.left()[0]


def test_a_model_that_is_being_deleted_cannot_be_claimed(town: Town) -> None:
    town.retire(days_later=15)
    unit = retire_marks.model_unit(town.target(1))
    retire_marks.update(town.s3, town.keys, town.slug, lambda marks: replace(marks, going=frozenset({unit})))
    with pytest.raises(PublishError, match="is being retired"):
        retire_marks.claim(town.s3, town.keys, town.slug, town.target(1))
    town.retire(days_later=16)
    assert 1 not in town.left()[0]
    retire_marks.claim(town.s3, town.keys, town.slug, town.target(1))


def test_a_claim_in_the_middle_of_a_pass_wins_or_is_refused(town: Town, aws: LocalSageMaker) -> None:
    """Somebody rolls back after the pass has read the city and before it stores what goes."""
    town.retire(days_later=15)
    s3 = fresh_client(aws, "s3")
    claimed = []

    def claim(request: Any, **_: Any) -> None:
        if request.method == "PUT" and "/state/retired/" in request.url and not claimed:
            claimed.append(True)
            retire_marks.claim(town.s3, town.keys, town.slug, town.target(1))
            town.move(1, move=live.ROLLBACK, restores=2, pinned=True)

    s3.meta.events.register("before-send.s3", claim)
    report = town.retire(days_later=30, source=replace(town.source, s3=s3))
    assert report.problem == ""
    assert claimed
    # 1 serves, a rollback would now return to 0, and 5 served a moment ago; 4 has been marked a moment ago.
    assert town.left()[0] == {0, 1, 4, 5}
    assert town.left()[1] == {0, 1, 4, 5, 6, 7}


def test_a_pointer_that_was_moved_without_a_claim_is_seen_before_anything_is_deleted(
    town: Town, aws: LocalSageMaker
) -> None:
    town.retire(days_later=15)
    s3, before = fresh_client(aws, "s3"), town.left()
    moved = []

    def move(request: Any, **_: Any) -> None:
        if request.method == "PUT" and "/state/retired/" in request.url and not moved:
            moved.append(True)
            town.move(1)

    s3.meta.events.register("before-send.s3", move)
    report = town.retire(days_later=30, source=replace(town.source, s3=s3))
    assert "serves again; nothing of this city was deleted" in report.problem
    assert town.left() == before
    town.retire(days_later=31)
    assert town.left() == before
    town.retire(days_later=46)
    assert town.left()[0] == {1, 5}


class Killed(Exception):
    """The process dies here."""


def test_a_pass_that_dies_anywhere_is_ended_by_the_next_one(
    make_town: Callable[..., Town], aws: LocalSageMaker
) -> None:
    """Cut off before each of its requests in turn."""
    wanted, died = None, 0
    for number in range(60):
        town = make_town(f"c{number}")
        for night in range(3):
            town.publish(night)
        rule = replace(RULE, keep_newest=1)
        town.retire(15, rule)
        s3, sagemaker = fresh_client(aws, "s3"), fresh_client(aws, "sagemaker")
        sent = []

        def die(request: Any, number: int = number, sent: list[str] = sent, **_: Any) -> None:
            sent.append(request.url)
            if len(sent) > number:
                raise Killed

        for client in (s3, sagemaker):
            client.meta.events.register("before-send", die)
        try:
            town.retire(30, rule, replace(town.source, s3=s3, sagemaker=sagemaker))
        except Killed:
            died += 1
        pointer = live.read(town.s3, town.keys, town.slug)
        assert pointer is not None
        assert town.has(town.keys.model(pointer.pointer.target_model))
        assert town.retire(31, rule).problem == ""
        town.retire(46, rule)
        left = town.left()
        wanted = left if wanted is None else wanted
        assert left == wanted == ({1, 2}, {1, 2}, {1, 2})
        if len(sent) <= number:
            break
    assert died > 10
    assert len(sent) <= number, "it never came to its end"


def test_a_removed_city_keeps_what_it_served_last(town: Town) -> None:
    remove.remove(town.context(), Author("ann"), None)
    for days in (15, 30):
        assert town.retire(days_later=days).problem == ""
    assert town.left()[0] == {4, 5}


def test_a_lost_pointer_does_not_let_its_model_go(town: Town) -> None:
    town.s3.delete_object(Bucket=BUCKET, Key=town.keys.live(town.slug))
    for days in (15, 30):
        assert town.retire(days_later=days).problem == ""
    assert 5 in town.left()[0]


def test_a_pointer_that_is_behind_its_history_is_left_to_rebuild(town: Town) -> None:
    town.put(town.keys.live(town.slug), live.read_kept(town.s3, town.keys, town.slug, 2).to_json())
    assert "`./fleet rebuild austin` puts it right" in town.retire(days_later=15).problem


def test_a_city_that_fails_does_not_stop_the_others(make_town: Callable[..., Town]) -> None:
    towns = [make_town(slug) for slug in ("abilene", "austin", "waco")]
    for each in towns:
        for night in range(4):
            each.publish(night)
    each = towns[1]
    each.put(each.keys.live(each.slug), b"no pointer")
    for days in (15, 30):
        now = datetime.now(UTC) + timedelta(days=days)
        reports = list(retire_sweep.run(each.source, RULE, clock=lambda now=now: now))
        assert [report.city for report in reports] == ["abilene", "austin", "waco"]
        assert [bool(report.problem) for report in reports] == [False, True, False]
        assert "./fleet rebuild" in reports[1].problem
    assert [sorted(each.left()[0]) for each in towns] == [[2, 3], [0, 1, 2, 3], [2, 3]]


def test_what_s3_refuses_to_delete_is_said_and_tried_again(town: Town) -> None:
    town.retire(days_later=15)
    report = town.retire(days_later=30, source=replace(town.source, s3=Refusing(town.s3)))
    assert "S3 refused to delete 1 objects" in report.problem
    assert "AccessDenied" in report.problem
    town.retire(days_later=31)
    assert town.left() == ({4, 5}, {4, 5, 6, 7}, {4, 5, 6, 7})


class Refusing:
    """A client in front of the real one, for whom S3 refuses one object of a batch, as with a legal hold on AWS."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        refused, *others = Delete["Objects"]
        answer = self._s3.delete_objects(Bucket=Bucket, Delete={**Delete, "Objects": others})
        return {**answer, "Errors": [{**refused, "Code": "AccessDenied", "Message": "legal hold"}]}


def test_time_that_runs_out_is_taken_up_by_the_next_pass(make_town: Callable[..., Town]) -> None:
    towns = [make_town(slug) for slug in ("abilene", "austin", "austin_x", "waco")]
    for each in towns:
        each.publish(0)
    source = towns[0].source
    turns = iter([True, True, False])
    first = [report.city for report in retire_sweep.run(source, RULE, in_time=lambda: next(turns))]
    assert first == ["abilene", "austin"]
    assert [report.city for report in retire_sweep.run(source, RULE, only=["waco"])] == ["waco"]
    assert [report.city for report in retire_sweep.run(source, RULE, dry_run=True)] == [
        each.slug for each in towns
    ]
    second = [report.city for report in retire_sweep.run(source, RULE)]
    assert second == ["austin_x", "waco", "abilene", "austin"]
    assert [report.city for report in retire_sweep.run(source, RULE)] == [each.slug for each in towns]


def test_cities_come_in_order_however_their_names_sort(make_town: Callable[..., Town]) -> None:
    town = make_town("a")
    names = ["a", "a0", "a_b", "ab", "a_b_c", "b0", "z"]
    for name in names:
        town.put(f"{town.keys.runs_prefix()}{name}/0123456789/train/job/output")
        if name != "ab":
            target = naming.target_model(name, datetime(2025, 1, 1, tzinfo=UTC), "0" * 64)
            town.put(town.keys.model(target))
    found = list(cities(town.s3, town.keys))
    assert [each.city for each in found] == sorted(names)
    assert [len(each.models) for each in found] == [name != "ab" for name in sorted(names)]
    assert [each.city for each in cities(town.s3, town.keys, after="a_b")] == sorted(names)[3:]
    assert [each.city for each in cities(town.s3, town.keys, only=["z", "a", "no"])] == ["a", "z"]


def test_objects_go_in_batches(town: Town, aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_KEYS_PER_DELETE", 5)  # S3's own limit of 1,000 takes a minute to fill
    town.retire(days_later=15)
    s3, requests = fresh_client(aws, "s3"), []
    s3.meta.events.register("before-send.s3.DeleteObjects", lambda request, **_: requests.append(request))
    report = town.retire(days_later=30, source=replace(town.source, s3=s3))
    assert len(report.deletion.model_keys) + len(report.deletion.run_keys) == 16
    assert len(requests) == 4
    assert town.left() == ({4, 5}, {4, 5, 6, 7}, {4, 5, 6, 7})


def test_two_passes_at_once_do_no_harm(town: Town) -> None:
    town.retire(days_later=15)
    reports: list[CityReport] = []
    threads = [threading.Thread(target=lambda: reports.append(town.retire(days_later=30))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [report.problem for report in reports] == ["", "", "", ""]
    assert town.left() == ({4, 5}, {4, 5, 6, 7}, {4, 5, 6, 7})


def test_pointers_that_move_back_and_forth_never_lead_nowhere(town: Town) -> None:
    """Passes with a grace of a second while somebody publishes and returns to old models, until each happened often."""
    rule = replace(RULE, grace=timedelta(seconds=1), keep_newest=1)
    enough = threading.Event()
    problems: list[str] = []
    retired = 0

    def sweep() -> None:
        nonlocal retired
        while not enough.is_set():
            (report,) = retire_sweep.run(town.source, rule, only=[town.slug])
            retired += report.deletion.models
            if report.problem and "others got in the way" not in report.problem:
                problems.append(report.problem)

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    night, served, returned, refused, gone = 7, 0, 0, 0, 0
    there = list(range(6))
    end = time.monotonic() + 120
    try:
        while served <= 10 or min(returned, retired) < 4:
            told = f"served {served}, returned {returned}, retired {retired}, refused {refused}, gone {gone}"
            assert time.monotonic() < end, f"too little was put to the test: {told}"
            assert all(thread.is_alive() for thread in threads)
            if returned >= served // 3 or len(there) == 1:
                night += 1
                back = night
                town.arns[night] = town.arns[5]
                target = town.target(night)
                retire_marks.claim(town.s3, town.keys, town.slug, target)
                town.put(town.keys.model(target))
            else:
                back = there.pop(0)  # the one that has been left alone for longest, so the next to go
                target = town.target(back)
                try:
                    retire_marks.claim(town.s3, town.keys, town.slug, target)
                except PublishError:
                    refused += 1
                    continue
                try:
                    town.s3.head_object(Bucket=BUCKET, Key=town.keys.model(target))
                except ClientError:
                    gone += 1
                    continue
                returned += 1
            town.move(back, published_by="ann")
            there.append(back)
            served += 1
            for _ in range(3):
                pointer = live.read(town.s3, town.keys, town.slug)
                assert pointer is not None
                town.s3.head_object(Bucket=BUCKET, Key=town.keys.model(pointer.pointer.target_model))
    finally:
        enough.set()
        for thread in threads:
            thread.join(timeout=60)
    assert problems == []


def fresh_client(aws: LocalSageMaker, service: str) -> Any:
    """A client of the test's own, whose requests it may look at and cut off."""
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=aws.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def test_what_a_cohorts_job_has_left_goes_a_grace_period_later(town: Town) -> None:
    """The cities have copied what is theirs; a run whose job has left nothing yet may still be going."""
    runs = town.keys.runs_prefix()
    ended = [f"{runs}_cohort_007/{'1' * 10}/cohort/job/output/model/{name}" for name in ("a", "outcome.json")]
    going, other = f"{runs}_cohort_007/{'2' * 10}/cohort.json", f"{runs}_cohort_notes/{'1' * 10}/a"
    for key in (*ended, going, other):
        town.put(key)

    def later(days: int) -> list[CityReport]:
        now = datetime.now(UTC) + days * DAY
        found = retire_sweep.run(town.source, RULE, clock=lambda: now)
        return [report for report in found if report.city.startswith("_")]

    assert later(13) == []
    assert all(map(town.has, (*ended, going)))
    (report,) = later(15)
    assert (report.city, report.deletion.runs, report.problem) == ("_cohort_007", 1, "")
    assert not any(map(town.has, ended))
    assert town.has(going)
    assert len(later(91)) == 1
    assert not town.has(going)
    assert town.has(other)
