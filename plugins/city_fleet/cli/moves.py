"""What the commands that change live pointers share: who and why, work on many cities, and how results are printed."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.aws import PARALLEL_CITIES, aws_errors, client
from city_fleet.cli.output import print_json
from city_fleet.cli.selection import cities_named, fleets_named
from city_fleet.config import Fleet
from city_fleet.errors import CityFleetError
from city_fleet.naming import Keys, package_group, parse_as_of
from city_fleet.plan import endpoint_name
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from city_fleet.champions.moves import Move
    from city_fleet.state.context import CityContext

By = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Who does it, kept in the history; your login name by default."
    ),
]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Why, kept in the history for the next person on call."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Make the same checks, say what would be done, and change nothing.")
]


@dataclass(frozen=True)
class CityMove:
    """The result of a command for one city.

    :param move: what was done; None if it failed.
    :param error: why it failed.
    """

    fleet: str
    city: str
    move: Move | None = None
    error: CityFleetError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        if self.move is not None:
            return {"fleet": self.fleet, **self.move.to_dict(), "error": None}
        return {
            "fleet": self.fleet,
            "city": self.city,
            "outcome": "failed",
            "before": None,
            "after": None,
            "notes": [],
            "error": self.error.to_dict() if self.error else None,
        }


class FleetClients:
    """Names and boto3 clients of one fleet.

    :param fleet: the fleet's settings.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.keys = Keys(fleet.bucket, fleet.fleet)
        self.endpoint = endpoint_name(fleet)
        # Created here and not in the threads that use them: creating boto3 clients is not thread-safe.
        self.s3 = client(fleet, "s3")
        self.sagemaker = client(fleet, "sagemaker")
        self.runtime = client(fleet, "sagemaker-runtime")

    def group(self, city: str) -> str:
        """Return the name of a city's model package group."""
        return package_group(self.fleet.fleet, self.fleet.environment, city)

    def city(self, slug: str) -> CityContext:
        """Return one city of the fleet; its settings may be broken, or gone."""
        from city_fleet.state.context import CityContext  # noqa: PLC0415 - imports botocore

        return CityContext(self, self.keys, self.endpoint, self.group(slug), slug)

    def ever_served(self, city: str) -> bool:
        """Tell whether a model of a city has ever been live."""
        from city_fleet.state import live  # noqa: PLC0415 - imports botocore

        with aws_errors():
            found = live.read_or_broken(self.s3, self.keys, city)
            return found is not None or bool(live.kept_sequences(self.s3, self.keys, city))


def cities_and_clients(fleet: str | None, names: Iterable[str]) -> list[tuple[FleetClients, str]]:
    """Return named cities with the clients of their fleets, also those that have served and left their fleet file.

    :param fleet: the option ``--fleet``.
    :raises CityFleetError: a fleet file can't be used, or a city is in no fleet.
    :raises typer.BadParameter: a city is in several fleets.
    """
    fleets = fleets_named(fleet)
    clients = {item.fleet: FleetClients(item) for item in fleets}
    found = cities_named(fleets, names, lambda item, city: clients[item.fleet].ever_served(city))
    return [(clients[item.fleet], city) for item, city in found]


def mover(by: str | None) -> str:
    """Return who makes the change: the given name, or the login name.

    :raises typer.BadParameter: there is neither.
    """
    name = (by or "").strip()
    if by is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError, ImportError):
            name = ""
    if not name:
        raise typer.BadParameter("say who does it with --by NAME: the history keeps it.")
    return name


def instant(option: str, text: str) -> datetime:
    """Read the instant given to an option; without a time zone it is UTC.

    :raises typer.BadParameter: the text is not an instant.
    """
    try:
        return parse_as_of(text)
    except ValueError:
        raise typer.BadParameter(
            f"{option}: got {text!r}; allowed: an instant such as 2014-01-01, 2014-01-01T18:00 (UTC) or "
            "2014-01-01T18:00-06:00."
        ) from None


def run_moves(
    cities: Sequence[tuple[FleetClients, str]],
    work: Callable[[FleetClients, str], Move],
    show: Callable[[Move], str | None],
    *,
    as_json: bool,
) -> None:
    """Work on cities in parallel, print each result, and exit with 1 if any city failed.

    :param work: does the work on one city.
    :param show: returns a move as a sentence without the city's name, or None to print nothing.
    """
    several_fleets = len({clients.fleet.fleet for clients, _ in cities}) > 1

    def one(target: tuple[FleetClients, str]) -> CityMove:
        clients, city = target
        try:
            with aws_errors():
                return CityMove(clients.fleet.fleet, city, work(clients, city))
        except CityFleetError as error:
            return CityMove(clients.fleet.fleet, city, error=error)

    done: list[CityMove] = []
    with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
        for result in pool.map(one, cities):
            done.append(result)
            if not as_json:
                _print(result, show, several_fleets)
    if as_json:
        print_json([result.to_dict() for result in done])
    elif len(done) > 1:
        typer.echo(_summary(done))
    raise typer.Exit(1 if any(result.error for result in done) else 0)


def _print(result: CityMove, show: Callable[[Move], str | None], several_fleets: bool) -> None:
    name = f"{result.fleet}.{result.city}" if several_fleets else result.city
    if result.error is not None:
        typer.echo(f"{name}: {_without_city(str(result.error), result.city).rstrip('.')}.", err=True)
    text = show(result.move) if result.move is not None else None
    if result.move is None or text is None:
        return
    typer.echo(f"{name}: {text}")
    if result.move.outcome != Outcome.UNCHANGED:
        for note in result.move.notes:
            typer.echo(f"{name}:   {note}.")


def _without_city(text: str, city: str) -> str:
    return text.removeprefix(f"city {city!r}: ")


def _summary(done: Sequence[CityMove]) -> str:
    count = {"moved": 0, "planned": 0, "unchanged": 0}
    for result in done:
        if result.move is not None:
            count[result.move.outcome] += 1
    failed = sum(result.error is not None for result in done)
    parts = [f"{number} {outcome}" for outcome, number in count.items() if number]
    parts += [f"{failed} could not be done"] if failed else []
    return f"{len(done)} cities: {', '.join(parts)}."
