"""Fetches what the status of a fleet and the digest of a night are made of: index, scripts, waiting versions.

Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock, naming
from city_fleet.config import Fleet
from city_fleet.errors import BrokenScores, ConfigError, OtherInstallation, PlatformError
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import plan_city
from city_fleet.state import (
    budget_question,
    index,
    monitored,
    old_layout,
    registry_search,
    shared_endpoints,
)
from city_fleet.state.index import Refreshed
from city_fleet.state.monitored import CityHealth
from city_fleet.state.objects import ObjectStore
from city_fleet.views import digest, trial_standing
from city_fleet.views import fleet as fleet_state
from city_fleet.views.digest import DigestWindow, NightDigest
from city_fleet.views.fleet import FleetSnapshot, Waiting
from city_fleet.views.trial_standing import CityTrial

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class Picture:
    """A snapshot and the index it was taken from.

    :param problems: sentences: what could not be looked at, and what could not be kept for the next look.
    :param budget: a sentence about a night that is beyond the budget, or that nobody could judge; else empty.
    """

    snapshot: FleetSnapshot
    refreshed: Refreshed
    problems: tuple[str, ...] = ()
    budget: str = ""


def picture(
    fleet: Fleet,
    s3: S3Client,
    sagemaker: SageMakerClient,
    *,
    limit: int | None = None,
    anew: bool = False,
    known: Picture | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Picture:
    """Bring the fleet's index up to date and join it with the fleet file, as of now.

    :param limit: fold in at most so many new run records; ``anew``: build the index from all of them.
    :param known: the picture before: of the index only what has changed since is fetched.
    :param say: is told about work that takes long.
    """
    at = clock.utc_now()
    keys = fleet.keys
    before = known.refreshed if known is not None else None
    refreshed = index.refresh(s3, keys, limit=limit, anew=anew, known=before, say=say)
    problems = [refreshed.problem] if refreshed.problem else []
    left = old_layout.left_over(s3, keys)
    if left is not None:
        problems.append(
            f"{left} was left by an earlier version and is not shown: `./fleet migrate --fleet {fleet.fleet}` moves it"
        )
    problems += closed_endpoints(fleet, ObjectStore(s3, keys.bucket))
    budget = beyond_budget(fleet, ObjectStore(s3, keys.bucket), at)
    problems += [budget] if budget else []
    waiting: dict[str, list[Waiting]] = {}
    try:
        waiting = waiting_versions(sagemaker, fleet, at)
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        problems.append(f"what waits for approval can't be looked at: {error}")
    health: Mapping[str, CityHealth] = {}
    if fleet.monitor.schedule is not None:
        try:
            health = monitored.read(ObjectStore(s3, keys.bucket), keys).cities
        except BrokenScores as error:
            problems.append(str(error))
    trials, unread = _trials(fleet, ObjectStore(s3, keys.bucket))
    problems += [unread] if unread else []
    snapshot = fleet_state.take(fleet, refreshed.index, at, code_digests=code_digests(fleet), waiting=waiting)
    if health or trials:
        cities = tuple(
            replace(city, health=health.get(city.city), trial=trials.get(city.city))
            for city in snapshot.cities
        )
        snapshot = replace(snapshot, cities=cities)
    return Picture(snapshot, refreshed, tuple(problems), budget)


def _trials(fleet: Fleet, store: ObjectStore) -> tuple[Mapping[str, CityTrial], str]:
    """Return what is on trial by city, and a sentence where that can't be looked at; else "".

    Anybody may have begun a trial, so S3 is asked whatever the fleet file says: once.
    """
    try:
        return trial_standing.read(store, fleet.keys), ""
    except (PlatformError, OtherInstallation) as error:
        return {}, str(error)
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        return {}, f"what is on trial can't be looked at: {error}"


def beyond_budget(fleet: Fleet, store: ObjectStore, at: datetime) -> str:
    """Return a sentence about a budget that keeps runs waiting, was overruled for now, or can't be judged; else "".

    S3 is asked only where the fleet has a budget.
    """
    if fleet.budget is None:
        return ""
    try:
        found = budget_question.read(store, fleet.keys)
    except (PlatformError, OtherInstallation) as error:
        return str(error)
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        return f"the budget can't be looked at, so it stops no run: {error}"
    if found is None or found.verdict in ("", budget_question.WITHIN):
        return ""
    if found.asks and at < found.asks_until:
        until = f"{found.asks_until:%Y-%m-%d %H:%M} UTC"
        allows = f"`./fleet cost --allow-night --fleet {fleet.fleet}`"
        return f"runs wait for a person until {until}: {found.told}; {allows} lets them begin"
    night = digest.night_of(at, fleet.digest.schedule)
    return found.told if found.night == naming.as_of_stamp(night.until) else ""


def closed_endpoints(fleet: Fleet, store: ObjectStore) -> list[str]:
    """Return a sentence for each endpoint that is closed by its hours; S3 is asked only where one has hours."""
    names = [name for name in fleet.endpoint_names if fleet.endpoint_settings(name).hours is not None]
    if not names:
        return []
    try:
        shared = shared_endpoints.read(store, fleet.keys)
    except PlatformError as error:
        return [str(error)]
    found = [(called, shared.get(called)) for called in map(fleet.endpoint_name, names)]
    return [each.closed.sentence(called) for called, each in found if each is not None and each.closed]


def code_digests(fleet: Fleet) -> dict[str, str]:
    """Return the digest of each city's scripts by ``City.code_name``; what can't be read is lint's to report."""
    found = {}
    for name, slug in {city.code_name: slug for slug, city in fleet.cities.items()}.items():
        try:
            found[name] = CodeBundle.of(plan_city(fleet, slug)).digest
        except ConfigError:
            continue
    return found


def waiting_versions(sagemaker: SageMakerClient, fleet: Fleet, at: datetime) -> dict[str, list[Waiting]]:
    """Return the versions of a fleet that wait for a person by model package group, by one Search.

    A version that waits for its own run to publish it is none of them.
    """
    found: dict[str, list[Waiting]] = {}
    for version in registry_search.search(
        sagemaker, naming.package_groups_part(fleet.fleet, fleet.environment), at
    ):
        if version.waits_for_person:
            waiting = Waiting(version.arn, version.number, version.changed_at or at)
            found.setdefault(version.group, []).append(waiting)
    return found


def night_digests(
    fleet: Fleet, s3: S3Client, found: Picture, night: DigestWindow, owners: Sequence[str] = ()
) -> list[NightDigest]:
    """Compose the digest of a night: about all cities, and then about those of each owner alone.

    Runs that the index does not hold any more are read from their records, once.

    :param found: the fleet's picture of now.
    :param owners: owners or tags of cities.
    """
    runs, forgotten = digest.runs_of(found.refreshed.index, night)
    keys = fleet.keys
    runs |= index.runs_between(s3, keys, forgotten, night.since, night.until)
    doubts = digest.less_sure(found.refreshed.index, runs)
    digests = (
        digest.compose(fleet, found.snapshot, night, runs, doubts, owner=owner) for owner in ("", *owners)
    )
    return [replace(each, budget=found.budget) for each in digests]
