"""The states of a registered model, from the gate's judgement to the live pointer, written down once. Pure.

The task, the command line and the reconcile DAG all ask :func:`transition` what an event does. The registry knows
three statuses only, and takes none back to PendingManualApproval ("Update the Approval Status of a Model" in the
SageMaker Developer Guide names all the others); what brought a version where it is stands in its metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from city_fleet.state.registry import APPROVED, PENDING, REJECTED


class ModelState(StrEnum):
    """Where a registered model stands."""

    #: Not registered yet.
    NEW = "new"
    #: The gate promotes it; the run, or a person, has to let it go live.
    WAITING = "waiting"
    #: It may go live.
    APPROVED = "approved"
    #: The live pointer names it.
    LIVE = "live"
    #: It served, and another one does now. It stays approved: the city may be rolled back to it.
    REPLACED = "replaced"
    #: The gate, or the champion of the moment, holds it.
    HELD = "held"
    #: A person does not want it.
    REJECTED = "rejected"
    #: It was not approved in time.
    EXPIRED = "expired"
    #: A newer challenger took its place.
    SUPERSEDED = "superseded"


class Event(StrEnum):
    """What can happen to it."""

    #: The gate judges it, or judges it again: it may go live.
    PROMOTE = "promote"
    #: The gate judges it, or judges it again: it may not.
    HOLD = "hold"
    #: No person is asked: the run itself lets it go live.
    RELEASE = "release"
    #: A person approves it: in Airflow, by command, or in the registry.
    APPROVE = "approve"
    #: A person rejects it, likewise.
    REJECT = "reject"
    #: The time for an approval is over.
    EXPIRE = "expire"
    #: A newer challenger waits or serves.
    SUPERSEDE = "supersede"
    #: Publishing it did not come about: the champion is pinned, or has moved and is better.
    REFUSE = "refuse"


class Effect(StrEnum):
    """What has to be done about it."""

    NOTHING = "nothing"
    #: Register a new version: what has left PendingManualApproval can't wait again.
    REGISTER = "register"
    #: Make it the model that serves.
    PUBLISH = "publish"
    #: The champion stays.
    KEEP = "keep the champion"
    #: The model that serves was rejected: tell people, or roll back.
    ALERT = "alert"


@dataclass(frozen=True)
class Transition:
    """What an event does to a model.

    :param state: where it stands afterwards.
    :param effect: what has to be done.
    :param refusal: why the event has no say, if it has none.
    """

    state: ModelState
    effect: Effect
    refusal: str = ""


# The approval status of each state; that of all others is Rejected.
_STATUS = {
    ModelState.NEW: None,
    ModelState.WAITING: PENDING,
    ModelState.APPROVED: APPROVED,
    ModelState.LIVE: APPROVED,
    ModelState.REPLACED: APPROVED,
}
_NOT_REGISTERED = "the model is not registered"
_NEWER = "a newer model of the city has taken its place: approve that one"

# One row per state, one column per event: the new state and what has to be done. "·" stands for the same state.
_TABLE = """
            promote             hold          release            approve             reject             expire         supersede         refuse
new         waiting/register    held/register ·/nothing          ·/nothing           ·/nothing          ·/nothing      ·/nothing         ·/nothing
waiting     ·/nothing           held/keep     approved/publish   approved/publish    rejected/keep      expired/keep   superseded/keep   held/keep
approved    ·/nothing           held/keep     ·/publish          ·/publish           rejected/keep      ·/nothing      superseded/keep   held/keep
live        ·/nothing           ·/nothing     ·/nothing          ·/nothing           rejected/alert     ·/nothing      ·/nothing         ·/nothing
replaced    ·/nothing           ·/keep        ·/publish          ·/publish           rejected/nothing   ·/nothing      ·/keep           ·/keep
held        waiting/register    ·/nothing     ·/keep             approved/publish    rejected/nothing   ·/nothing      ·/nothing         ·/nothing
rejected    ·/keep              ·/nothing     ·/keep             approved/publish    ·/nothing          ·/nothing      ·/nothing         ·/nothing
expired     waiting/register    held/nothing  ·/keep             approved/publish    rejected/nothing   ·/nothing      superseded/nothing ·/nothing
superseded  waiting/register    held/nothing  ·/keep             ·/keep              rejected/nothing   ·/nothing      ·/nothing         ·/nothing
"""  # noqa: E501 - a table reads by its columns


def _read_table() -> dict[tuple[ModelState, Event], Transition]:
    effects = {effect.value.split()[0]: effect for effect in Effect}
    head, *rows = (line.split() for line in _TABLE.strip().splitlines())
    table = {}
    for name, *cells in rows:
        state = ModelState(name)
        for event, cell in zip((Event(word) for word in head), cells, strict=True):
            after, effect = cell.split("/")
            refusal = ""
            if state is ModelState.NEW and effect == "nothing":
                refusal = _NOT_REGISTERED
            elif (state, event) == (ModelState.SUPERSEDED, Event.APPROVE):
                refusal = _NEWER
            table[state, event] = Transition(
                state if after == "·" else ModelState(after), effects[effect], refusal
            )
    return table


TRANSITIONS = _read_table()
# Events after which a rejected version is not simply one that a person does not want.
_AFTER = {
    Event.HOLD: ModelState.HELD,
    Event.REFUSE: ModelState.HELD,
    Event.EXPIRE: ModelState.EXPIRED,
    Event.SUPERSEDE: ModelState.SUPERSEDED,
}


def transition(state: ModelState, event: Event) -> Transition:
    """Return what an event does to a model."""
    return TRANSITIONS[state, event]


def status_of(state: ModelState) -> str | None:
    """Return a state's approval status in the registry; None for a model that is not registered."""
    return _STATUS.get(state, REJECTED)


def state_of(status: str, event: str, *, live: bool, served: bool = False) -> ModelState:
    """Return where a version stands.

    :param status: its approval status in the registry.
    :param event: what brought it there, as its metadata say; empty or unknown for a change made elsewhere.
    :param live: whether the live pointer names it.
    :param served: whether the live pointer has named it.
    """
    if status == PENDING:
        return ModelState.WAITING
    if status == APPROVED:
        return ModelState.LIVE if live else ModelState.REPLACED if served else ModelState.APPROVED
    return _AFTER.get(Event(event), ModelState.REJECTED) if event in set(Event) else ModelState.REJECTED
