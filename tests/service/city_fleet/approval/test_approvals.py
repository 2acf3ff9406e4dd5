"""Decisions about registered models against a real registry, endpoint and bucket: whoever takes them, wherever."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from city_fleet import naming
from city_fleet.approval import approvals, reconcile
from city_fleet.champions import moves
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.champions.release import newest_record
from city_fleet.errors import RegistryError
from city_fleet.state import package_status, registry
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Outcome
from tests.support.desk import ANN, PENDING, Desk
from tests.support.factors import KEYS, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture(scope="module", autouse=True)
def endpoint(aws: LocalSageMaker) -> str:
    return create_endpoint(aws)


@pytest.fixture
def desk(aws: LocalSageMaker, tmp_path: Path) -> Desk:
    return Desk(aws, tmp_path)


def test_what_a_person_approves_goes_live_under_that_name(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.record(version, "pending", "waits for a person")
    decided = desk.decide(version, Event.APPROVE)
    assert decided.outcome == "live", decided
    assert decided.reasons[0] == "approved by ann: looked at the map"
    assert desk.state(version.arn) is ModelState.LIVE
    pointer = desk.pointer
    assert pointer is not None
    assert (pointer.package_arn, pointer.published_by) == (version.arn, "ann")
    assert pointer.reason == "looked at the map"
    assert desk.answer() == pytest.approx(1.1)
    settled = desk.version(version.arn)
    assert (settled.settled_status, settled.event) == ("Approved", "approve")
    assert settled.metadata["decided_by"] == "ann"
    record = newest_record(desk.planned, version)
    assert record is not None
    assert (record["outcome"], record["decided_by"]) == ("live", "ann")
    assert record["target_model"] == pointer.target_model
    assert desk.look().decided == []
    assert desk.decide(settled, Event.APPROVE).outcome == Outcome.UNCHANGED


def test_what_a_person_rejects_stays_away_until_a_person_approves_it(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.record(version, "pending", "waits for a person")
    decided = desk.decide(version, Event.REJECT)
    assert (decided.outcome, decided.reasons) == ("rejected", ("rejected by ann: looked at the map",))
    record = newest_record(desk.planned, version)
    assert record is not None
    assert record["outcome"] == "held"
    assert desk.state(version.arn) is ModelState.REJECTED
    assert desk.pointer is None
    assert desk.look().decided == []
    assert desk.decide(desk.version(version.arn), Event.APPROVE, Author("bob")).outcome == "live"


def test_what_the_gate_holds_may_be_approved_by_a_person(desk: Desk) -> None:
    candidate, _ = desk.train(3.0, 1, status="Rejected")
    assert desk.state(candidate.package_arn) is ModelState.HELD
    assert desk.decide(desk.version(candidate.package_arn), Event.APPROVE).outcome == "live"
    assert desk.answer() == pytest.approx(3.0)


def test_a_newer_model_that_waits_supersedes_the_others(desk: Desk) -> None:
    march = desk.wait(1.1, 3)
    january = desk.wait(1.1, 1)
    april = desk.wait(1.1, 4)
    approvals.make_room(desk, desk.plan.package_group, april.arn, "factors/run")
    assert [desk.state(each.arn) for each in (january, march, april)] == [
        ModelState.SUPERSEDED,
        ModelState.SUPERSEDED,
        ModelState.WAITING,
    ]
    reason = desk.version(march.arn).status_reason
    assert reason == "superseded by version 3, which was made as of 20140401T000000Z"
    february = desk.wait(1.1, 2)  # an older run ends later: it is superseded on arrival
    approvals.make_room(desk, desk.plan.package_group, february.arn, "factors/run")
    assert desk.state(february.arn) is ModelState.SUPERSEDED
    assert desk.state(april.arn) is ModelState.WAITING
    refused = desk.decide(desk.version(march.arn), Event.APPROVE)
    assert refused.outcome == Outcome.REFUSED
    assert "a newer model of the city has taken its place" in refused.reasons[0]
    assert desk.state(march.arn) is ModelState.SUPERSEDED


def test_a_model_that_waits_for_its_own_run_is_left_alone(desk: Desk) -> None:
    """Two runs of a backfill publish one after the other; neither asks a person."""
    january, _ = desk.train(1.1, 1, status=PENDING)
    february, _ = desk.train(1.1, 2, status=PENDING)
    approvals.make_room(desk, desk.plan.package_group, february.package_arn, "factors/run")
    assert desk.state(january.package_arn) is ModelState.WAITING
    waiting = desk.wait(1.1, 3)
    approvals.make_room(desk, desk.plan.package_group, january.package_arn, "factors/run")
    assert desk.state(january.package_arn) is ModelState.WAITING
    assert desk.state(waiting.arn) is ModelState.WAITING


def test_an_approval_that_the_pin_forbids_is_kept_as_what_it_came_to(desk: Desk) -> None:
    desk.go_live(1.3, 1)
    desk.go_live(1.2, 2)
    moves.rollback(desk.context(), Author("bob"))
    version = desk.wait(1.1, 3)
    decided = desk.decide(version, Event.APPROVE)
    assert decided.outcome == "held"
    assert "is pinned by bob" in decided.reasons[0]
    assert desk.state(version.arn) is ModelState.HELD
    assert "is pinned by bob" in desk.version(version.arn).status_reason


def test_an_approved_model_that_is_older_than_what_serves_stays_away(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.go_live(1.2, 2)
    assert desk.decide(version, Event.APPROVE).outcome == "superseded"
    assert desk.state(version.arn) is ModelState.SUPERSEDED


def test_a_model_that_served_is_known_when_nothing_serves_any_more(desk: Desk) -> None:
    arn = desk.go_live(1.2, 1).package_arn
    assert desk.state(arn) is ModelState.LIVE
    desk.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(desk.slug))
    assert desk.state(arn) is ModelState.REPLACED


# Decided elsewhere


def test_an_approval_in_the_registry_is_carried_out_once(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.elsewhere(version, "Approved", ApprovalDescription="Fine with me")
    (decided,) = desk.look().decided
    assert (decided.city, decided.outcome) == (desk.slug, "live")
    assert decided.reasons[0] == "approved by an unnamed person in the registry: Fine with me"
    assert desk.answer() == pytest.approx(1.1)
    assert desk.look().decided == []


def test_a_rejection_in_the_registry_is_kept(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.record(version, "pending", "waits for a person")
    desk.elsewhere(version, "Rejected")
    (decided,) = desk.look().decided
    assert (decided.outcome, decided.reasons) == (
        "rejected",
        ("rejected by an unnamed person in the registry",),
    )
    record = newest_record(desk.planned, version)
    assert record is not None
    assert record["outcome"] == "held"
    assert desk.look().decided == []


def test_an_approval_elsewhere_of_a_superseded_model_is_taken_back(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    newer = desk.wait(1.1, 2)
    approvals.make_room(desk, desk.plan.package_group, newer.arn, "factors/run")
    desk.elsewhere(version, "Approved")
    (decided,) = desk.look().decided
    assert decided.outcome == Outcome.REFUSED
    assert desk.state(version.arn) is ModelState.SUPERSEDED
    assert desk.pointer is None
    assert desk.look().decided == []


def test_a_reason_that_was_there_before_is_no_persons_note(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    approvals.wait_for_person(desk.planned, version, "4 of 10 challengers are unfit")
    desk.elsewhere(version, "Approved")
    (decided,) = desk.look().decided
    assert decided.reasons[0] == "approved by an unnamed person in the registry"


def test_who_waits_too_long_counts_as_rejected(desk: Desk) -> None:
    version = desk.wait(1.1, 1, hours=1)
    assert desk.look().waiting == 1
    assert desk.state(version.arn) is ModelState.WAITING
    (decided,) = desk.look(later=timedelta(hours=1)).decided
    assert (decided.outcome, decided.reasons) == ("expired", ("expired: no decision within 72 hours",))
    assert desk.state(version.arn) is ModelState.EXPIRED
    late = desk.decide(desk.version(version.arn), Event.APPROVE)  # a person may still want it
    assert late.outcome == "live"


def test_a_command_that_died_before_it_published_is_finished(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    _, written = approvals.write(desk, version, ModelState.WAITING, Event.APPROVE, ANN)
    assert (written.status, written.settled_status) == ("Approved", PENDING)
    at_once = reconcile.run(desk, desk.fleet, now=datetime.now(UTC))
    assert at_once.decided == []  # the command may be at work still
    (decided,) = desk.look().decided
    assert decided.outcome == "live"
    pointer = desk.pointer
    assert pointer is not None
    assert pointer.published_by == "ann"


def test_a_promotion_of_another_command_is_no_news(desk: Desk) -> None:
    """What was approved and served, and was replaced or rolled back since, is not published again."""
    desk.go_live(1.3, 1)
    second = desk.go_live(1.2, 2)
    moves.rollback(desk.context(), Author("bob"))
    moves.unpin(desk.context(), Author("bob"))
    package_status.note(desk.sagemaker, second.package_arn, {registry.SETTLED_STATUS: "Rejected"})
    assert desk.look().decided == []
    pointer = desk.pointer
    assert pointer is not None
    assert pointer.target_model != second.target_model
    assert desk.version(second.package_arn).settled_status == "Approved"


def test_rejecting_the_model_that_serves_alerts_once_and_changes_nothing(desk: Desk) -> None:
    served = desk.go_live(1.2, 1)
    desk.elsewhere(desk.version(served.package_arn), "Rejected", ApprovalDescription="wrong prices")
    (decided,) = desk.look().decided
    assert decided.outcome == Outcome.ALERT
    assert decided.reasons[0] == (
        f"version 1, which serves {desk.slug}, was rejected by an unnamed person in the registry: wrong prices. It "
        f"still serves; `./fleet rollback {desk.slug}` returns to the model before it"
    )
    assert desk.pointer == served
    assert desk.look().decided == []


def test_rejecting_the_model_that_serves_rolls_back_where_the_fleet_file_says_so(
    aws: LocalSageMaker, tmp_path: Path
) -> None:
    desk = Desk(aws, tmp_path, on_live_rejected="rollback")
    first = desk.go_live(1.3, 1)
    second = desk.go_live(1.2, 2)
    decided = desk.decide(desk.version(second.package_arn), Event.REJECT)
    assert decided.outcome == Outcome.ALERT
    assert f"The city was rolled back to {first.target_model}" in decided.reasons[0]
    pointer = desk.pointer
    assert pointer is not None
    assert (pointer.target_model, pointer.pinned, pointer.moved_by) == (first.target_model, True, "ann")
    alone = desk.decide(desk.version(first.package_arn), Event.REJECT, Author("bob"))
    assert "It still serves, because it could not be rolled back" in alone.reasons[0]


def test_what_fails_is_told_and_tried_again_by_the_next_look(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    uri = version.metadata["evaluation_uri"]
    bucket, key = naming.split_uri(uri)
    report = desk.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    desk.s3.delete_object(Bucket=bucket, Key=key)
    desk.elsewhere(version, "Approved")
    done = desk.look()
    assert done.decided == []
    assert f"{desk.slug}, version 1" in done.problems[0]
    assert "what the evaluation left is gone" in done.problems[0]
    desk.s3.put_object(Bucket=bucket, Key=key, Body=report)
    assert [each.outcome for each in desk.look().decided] == ["live"]


def test_a_look_that_runs_out_of_time_leaves_the_rest_to_the_next(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.elsewhere(version, "Approved")
    now = datetime.now(UTC) + reconcile.GRACE
    assert reconcile.run(desk, desk.fleet, now=now, in_time=lambda: False).left == 1
    assert desk.pointer is None
    assert [each.outcome for each in desk.look().decided] == ["live"]


def test_the_next_look_begins_where_the_last_one_ended(desk: Desk) -> None:
    desk.look()
    body = desk.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.reconciled())["Body"].read()
    looked_at = naming.parse_as_of(json.loads(body)["looked_at"])
    assert abs(looked_at - datetime.now(UTC)) < timedelta(minutes=5)
    version = desk.wait(1.1, 1)
    desk.elsewhere(version, "Approved")
    assert [each.outcome for each in desk.look().decided] == ["live"]
    # Long after: what was changed before the last look is not asked for again.
    far = datetime.now(UTC) + timedelta(days=1)
    assert desk.look(later=timedelta(days=1)).decided == []
    candidate, _ = desk.train(1.05, 2, status=PENDING)
    desk.elsewhere(desk.version(candidate.package_arn), "Approved")
    assert reconcile.run(desk, desk.fleet, now=far).decided == []


def test_what_waits_can_be_listed(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.train(1.1, 2, status=PENDING)  # waits for its own run
    found = [(city.slug, each.number) for city, each in reconcile.waiting(desk, desk.fleet)]
    assert found == [(desk.slug, version.number)]


def test_a_version_that_is_gone_is_named(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.sagemaker.delete_model_package(ModelPackageName=version.arn)
    with pytest.raises(RegistryError, match="deleted meanwhile"):
        desk.decide(version, Event.APPROVE)
    assert desk.pointer is None
