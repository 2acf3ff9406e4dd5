"""Command ``history``: which models have served a city."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.aws import aws_errors
from city_fleet.cli.moving import FleetClients, cities_and_clients
from city_fleet.cli.output import AsJson, say, show, table
from city_fleet.cli.selection import CityName, FleetName
from city_fleet.errors import CityFleetError
from city_fleet.metrics import METRICS, REGRESSION, default_metric
from city_fleet.metrics import show as show_metric

if TYPE_CHECKING:
    from city_fleet.champions.champion_history import History, Served
    from city_fleet.config import Fleet
    from city_fleet.state.live_pointer import LivePointer

#: Things that the monitor has done that people are shown; ``--json`` has all.
_ACTIONS = 10


def history(
    city: CityName,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Show only the newest N changes; 0 shows all.")
    ] = 20,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """List which models served a city, and who changed it and why.

    The oldest comes first; the model marked with * serves now. `seq` numbers the changes of the live pointer, and
    `./fleet rollback CITY --to SEQ` returns to one of them. Below stands what the DAG <fleet>._monitor has done.

    Exit codes: 0 done, 1 unknown city, or its live pointer is missing or broken, 2 wrong usage.

    \b
    Examples:
      ./fleet history austin
      ./fleet history austin --limit 0 --json
    """
    from city_fleet.champions.champion_history import history as history_of  # noqa: PLC0415 - imports botocore

    with aws_errors():
        ((clients, slug),) = cities_and_clients(fleet, [city])
        found = history_of(clients.s3, clients.keys, slug, limit or None)
        trial = _trial(clients, slug)
        done = _actions(clients, slug)
    report: dict[str, Any] = {
        "fleet": clients.fleet.fleet,
        "city": slug,
        "problem": found.problem,
        "older": found.older,
        "states": [state.to_dict() for state in found.states],
    }
    if trial is not None:
        report["trial"] = trial
    if done is not None:
        report["actions"] = done
    lines = _lines(clients.fleet.fleet, found, _metric(clients.fleet, found))
    tried = [] if trial is None else [f"{slug}: {trial['sentence']}."]
    show(report, chain(lines, tried, _said(done or [])), as_json)
    if found.problem and not as_json:
        say(f"{slug}: {found.problem}.", err=True)
    raise typer.Exit(1 if found.problem else 0)


def _trial(clients: FleetClients, city: str) -> dict[str, Any] | None:
    """Return what is tried beside a city's champion, or that nobody knows it; None where nothing is."""
    from city_fleet.champions.trials import shown  # noqa: PLC0415 - imports botocore
    from city_fleet.state import challengers  # noqa: PLC0415
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    try:
        found = challengers.read(ObjectStore(clients.s3, clients.keys.bucket), clients.keys)
    except CityFleetError as error:
        return {"sentence": str(error).rstrip(".")}
    trial = found.running.get(city)
    if trial is None:
        return None
    until = _minute(trial.until)
    return {
        **shown(trial),
        "sentence": f"version {trial.version} is on trial {trial.sentence}, until {until} UTC",
    }


def _actions(clients: FleetClients, city: str) -> list[dict[str, str]] | None:
    """Return what the fleet has done about a city's model by itself, oldest first; None where nobody looks.

    Where it can't be read that is said in its place: the history itself can be.
    """
    from city_fleet.state import city_actions, live_scores  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    if clients.fleet.monitor.schedule is None:
        return None
    store = ObjectStore(clients.s3, clients.keys.bucket)
    try:
        found = city_actions.of(live_scores.read(store, clients.keys, city))
    except CityFleetError as error:
        return [{"at": "", "kind": "unknown", "sentence": str(error), "by": ""}]
    return [asdict(each) for each in found]


def _said(actions: list[dict[str, str]]) -> Iterator[str]:
    """Yield the newest of what was done about a model because of its live errors."""
    if actions:
        yield ""
        rows = [
            (_minute(each["at"]), each["kind"].replace("_", " "), each["sentence"])
            for each in actions[-_ACTIONS:]
        ]
        yield from table(("at", "monitor", "why"), rows)


def _metric(fleet: Fleet, found: History) -> str:
    """Return the metric by which a city is judged; one that left the fleet file has that of its last model's task."""
    settings = fleet.cities.get(found.city)
    if settings is not None:
        return settings.gate.metric or default_metric(settings.dataset.task)
    tasks = [served.state.task for served in found.states if served.state is not None]
    return default_metric(tasks[-1] if tasks else REGRESSION)


def _lines(fleet: str, found: History, metric: str) -> Iterator[str]:
    if not found.states and not found.problem:
        yield f"{found.city}: no model of this city has ever been live in fleet {fleet!r}."
    if found.older:
        yield f"{found.older} older changes are not shown; --limit 0 shows all."
    if found.states:
        columns = ("", "seq", "from", "until", "as_of", "version", METRICS[metric].title, "moved")
        yield from table(columns, [_row(state, metric) for state in found.states])


def _row(served: Served, metric: str) -> tuple[str, ...]:
    state = served.state
    ended = state is not None and state.move == "remove"
    until = "now" if served.live else _minute(served.until) if served.until else "" if ended else "?"
    if state is None:
        return ("", str(served.sequence), "?", until, "?", "?", "?", served.error or "")
    value = state.metrics.get(metric)
    return (
        "*" if served.live else "",
        str(state.sequence),
        _minute(state.moved_at),
        until,
        state.as_of,
        state.package_arn.rpartition("/")[2],
        show_metric(metric, value) if value is not None else "",
        _moved(state),
    )


def _moved(state: LivePointer) -> str:
    what = state.move
    if state.move == "rollback":
        what = f"rollback to {state.restores}"
    pinned = ", pinned" if state.pinned else ""
    why = f": {state.reason}" if state.reason else ""
    return f"{what}{pinned}, by {state.moved_by}{why}"


def _minute(instant: str) -> str:
    """Return an ISO 8601 instant of UTC in a shorter form: ``2014-01-01 18:00:00``."""
    return instant.removesuffix("+00:00").replace("T", " ")
