"""Restoring live pointers from history and registry: real S3, a real registry."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from city_fleet.champions import moves, rebuild
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.state import live
from city_fleet.state.author import Author
from tests.support.actors import Actor, run_alone
from tests.support.factors import CODE_DIGEST, KEYS, SETTINGS_DIGEST, City
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    return City(aws)


def restore(city: City, s3: Any = None, **arguments: Any) -> moves.Move:
    author = Author(arguments.pop("by", "ann"), arguments.pop("reason", ""))
    return rebuild.rebuild(city.context(s3), author, **arguments)


def lose(city: City) -> None:
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))


def overwrite(city: City, body: bytes) -> None:
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug), Body=body)


def test_a_sound_pointer_is_left_alone(city: City) -> None:
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    move = restore(city)
    assert (move.outcome, move.after, move.notes) == ("unchanged", second, ("the live pointer is sound",))
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 2))
    assert restore(city).outcome == "unchanged", "its mover died before the copy; whoever moves next makes it"


def test_a_lost_pointer_is_what_it_was(city: City) -> None:
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    lose(city)
    move = restore(city)
    pointer = city.pointer
    assert (move.outcome, move.before, move.after) == ("moved", None, pointer)
    assert move.notes == (
        "the live pointer is missing",
        f"from sequence 2 of the history, publish by {second.moved_by}",
    )
    assert pointer is not None
    assert pointer == replace(
        second,
        sequence=3,
        predecessor=second.target_model,
        move=live.REBUILD,
        moved_at=pointer.moved_at,
        moved_by="ann",
        reason="the live pointer is missing",
        restores=2,
    )
    city.chain()
    assert restore(city).outcome == "unchanged"


def test_a_rollback_stays_a_rollback(city: City) -> None:
    """Also pinned, and a rollback after it goes further back as if nothing had been lost."""
    models = [city.go_live(1 + month / 10, month) for month in (1, 2, 3)]
    current = live.read(city.s3, KEYS, city.slug)
    assert current is not None
    back = moves.state_after(
        current.pointer, models[1], kind=live.ROLLBACK, author=Author("bob"), pinned=True
    )
    live.move(city.s3, KEYS, back, current)
    lose(city)
    pointer = restore(city).after
    assert (pointer.target_model, pointer.pinned, pointer.restores) == (models[1].target_model, True, 2)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"format_version": 1, "sequence": "x"}'])
def test_a_broken_pointer_is_replaced(city: City, body: bytes) -> None:
    first = city.go_live(1.1, month=1)
    overwrite(city, body)
    move = restore(city, reason="somebody edited it")
    assert (move.before, move.after.target_model, move.after.reason) == (
        None,
        first.target_model,
        "somebody edited it",
    )
    assert "is not a live pointer" in move.notes[0]
    assert [state.move for state in city.chain()] == ["publish", "rebuild"]


def test_a_pointer_of_a_newer_version_is_left_alone(city: City) -> None:
    city.go_live(1.1, month=1)
    overwrite(city, b'{"format_version": 2}')
    with pytest.raises(PublishError, match="upgrade it"):
        restore(city)
    assert city.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))["Body"].read().endswith(b"2}")


def test_a_pointer_put_back_by_hand_keeps_its_model_behind_the_history(city: City) -> None:
    first = city.go_live(1.1, month=1)
    city.go_live(1.2, month=2)
    overwrite(city, first.to_json())
    move = restore(city)
    assert move.notes == (
        "the live pointer has sequence 1, but the history goes up to 2",
        f"{first.target_model} stays live",
    )
    assert (move.after.sequence, move.after.target_model, move.after.restores) == (3, first.target_model, 1)
    city.go_live(1.3, month=3)
    assert live.kept_sequences(city.s3, KEYS, city.slug) == [1, 2, 3, 4]


def test_a_pointer_written_by_hand_keeps_its_model_too(city: City) -> None:
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    other = city.go_live(1.3, month=3)
    overwrite(city, replace(other, sequence=2).to_json())
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 3))
    move = restore(city)
    assert move.notes[0] == "the history holds another pointer with the live pointer's sequence, 2"
    assert (move.after.sequence, move.after.target_model, move.after.restores) == (
        3,
        other.target_model,
        None,
    )
    assert live.read_kept(city.s3, KEYS, city.slug, 2) == second


def test_a_pointer_of_another_city_is_replaced(city: City, aws: LocalSageMaker) -> None:
    first, other = city.go_live(1.1, month=1), City(aws).go_live(1.2, month=2)
    overwrite(city, other.to_json())
    move = restore(city)
    assert f"city is '{other.city}', but the key is that of city '{city.slug}'" in move.notes[0]
    assert (move.after.city, move.after.target_model, move.after.predecessor) == (
        city.slug,
        first.target_model,
        first.target_model,
    )


def test_a_pointer_whose_artifact_is_gone_makes_way(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    city.remove_artifact(second)
    move = restore(city)
    gone = KEYS.uri(KEYS.model(second.target_model))
    assert move.notes[0] == f"the live pointer names an artifact that can't serve: {gone} does not exist"
    assert "passed over sequence 2: " in move.notes[1]
    assert (move.before, move.after.target_model) == (second, first.target_model)
    assert [state.move for state in city.chain()] == ["publish", "publish", "rebuild"]


def test_a_rejected_model_and_a_damaged_copy_are_passed_over(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    city.go_live(1.3, month=3)
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 3), Body=b"{}")
    city.sagemaker.update_model_package(ModelPackageArn=second.package_arn, ModelApprovalStatus="Rejected")
    lose(city)
    move = restore(city)
    assert (move.after.sequence, move.after.target_model) == (4, first.target_model)
    assert [note.partition(":")[0] for note in move.notes[:3]] == [
        "the live pointer is missing",
        "passed over sequence 3",
        "passed over sequence 2",
    ]
    assert move.notes[3:] == (f"from sequence 1 of the history, publish by {first.moved_by}",)


def test_without_a_history_the_registry_knows_the_newest_published_version(city: City) -> None:
    old = city.go_live(1.1, month=1)
    newest = city.go_live(1.2, month=3)
    city.train(
        1.3, month=4
    )  # approved, but never published: its artifact is not where the endpoint serves from
    candidate, _ = city.train(1.4, month=5, status="Rejected")
    city.install(candidate)
    city.train(1.05, month=2)
    for sequence in (1, 2):
        city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, sequence))
    lose(city)
    move = restore(city)
    pointer = move.after
    assert pointer == city.pointer
    assert (pointer.sequence, pointer.target_model, pointer.restores) == (1, newest.target_model, None)
    assert (pointer.artifact_sha256, pointer.package_arn) == (newest.artifact_sha256, newest.package_arn)
    assert (pointer.as_of, pointer.features, pointer.predecessor) == (newest.as_of, ("x", "y"), None)
    assert (pointer.move, pointer.published_by) == (live.REBUILD, "ann")
    assert (pointer.settings_digest, pointer.code_digest) == (SETTINGS_DIGEST, CODE_DIGEST)
    assert move.notes[-1] == "from version 2 of the registry; what else served is not known"
    city.remove_artifact(newest)
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 1))
    lose(city)
    assert restore(city).after.target_model == old.target_model


def test_a_city_that_never_went_live_stays_as_it_is(city: City) -> None:
    assert restore(city).notes == ("no model of it ever went live",)
    city.train(1.1, month=1)
    assert restore(city).outcome == "unchanged"
    assert city.pointer is None


@pytest.mark.parametrize("broken", [False, True])
def test_nothing_to_restore_is_an_error_where_something_served(city: City, broken: bool) -> None:
    first = city.go_live(1.1, month=1)
    city.remove_artifact(first)
    overwrite(city, b"{}")
    if not broken:
        lose(city)
    with pytest.raises(PublishError, match="nothing can be restored: passed over sequence 1"):
        restore(city)


def test_a_dry_run_changes_nothing(city: City) -> None:
    first = city.go_live(1.1, month=1)
    lose(city)
    move = restore(city, dry_run=True)
    assert (move.outcome, move.after.sequence, move.after.target_model) == ("planned", 2, first.target_model)
    assert city.pointer is None


def test_it_may_die_anywhere_and_be_repeated(city: City, aws: LocalSageMaker) -> None:
    actor = Actor(aws)
    city.go_live(1.1, month=1)
    call, died = 0, True
    while died:
        lose(city)
        died = run_alone(actor, lambda s3: restore(city, s3), die_before=call)
        assert restore(city).after is not None
        assert city.pointer is not None
        city.chain()
        call += 1
    assert call > 5


def test_two_who_restore_at_once_make_one_move(city: City, aws: LocalSageMaker) -> None:
    actor = Actor(aws)
    city.go_live(1.1, month=1)
    lose(city)
    actor.start(lambda s3: restore(city, s3, by="bob"))
    for _ in range(4):
        actor.step()
    restore(city)
    assert actor.finish().outcome == "unchanged"
    assert [state.moved_by for state in city.chain()][1:] == ["ann"]


def test_cities_whose_pointer_is_lost_are_found(aws: LocalSageMaker) -> None:
    keys, s3 = Keys("city-fleet", f"f{uuid.uuid4().hex}", "laptop"), aws.client("s3")
    assert rebuild.lost_cities(s3, keys) == []
    for name in ("austin", "waco", "dallas"):
        s3.put_object(Bucket=keys.bucket, Key=keys.history(name, 1), Body=b"{}")
    s3.put_object(Bucket=keys.bucket, Key=keys.live("dallas"), Body=b"{}")
    assert rebuild.lost_cities(s3, keys) == ["austin", "waco"]
