"""Carrying out what was decided in the registry, and what time decides. Clients are passed in.

One Search finds the versions of a fleet that wait, and those that were changed since the last look. A version whose
status is not the settled one was decided somewhere: in the console, by a script, or by a command or a run that died
before it was done. Looking twice is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming
from city_fleet.approval import approvals
from city_fleet.champions.approval_states import Event
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.config import Fleet
from city_fleet.errors import CityFleetError
from city_fleet.plan import plan_city
from city_fleet.state import package_status, registry, registry_search
from city_fleet.state.author import Author
from city_fleet.state.context import Clients
from city_fleet.state.objects import ObjectStore, json_of
from city_fleet.state.outcomes import Decided
from city_fleet.state.registry import ModelPackage

#: Search finds a change a while after it was made, and clocks differ.
LATE = timedelta(hours=1)
#: A command or a run that has just decided is given this long to carry it out itself.
GRACE = timedelta(minutes=2)
_BY = "reconcile"


@dataclass
class Looked:
    """What one look has done.

    :param waiting: versions that still await approval.
    :param left: versions that could not be dealt with in time, or while AWS was unwell; the next look goes on there.
    :param problems: sentences about what went wrong.
    """

    decided: list[Decided] = field(default_factory=list)
    waiting: int = 0
    left: int = 0
    problems: list[str] = field(default_factory=list)


def waiting(aws: Clients, fleet: Fleet) -> Iterator[tuple[PlannedCity, ModelPackage]]:
    """Yield the versions of a fleet's cities that await approval."""
    cities = cities_by_group(aws, fleet)
    name_part = naming.package_groups_part(fleet.fleet, fleet.environment)
    for version in registry_search.search(aws.sagemaker, name_part, datetime.now(UTC)):
        if version.group in cities and version.waits_for_person:
            yield cities[version.group], version


def run(
    aws: Clients,
    fleet: Fleet,
    *,
    now: datetime,
    in_time: Callable[[], bool] = lambda: True,
    say: Callable[[Decided], None] = lambda decided: None,
) -> Looked:
    """Carry out what was decided since the last look.

    :param in_time: tells whether there is time for one more version.
    :param say: is told what came of each.
    """
    keys = fleet.keys
    store = ObjectStore(aws.s3, keys.bucket)
    since = _last_look(store, keys)
    cities = cities_by_group(aws, fleet)
    done = Looked()
    name_part = naming.package_groups_part(fleet.fleet, fleet.environment)
    found = registry_search.search(aws.sagemaker, name_part, since - LATE if since else None)
    for version in found:
        city = cities.get(version.group)
        if city is None:
            continue
        if not in_time():
            done.left += 1
            continue
        try:
            decided = settle(city, version, now)
        except (CityFleetError, ClientError, BotoCoreError) as error:
            if aws_errors.is_passing(error):
                done.left += 1
                continue
            done.problems.append(f"{city.slug}, version {version.number}: {error}")
            continue
        if decided is not None:
            done.decided.append(decided)
            say(decided)
        elif version.waits_for_person:
            done.waiting += 1
    if not done.left and not done.problems:
        _keep_look(store, keys, now)
    return done


def settle(city: PlannedCity, found: ModelPackage, now: datetime) -> Decided | None:
    """Carry out what has happened to one version; None if nothing has.

    :param found: the version as Search knows it, which may be a while behind.
    """
    if found.status == found.settled_status and not _is_late(found, now):
        return None
    version = registry.describe(city.aws.sagemaker, found.arn)
    if version is None:
        return None
    registry.refuse_other(city.keys, version)
    if _is_late(version, now):
        hours = city.plan.city.approval_expires_hours
        author = Author(_BY, f"expired: no decision within {hours} hours")
        return approvals.apply(city, version.arn, Event.EXPIRE, author)
    ours = version.status == version.decided_status
    if version.status == version.settled_status or (ours and _is_fresh(version, now)):
        return None
    return _carry_out(city, version)


def _carry_out(city: PlannedCity, version: ModelPackage) -> Decided | None:
    """Carry out a decision that stands in the registry."""
    serves, served = approvals.serving(city, version)
    if version.status == registry.APPROVED and served:
        # It went live and something else did since: nothing is left to do.
        package_status.settle(city.aws.sagemaker, version)
        return None
    step, version, author = approvals.adopt(city.aws, version, live=serves, served=served)
    return approvals.carry_out(city, version, step, author)


def cities_by_group(aws: Clients, fleet: Fleet) -> Mapping[str, PlannedCity]:
    """Return a fleet's cities by their package groups."""
    cities = (PlannedCity.of(aws, plan_city(fleet, slug)) for slug in fleet.cities)
    return {city.group: city for city in cities}


def _is_late(version: ModelPackage, now: datetime) -> bool:
    return version.waits_for_person and now >= naming.parse_as_of(version.metadata[registry.EXPIRES_AT])


def _is_fresh(version: ModelPackage, now: datetime) -> bool:
    return version.changed_at is not None and now - version.changed_at < GRACE


def _last_look(store: ObjectStore, keys: naming.Keys) -> datetime | None:
    found = store.get(keys.reconciled())
    try:
        return naming.parse_as_of(json_of(found.body)["looked_at"]) if found else None
    except (ValueError, KeyError, TypeError):
        return None  # all versions that were ever changed are looked at once


def _keep_look(store: ObjectStore, keys: naming.Keys, moment: datetime) -> None:
    body = json.dumps({"format_version": 1, "looked_at": naming.as_of_stamp(moment)}).encode()
    store.put(keys.reconciled(), body)
