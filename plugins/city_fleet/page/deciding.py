"""What people do about cities from a page: the same calls as of the commands, under the name that Airflow knows."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from airflow.api.common.trigger_dag import trigger_dag
from airflow.exceptions import AirflowException
from airflow.models.dag import DagModel
from airflow.utils.types import DagRunTriggeredByType
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock, naming
from city_fleet.approval import approvals
from city_fleet.champions import moves, promotion
from city_fleet.champions.approval_states import Event
from city_fleet.champions.moves import Move
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.served import Destination
from city_fleet.config import Fleet
from city_fleet.errors import CityFleetError
from city_fleet.outgoing_text import printable
from city_fleet.page.reading import Reading, dag_id_of
from city_fleet.plan import plan_city
from city_fleet.state import old_layout
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Outcome

#: So many cities are dealt with at the same time, and no more of them are named in one order.
_AT_ONCE = 8
MOST_CITIES = 200
#: Outcomes that are not what was wanted.
_NOT_DONE = frozenset({Outcome.FAILED, Outcome.HELD, Outcome.SUPERSEDED, Outcome.REFUSED})


@dataclass(frozen=True)
class Order:
    """What somebody wants done.

    :param action: a name of :data:`city_fleet.page.permissions.NEEDS`.
    :param version: which version of the one city; None for the one that waits, or the newest.
    :param to: where a rollback goes, as ``./fleet rollback --to`` takes it; empty for the model before.
    :param as_of: of a run; empty for now. ``force``: publish whatever the gate decides.
    :param pin: keep what is promoted.
    """

    action: str
    author: Author
    version: int | None = None
    to: str = ""
    as_of: str = ""
    force: bool = False
    pin: bool = False


@dataclass(frozen=True)
class Done:
    """What came of it for one city.

    :param outcome: of :class:`Outcome`, or ``begun`` of a run.
    :param run_id: of the run that was begun in the DAG ``dag_id``.
    """

    city: str
    outcome: str
    reasons: tuple[str, ...] = field(default=())
    dag_id: str = ""
    run_id: str = ""

    @property
    def is_done(self) -> bool:
        return self.outcome not in _NOT_DONE


def carry_out(reading: Reading, fleet: Fleet, slugs: Sequence[str], order: Order) -> list[Done]:
    """Do what was ordered for each city; one that fails stops no other."""
    if order.action == "retrain":
        return _retrain(fleet, slugs, order)
    work = _ACTIONS[order.action]

    def one(slug: str) -> Done:
        try:
            return work(reading, fleet, slug, order)
        except CityFleetError as error:
            return Done(slug, Outcome.FAILED, (str(error).removeprefix(f"city {slug!r}: "),))
        except (ClientError, BotoCoreError) as error:
            return Done(slug, Outcome.FAILED, (printable(aws_errors.sentence(error)),))
        except ValueError as error:
            return Done(slug, Outcome.FAILED, (printable(str(error)),))

    clients = reading.clients(fleet)
    try:
        old_layout.refuse(clients.s3, fleet.keys)
    except (CityFleetError, ClientError, BotoCoreError) as error:
        sentence = str(error) if isinstance(error, CityFleetError) else aws_errors.sentence(error)
        return [Done(slug, Outcome.FAILED, (printable(sentence),)) for slug in slugs]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, slugs))


def _decide(reading: Reading, fleet: Fleet, slug: str, order: Order) -> Done:
    if slug in fleet.broken:
        raise fleet.broken[slug]
    city = PlannedCity.of(reading.clients(fleet), plan_city(fleet, slug))
    arn = approvals.version_to_decide(city, order.version, order.action)
    decided = approvals.apply(city, arn, Event(order.action), order.author)
    return Done(slug, decided.outcome, decided.reasons)


def _roll_back(reading: Reading, fleet: Fleet, slug: str, order: Order) -> Done:
    to = Destination.parse(order.to) if order.to else None
    return _moved(moves.rollback(reading.context(fleet, slug), order.author, moves.Rollback(to)))


def _unpin(reading: Reading, fleet: Fleet, slug: str, order: Order) -> Done:
    return _moved(moves.unpin(reading.context(fleet, slug), order.author))


def _promote(reading: Reading, fleet: Fleet, slug: str, order: Order) -> Done:
    choice = promotion.Choice(order.version)
    return _moved(promotion.promote(reading.context(fleet, slug), order.author, choice, pin=order.pin))


def _moved(move: Move) -> Done:
    serves = move.after.target_model if move.after is not None else "nothing"
    reasons = move.notes
    if move.outcome != Outcome.UNCHANGED:
        reasons = (f"{serves} serves", *move.notes)
    return Done(move.city, move.outcome, reasons)


_ACTIONS: Mapping[str, Callable[[Reading, Fleet, str, Order], Done]] = {
    "approve": _decide,
    "reject": _decide,
    "rollback": _roll_back,
    "unpin": _unpin,
    "promote": _promote,
}


def _retrain(fleet: Fleet, slugs: Sequence[str], order: Order) -> list[Done]:
    """Begin a run of each city: of its own DAG, or one of the DAG that it shares with others."""
    conf: dict[str, Any] = {"force": True} if order.force else {}
    if order.as_of:
        try:
            conf["as_of"] = naming.as_of_stamp(naming.parse_as_of(order.as_of))
        except ValueError:
            sentence = f"as of {printable(order.as_of)!r} is no instant; allowed: one such as 2014-01-01"
            return [Done(slug, Outcome.FAILED, (sentence,)) for slug in slugs]
    run_id = f"page__{clock.stamp(clock.utc_now())}-{secrets.token_hex(3)}"
    together: dict[str, list[str]] = {}
    for slug in slugs:
        together.setdefault(dag_id_of(fleet, slug), []).append(slug)
    found = []
    for dag_id, cities in together.items():
        own = dag_id == naming.city_dag_id(fleet.fleet, cities[0])
        problem = _begin(dag_id, run_id, conf if own else conf | {"cities": cities}, order.author)
        for slug in cities:
            if problem:
                found.append(Done(slug, Outcome.FAILED, (problem,)))
            else:
                found.append(Done(slug, "begun", (f"run {run_id}",), dag_id, run_id))
    return found


def _begin(dag_id: str, run_id: str, conf: dict[str, Any], author: Author) -> str:
    """Begin a run; return why there is none, empty where there is."""
    dag = DagModel.get_current(dag_id)
    if dag is None or dag.is_stale:
        return "Airflow does not have its DAG: new cities appear within half a minute, and broken ones not at all"
    if dag.is_paused:
        return "its DAG is paused, so the run would not begin: unpause it in Airflow"
    try:
        trigger_dag(
            dag_id,
            triggered_by=DagRunTriggeredByType.UI,
            triggering_user_name=author.by,
            run_id=run_id,
            conf=conf,
            note=author.note or None,
        )
    except (AirflowException, ValueError) as error:
        return printable(str(error))
    return ""
