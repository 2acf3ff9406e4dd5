"""What the commands that change live pointers share: who and why, work on many cities, and how results are printed."""

from __future__ import annotations

import getpass
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from city_fleet import clock
from city_fleet.cli.aws import PARALLEL_CITIES, aws_errors, client
from city_fleet.cli.output import print_json, say
from city_fleet.cli.selection import cities_named, fleets_named
from city_fleet.config import Fleet
from city_fleet.errors import CityFleetError, EndpointUnderWay
from city_fleet.naming import package_group, parse_as_of
from city_fleet.plan import endpoint_name
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from city_fleet.champions.moves import Move
    from city_fleet.state.context import CityContext

T = TypeVar("T")
R = TypeVar("R")
#: An endpoint takes some minutes; large images and instances with GPUs take longer.
_LONGEST_WAIT_SECONDS = 1800.0
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


class FleetClients:
    """Names and boto3 clients of one fleet.

    :param fleet: the fleet's settings.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.keys = fleet.keys
        self.endpoint = endpoint_name(fleet)
        # Created here and not in the threads that use them: creating boto3 clients is not thread-safe.
        self.s3 = client(fleet, "s3")
        self.sagemaker = client(fleet, "sagemaker")
        self.runtime = client(fleet, "sagemaker-runtime")

    def group(self, city: str) -> str:
        return package_group(self.fleet.fleet, self.fleet.environment, city)

    def city(self, slug: str) -> CityContext:
        from city_fleet.champions.planned_city import homes_of  # noqa: PLC0415 - imports botocore
        from city_fleet.state.context import CityContext  # noqa: PLC0415 - imports botocore

        group = self.group(slug)
        return CityContext(self, self.keys, self.endpoint, group, slug, home_of=homes_of(self.fleet))

    def refuse_old_layout(self) -> None:
        """Refuse to look at, or to write, an installation that awaits being moved from the layout of before.

        :raises OldLayout: with the command that moves it.
        """
        from city_fleet.state import old_layout  # noqa: PLC0415 - imports botocore

        with aws_errors():
            old_layout.refuse(self.s3, self.keys)

    def ever_served(self, city: str) -> bool:
        from city_fleet.state import live  # noqa: PLC0415 - imports botocore

        with aws_errors():
            found = live.read_or_broken(self.s3, self.keys, city)
            return found is not None or bool(live.kept_sequences(self.s3, self.keys, city))


def cities_and_clients(fleet: str | None, names: Iterable[str]) -> list[tuple[FleetClients, str]]:
    """Return named cities with the clients of their fleets, also those that have served and left their fleet file.

    :param fleet: the option ``--fleet``.
    :raises CityFleetError: a fleet file can't be used, a city is in no fleet, or its fleet has to be moved from the
        layout of before.
    :raises typer.BadParameter: a city is in several fleets.
    """
    fleets = fleets_named(fleet)
    clients = {item.fleet: FleetClients(item) for item in fleets}
    found = cities_named(fleets, names, lambda item, city: clients[item.fleet].ever_served(city))
    for name in sorted({item.fleet for item, _ in found}):
        clients[name].refuse_old_layout()
    return [(clients[item.fleet], city) for item, city in found]


def mover(by: str | None, option: str = "--by") -> str:
    """Return who makes the change: the given name, or the login name.

    :param option: that gives the name.
    :raises typer.BadParameter: there is neither.
    """
    name = (by or "").strip()
    if by is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError, ImportError):
            name = ""
    if not name:
        raise typer.BadParameter(f"say who does it with {option} NAME: the history keeps it.")
    return name


def author(by: str | None, reason: str, option: str = "--by") -> Author:
    """Return who makes the change, and why.

    :param option: that gives the name.
    :raises typer.BadParameter: there is no name.
    """
    return Author(mover(by, option), reason.strip())


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


def beginning_of_stamp(option: str, text: str) -> str:
    """Read the as_of, or the day, given to an option, as the beginning of a stamp.

    :raises typer.BadParameter: the text is neither.
    """
    try:
        return clock.beginning_of_stamp(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}.") from None


def waited_for(work: Callable[[], R]) -> R:
    """Do something that may have to wait for an endpoint that is being made, and say once that it waits.

    :raises EndpointUnderWay: it took too long; the same command goes on there.
    """
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    said = ""
    while True:
        try:
            return work()
        except EndpointUnderWay as error:
            if time.monotonic() >= end:
                raise
            if str(error) != said:
                said = str(error)
                say(f"{said.rstrip('.')}; waiting.", err=True)
            time.sleep(error.look_again_seconds)


def each_city(targets: Iterable[T], work: Callable[[T], R]) -> Iterator[tuple[T, R | CityFleetError]]:
    """Work on cities in parallel, and yield each with the result, or with the error; in their order."""

    def one(target: T) -> tuple[T, R | CityFleetError]:
        try:
            with aws_errors():
                return target, waited_for(lambda: work(target))
        except CityFleetError as error:
            return target, error

    with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
        yield from pool.map(one, targets)


def run_moves(
    cities: Sequence[tuple[FleetClients, str]],
    work: Callable[[CityContext], Move],
    show: Callable[[Move], str | None],
    *,
    as_json: bool,
) -> None:
    """Work on cities in parallel, print each result, and exit with 1 if any city failed.

    :param work: does the work on one city.
    :param show: returns a move as a sentence without the city's name, or None to print nothing.
    """
    several_fleets = len({clients.fleet.fleet for clients, _ in cities}) > 1
    done: list[dict[str, Any]] = []
    for (clients, city), result in each_city(cities, lambda target: work(target[0].city(target[1]))):
        fleet = clients.fleet.fleet
        if isinstance(result, CityFleetError):
            nothing: dict[str, Any] = {"outcome": Outcome.FAILED, "before": None, "after": None, "notes": []}
            done.append({"fleet": fleet, "city": city, **nothing, "error": result.to_dict()})
        else:
            done.append({"fleet": fleet, **result.to_dict(), "error": None})
        if not as_json:
            _print(f"{fleet}.{city}" if several_fleets else city, city, result, show)
    count = Counter(each["outcome"] for each in done)
    if as_json:
        print_json(done)
    elif len(done) > 1:
        say(_summary(count))
    raise typer.Exit(1 if count[Outcome.FAILED] else 0)


def unchanged(move: Move) -> str:
    """Return why nothing had to be done."""
    return f"unchanged: {'; '.join(move.notes)}."


def without_city(error: CityFleetError, city: str) -> str:
    """Return an error's sentence without the name of the city at its beginning."""
    return str(error).removeprefix(f"city {city!r}: ")


def _print(name: str, city: str, result: Move | CityFleetError, show: Callable[[Move], str | None]) -> None:
    if isinstance(result, CityFleetError):
        say(f"{name}: {without_city(result, city).rstrip('.')}.", err=True)
        return
    text = show(result)
    if text is None:
        return
    say(f"{name}: {text}")
    if result.outcome != Outcome.UNCHANGED:
        for note in result.notes:
            say(f"{name}:   {note}.")


def _summary(count: Counter[Outcome]) -> str:
    known = (Outcome.MOVED, Outcome.PLANNED, Outcome.UNCHANGED)
    parts = [f"{count[outcome]} {outcome}" for outcome in known if count[outcome]]
    parts += [f"{count[Outcome.FAILED]} could not be done"] if count[Outcome.FAILED] else []
    return f"{count.total()} cities: {', '.join(parts)}."
