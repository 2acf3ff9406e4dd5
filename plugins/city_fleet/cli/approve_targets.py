"""Which versions ``approve`` and ``reject`` decide about: of named cities, or of a whole night."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from city_fleet.cli.moving import FleetClients, beginning_of_stamp
from city_fleet.state.author import Author

if TYPE_CHECKING:
    from city_fleet.champions.planned_city import PlannedCity


@dataclass(frozen=True)
class DecisionOrder:
    """The decision, who makes it, and why.

    :param verb: ``approve`` or ``reject``.
    :param dry_run: only say what would be done.
    """

    verb: str
    author: Author
    dry_run: bool


@dataclass(frozen=True)
class DecisionTarget:
    """One version to decide about.

    :param arn: ARN of its model package.
    """

    fleet: str
    city: PlannedCity
    arn: str


def of_city(clients: FleetClients, city: str, number: int | None, order: DecisionOrder) -> DecisionTarget:
    """Return the version of a city to decide about: that with a number, or the one awaiting approval.

    :param number: version number in the registry; None means the one awaiting approval.

    :raises RegistryError: there is none.
    :raises ConfigError: the city's settings are broken.
    """
    from city_fleet.approval import approvals  # noqa: PLC0415 - imports botocore
    from city_fleet.champions.planned_city import PlannedCity  # noqa: PLC0415 - imports botocore
    from city_fleet.plan import plan_city  # noqa: PLC0415

    if city in clients.fleet.broken:
        raise clients.fleet.broken[city]
    planned = PlannedCity.of(clients, plan_city(clients.fleet, city))
    arn = approvals.version_to_decide(planned, number, order.verb)
    return DecisionTarget(clients.fleet.fleet, planned, arn)


def of_night(
    clients: FleetClients, night: str, order: DecisionOrder, notes: list[str]
) -> list[DecisionTarget]:
    """Decide about a night that the breaker has stopped, and return its versions awaiting approval.

    :param notes: a sentence is appended for each stopped night.
    """
    from city_fleet.approval import reconcile  # noqa: PLC0415 - imports botocore
    from city_fleet.champions import breaker  # noqa: PLC0415 - imports botocore

    beginning = beginning_of_stamp("--night", night)
    state = breaker.APPROVED if order.verb == "approve" else breaker.REJECTED
    for stamp in breaker.nights(clients.s3, clients.keys, beginning):
        found = (
            breaker.read(clients.s3, clients.keys, stamp)
            if order.dry_run
            else breaker.settle(
                clients.s3, clients.keys, stamp, state, by=order.author.by, note=order.author.note
            )
        )
        if found is not None:
            notes.append(f"Night {stamp}: {found.sentence}.")
    return [
        DecisionTarget(clients.fleet.fleet, planned, version.arn)
        for planned, version in reconcile.waiting(clients, clients.fleet)
        if version.as_of.startswith(beginning)
    ]
