"""Rolling back and unpinning against a real endpoint, a real registry and real S3."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_fleet.champions import answers, artifact, moves, rebuild
from city_fleet.champions.served import Destination
from city_fleet.errors import PointerMoved, PublishError
from city_fleet.naming import Keys
from city_fleet.state import live
from city_fleet.state.author import Author
from city_fleet.state.model_address import Address
from city_fleet.state.outcomes import Outcome
from tests.support.actors import Actor
from tests.support.factors import ENDPOINT, KEYS, City, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.serving import KEYS as HOUSES
from tests.support.serving import Serving, serve

MOVES = 40  # while applications ask


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    create_endpoint(aws)
    return City(aws)


def roll_back(city: City, s3: Any = None, **arguments: Any) -> moves.Move:
    author = Author(arguments.pop("by", "ann"), arguments.pop("reason", ""))
    return moves.rollback(city.context(s3), author, moves.Rollback(**arguments))


def unpin(city: City, s3: Any = None, by: str = "ann", reason: str = "") -> moves.Move:
    return moves.unpin(city.context(s3), Author(by, reason))


def to(text: str) -> Destination:
    return Destination.parse(text)


def test_it_returns_to_what_served_before_and_pins_it(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    before = datetime.now(UTC).replace(microsecond=0)
    move = roll_back(city, reason="prices ten times too high")
    pointer = city.pointer
    assert (move.outcome, move.before, move.after, move.notes) == (Outcome.MOVED, second, pointer, ())
    assert pointer is not None
    assert city.answer() == pytest.approx(1.1)
    assert pointer == replace(
        first,
        sequence=3,
        predecessor=second.target_model,
        pinned=True,
        move=live.ROLLBACK,
        moved_at=pointer.moved_at,
        moved_by="ann",
        reason="prices ten times too high",
        restores=1,
    )
    assert before <= datetime.fromisoformat(pointer.moved_at) <= datetime.now(UTC)
    assert [state.move for state in city.chain()] == ["publish", "publish", "rollback"]
    assert json.loads(json.dumps(move.to_dict()))["after"]["restores"] == 1


def test_a_second_rollback_goes_further_back_until_nothing_is_left(city: City) -> None:
    for month in (1, 2, 3):
        city.go_live(1 + month / 10, month)
    assert roll_back(city).after.restores == 2
    assert roll_back(city).after.restores == 1
    assert city.answer() == pytest.approx(1.1)
    with pytest.raises(PublishError, match="there is nothing to roll back to") as caught:
        roll_back(city)
    assert "(sequence 5) stays live" in str(caught.value)
    assert [state.restores for state in city.chain()] == [None, None, None, 2, 1]


def test_to_goes_anywhere_that_served_also_forward(city: City) -> None:
    models = [city.go_live(1 + month / 10, month) for month in (1, 2, 3)]
    assert roll_back(city, to=to("1")).after.target_model == models[0].target_model
    assert roll_back(city, to=to("3")).after.restores == 3
    assert roll_back(city, to=to("2014-02-01")).after.restores == 2
    assert roll_back(city, to=to(models[2].target_model)).after.restores == 3
    assert roll_back(city, to=to("4")).after.restores == 1, "a rollback stands for what it restored"
    assert city.answer() == pytest.approx(1.1)
    assert len(city.chain()) == 8


def test_to_what_serves_pins_it_once(city: City) -> None:
    first = city.go_live(1.1, month=1)
    pinned = roll_back(city, to=to("1"))
    assert (pinned.outcome, pinned.after.target_model, pinned.after.pinned) == (
        "moved",
        first.target_model,
        True,
    )
    again = roll_back(city, to=to("1"))
    assert (again.outcome, again.notes) == ("unchanged", ("it serves and is pinned already",))
    assert len(city.chain()) == 2


@pytest.mark.parametrize("text", ["7", "2013-01-01", "austin/20140101T000000Z-0123456789ab.tar.gz"])
def test_to_what_never_served_says_how_to_get_there(city: City, text: str) -> None:
    city.go_live(1.1, month=1)
    with pytest.raises(PublishError, match=r"never served.*`./fleet promote`"):
        roll_back(city, to=to(text))
    assert len(city.chain()) == 1


def test_a_city_that_nothing_serves(city: City) -> None:
    with pytest.raises(PublishError, match=rf"no model of it is live.*`./fleet rebuild {city.slug}`"):
        roll_back(city)
    with pytest.raises(PublishError, match="no model of it is live"):
        unpin(city)


def test_tonights_run_respects_the_pin_and_goes_on_after_unpin(city: City) -> None:
    city.retrain(1.2, month=1)
    city.retrain(1.1, month=2)
    roll_back(city, reason="raw data was wrong")
    held = city.retrain(1.05, month=3)
    assert held.outcome == Outcome.HELD
    assert "is pinned by ann since" in held.reasons[0]
    assert f": raw data was wrong; `./fleet unpin {city.slug}` lets new models go live" in held.reasons[0]
    move = unpin(city, by="bob", reason="data repaired")
    pointer = move.after
    assert (move.outcome, pointer.move, pointer.moved_by, pointer.reason) == (
        "moved",
        live.UNPIN,
        "bob",
        "data repaired",
    )
    assert (pointer.pinned, pointer.restores, city.answer()) == (False, 1, pytest.approx(1.2))
    assert unpin(city).outcome == "unchanged"
    assert city.retrain(1.05, month=4).outcome == Outcome.LIVE
    assert [state.move for state in city.chain()] == ["publish", "publish", "rollback", "unpin", "publish"]


def test_a_challenger_meets_the_champion_that_a_rollback_left(city: City) -> None:
    """Judged against the second model, published when the first one serves again: evaluated again, and held."""
    city.retrain(1.01, month=1)
    city.go_live(1.2, month=2)
    candidate, holdout = city.train(1.1, month=3)
    decision = city.judge(holdout)
    assert decision.promote
    roll_back(city)
    unpin(city)
    result = city.publish(candidate, holdout, decision)
    assert result.outcome == Outcome.HELD
    assert "worse than the champion's 1.0%" in " ".join(result.reasons)


def test_a_model_whose_artifact_is_gone_is_passed_over(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    city.go_live(1.3, month=3)
    city.remove_artifact(second)
    move = roll_back(city)
    assert move.after.target_model == first.target_model
    (note,) = move.notes
    assert note.startswith(
        f"passed over sequence 2 ({second.target_model}): s3://city-fleet/factors/laptop/models/"
    )
    assert note.endswith("there is no such artifact")
    with pytest.raises(PublishError, match=r"\(sequence 2\) can't serve again: .*there is no such artifact"):
        roll_back(city, to=to("2"))


def test_an_artifact_with_other_bytes_is_passed_over(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    city.go_live(1.3, month=3)
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.model(second.target_model), Body=b"other bytes")
    move = roll_back(city)
    assert move.after.target_model == first.target_model
    assert "has SHA-256" in move.notes[0]


@pytest.mark.parametrize("gone", [False, True])
def test_a_model_that_somebody_rejected_after_it_served_is_passed_over(city: City, gone: bool) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    city.go_live(1.3, month=3)
    if gone:
        city.sagemaker.delete_model_package(ModelPackageName=second.package_arn)
    else:
        city.sagemaker.update_model_package(
            ModelPackageArn=second.package_arn,
            ModelApprovalStatus="Rejected",
            ApprovalDescription="bob: biased",
        )
    move = roll_back(city)
    assert move.after.target_model == first.target_model
    assert move.notes[0].endswith(
        "is no longer in the registry" if gone else "version 2 is Rejected in the registry: bob: biased"
    )
    with pytest.raises(PublishError, match=r"goes live by `./fleet promote`, under your name"):
        roll_back(city, to=to("2"))


def test_a_copy_in_the_history_that_cannot_be_read_is_passed_over(city: City) -> None:
    first = city.go_live(1.1, month=1)
    city.go_live(1.2, month=2)
    third = city.go_live(1.3, month=3)
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 2), Body=b"{}")
    move = roll_back(city)
    assert (move.before, move.after.target_model) == (third, first.target_model)
    assert "passed over sequence 2: " in move.notes[0]


def test_nothing_left_names_all_that_was_passed_over(city: City) -> None:
    first = city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    city.remove_artifact(first)
    with pytest.raises(PublishError, match=r"nothing to roll back to.*passed over sequence 1"):
        roll_back(city)
    assert city.pointer == second


def test_an_endpoint_that_does_not_answer_stops_it_and_nothing_older_is_tried(city: City) -> None:
    city.go_live(1.1, month=1)
    second, third = city.go_live(1.2, month=2), city.go_live(1.3, month=3)
    with pytest.raises(PublishError, match=r"endpoint 'nowhere' does not answer.*not found"):
        moves.rollback(replace(city.context(), endpoint="nowhere"), Author("ann"))
    down = {
        "kind": "model_load_failure",
        "name": f"{ENDPOINT}/{second.target_model}",
        "reason": "no memory",
    }
    with Serving(city.server, []).faults(down), pytest.raises(PublishError, match="does not answer with"):
        roll_back(city)
    assert city.pointer == third


def test_a_model_that_answers_otherwise_than_when_it_was_trained_stays_where_it_is(city: City) -> None:
    city.go_live(1.1, month=1, sample_factor=1.1001)
    second = city.go_live(1.2, month=2)
    with pytest.raises(PublishError, match=r"for the sample row 1 with .* runs other serving code"):
        roll_back(city)
    assert city.pointer == second


def test_a_dry_run_chooses_and_checks_and_changes_nothing(city: City) -> None:
    first = city.go_live(1.1, month=1)
    gone = city.go_live(1.2, month=2)
    third = city.go_live(1.3, month=3)
    city.remove_artifact(gone)
    move = roll_back(city, dry_run=True)
    assert (move.outcome, move.before, move.after.target_model) == ("planned", third, first.target_model)
    assert len(move.notes) == 1
    assert city.pointer == third
    assert len(city.chain()) == 3


NIGHT = datetime(2014, 3, 1, tzinfo=UTC)


def test_a_night_is_rolled_back_to_what_served_before_it(city: City) -> None:
    """Two models went live in the night (a run and its repetition): neither is what served before."""
    before = city.go_live(1.1, month=2)
    city.go_live(1.2, month=3)
    city.go_live(1.3, month=4)
    move = roll_back(city, since=NIGHT)
    assert move.after.target_model == before.target_model
    again = roll_back(city, since=NIGHT)
    assert again.outcome == "unchanged"
    assert "was published before" in again.notes[0]
    assert len(city.chain()) == 4


def test_a_night_leaves_a_city_alone_that_published_nothing(city: City) -> None:
    city.go_live(1.1, month=1)
    only = city.go_live(1.2, month=2)
    assert roll_back(city, since=NIGHT).outcome == "unchanged"
    assert city.pointer == only


def test_a_city_whose_first_model_went_live_in_the_night_has_nothing_to_return_to(city: City) -> None:
    city.go_live(1.2, month=3)
    city.go_live(1.3, month=4)
    with pytest.raises(
        PublishError, match=r"no model that served before 2014-03-01T00:00:00\+00:00 can serve"
    ):
        roll_back(city, since=NIGHT)


def test_the_cities_of_a_night_are_found_by_one_list(aws: LocalSageMaker) -> None:
    keys = Keys("city-fleet", f"f{uuid.uuid4().hex}", "laptop")
    s3 = aws.client("s3")
    start = datetime.now(UTC)
    for name in ("waco", "austin"):
        s3.put_object(Bucket=keys.bucket, Key=keys.live(name), Body=b"{}")
    assert moves.cities_moved_since(s3, keys, start) == ["austin", "waco"]
    later = datetime.fromtimestamp(time.time() + 3600, UTC)
    assert moves.cities_moved_since(s3, keys, later) == []


def test_a_real_model_answers_its_own_samples(aws: LocalSageMaker, tmp_path: Path) -> None:
    """The job scripts' own code trained it, wrote its samples and serves it."""
    serving = serve(aws, tmp_path)
    for number in (0, 1):
        pointer = serving.publish("austin", number)
        loaded = artifact.fetch(
            aws.client("s3"), KEYS.bucket, HOUSES.model(pointer.target_model), pointer.artifact_sha256
        )
        place = replace(City(aws, "austin").context(), endpoint=serving.endpoint)
        moves.check_serves(place, pointer, loaded)
        wrong = replace(loaded, predictions=tuple(value * 1.001 for value in loaded.predictions))
        with pytest.raises(PublishError, match="for the sample row 1"):
            moves.check_serves(place, pointer, wrong)


def before_its_move(actor: Actor, city: City, work: Callable[[Any], Any]) -> None:
    """Start a move and stop it where its next call is the conditional put of the live pointer."""
    names: list[str] = []

    def remember(model: Any, params: dict[str, Any], **_: Any) -> None:
        names.append(f"{model.name} {params['url_path']}")

    actor.s3.meta.events.register_first("before-call.s3", remember, unique_id="remember")
    try:
        actor.start(work)
        while not actor.over and not (names[-1].startswith("PutObject") and "/live/" in names[-1]):
            actor.step()
    finally:
        actor.s3.meta.events.unregister("before-call.s3", unique_id="remember")
    assert not actor.over


@pytest.fixture(scope="module")
def actor(aws: LocalSageMaker) -> Actor:
    return Actor(aws)


def test_a_rollback_of_a_model_that_is_replaced_meanwhile_is_decided_again(city: City, actor: Actor) -> None:
    city.go_live(1.1, month=1)
    city.go_live(1.2, month=2)
    before_its_move(actor, city, lambda s3: roll_back(city, s3))
    third = city.go_live(1.3, month=3)
    with pytest.raises(PointerMoved, match="the live pointer was moved meanwhile: sequence 3, publish by"):
        actor.finish()
    assert city.pointer == third


def test_two_people_who_roll_back_at_once_go_one_step(city: City, actor: Actor) -> None:
    for month in (1, 2, 3):
        city.go_live(1 + month / 10, month)
    before_its_move(actor, city, lambda s3: roll_back(city, s3, by="ann"))
    bobs = roll_back(city, by="bob")
    anns = actor.finish()
    assert (anns.outcome, anns.notes) == ("unchanged", ("bob has done the same meanwhile",))
    assert city.pointer == bobs.after
    assert [state.restores for state in city.chain()] == [None, None, None, 2]


def test_an_unpin_in_between_does_not_stop_a_rollback(city: City, actor: Actor) -> None:
    for month in (1, 2, 3):
        city.go_live(1 + month / 10, month)
    roll_back(city)
    before_its_move(actor, city, lambda s3: roll_back(city, s3))
    unpin(city)
    assert actor.finish().after.restores == 1
    assert [state.move for state in city.chain()][3:] == ["rollback", "unpin", "rollback"]


def test_an_unpin_never_unpins_what_somebody_has_just_pinned(city: City, actor: Actor) -> None:
    for month in (1, 2, 3):
        city.go_live(1 + month / 10, month)
    roll_back(city)
    before_its_move(actor, city, lambda s3: unpin(city, s3))
    newer = roll_back(city, by="bob")
    with pytest.raises(PointerMoved, match="rollback by bob"):
        actor.finish()
    assert city.pointer == newer.after


def test_a_rollback_to_somewhere_gets_there_whatever_happens_meanwhile(city: City, actor: Actor) -> None:
    for month in (1, 2):
        city.go_live(1 + month / 10, month)
    before_its_move(actor, city, lambda s3: roll_back(city, s3, to=to("1")))
    city.go_live(1.3, month=3)
    assert actor.finish().after.restores == 1
    assert city.answer() == pytest.approx(1.1)
    assert len(city.chain()) == 4


def test_a_client_always_gets_one_of_the_two_models_while_they_take_turns(
    aws: LocalSageMaker, city: City
) -> None:
    """Two applications ask through the pointer without a pause while it moves; no answer fails or is another's."""
    factors = {city.go_live(1 + month / 10, month).target_model: 1 + month / 10 for month in (1, 2)}
    for target in factors:
        answers.invoke(city.runtime, Address(ENDPOINT, target), [[1.0, None]])
    over = threading.Event()
    seen: list[tuple[int, str, float, int]] = []
    errors: list[BaseException] = []

    def application() -> None:
        try:
            while not over.is_set():
                pointer = city.pointer
                assert pointer is not None
                body = city.runtime.invoke_endpoint(
                    EndpointName=ENDPOINT,
                    TargetModel=pointer.target_model,
                    ContentType="text/csv",
                    Accept="application/json",
                    Body=b"1.0,",
                )["Body"].read()
                after = city.pointer
                assert after is not None
                answer = json.loads(body)["predictions"][0]
                seen.append((pointer.sequence, pointer.target_model, answer, after.sequence))
        except BaseException as error:
            errors.append(error)

    applications = [threading.Thread(target=application) for _ in range(2)]
    for each in applications:
        each.start()
    try:
        for number in range(MOVES):
            roll_back(city, to=to(str(1 + number % 2)))
            assert not errors, errors
    finally:
        over.set()
        for each in applications:
            each.join(timeout=60)
    assert not errors, errors
    chain = city.chain()
    assert len(chain) == MOVES + 2
    served = {state.sequence: state.target_model for state in chain}
    for before, target, answer, after in seen:
        assert served[before] == target
        assert answer == pytest.approx(factors[target])
        assert target in {served[sequence] for sequence in range(before, after + 1)}
    moves_seen = {before for before, *_ in seen}
    during = sum(before != after for before, _, _, after in seen)
    assert len(moves_seen) > MOVES / 5, "the applications really asked between the moves"
    assert during > 0, "and while one was made"


@pytest.fixture(scope="module")
def actors(aws: LocalSageMaker) -> list[Actor]:
    return [Actor(aws) for _ in range(3)]


@settings(max_examples=12)
@given(
    work=st.lists(
        st.lists(st.sampled_from(["publish", "roll back", "to", "unpin", "rebuild"]), max_size=3),
        min_size=3,
        max_size=3,
    ),
    schedule=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([False] * 9 + [True])), max_size=80),
)
def test_any_order_of_moves_and_deaths_keeps_one_unbroken_history(
    aws: LocalSageMaker,
    actors: list[Actor],
    work: list[list[str]],
    schedule: list[tuple[int, bool]],
) -> None:
    """Three people and processes move one city; which of them makes the next S3 call, or dies instead, is drawn."""
    create_endpoint(aws)
    city = City(aws)
    models = [city.go_live(1 + month / 10, month) for month in (1, 2, 3)]
    made: list[str] = []

    def one_move(s3: Any, kind: str, name: str) -> None:
        if kind == "publish":
            while True:
                current = live.read(s3, KEYS, city.slug)
                assert current is not None
                new = replace(
                    models[len(name) % 3],
                    sequence=current.pointer.sequence + 1,
                    predecessor=current.pointer.target_model,
                    moved_by=name,
                )
                try:
                    live.move(s3, KEYS, new, current)
                except PointerMoved:
                    continue
                made.append(name)
                return
        if kind == "unpin":
            move = moves.unpin(city.context(s3), Author(name))
        elif kind == "rebuild":
            move = rebuild.rebuild(city.context(s3), Author(name))
            assert move.outcome == "unchanged", "whoever dies where, the pointer is sound"
        else:
            move = roll_back(city, s3, by=name, to=to("1") if kind == "to" else None)
        if move.outcome == "moved":
            made.append(name)

    left = [list(kinds) for kinds in work]

    def step(number: int, die: bool) -> None:
        actor = actors[number]
        if not actor.over:
            actor.step(die=die)
        elif left[number]:
            kind = left[number].pop()
            name = f"{kind} {number} {'x' * len(left[number])}"
            actor.start(lambda s3: one_move(s3, kind, name))
        # Nothing to go back to, or somebody was faster: said, and nothing was moved.
        if actor.over and actor.error is not None and not isinstance(actor.error, PublishError):
            raise actor.error

    try:
        for number, die in schedule:
            step(number, die)
        while any(not actor.over or left[number] for number, actor in enumerate(actors)):
            for number in range(3):
                step(number, False)
    finally:
        for actor in actors:
            while not actor.over:
                actor.step(die=True)
    chain = city.chain()
    movers = [state.moved_by for state in chain]
    assert len(set(movers)) == len(movers), "no move is made twice"
    assert set(made) <= set(movers), "no move that was made is lost"
    for state in chain:
        if state.restores is not None:
            origin = chain[state.restores - 1]
            assert (origin.target_model, origin.restores) == (state.target_model, None)
