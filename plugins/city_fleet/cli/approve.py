"""Commands ``waiting``, ``approve`` and ``reject``: models awaiting approval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli.approve_targets import DecisionOrder, DecisionTarget, of_city, of_night
from city_fleet.cli.aws import aws_errors
from city_fleet.cli.moving import By, DryRun, FleetClients, Reason, author, each_city
from city_fleet.cli.output import AsJson, print_json, say
from city_fleet.cli.selection import CityNames, FleetName, cities_named, fleets_named, only_fleet
from city_fleet.errors import CityFleetError
from city_fleet.naming import parse_as_of
from city_fleet.state.outcomes import Decided, Outcome

if TYPE_CHECKING:
    pass


Night = Annotated[
    str | None,
    typer.Option(
        "--night",
        metavar="AS_OF",
        help="All models of one night that await approval: the as_of of its runs, or a day. If the breaker has "
        "stopped the night, also those still to come.",
    ),
]
VersionNumber = Annotated[
    int | None,
    typer.Option("--version", metavar="N", min=1, help="This version of the city, whatever its status."),
]
# Outcomes of an approval that has not led to a live model.
_NOT_DONE = frozenset({Outcome.HELD, Outcome.SUPERSEDED, Outcome.REFUSED})


def waiting(fleet: FleetName = None, as_json: AsJson = False) -> None:
    """List the models awaiting approval.

    Each is listed with its deadline, after which it is rejected as expired, and with the reason why it needs approval.

    \b
    Examples:
      ./fleet waiting
      ./fleet waiting --fleet texas_housing --json
    """
    from city_fleet.approval import reconcile  # noqa: PLC0415 - imports botocore
    from city_fleet.state import registry  # noqa: PLC0415 - imports botocore

    rows = []
    for item in fleets_named(fleet):
        with aws_errors():
            for city, version in reconcile.waiting(FleetClients(item), item):
                deadline = parse_as_of(version.metadata[registry.EXPIRES_AT])
                rows.append(
                    {
                        "fleet": item.fleet,
                        "city": city.slug,
                        "version": version.number,
                        "as_of": version.as_of,
                        "data_until": version.data_until,
                        "until": clock.iso(deadline),
                        "reason": version.status_reason or None,
                    }
                )
    rows.sort(key=lambda row: (row["until"], row["city"]))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        why = f": {row['reason']}" if row["reason"] else ""
        say(
            f"{row['fleet']}  {row['city']}, version {row['version']} as of {row['as_of']}, "
            f"data until {row['data_until'] or 'unknown'}, awaits approval until {row['until']}{why}"
        )
    say(f"{len(rows)} {'model is' if len(rows) == 1 else 'models are'} awaiting approval.")


def approve(
    cities: CityNames = None,
    *,
    night: Night = None,
    version: VersionNumber = None,
    fleet: FleetName = None,
    by: By = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Approve models, so that they go live.

    By default the model of the city that is awaiting approval; --version also approves one that the gate has held. Its
    version in the registry becomes Approved, and the model goes live at once, unless the city is pinned or a better
    model has gone live meanwhile. A task waiting in Airflow continues by itself.

    Exit codes: 0 live (or it was live already), 1 a model did not go live, 2 wrong usage.

    \b
    Examples:
      ./fleet approve austin --reason "checked against the listings"
      ./fleet approve austin --version 7 --dry-run
      ./fleet approve --night 2014-01-01 --fleet texas_housing --reason "a known gap in the raw data"
    """
    order = DecisionOrder("approve", author(by, reason), dry_run)
    _decide(order, cities=cities or [], night=night, version=version, fleet=fleet, as_json=as_json)


def reject(
    cities: CityNames = None,
    *,
    night: Night = None,
    version: VersionNumber = None,
    fleet: FleetName = None,
    by: By = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Reject models awaiting approval; the live model stays.

    With --version any version can be rejected. If it is the live model it still serves, unless the fleet file says
    `reconcile.on_live_rejected: rollback`; `./fleet rollback` replaces it in any case.

    Exit codes: 0 rejected (or it was rejected already), 1 it could not be done, 2 wrong usage.

    \b
    Examples:
      ./fleet reject austin --reason "prices look too high"
      ./fleet reject --night 2014-01-01 --fleet texas_housing --reason "raw data of that month are wrong"
    """
    order = DecisionOrder("reject", author(by, reason), dry_run)
    _decide(order, cities=cities or [], night=night, version=version, fleet=fleet, as_json=as_json)


def _decide(
    order: DecisionOrder,
    *,
    cities: list[str],
    night: str | None,
    version: int | None,
    fleet: str | None,
    as_json: bool,
) -> None:
    if bool(cities) == bool(night):
        raise typer.BadParameter("name cities, or a night with --night, but not both.")
    if version is not None and len(cities) != 1:
        raise typer.BadParameter("--version is about one city.")
    notes: list[str] = []
    fleets = fleets_named(fleet)
    clients = {item.fleet: FleetClients(item) for item in fleets}
    with aws_errors():
        if night is not None:
            owner = only_fleet(fleets, "--night needs")
            clients[owner.fleet].refuse_old_layout()
            targets = of_night(clients[owner.fleet], night, order, notes)
        else:
            named = cities_named(fleets, cities)
            for name in sorted({item.fleet for item, _ in named}):
                clients[name].refuse_old_layout()
            targets = [of_city(clients[item.fleet], city, version, order) for item, city in named]
    if not as_json:
        for note in notes:
            say(note)
    done = _work(targets, order, as_json=as_json)
    if as_json:
        print_json({"nights": notes, "cities": done})
    elif not targets and not notes:
        say(f"No model of {night} is awaiting approval.")
    failed = any(item["outcome"] == Outcome.FAILED for item in done)
    held = order.verb == "approve" and any(item["outcome"] in _NOT_DONE for item in done)
    raise typer.Exit(1 if failed or held else 0)


def _work(targets: Sequence[DecisionTarget], order: DecisionOrder, *, as_json: bool) -> list[dict[str, Any]]:
    """Approve or reject versions in parallel, print each result, and return them as JSON-ready data."""
    done: list[dict[str, Any]] = []
    for target, result in each_city(targets, lambda target: _one(target, order)):
        if isinstance(result, CityFleetError):
            name, error = target.city.slug, result.to_dict()
            end = {"city": name, "outcome": Outcome.FAILED, "reasons": [str(result)]}
        else:
            name, error = f"{result.city}, version {result.version}", None
            end = result.to_dict()
        done.append({"fleet": target.fleet, **end, "error": error})
        if not as_json:
            say(f"{name}: {end['outcome']}: {'; '.join(end['reasons'])}.", err=error is not None)
    return done


def _one(target: DecisionTarget, order: DecisionOrder) -> Decided:
    from city_fleet.approval import approvals  # noqa: PLC0415 - imports botocore
    from city_fleet.champions import approval_states  # noqa: PLC0415 - imports botocore
    from city_fleet.champions.approval_states import Event  # noqa: PLC0415
    from city_fleet.state import registry  # noqa: PLC0415 - imports botocore

    event = Event(order.verb)
    if not order.dry_run:
        return approvals.apply(target.city, target.arn, event, order.author)
    version = registry.read(target.city.aws.sagemaker, target.arn)
    state = approvals.state_of(target.city, version)
    step = approval_states.transition(state, event)
    what = step.refusal or f"it is {state.value} and would be {step.state.value}: {step.effect.value}"
    return Decided(
        target.city.slug, version.number, Outcome.REFUSED if step.refusal else Outcome.PLANNED, (what,)
    )
