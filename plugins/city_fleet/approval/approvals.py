"""What follows from a decision about a registered model, of a person or a run. Clients are passed in.

The run, the command line and the reconcile DAG call the same functions. A decision is written to the registry first
and carried out then, so a process that dies in between leaves a status that is not settled, and the next pass of the
reconcile DAG goes on there. Carrying it out twice is harmless.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from city_fleet import naming
from city_fleet.champions import approval_states, moves
from city_fleet.champions.approval_states import Effect, Event, ModelState, Transition
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.release import Release, publish_package, tell_record
from city_fleet.errors import PublishError, RegistryError
from city_fleet.state import live, package_status, registry
from city_fleet.state.author import Author
from city_fleet.state.context import Clients
from city_fleet.state.outcomes import Decided, Outcome
from city_fleet.state.registry import ModelPackage

# No run takes that long from registering a model to publishing it.
_GIVES_UP_AFTER = timedelta(days=1)


def state_of(city: PlannedCity, package: ModelPackage) -> ModelState:
    """Return where a package stands, in the registry and beside the live pointers of its city."""
    serves, served = serving(city, package)
    return approval_states.state_of(package.status, package.event, live=serves, served=served)


def serving(city: PlannedCity, package: ModelPackage) -> tuple[bool, bool]:
    """Tell whether a package serves its city, and whether it did before something else went live."""
    if package.status == registry.PENDING:
        return False, False
    now = live.read(city.aws.s3, city.keys, city.slug)
    if now is not None and now.pointer.package_arn == package.arn:
        return True, False
    replaced = live.history(city.aws.s3, city.keys, city.slug)
    return False, any(pointer.package_arn == package.arn for pointer in replaced)


def version_to_decide(city: PlannedCity, number: int | None, verb: str) -> str:
    """Return the ARN of the version of a city that a person means.

    :param number: in the registry; None means the one that awaits approval.
    :param verb: what is to be done with it, for the error: ``approve``, ``reject``.
    :raises RegistryError: there is none.
    """
    found = registry.versions(city.aws.sagemaker, city.group)
    for version in found:
        if version.number == number or (number is None and version.status == registry.PENDING):
            return version.arn
    if number is not None:
        known = ", ".join(str(version.number) for version in found) or "none"
        raise RegistryError(
            f"city {city.slug!r}: the registry has no version {number} of this city; it has: {known}"
        )
    newest = (
        f"; the newest version is {found[0].number}, {found[0].status}: name it with --version {found[0].number}"
        if found
        else ""
    )
    raise RegistryError(
        f"city {city.slug!r}: there is nothing to {verb}: no version is awaiting approval{newest}"
    )


def apply(city: PlannedCity, package_arn: str, event: Event, author: Author) -> Decided:
    """Take a decision about a package and carry it out.

    :raises RegistryError: the package is gone.
    :raises OtherInstallation: another installation has registered it.
    :raises PublishError: the endpoint does not answer as it should. The decision stands, and the reconcile DAG will
        try again.
    """
    package = registry.read(city.aws.sagemaker, package_arn)
    registry.refuse_other(city.keys, package)
    step, package = write(city.aws, package, state_of(city, package), event, author)
    return carry_out(city, package, step, author)


def write(
    aws: Clients, version: ModelPackage, state: ModelState, event: Event, author: Author
) -> tuple[Transition, ModelPackage]:
    """Write to the registry what an event does to a version, if it does anything.

    :param state: where the version stands.
    :return: what the event does, and the version as it is then.
    """
    step = approval_states.transition(state, event)
    status = approval_states.status_of(step.state)
    if step.refusal:
        if status is not None and version.status != status:  # set elsewhere, where it could not be refused
            back = Event.SUPERSEDE if step.state is ModelState.SUPERSEDED else Event.REJECT
            decision = package_status.decided(status, back, author.by)
            package_status.set_status(aws.sagemaker, version.arn, decision, step.refusal)
        return step, version
    if status is None or (step.state is state and step.effect in (Effect.NOTHING, Effect.KEEP)):
        return step, version
    verb = {Event.APPROVE: "approved", Event.REJECT: "rejected", Event.RELEASE: "let go live"}.get(event)
    reason = author.sentence(verb) if verb else author.note
    settled = step.effect not in (Effect.PUBLISH, Effect.ALERT)
    decision = package_status.decided(status, event, author.by, settled=settled)
    package_status.set_status(aws.sagemaker, version.arn, decision, reason)
    return step, registry.read(aws.sagemaker, version.arn)


def adopt(
    aws: Clients, version: ModelPackage, *, live: bool, served: bool
) -> tuple[Transition, ModelPackage, Author]:
    """Take over a decision that stands in the registry and has not been carried out.

    :param live: whether the version serves; ``served``: whether it did.
    :return: what it does, the version as it is then, and who has taken it.
    """
    event = Event.APPROVE if version.status == registry.APPROVED else Event.REJECT
    before = approval_states.state_of(version.settled_status, version.settled_event, live=live, served=served)
    if version.status == version.decided_status:
        author = Author(version.metadata.get(registry.DECIDED_BY, ""))
        return approval_states.transition(before, event), version, author
    author = Author(version.changed_by or "an unnamed person in the registry", version.note_elsewhere)
    step, version = write(aws, version, before, event, author)
    return step, version, author


def carry_out(city: PlannedCity, package: ModelPackage, step: Transition, author: Author) -> Decided:
    """Do what follows from an event whose outcome stands in the registry, and keep that it is done.

    :param package: as :func:`write` returned it, and ``step`` too.
    """
    number = package.number
    if step.refusal:
        return Decided(city.slug, number, Outcome.REFUSED, (step.refusal,))
    if step.effect is Effect.PUBLISH:
        return publish_package(city, package, step.state, Release(author))
    if step.effect is Effect.ALERT:
        sentence = f"version {number}, which serves {city.slug}, was {package.status_reason}. "
        sentence += _roll_back(city, package, author)
        package_status.settle(city.aws.sagemaker, package)
        return Decided(city.slug, number, Outcome.ALERT, (sentence,))
    package_status.settle(city.aws.sagemaker, package)
    if step.effect is Effect.KEEP:
        reasons = (package.status_reason,)
        tell_record(city, package, outcome_of(step.state), reasons=reasons, by=author.by)
        return Decided(city.slug, number, Outcome(step.state.value), reasons)
    return Decided(city.slug, number, Outcome.UNCHANGED, (f"it is {step.state.value}",))


def outcome_of(state: ModelState) -> Outcome:
    """Return how a run ends whose model does not go live."""
    return Outcome.SUPERSEDED if state is ModelState.SUPERSEDED else Outcome.HELD


def _roll_back(city: PlannedCity, package: ModelPackage, author: Author) -> str:
    """Roll a city back whose serving model was rejected, if the fleet file says so; return what to tell people."""
    if city.plan.fleet.reconcile.on_live_rejected == "alert":
        return f"It still serves; `./fleet rollback {city.slug}` returns to the model before it"
    try:
        move = moves.rollback(city, Author(author.by, package.status_reason))
    except PublishError as error:
        return f"It still serves, because it could not be rolled back: {error}"
    serves = move.after.target_model if move.after else "nothing"
    return f"The city was rolled back to {serves}, and is pinned there until `./fleet unpin {city.slug}`"


def make_room(aws: Clients, group: str, newcomer: str, by: str) -> None:
    """Let the newest of the versions that await approval supersede the others, when another one has come.

    The order is that of as_of, then of the registry, so two runs that register at the same moment agree on it. A
    version that waits for its own run only is left alone, unless that run has obviously given up.

    :param group: the city's package group.
    :param newcomer: ARN of the version that has come; it counts in any case.
    """
    gave_up = datetime.now(UTC) - _GIVES_UP_AFTER
    listed = [version for version in registry.versions(aws.sagemaker, group) if version.as_of is not None]
    pending = [registry.read(aws.sagemaker, each.arn) for each in listed if each.status == registry.PENDING]
    waiting = [
        version
        for version in pending
        if version.waits_for_person
        or version.arn == newcomer
        or (version.changed_at is not None and version.changed_at < gave_up)
    ]
    newest = max(waiting, key=lambda version: (version.as_of, version.number), default=None)
    for version in waiting:
        if (
            newest is not None
            and version is not newest
            and (version.waits_for_person or version.arn != newcomer)
        ):
            reason = f"superseded by version {newest.number}, which was made as of {newest.as_of}"
            write(aws, version, ModelState.WAITING, Event.SUPERSEDE, Author(by, reason))


def wait_for_person(city: PlannedCity, package: ModelPackage, reason: str) -> None:
    """Leave a package waiting, for a person now and not for its run any more."""
    hours = timedelta(hours=city.plan.city.approval_expires_hours)
    deadline = package.metadata.get(registry.EXPIRES_AT) or naming.as_of_stamp(datetime.now(UTC) + hours)
    package_status.note(city.aws.sagemaker, package.arn, {registry.EXPIRES_AT: deadline}, reason)
