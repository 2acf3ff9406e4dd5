"""Which of a city's models, runs and versions may be deleted, and which stay and why. Pure.

A model's object below ``models/``, its version in the registry and the folder of the run that trained it stay or go
together. What nothing needs is marked first; it goes when its mark is older than the grace period (retire_marks.py says
why).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from city_fleet import naming
from city_fleet.champions.served import walk_back
from city_fleet.retiring.retire_facts import Inventory, ModelObject, PackageFact, Rule, ServedState
from city_fleet.state.registry import PENDING
from city_fleet.state.retire_marks import Mark, Marks, model_unit, run_unit

#: A run without a record may still be going: SageMaker lets one job train for 28 days, and it may have waited before.
UNFINISHED = timedelta(days=90)
#: Of what was known of a city in its runs, predictions read the newest alone; some more, should it be broken or wrong.
KEPT_KNOWN = 5


@dataclass(frozen=True)
class Plan:
    """What a pass of retiring does with a city.

    :param kept: what stays because something needs it, with the reason.
    :param marks: the marks to store; their ``going`` is what may be deleted once they are stored.
    """

    kept: Mapping[str, str]
    marks: Marks

    @property
    def going(self) -> frozenset[str]:
        """Return what this pass deletes."""
        return self.marks.going

    def waiting(self) -> dict[str, Mark]:
        """Return what is marked and has to wait for the end of its grace period."""
        return {name: mark for name, mark in self.marks.marked.items() if name not in self.going}


@dataclass(frozen=True)
class Deletion:
    """What is deleted when models and runs go.

    :param package_arns: versions to delete.
    :param model_keys: S3 keys below ``models/``.
    :param run_keys: S3 keys below ``runs/``.
    :param known_keys: S3 keys below ``known/``.
    """

    package_arns: tuple[str, ...] = ()
    model_keys: tuple[str, ...] = ()
    run_keys: tuple[str, ...] = ()
    known_keys: tuple[str, ...] = ()
    models: int = 0
    runs: int = 0
    size_bytes: int = 0


@dataclass
class _Model:
    """One model: its object, its versions and its runs."""

    target: str
    object: ModelObject | None = None
    versions: list[PackageFact] = field(default_factory=list)
    run_keys: set[str] = field(default_factory=set)

    @property
    def status(self) -> str:
        return ", ".join(sorted({version.status for version in self.versions}))


def plan(found: Inventory, rule: Rule, marks: Marks, now: datetime) -> Plan:
    """Say what stays, what is marked and what goes.

    :param marks: as the last pass has left them.
    :param now: the time of this pass.
    """
    models = _models(found)
    folders = {folder.run_key: folder for folder in found.runs}
    needed = _needed_models(found, models, rule, now)
    runs_of_versions = {version.run_key for version in found.versions}
    kept: dict[str, str] = {}
    marked: dict[str, Mark] = {}
    candidates: dict[str, datetime] = {}

    def judge(unit: str, reason: str | None, changed: datetime, status: str = "") -> None:
        if unit in marks.going:
            marked[unit] = marks.marked.get(unit, Mark(now))
        elif reason is not None:
            kept[unit] = reason
        else:
            candidates[unit] = changed
            before = marks.marked.get(unit)
            same = before is not None and before.since >= changed and before.status == status
            marked[unit] = before if before is not None and same else Mark(now, status)

    for target, model in models.items():
        sides = [folders[key] for key in sorted(model.run_keys) if key in folders]
        changes = [side.changed for side in sides] + ([model.object.changed] if model.object else [])
        if rule.delete_packages:
            changes += [version.created for version in model.versions]
        if changes:  # else nothing is left of it that could be deleted
            judge(model_unit(target), needed.get(target), max(changes), model.status)
    for key, folder in folders.items():
        of_run = [target for target, model in models.items() if key in model.run_keys]
        reason = next((needed[target] for target in of_run if target in needed), None)
        if reason is None and key not in runs_of_versions | found.ended_runs:
            reason = "its run has not ended" if now - folder.changed < UNFINISHED else None
        judge(run_unit(found.city, key), reason, folder.changed)

    due = {
        unit
        for unit, changed in candidates.items()
        if now - marked[unit].since >= rule.grace and now - changed >= rule.grace
    }
    going = due | (marks.going & marked.keys())
    # A run folder goes with the last of its models, so that a claim of one model keeps the run as well.
    for key in folders:
        trained = {model_unit(target) for target, model in models.items() if key in model.run_keys}
        if run_unit(found.city, key) in going - marks.going and not trained <= going:
            going.discard(run_unit(found.city, key))
    return Plan(kept, Marks(marked, frozenset(going)))


def deletion(found: Inventory, going: Iterable[str], rule: Rule) -> Deletion:
    """Return what is deleted when models and runs go, and with them all but the newest of what was known.

    :param going: names of models and runs.
    """
    units = set(going)
    models = [each for each in found.models if model_unit(each.target) in units]
    runs = [each for each in found.runs if run_unit(found.city, each.run_key) in units]
    versions = [each for each in found.versions if rule.delete_packages and model_unit(each.target) in units]
    return Deletion(
        package_arns=tuple(each.arn for each in versions),
        model_keys=tuple(each.key for each in models),
        run_keys=tuple(key for each in runs for key in each.keys),
        known_keys=found.known[KEPT_KNOWN:],
        models=len({each.target for each in models} | {each.target for each in versions}),
        runs=len(runs),
        size_bytes=sum(each.size_bytes for each in models) + sum(each.size_bytes for each in runs),
    )


def _models(found: Inventory) -> dict[str, _Model]:
    """Return every model that anything speaks of, by target model, sorted."""
    models: dict[str, _Model] = {}

    def model(target: str) -> _Model:
        return models.setdefault(target, _Model(target))

    for each in found.models:
        model(each.target).object = each
    for version in found.versions:
        model(version.target).versions.append(version)
        model(version.target).run_keys.add(version.run_key)
    for state in found.served:
        if state.run_key is not None:
            model(state.pointer.target_model).run_keys.add(state.run_key)
    return dict(sorted(models.items()))


def _needed_models(
    found: Inventory, models: Mapping[str, _Model], rule: Rule, now: datetime
) -> dict[str, str]:
    """Return the target models that something needs, with the reason that weighs most."""
    by_as_of = [target for target, model in models.items() if model.object or model.versions]
    by_as_of.sort(key=lambda target: (naming.parse_target_model(target)[1], target), reverse=True)
    reasons = dict.fromkeys(by_as_of[: rule.keep_newest], f"one of the newest {rule.keep_newest}")
    for state in found.served:
        if state.until is not None and now - state.until < rule.grace:
            reasons[state.pointer.target_model] = f"served until {state.until:%Y-%m-%d %H:%M}"
    for target in predecessors(found.served, rule.keep_predecessors, found.usable):
        reasons[target] = "a rollback may return to it"
    for model in models.values():
        if any(version.status == PENDING for version in model.versions):
            reasons[model.target] = "waits for approval"
    # SageMaker fetches it anew for every instance that it starts: without it none would come into service.
    reasons |= dict.fromkeys(models.keys() & found.in_containers, "a container of an endpoint holds it")
    reasons |= dict.fromkeys(models.keys() & found.on_trial, "is tried beside the champion")
    for state in found.served:
        if state.until is None:
            reasons[state.pointer.target_model] = "serves now"
    by_arn = {version.arn: version.target for version in found.versions}
    for state in found.served:
        # A pointer may name a version that is about another artifact; that version is needed just as well.
        reason, version = reasons.get(state.pointer.target_model), by_arn.get(state.pointer.package_arn)
        if reason is not None and version is not None:
            reasons.setdefault(version, reason)
    return reasons


def predecessors(served: Sequence[ServedState], count: int, usable: Callable[[str], bool]) -> set[str]:
    """Return the models that a rollback could return to: those that served last beside the one that serves now, and
    those that one rollback after the other meets.

    :param served: states of the live pointer, newest first.
    :param count: how many usable ones of each; others that stand among them are returned as well.
    :param usable: tells whether a target model could serve: it is there, and not rejected.
    """
    return {target for found in _ways_back(served) for target in _first(found, count, usable)}


def is_enough(
    served: Sequence[ServedState], rule: Rule, now: datetime, usable: Callable[[str], bool]
) -> bool:
    """Tell whether states older than these would change nothing."""
    if not served or served[-1].until is None or now - served[-1].until < rule.grace:
        return False
    counts = (sum(map(usable, dict.fromkeys(found))) for found in _ways_back(served))
    return all(count >= rule.keep_predecessors for count in counts)


def _ways_back(served: Sequence[ServedState]) -> tuple[list[str], list[str]]:
    """Return target models in the order in which they served, and in that in which rollbacks return to them."""
    if not served:
        return [], []
    current, earlier = served[0].pointer, [state.pointer for state in served[1:]]
    latest = [pointer.target_model for pointer in earlier if pointer.target_model != current.target_model]
    if served[0].until is not None:  # nothing serves: the city was removed
        latest.insert(0, current.target_model)
    return latest, [pointer.target_model for pointer in walk_back(current, earlier)]


def _first(targets: Iterable[str], count: int, usable: Callable[[str], bool]) -> Iterator[str]:
    """Yield targets until so many usable ones have come."""
    for target in dict.fromkeys(targets):
        if count == 0:
            return
        yield target
        count -= usable(target)
