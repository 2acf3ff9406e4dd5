"""What `make up` ends with: a few cities that the scheduler has trained, each with its forecast, one with a decision.

Only a stack on which nothing of the fleet serves is begun so; one that was up before goes on as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from city_fleet import ticks
from city_fleet.cli.run_progress import AWAITS_APPROVAL, Progress, WatchedRun, watch
from city_fleet.errors import CityFleetError
from city_fleet.plan import endpoint_name
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Predictor
from city_fleet.state.live import read_or_broken
from local.stack.choice import DEFAULT_TOWNS, Choice, choose
from local.stack.errors import StackError
from local.stack.outcomes import DECIDED, LIVE, Outcome, Reader
from local.stack.report import predicted
from local.stack.runs import start_run, wait_for_dags
from local.stack.stack import POLL_SECONDS, Stack

HOW_MANY = 3
#: The scheduler looks every few seconds; a run that it does not start by then is started by hand.
SCHEDULER_SECONDS = 30.0
TIMEOUT_SECONDS = 600.0


def train(console: Console, stack: Stack, path: Path, begin_others: Callable[[], None]) -> None:
    """Unpause a few cities of a fleet, watch the runs that their schedule owes, and say what has come of them.

    :param path: the fleet's file
    :param begin_others: begins what the other fleets need, when the processors are free for it
    :raises StackError: a component of the stack has died
    """
    choice = choose(path, "", "", stack.environment)
    s3 = stack.client("s3")
    cities = _cities(choice)
    if any(read_or_broken(s3, choice.keys, city) is not None for city in cities):
        begin_others()
        _tell_next(console, stack, choice, cities, [])
        return
    console.print(
        f"Training {', '.join(choice.city(city).shown_name for city in cities)} through the scheduler"
    )
    wait_for_dags(stack, set(_by_dag(choice, cities)))
    runs = _unpause(stack, choice, cities)
    deadline = time.monotonic() + TIMEOUT_SECONDS

    def may_go_on(waiting: Iterable[str]) -> None:
        if time.monotonic() > deadline:
            raise StackError(
                f"These cities did not end in time: {', '.join(waiting)}. Look at them in Airflow."
            )
        stack.require_alive()

    with Progress(console, [run.name for run in runs.values()]) as progress:
        states = watch(stack.airflow, progress, runs.values(), may_go_on=may_go_on)
    reader = Reader(stack, choice)
    console.print()
    outcomes = []
    for city in cities:
        run = runs[choice.dag_id(city)]
        state = states[run.name]
        if state == AWAITS_APPROVAL:
            outcomes.append(Outcome(city, AWAITS_APPROVAL))
            continue
        if choice.fleet.cohort_of(city) is not None:
            state = "success"  # another city may have failed; this one's record says how it ended
        outcomes.append(reader.outcome(city, run.run_id, state))
    for line in _lines(stack, choice, outcomes):
        console.print(f"  {line}", markup=False)
    for line in _begin_parents(stack, choice):
        console.print(f"  {line}", markup=False)
    console.print()
    begin_others()
    _tell_next(console, stack, choice, cities, outcomes)


def _cities(choice: Choice) -> list[str]:
    """Return a few cities that go live by themselves, and the first that waits for a person, if there is one."""
    fleet = choice.fleet.cities
    own = [city for city in (*choice.cities, *sorted(fleet)) if fleet[city].approval == "auto"]
    asked = [city for city in sorted(fleet) if fleet[city].approval == "manual"]
    return [*dict.fromkeys(own)][:HOW_MANY] + asked[:1]


def _by_dag(choice: Choice, cities: Iterable[str]) -> dict[str, list[str]]:
    """Return the cities by the id of their DAG: those of a cohort have one."""
    found: dict[str, list[str]] = {}
    for city in cities:
        found.setdefault(choice.dag_id(city), []).append(city)
    return found


def _unpause(stack: Stack, choice: Choice, cities: Iterable[str]) -> dict[str, WatchedRun]:
    """Unpause cities, and return by DAG the runs that the scheduler starts; it is helped where a schedule owes none."""
    by_dag = _by_dag(choice, cities)
    for dag_id in by_dag:
        stack.airflow.set_paused(dag_id, False)
    found: dict[str, WatchedRun] = {}
    deadline = time.monotonic() + SCHEDULER_SECONDS
    while True:
        for dag_id, members in by_dag.items():
            newest = stack.airflow.newest_runs(dag_id, "scheduled__", 1)
            if dag_id not in found and newest:
                found[dag_id] = WatchedRun(", ".join(members), dag_id, newest[0].id)
        missing = [dag_id for dag_id in by_dag if dag_id not in found]
        if not missing:
            return found
        if time.monotonic() > deadline:
            break
        stack.require_alive()
        time.sleep(POLL_SECONDS)
    run_id = f"up__{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for dag_id in missing:
        members = by_dag[dag_id]
        params: dict[str, Any] = dict(choice.params(members[0]))
        if choice.fleet.cohort_of(members[0]) is not None:
            params["cities"] = members
        start_run(stack, dag_id, run_id, params)
        found[dag_id] = WatchedRun(", ".join(members), dag_id, run_id)
    return found


def _lines(stack: Stack, choice: Choice, outcomes: list[Outcome]) -> Iterator[str]:
    """Yield what has come of each city: the forecast of one that is live, and else the reason."""
    width = max(len(choice.city(each.city).shown_name) for each in outcomes)
    for each in outcomes:
        name = f"{choice.city(each.city).shown_name:<{width}}"
        if each.how == LIVE:
            yield f"{name}  live               {_prediction(stack, choice, each)}"
        elif each.how == AWAITS_APPROVAL:
            yield f"{name}  awaits approval    in Airflow (Required Actions), or by ./fleet approve {each.city}"
        else:
            why = each.reason if each.how in DECIDED else "; ".join(each.evidence)
            yield f"{name}  {each.how.replace('_', ' '):<17}  {why}"


def _begin_parents(stack: Stack, choice: Choice) -> Iterator[str]:
    """Unpause the models that answer for cities without one of their own; nobody waits for them."""
    for parent, children in choice.fleet.children.items():
        city = choice.fleet.cities.get(parent)
        if city is None:
            continue
        # Their own runs find too little to train on, and leave what is known of them.
        towns = [town for town in DEFAULT_TOWNS if town in children] or list(children[:HOW_MANY])
        for slug in (parent, *towns):
            stack.airflow.set_paused(choice.dag_id(slug), False)
        names = ", ".join(
            choice.fleet.cities[town].shown_name for town in towns if town in choice.fleet.cities
        )
        yield (
            f"{city.shown_name}: a model of {len(children)} towns trains now; in a minute or two it answers for those "
            f"that have none of their own: {names}"
        )


def _prediction(stack: Stack, choice: Choice, outcome: Outcome) -> str:
    """Ask as an application does: a series for what comes next, a table about its newest held-out row."""
    if choice.city(outcome.city).dataset.kind == "series":
        s3, keys = stack.client("s3"), choice.keys
        predictor = Predictor(
            LivePointers(s3, keys),
            stack.client("sagemaker-runtime"),
            Endpoints(s3, keys, endpoint_name(choice.fleet)),
            known=KnownCopies(s3, keys),
        )
        try:
            answer = predictor.forecast(outcome.city, None, None).to_dict()
        except CityFleetError as error:
            return str(error)
        return _forecast(answer)
    if outcome.prediction is None:
        return "; ".join(outcome.evidence)
    said = outcome.prediction
    return f"{said.row}: {predicted(said.predicted)} predicted, {said.actual} it was"


def _forecast(answer: dict[str, Any]) -> str:
    first, unit = answer["forecasts"][0], answer["unit"] or ""
    between = first["intervals"].get("80")
    sure = f", 80 % between {between[0]:,.6g} and {between[1]:,.6g}" if between else ""
    return f"{first['period']}: {first['prediction']:,.6g} {unit}".rstrip() + sure


def _tell_next(
    console: Console, stack: Stack, choice: Choice, cities: list[str], outcomes: list[Outcome]
) -> None:
    """Say what a person may type next, and when the next night is."""
    live = [each.city for each in outcomes if each.how == LIVE] or cities
    idle = next((city for city in sorted(choice.fleet.cities) if city not in cities), None)
    console.print()
    lines = [(f"./fleet predict {live[0]}", "what comes next, as an application asks it")]
    waiting = [each.city for each in outcomes if each.how == AWAITS_APPROVAL]
    lines += [(f"./fleet approve {city}", "let its model go live") for city in waiting]
    if idle is not None:
        lines.append((f"./fleet run {idle} --unpause", "train one more city now, and watch it"))
        if (dates := _dates(_replay(stack, choice, idle))) is not None:
            lines.append(
                (f"./fleet backfill --from {dates[0]} --to {dates[1]} {idle}", "… and for past dates")
            )
    lines.append(("./fleet status", "how all cities are"))
    width = max(len(command) for command, _ in lines)
    console.print("Next:")
    for command, what in lines:
        console.print(f"  {command:<{width}}  {what}", markup=False)
    if (night := _next_night(_replay(stack, choice, cities[0]))) is not None:
        tick, at = night
        console.print(
            f"\nThe data of this sample end in the past, so its months are replayed, one a night: the next night, "
            f"{at:%Y-%m-%d %H:%M} UTC, is that of {tick:%Y-%m-%d}. Airflow shows it as the DAG's next run.",
            markup=False,
        )


def _replay(stack: Stack, choice: Choice, slug: str) -> ticks.Replay | None:
    """Return how this stack replays a city's schedule."""
    city = choice.city(slug)
    return ticks.replay(
        city.schedule, stack.layout.replay_since, first_day=city.start_date, last_day=city.end_date
    )


def _dates(replay: ticks.Replay | None) -> tuple[str, str] | None:
    """Return the first and the last date of a small backfill."""
    if replay is None or len(replay.ticks) < 3:
        return None
    return f"{replay.ticks[0]:%Y-%m-%d}", f"{replay.ticks[2]:%Y-%m-%d}"


def _next_night(replay: ticks.Replay | None) -> tuple[datetime, datetime] | None:
    """Return the next tick that is replayed, and its night; None where none is."""
    now = datetime.now(UTC)
    return next(((tick, night) for tick, night in replay.nights() if night > now), None) if replay else None
