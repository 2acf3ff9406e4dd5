"""Promoting registered models against a real endpoint, a real registry and real S3."""

from __future__ import annotations

from typing import Any

import pytest

from city_fleet.champions import moves, promotion
from city_fleet.errors import ArtifactError, PublishError, RegistryError, UnknownName
from city_fleet.naming import split_uri
from city_fleet.state import live, registry
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Outcome
from tests.support.actors import Actor, run_alone
from tests.support.factors import CODE_DIGEST, IMAGE, KEYS, SETTINGS_DIGEST, City, Trained, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker

WHY = "holds against the newest listings"


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    create_endpoint(aws)
    return City(aws)


def promote(city: City, s3: Any = None, **arguments: Any) -> moves.Move:
    choice = promotion.Choice(arguments.pop("version", None), arguments.pop("as_of", None))
    place = city.context(s3, arguments.pop("group", ""))
    return promotion.promote(place, Author("ann", WHY), choice, **arguments)


def reason_of(city: City, package_arn: str) -> str:
    return str(
        city.sagemaker.describe_model_package(ModelPackageName=package_arn).get("ApprovalDescription", "")
    )


def test_a_held_model_goes_live_by_name_and_is_approved(city: City) -> None:
    champion = city.go_live(1.01, month=1)
    held, holdout = city.train(1.2, month=2, status="Rejected")
    decision = city.judge(holdout)
    assert not decision.promote
    jobs = city.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    move = promote(city)
    pointer = city.pointer
    assert (move.outcome, move.before, move.after) == (Outcome.MOVED, champion, pointer)
    assert move.notes == ("version 2 was Rejected in the registry and is Approved now",)
    assert pointer is not None
    assert city.answer() == pytest.approx(1.2)
    assert (pointer.target_model, pointer.package_arn) == (held.target_model, held.package_arn)
    assert (pointer.move, pointer.moved_by, pointer.published_by) == (live.PROMOTE, "ann", "ann")
    assert (pointer.reason, pointer.pinned, pointer.restores) == (WHY, False, None)
    assert pointer.metrics == decision.metrics["challenger"]
    assert pointer.reasons == decision.reasons
    assert pointer.features == ("x", "y")
    assert (pointer.settings_digest, pointer.code_digest) == (SETTINGS_DIGEST, CODE_DIGEST)
    assert city.status(pointer) == "Approved"
    assert reason_of(city, pointer.package_arn) == f"promoted by ann: {WHY}"
    assert city.sagemaker.list_training_jobs()["TrainingJobSummaries"] == jobs
    city.chain()


def test_the_first_model_of_a_city(city: City) -> None:
    city.train(1.1, month=1, status="PendingManualApproval")
    move = promote(city)
    assert (move.before, move.after.sequence) == (None, 1)
    assert city.answer() == pytest.approx(1.1)


def test_despite_the_order_of_as_of_and_the_pin(city: City) -> None:
    city.train(1.3, month=1, status="Rejected")
    city.go_live(1.1, month=2)
    city.go_live(1.2, month=3)
    pinned = moves.rollback(city.context(), Author("bob")).after
    move = promote(city, version=1)
    assert city.answer() == pytest.approx(1.3)
    assert f"{pinned.target_model} was pinned by bob" in move.notes
    assert move.after.pinned is False


def test_it_may_be_pinned(city: City) -> None:
    city.go_live(1.01, month=1)
    city.train(1.2, month=2, status="Rejected")
    assert promote(city, pin=True).after.pinned
    assert city.retrain(1.001, month=3).outcome == Outcome.HELD
    live_already = promote(city, version=2, pin=True)
    assert live_already.notes == ("it is live and pinned already, by ann: sequence 2",)


def test_a_version_is_chosen_by_number_or_as_of(city: City) -> None:
    for factor, month in ((1.1, 1), (1.2, 2), (1.3, 2), (1.4, 3)):
        city.train(factor, month)
    versions = registry.versions(city.sagemaker, city.group)
    assert [version.number for version in versions] == [4, 3, 2, 1]

    def number(**which: Any) -> int:
        return promotion.choose(versions, city.group, promotion.Choice(**which)).number

    assert number() == 4
    assert number(version=2) == 2
    assert number(as_of="20140201") == 3, "the newest of that day"
    assert number(as_of="20140101T000000Z") == 1
    with pytest.raises(UnknownName, match="has no version '9'; it has: 1, 2, 3, 4"):
        number(version=9)
    with pytest.raises(UnknownName, match="has no version with as_of '2013'; it has: 20140101T000000Z, 2014"):
        number(as_of="2013")


def test_a_city_without_versions(city: City) -> None:
    with pytest.raises(UnknownName, match=f"group '{city.group}' has no version 'at all'"):
        promote(city)


def test_a_model_that_does_not_answer_as_it_should_stays_rejected(city: City) -> None:
    champion = city.go_live(1.01, month=1)
    held, _ = city.train(1.2, month=2, status="Rejected", sample_factor=1.3)
    with pytest.raises(PublishError, match="for the held-out row sample 1"):
        promote(city)
    assert (city.status(held), city.pointer) == ("Rejected", champion)


def decision_key(city: City, candidate: Trained) -> str:
    version = registry.read(city.sagemaker, candidate.package_arn)
    return split_uri(version.metadata["decision_uri"])[1]


def test_the_copy_that_serves_is_used_when_the_run_is_cleaned_up(city: City) -> None:
    candidate, _ = city.train(1.2, month=2, status="Rejected")
    bucket, key = split_uri(candidate.artifact_uri)
    city.install(candidate)
    city.s3.delete_object(Bucket=bucket, Key=key)
    city.s3.delete_object(Bucket=bucket, Key=decision_key(city, candidate))
    pointer = promote(city).after
    assert (pointer.target_model, pointer.metrics, pointer.reasons) == (candidate.target_model, {}, ())
    assert city.answer() == pytest.approx(1.2)


def test_an_artifact_that_is_gone_everywhere(city: City) -> None:
    candidate, _ = city.train(1.2, month=2, status="Rejected")
    bucket, key = split_uri(candidate.artifact_uri)
    city.s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(
        ArtifactError, match=rf"{key}: there is no such artifact; s3://.*/models/.*no such artifact"
    ):
        promote(city)
    assert city.status(candidate) == "Rejected"


def test_a_decision_that_cannot_be_read_does_not_stop_it(city: City) -> None:
    candidate, _ = city.train(1.2, month=2, status="Rejected")
    city.s3.put_object(Bucket=KEYS.bucket, Key=decision_key(city, candidate), Body=b"{")
    assert promote(city).after.reasons == ()


def test_a_version_of_somebody_else_is_refused(city: City) -> None:
    city.sagemaker.create_model_package_group(ModelPackageGroupName=city.group)
    city.sagemaker.create_model_package(
        ModelPackageGroupName=city.group,
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://city-fleet/elsewhere.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )
    with pytest.raises(RegistryError, match="has no as_of and no artifact_sha256 in its metadata"):
        promote(city)


def test_a_model_of_another_city_is_refused(city: City, aws: LocalSageMaker) -> None:
    other = City(aws)
    other.train(1.2, month=1)
    with pytest.raises(ArtifactError, match=f"is a model of city '{other.slug}'; allowed: '{city.slug}'"):
        promote(city, group=other.group)


def test_a_dry_run_changes_nothing(city: City) -> None:
    champion = city.go_live(1.01, month=1)
    held, _ = city.train(1.2, month=2, status="Rejected")
    move = promote(city, dry_run=True)
    assert (move.outcome, move.after) == ("planned", None)
    assert move.notes == (f"{held.target_model} would go live; version 2 is Rejected in the registry",)
    assert (city.status(held), city.pointer) == ("Rejected", champion)


def test_what_is_live_already_is_only_approved(city: City) -> None:
    first = city.go_live(1.01, month=1)
    city.sagemaker.update_model_package(ModelPackageArn=first.package_arn, ModelApprovalStatus="Rejected")
    move = promote(city)
    assert (move.outcome, city.pointer) == ("unchanged", first)
    assert move.notes == (
        f"it is live already, by {first.moved_by}: sequence 1",
        "version 1 was Rejected in the registry and is Approved now",
    )
    assert city.status(first) == "Approved"


def test_what_is_live_already_is_pinned(city: City) -> None:
    first = city.go_live(1.01, month=1)
    dry = promote(city, pin=True, dry_run=True)
    assert (dry.outcome, dry.notes[0].split(";")[0]) == (
        "planned",
        f"{first.target_model} is live already and would be pinned",
    )
    assert promote(city, dry_run=True).outcome == "unchanged"
    move = promote(city, pin=True)
    pointer = city.pointer
    assert pointer is not None
    assert (move.outcome, move.before, move.after) == ("moved", first, pointer)
    assert (pointer.pinned, pointer.move, pointer.moved_by, pointer.reason) == (True, "promote", "ann", WHY)
    assert (pointer.published_at, pointer.restores) == (first.published_at, 1)
    assert move.notes == ()
    assert city.retrain(1.001, month=2).outcome == Outcome.HELD
    assert promote(city, version=1, pin=True, dry_run=True).outcome == "unchanged"
    assert promote(city, version=1, pin=True).outcome == "unchanged"
    city.chain()


def test_of_two_who_promote_at_once_each_is_told_what_it_did(city: City, aws: LocalSageMaker) -> None:
    """Bob's run moves the pointer to the same model, without a pin, at any moment of Ann's promotion."""
    actor = Actor(aws)
    calls, done = 0, False
    while not done:
        place = City(aws)
        place.go_live(1.01, month=1)
        place.train(1.2, month=2, status="Rejected")
        actor.start(lambda s3, place=place: promote(place, s3, version=2, pin=True))  # type: ignore[misc]
        for _ in range(calls):
            if not actor.over:
                actor.step()
        done = actor.over
        theirs = promotion.promote(place.context(), Author("bob", "first"), promotion.Choice(version=2))
        move = actor.finish()
        pointer = place.pointer
        assert pointer is not None
        assert pointer.pinned, f"after {calls} calls"
        assert (move.outcome, move.after.moved_by, move.after.pinned) == ("moved", "ann", True)
        bobs = [state for state in place.chain() if state.moved_by == "bob"]
        assert (theirs.outcome == "moved") == bool(bobs)
        calls += 1
    assert calls > 5


def test_whoever_dies_while_promoting_what_serves_is_approved(city: City, aws: LocalSageMaker) -> None:
    actor = Actor(aws)
    city.go_live(1.01, month=1)
    held, _ = city.train(1.2, month=2, status="Rejected")
    call = 0
    while run_alone(actor, lambda s3: promote(city, s3, version=2), die_before=call):
        pointer = city.pointer
        assert pointer is not None
        assert city.status(pointer) == "Approved", "the registry is told first"
        call += 1
    assert call > 5
    assert [state.target_model for state in city.chain()][1:] == [held.target_model]
    assert city.status(held) == "Approved"
