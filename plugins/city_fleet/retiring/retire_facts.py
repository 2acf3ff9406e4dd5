"""The facts that retiring decides by: the rule of the fleet file, and what exists of a city. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from city_fleet.state.live import LivePointer
from city_fleet.state.registry import REJECTED


@dataclass(frozen=True)
class Rule:
    """What the fleet file says about retiring.

    :param keep_newest: models of a city that stay because they are the newest, by as_of.
    :param keep_predecessors: models of a city that stay because they served last before the one that serves now.
    :param grace: how long nothing must have needed something before it goes.
    :param delete_packages: whether the versions of models that go are deleted from the registry.
    """

    keep_newest: int
    keep_predecessors: int
    grace: timedelta
    delete_packages: bool = True


@dataclass(frozen=True)
class ModelObject:
    """An artifact below ``models/``.

    :param target: its target model.
    :param changed: when it was written.
    """

    target: str
    key: str
    size_bytes: int
    changed: datetime


@dataclass(frozen=True)
class RunFolder:
    """What the jobs of a run have written.

    :param run_key: ten hex digits that stand for the run.
    :param keys: the S3 keys of its objects.
    :param changed: when the newest of them was written.
    """

    run_key: str
    keys: tuple[str, ...]
    size_bytes: int
    changed: datetime


@dataclass(frozen=True)
class PackageFact:
    """A version in the registry that this fleet has registered.

    :param target: target model of its artifact.
    :param run_key: the run that trained it.
    :param status: approval status.
    """

    arn: str
    target: str
    run_key: str
    status: str
    created: datetime


@dataclass(frozen=True)
class ServedState:
    """A state of the live pointer.

    :param run_key: the run that trained its model; None when its version is gone.
    :param until: when it was replaced; None while it serves, or when no later state is known.
    """

    pointer: LivePointer
    run_key: str | None
    until: datetime | None


@dataclass(frozen=True)
class Inventory:
    """What there is of a city.

    :param served: states of the live pointer, newest first: at least the predecessors that stay, and all that were
        replaced within the grace period.
    :param ended_runs: keys of the runs that have a record. May leave out runs that have a version.
    :param known: S3 keys below ``known/``, the newest first.
    :param in_containers: target models, of any city, that containers of endpoints hold.
    :param on_trial: target models, of any city, that are tried beside a champion.
    """

    city: str
    models: tuple[ModelObject, ...] = ()
    runs: tuple[RunFolder, ...] = ()
    versions: tuple[PackageFact, ...] = ()
    served: tuple[ServedState, ...] = ()
    ended_runs: frozenset[str] = frozenset()
    known: tuple[str, ...] = ()
    in_containers: frozenset[str] = frozenset()
    on_trial: frozenset[str] = frozenset()

    def usable(self, target: str) -> bool:
        """Tell whether a model could serve: its artifact is there, and no version of it is rejected."""
        rejected = any(each.target == target and each.status == REJECTED for each in self.versions)
        return not rejected and any(each.target == target for each in self.models)
