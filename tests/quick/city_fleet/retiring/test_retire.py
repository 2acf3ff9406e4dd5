"""What may go and what stays: nothing that a pointer leads to, or could lead to, is ever planned to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_fleet.champions.served import walk_back
from city_fleet.errors import OtherInstallation, PublishError
from city_fleet.naming import Keys, target_model
from city_fleet.retiring import retire
from city_fleet.retiring.retire import Deletion
from city_fleet.retiring.retire_facts import Inventory, ModelObject, PackageFact, Rule, RunFolder, ServedState
from city_fleet.state.live import LivePointer
from city_fleet.state.retire_marks import Mark, Marks, model_unit, run_unit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RULE = Rule(keep_newest=2, keep_predecessors=1, grace=14 * DAY)
CITY = "austin"

KEYS = Keys("bucket", "fleet", "laptop")


def target(number: int) -> str:
    """The model of the number-th night."""
    return target_model(CITY, datetime(2025, 1, 1, tzinfo=UTC) + number * DAY, f"{number:064x}"[::-1])


def run_key(number: int) -> str:
    return f"{number:010x}"


def arn(number: int) -> str:
    return (
        f"arn:aws:sagemaker:us-east-1:123456789012:model-package/texas-housing--laptop--austin/{number + 1}"
    )


def model(number: int, age_days: float = 100) -> ModelObject:
    return ModelObject(target(number), f"f/models/{target(number)}", 1000, NOW - age_days * DAY)


def folder(number: int, age_days: float = 100) -> RunFolder:
    key = run_key(number)
    return RunFolder(key, (f"f/runs/{CITY}/{key}/a", f"f/runs/{CITY}/{key}/b"), 500, NOW - age_days * DAY)


def version(number: int, status: str = "Approved", age_days: float = 100) -> PackageFact:
    return PackageFact(arn(number), target(number), run_key(number), status, NOW - age_days * DAY)


def pointer(number: int, sequence: int, restores: int | None = None) -> LivePointer:
    return LivePointer(
        sequence=sequence,
        city=CITY,
        target_model=target(number),
        package_arn=arn(number),
        as_of="20250101T000000Z",
        metrics={},
        features=(),
        artifact_sha256="0" * 64,
        published_at="2025-01-01T00:00:00+00:00",
        published_by="texas_housing.austin/run",
        restores=restores,
    )


def served(*numbers: int, ended_days_ago: Sequence[float | None] | None = None) -> tuple[ServedState, ...]:
    """The models of the states of the pointer, newest first; all but the first ended long ago."""
    ended = ended_days_ago or [None, *[90 + place for place in range(1, len(numbers))]]
    return tuple(
        ServedState(
            pointer(number, len(numbers) - place),
            run_key(number),
            None if days is None else NOW - days * DAY,
        )
        for place, (number, days) in enumerate(zip(numbers, ended, strict=True))
    )


def city(count: int, *states: ServedState, **sides: tuple[object, ...]) -> Inventory:
    """A city whose nights have all trained and registered a model, and published it."""
    everything = Inventory(
        CITY,
        tuple(model(number) for number in range(count)),
        tuple(folder(number) for number in range(count)),
        tuple(version(number) for number in range(count)),
        states,
    )
    return replace(everything, **sides)


def marked_long_ago(found: Inventory) -> Marks:
    """The marks of a city in which nothing was needed until now."""
    units = [model_unit(each.target) for each in (*found.models, *found.versions)]
    units += [run_unit(CITY, each.run_key) for each in found.runs]
    status = {model_unit(each.target): each.status for each in found.versions}
    return Marks({unit: Mark(NOW - 14 * DAY, status.get(unit, "")) for unit in units})


def going(found: Inventory, rule: Rule = RULE, marks: Marks | None = None) -> set[int]:
    """The nights whose model goes."""
    planned = retire.plan(found, rule, marked_long_ago(found) if marks is None else marks, NOW)
    numbers = {model_unit(target(number)): number for number in range(20)}
    return {numbers[unit] for unit in planned.going if unit in numbers}


def test_what_serves_its_predecessor_and_the_newest_stay() -> None:
    found = city(8, *served(5, 3, 1))
    planned = retire.plan(found, RULE, marked_long_ago(found), NOW)
    assert going(found) == {0, 1, 2, 4}
    assert planned.kept[model_unit(target(5))] == "serves now"
    assert planned.kept[model_unit(target(3))] == "a rollback may return to it"
    assert planned.kept[model_unit(target(7))] == "one of the newest 2"
    assert planned.kept[run_unit(CITY, run_key(3))] == "a rollback may return to it"
    assert {run_unit(CITY, run_key(number)) for number in (0, 1, 2, 4)} < planned.going


def test_what_goes_is_the_object_the_version_and_the_run() -> None:
    found = city(8, *served(5, 3, 1))
    done = retire.deletion(found, [model_unit(target(0)), run_unit(CITY, run_key(0))], RULE)
    assert done.package_arns == (arn(0),)
    assert done.model_keys == (f"f/models/{target(0)}",)
    assert done.run_keys == folder(0).keys
    assert (done.models, done.runs, done.size_bytes) == (1, 1, 1500)
    keeping = replace(RULE, delete_packages=False)
    assert retire.deletion(found, [model_unit(target(0))], keeping).package_arns == ()


def test_nothing_goes_the_first_time_it_is_seen() -> None:
    found = city(8, *served(5))
    planned = retire.plan(found, RULE, Marks(), NOW)
    assert planned.going == frozenset()
    assert {mark.since for mark in planned.waiting().values()} == {NOW}
    almost = retire.plan(found, RULE, planned.marks, NOW + 14 * DAY - timedelta(seconds=1))
    assert almost.going == frozenset()
    assert retire.plan(found, RULE, planned.marks, NOW + 14 * DAY).going == planned.marks.marked.keys()


def test_a_model_that_served_within_the_grace_period_may_still_be_cached() -> None:
    states = served(7, 6, 2, 1, ended_days_ago=[None, 1, 13, 15])
    assert going(city(8, *states)) == {0, 1, 3, 4, 5}


def test_a_version_that_waits_for_approval_stays() -> None:
    versions = (version(0, "PendingManualApproval"), *(version(number) for number in range(1, 8)))
    assert 0 not in going(city(8, *served(5), versions=versions))


def test_another_status_starts_the_grace_period_anew() -> None:
    found = city(8, *served(5))
    marks = marked_long_ago(found)
    approved = replace(found, versions=(version(0, "Rejected"), *found.versions[1:]))
    assert 0 in going(found, marks=marks)
    assert 0 not in going(approved, marks=marks)
    assert retire.plan(approved, RULE, marks, NOW).marks.marked[model_unit(target(0))].since == NOW


def test_a_run_that_began_again_is_left_alone_with_its_model() -> None:
    """Somebody cleared it: its jobs write into the same folder once more."""
    found = city(8, *served(5))
    found = replace(found, runs=(folder(0, age_days=0.1), *found.runs[1:]))
    planned = retire.plan(found, RULE, marked_long_ago(found), NOW)
    assert {model_unit(target(0)), run_unit(CITY, run_key(0))} <= planned.waiting().keys()


def test_a_run_without_a_record_may_still_be_going() -> None:
    runs = (folder(10, age_days=80), folder(11, age_days=95), folder(12, age_days=80))
    found = Inventory(CITY, runs=runs, ended_runs=frozenset({run_key(12)}))
    planned = retire.plan(found, RULE, marked_long_ago(found), NOW)
    assert planned.kept == {run_unit(CITY, run_key(10)): "its run has not ended"}
    assert planned.going == {run_unit(CITY, run_key(11)), run_unit(CITY, run_key(12))}


def test_rejected_and_lost_models_do_not_count_as_something_to_return_to() -> None:
    states = served(7, 5, 4, 3)
    versions = tuple(version(number, "Rejected" if number == 5 else "Approved") for number in range(8))
    models = tuple(model(number) for number in range(8) if number != 4)
    found = city(8, *states, versions=versions, models=models)
    assert 3 not in going(found)


def test_rollbacks_find_what_they_return_to_although_others_served_since() -> None:
    """1, 2, 3 served in turn; then back to 1 and, by hand, forward to 5: the next rollback returns to 1."""
    states = (
        ServedState(pointer(5, 5), run_key(5), None),
        ServedState(pointer(1, 4, restores=1), run_key(1), NOW - 80 * DAY),
        ServedState(pointer(3, 3), run_key(3), NOW - 81 * DAY),
        ServedState(pointer(2, 2), run_key(2), NOW - 82 * DAY),
        ServedState(pointer(1, 1), run_key(1), NOW - 83 * DAY),
    )
    assert not {5, 1} & going(city(8, *states))


def test_after_a_rollback_the_way_forward_stays_too() -> None:
    states = (
        ServedState(pointer(1, 3, restores=1), run_key(1), None),
        ServedState(pointer(2, 2), run_key(2), NOW - 80 * DAY),
        ServedState(pointer(1, 1), run_key(1), NOW - 81 * DAY),
    )
    assert not {1, 2} & going(city(8, *states))


def test_a_removed_city_can_be_brought_back_and_then_rolled_back() -> None:
    states = served(4, 3, 2, ended_days_ago=[50, 60, 70])
    assert going(city(8, *states)) == {0, 1, 2, 5}


def test_versions_that_stay_do_not_keep_their_artifacts() -> None:
    keeping = replace(RULE, delete_packages=False)
    found = city(8, *served(5))
    planned = retire.plan(found, keeping, marked_long_ago(found), NOW)
    assert {model_unit(target(0)), run_unit(CITY, run_key(0))} <= planned.going
    left = replace(found, models=found.models[1:], runs=found.runs[1:])
    after = retire.plan(left, keeping, planned.marks.without(planned.going), NOW)
    assert model_unit(target(0)) not in after.marks.marked


def test_what_a_pass_that_died_has_begun_is_ended_by_the_next_one() -> None:
    found = city(8, *served(5))
    unit = model_unit(target(0))
    begun = Marks({unit: Mark(NOW - 20 * DAY, "Approved")}, frozenset({unit, model_unit(target(15))}))
    half = replace(found, versions=found.versions[1:])
    assert retire.plan(half, RULE, begun, NOW).going == {unit}


@st.composite
def situations(draw: st.DrawFn) -> tuple[Inventory, Rule, Marks]:
    """Any city: sides of models missing, runs shared, pointers moved back and forth, marks of any age."""
    numbers = st.integers(0, 7)
    ages = st.sampled_from([0.0, 5.0, 13.9, 14.0, 15.0, 40.0, 80.0, 95.0])
    statuses = st.sampled_from(["Approved", "Rejected", "PendingManualApproval"])
    models = tuple(model(number, draw(ages)) for number in sorted(draw(st.sets(numbers))))
    runs = tuple(folder(number, draw(ages)) for number in sorted(draw(st.sets(numbers))))
    versions = tuple(
        replace(version(number, draw(statuses), draw(ages)), run_key=run_key(draw(numbers)))
        for number in sorted(draw(st.sets(numbers)))
    )
    moves = draw(st.lists(st.tuples(numbers, st.booleans(), ages), max_size=8))
    states: list[ServedState] = []
    for sequence, (number, back, _) in enumerate(moves, start=1):
        earlier = [state.pointer for state in reversed(states)]
        to = next(walk_back(earlier[0], earlier[1:]), None) if back and earlier else None
        restored = replace(to, sequence=sequence, restores=to.origin) if to else pointer(number, sequence)
        states.append(ServedState(restored, run_key(draw(numbers)), None))
    ends = sorted((age for _, _, age in moves), reverse=True)
    states = [replace(state, until=NOW - days * DAY) for state, days in zip(states, ends, strict=True)]
    if states and draw(st.booleans()):
        states[-1] = replace(states[-1], until=None)
    rule = Rule(draw(st.integers(1, 4)), draw(st.integers(1, 3)), 14 * DAY, draw(st.booleans()))
    ended = frozenset(run_key(number) for number in draw(st.sets(numbers)))
    found = Inventory(CITY, models, runs, versions, tuple(reversed(states)), ended)
    units = draw(st.sets(st.sampled_from(sorted(marked_long_ago(city(8)).marked))))
    marks = {unit: Mark(NOW - draw(ages) * DAY, draw(st.sampled_from(["", "Approved"]))) for unit in units}
    return found, rule, Marks(marks)


def must_stay(found: Inventory, rule: Rule) -> set[str]:
    """The models that a pointer leads to, may be cached to lead to, or will lead to after rollbacks."""
    stay = {state.pointer.target_model for state in found.served if state.until is None}
    stay |= {
        state.pointer.target_model
        for state in found.served
        if state.until is not None and NOW - state.until < rule.grace
    }
    stay |= {each.target for each in found.versions if each.status == "PendingManualApproval"}
    everything = {each.target for each in (*found.models, *found.versions)}
    stay |= set(sorted(everything, reverse=True)[: rule.keep_newest])
    history = [state.pointer for state in found.served]
    for _ in range(rule.keep_predecessors):
        if not history:
            break
        # A rollback passes over what could not serve, and is itself the newest state afterwards.
        back = (each for each in walk_back(history[0], history[1:]) if found.usable(each.target_model))
        to = next(back, None)
        if to is None:
            break
        stay.add(to.target_model)
        history.insert(0, replace(to, sequence=history[0].sequence + 1, restores=to.origin))
    return stay


@settings(max_examples=100)
@given(situations())
def test_nothing_that_is_needed_ever_goes(situation: tuple[Inventory, Rule, Marks]) -> None:
    found, rule, marks = situation
    planned = retire.plan(found, rule, marks, NOW)
    stay = must_stay(found, rule)
    assert not {model_unit(each) for each in stay} & planned.marks.marked.keys()
    trained_by = {(each.target, each.run_key) for each in found.versions}
    trained_by |= {(state.pointer.target_model, str(state.run_key)) for state in found.served}
    for trained, key in trained_by:
        if trained in stay:
            assert run_unit(CITY, key) not in planned.marks.marked
        if run_unit(CITY, key) in planned.going:
            assert model_unit(trained) in planned.going
    done = retire.deletion(found, planned.going, rule)
    live_arns = {state.pointer.package_arn for state in found.served if state.pointer.target_model in stay}
    assert not live_arns & set(done.package_arns)


@settings(max_examples=100)
@given(situations())
def test_what_goes_was_marked_for_the_whole_grace_period(situation: tuple[Inventory, Rule, Marks]) -> None:
    found, rule, marks = situation
    planned = retire.plan(found, rule, marks, NOW)
    changed = {model_unit(each.target): each.changed for each in found.models}
    changed |= {run_unit(CITY, each.run_key): each.changed for each in found.runs}
    for unit in planned.going:
        assert NOW - marks.marked[unit].since >= rule.grace
        assert NOW - changed.get(unit, NOW - rule.grace) >= rule.grace
    assert not planned.kept.keys() & planned.marks.marked.keys()
    again = retire.plan(found, rule, planned.marks, NOW)
    assert (again.kept, again.marks) == (planned.kept, planned.marks)


@settings(max_examples=100)
@given(situations())
def test_what_stays_unneeded_goes_in_the_end(situation: tuple[Inventory, Rule, Marks]) -> None:
    found, rule, marks = situation
    first = retire.plan(found, rule, marks, NOW)
    later = NOW + rule.grace
    second = retire.plan(found, rule, first.marks, later)
    assert second.going >= first.marks.marked.keys() - second.kept.keys()
    done = retire.deletion(found, second.going, rule)
    left = replace(
        found,
        models=tuple(each for each in found.models if each.key not in done.model_keys),
        runs=tuple(each for each in found.runs if each.keys[0] not in done.run_keys),
        versions=tuple(each for each in found.versions if each.arn not in done.package_arns),
    )
    third = retire.plan(left, rule, second.marks.without(second.going), later)
    assert third.kept == second.kept
    assert not third.going
    # What is left of a model may be a run folder that another one needs; nothing is deleted for it then.
    again = retire.deletion(left, third.marks.marked.keys() & second.going, rule)
    assert again == Deletion()


@settings(max_examples=100)
@given(situations())
def test_reading_more_of_the_history_changes_nothing_once_it_is_enough(
    situation: tuple[Inventory, Rule, Marks],
) -> None:
    found, rule, marks = situation
    for count in range(len(found.served) + 1):
        part = replace(found, served=found.served[:count])
        if retire.is_enough(part.served, rule, NOW, found.usable):
            models = {model_unit(each.target) for each in found.models}
            whole = retire.plan(found, rule, marks, NOW).kept.keys() & models
            assert retire.plan(part, rule, marks, NOW).kept.keys() & models == whole
            return


def test_marks_survive_their_file() -> None:
    unit = model_unit(target(1))
    marks = Marks({unit: Mark(NOW, "Rejected"), "runs/austin/0a/": Mark(NOW)}, frozenset({unit}))
    body = marks.to_json(CITY, KEYS)
    assert Marks.from_json(body, "s3://b/k", KEYS) == marks
    with pytest.raises(
        OtherInstallation, match="s3://b/k: belongs to fleet 'fleet', environment 'laptop', and this"
    ):
        Marks.from_json(body, "s3://b/k", Keys("bucket", "fleet", "rehearsal"))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"format_version": 1, "marked": {"a": {"since": "2026-01-01", "status": ""}}}'],
)
def test_a_file_that_holds_no_marks_is_named(body: bytes) -> None:
    with pytest.raises(PublishError, match="s3://b/k: holds no marks"):
        Marks.from_json(body, "s3://b/k", KEYS)
    with pytest.raises(PublishError, match="format_version is 2"):
        Marks.from_json(b'{"format_version": 2}', "s3://b/k", KEYS)
