"""Whoever lets a model serve keeps it from being retired, or learns that it is going: against a real endpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from city_fleet.champions import moves, promotion, rebuild
from city_fleet.champions.served import Destination
from city_fleet.errors import ArtifactError, PublishError
from city_fleet.retiring import retire_sweep
from city_fleet.retiring.retire_facts import Rule
from city_fleet.retiring.retire_inventory import InventorySource
from city_fleet.state import live, retire_marks
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Outcome
from city_fleet.state.retire_marks import Mark, Marks, model_unit
from tests.support.factors import ENVIRONMENT, KEYS, City, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker

RULE = Rule(keep_newest=1, keep_predecessors=1, grace=timedelta(days=14))


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    create_endpoint(aws)
    return City(aws)


def mark(city: City, *targets: str, going: bool = False) -> None:
    units = [model_unit(target) for target in targets]
    since = datetime.now(UTC) - timedelta(days=20)
    marks = Marks(dict.fromkeys(units, Mark(since, "Approved")), frozenset(units) if going else frozenset())
    retire_marks.update(city.s3, KEYS, city.slug, lambda _: marks)


def marked(city: City) -> set[str]:
    return set(retire_marks.read(city.s3, KEYS, city.slug)[0].marked)


def roll_back(city: City, to: str | None = None, *, dry_run: bool = False) -> moves.Move:
    order = moves.Rollback(Destination.parse(to) if to else None, dry_run=dry_run)
    return moves.rollback(city.context(), Author("ann"), order)


def test_a_rollback_keeps_the_model_it_returns_to(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    mark(city, first.target_model, second.target_model)
    roll_back(city, dry_run=True)
    assert len(marked(city)) == 2
    roll_back(city)
    assert marked(city) == {model_unit(second.target_model)}


def test_a_rollback_passes_over_what_is_going_and_says_so(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    city.go_live(1.3, month=3)
    mark(city, second.target_model, going=True)
    with pytest.raises(PublishError, match="is being retired"):
        roll_back(city, to="2")
    move = roll_back(city)
    assert move.after is not None
    assert move.after.target_model == first.target_model
    assert f"passed over sequence 2 ({second.target_model})" in move.notes[0]
    assert "is being retired" in move.notes[0]


def test_what_is_going_is_not_published(city: City) -> None:
    candidate, holdout = city.train(1.1, month=1)
    mark(city, candidate.target_model, going=True)
    with pytest.raises(ArtifactError, match="is being retired"):
        city.publish(candidate, holdout, city.judge(holdout))
    assert city.pointer is None
    mark(city, candidate.target_model)
    city.publish(candidate, holdout, city.judge(holdout))
    assert marked(city) == set()


def test_a_promoted_model_is_kept(city: City) -> None:
    candidate, _ = city.train(1.1, month=1, status="Rejected")
    mark(city, candidate.target_model)
    promotion.promote(city.context(), Author("ann", "we need one"), promotion.Choice())
    assert marked(city) == set()
    assert city.pointer is not None


@pytest.mark.parametrize("history", [True, False])
def test_a_rebuilt_pointer_leads_to_a_model_that_stays(city: City, history: bool) -> None:
    first = city.go_live(1.1, month=1)
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))
    if not history:
        city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 1))
    mark(city, first.target_model)
    rebuild.rebuild(city.context(), Author("ann"), dry_run=True)
    assert len(marked(city)) == 1
    rebuild.rebuild(city.context(), Author("ann"))
    assert city.pointer is not None
    assert marked(city) == set()


def test_a_rollback_passes_over_what_is_gone_and_the_history_still_tells_of_it(city: City) -> None:
    for month in (1, 2, 3, 4):
        city.go_live(1 + month / 10, month)
    source = InventorySource(city.s3, city.sagemaker, KEYS, ENVIRONMENT)
    for days in (15, 30):
        now = datetime.now(UTC) + timedelta(days=days)
        (report,) = retire_sweep.run(source, RULE, only=[city.slug], clock=lambda now=now: now)
        assert report.problem == ""
    assert len(report.deletion.model_keys) == 2
    assert [state.as_of[:6] for state in city.chain()] == ["201401", "201402", "201403", "201404"]
    assert city.answer() == pytest.approx(1.4)
    move = roll_back(city)
    assert move.after is not None
    assert move.after.restores == 3
    with pytest.raises(PublishError, match="there is no such artifact"):
        roll_back(city)
    with pytest.raises(PublishError, match=r"sequence 1\) can't serve again: .*there is no such artifact"):
        roll_back(city, to="1")
    assert roll_back(city, to="4").outcome == Outcome.MOVED


def test_a_run_in_which_the_same_artifact_comes_again_publishes_it_again(city: City) -> None:
    candidate, holdout = city.train(1.1, month=1)
    city.publish(candidate, holdout, city.judge(holdout))
    for month in (2, 3, 4):
        city.go_live(1.0, month)
    source = InventorySource(city.s3, city.sagemaker, KEYS, ENVIRONMENT)
    for days in (15, 30):
        now = datetime.now(UTC) + timedelta(days=days)
        list(retire_sweep.run(source, RULE, only=[city.slug], clock=lambda now=now: now))
    head = city.s3.list_objects_v2(Bucket=KEYS.bucket, Prefix=KEYS.model(candidate.target_model))
    assert head["KeyCount"] == 0
    done = city.publish(candidate, holdout, city.judge(holdout), force=True)
    assert done.outcome == Outcome.LIVE
    assert city.answer() == pytest.approx(1.1)


def test_marks_of_another_city_are_nobodys_business(city: City) -> None:
    candidate, holdout = city.train(1.1, month=1)
    other = f"{city.slug}_x"
    mark(city, candidate.target_model.replace(city.slug, other), going=True)
    assert city.publish(candidate, holdout, city.judge(holdout)).outcome == Outcome.LIVE
    assert live.read(city.s3, KEYS, other) is None
