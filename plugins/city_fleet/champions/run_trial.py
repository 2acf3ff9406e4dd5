"""A run's model that may go live is tried beside the champion first, where its city's settings ask for that.

It stands where going live stands: what the gate, the breaker or a person holds is not tried. One trial at a time: a
model that comes while another is tried is held, so that a trial comes to an end however often the city retrains.
Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from city_fleet import clock
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.publish import Candidate, Publication, Ready, judged_model
from city_fleet.state import challengers, live
from city_fleet.state.author import Author
from city_fleet.state.challengers import CANARY, SHADOW, Challenger
from city_fleet.state.live_pointer import LivePointer, ServedModel
from city_fleet.state.outcomes import Outcome
from city_fleet.state.registry import ModelPackage


def running(city: PlannedCity) -> tuple[Challenger, LivePointer] | None:
    """Return a city's trial with the champion that it is tried against; None where no trial is under way.

    One whose time is up counts until somebody has looked at it: it may have won.

    :raises PlatformError: what is on trial can't be read.
    """
    trial = challengers.read(city.objects, city.keys).running.get(city.slug)
    current = live.read(city.aws.s3, city.keys, city.slug) if trial is not None else None
    if trial is None or current is None or trial.displaced(current.pointer) is not None:
        return None
    return trial, current.pointer


def under_way(city: PlannedCity, candidate: Candidate) -> Publication | None:
    """Return how publishing ends where the city has a trial under way: of this model, or of another one that has to end
    first; None where it has none.
    """
    found = running(city)
    if found is None:
        return None
    trial, champion = found
    if trial.model.target_model == candidate.model.target_model:
        return Publication(Outcome.ON_TRIAL, candidate.decision, champion, (told(trial),))
    slug, number = city.slug, candidate.model.package_arn.rpartition("/")[2]
    reason = (
        f"version {trial.version} is on trial until {trial.until[:16].replace('T', ' ')} UTC, and a city has one trial "
        f"at a time; `./fleet challenge {slug} --end` ends it, `./fleet promote {slug} --version {number}` "
        "makes this model live now"
    )
    return Publication(Outcome.HELD, candidate.decision, champion, (reason,))


def planned(city: PlannedCity, package: ModelPackage, ready: Ready, author: Author) -> Challenger | None:
    """Return the trial of a model that is ready to go live; None where it goes live at once.

    That is so of the first model of a city, and of one in a container of its own, which no other endpoint could load.
    """
    wish, model = city.plan.city.challenger, judged_model(ready.candidate)
    if ready.champion is None or model.container:
        return None
    champion, now = ready.champion.pointer, clock.utc_now()
    fits = questions(model) == questions(champion)
    return Challenger(
        model=model,
        version=package.number,
        way=SHADOW if wish.shadow or not fits else CANARY,
        share=wish.share,
        champion=champion.target_model,
        sequence=champion.origin,
        since=clock.iso(now),
        until=clock.iso(now + timedelta(days=wish.days)),
        by=author.by,
        reason="" if wish.shadow or fits else "callers' requests fit the champion alone",
        promotes=wish.promote,
        of_run=True,
    )


def begin(city: PlannedCity, trial: Challenger, ready: Ready) -> Publication:
    """Begin a trial, in the place of one that is over."""
    assert ready.champion is not None  # noqa: S101 - without one there is nothing to be tried against
    challengers.change(city.objects, city.keys, lambda found: found.begun(trial))
    return Publication(Outcome.ON_TRIAL, ready.candidate.decision, ready.champion.pointer, (told(trial),))


def told(trial: Challenger) -> str:
    """Say that a run's model is on trial, and what becomes of it."""
    until = trial.until[:16].replace("T", " ")
    then = {
        challengers.NOT_WORSE: "it goes live then unless it was worse",
        challengers.BETTER: "it goes live if it is better by then",
        challengers.NEVER: "a person decides then",
    }[trial.promotes]
    why = f" ({trial.reason})" if trial.reason else ""
    return f"version {trial.version} is tried {trial.sentence}{why} until {until} UTC; {then}"


def questions(model: ServedModel) -> tuple[Any, ...]:
    """Return what a model has to have in common with another one to understand the same requests."""
    kinds: Sequence[tuple[str, str]] = sorted((each["name"], each["kind"]) for each in model.inputs)
    return model.kind, model.task, sorted(model.features), kinds, bool(model.forecast)
