"""Trials of challengers: begun by a person, ended by a person, by what they came to, or by themselves. Clients are
passed in.

A challenger's artifact is put where the endpoint loads it from, and has to answer its own samples before the trial
begins; the live pointer does not move. A trial that is won makes the challenger live as a promotion does, in the place
of the very champion that it was tried against and of no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import clock, outgoing_text
from city_fleet.champions import promotion, publish, release, trial_verdict
from city_fleet.champions.answers import check_answers
from city_fleet.champions.approval_states import Event
from city_fleet.champions.promotion import Choice, LoadedPackage
from city_fleet.champions.run_trial import questions
from city_fleet.champions.trial_verdict import BETTER, UNDECIDED, WORSE, Row, Verdict
from city_fleet.errors import Busy, PublishError, RegistryError
from city_fleet.state import challengers, live, package_status, registry
from city_fleet.state.author import Author
from city_fleet.state.challengers import CANARY, Challenger, Ended
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import LivePointer, ServedModel
from city_fleet.state.outcomes import Outcome

log = outgoing_text.logger(__name__)

ENDED = "ended"


@dataclass(frozen=True)
class Wish:
    """What a trial is to be.

    :param way: ``canary`` or ``shadow``.
    :param share: of the city's requests; above 0, at most 1.
    :param until: when it ends by itself; with a zone.
    :param promotes: what makes the challenger live: ``not_worse``, ``better`` or ``never``.
    """

    choice: Choice
    way: str
    share: float
    until: datetime
    promotes: str = challengers.BETTER


@dataclass(frozen=True)
class Step:
    """What was done about a city's trial.

    :param outcome: ``planned``, ``begun``, ``ended``, ``promoted``, ``running`` or ``unchanged``.
    :param trial: that was begun, runs, or has ended.
    :param sentence: what there is to say, without its full stop.
    """

    city: str
    outcome: str
    trial: Challenger | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        trial = None if self.trial is None else shown(self.trial)
        return {"city": self.city, "outcome": self.outcome, "trial": trial, "sentence": self.sentence}


def shown(trial: Challenger) -> dict[str, Any]:
    """Return what people read of a trial, JSON-ready."""
    names = ("version", "way", "share", "champion", "since", "until", "by", "reason", "promotes", "of_run")
    return {
        "city": trial.city,
        "target_model": trial.model.target_model,
        **{name: getattr(trial, name) for name in names},
    }


def begin(city: CityContext, author: Author, wish: Wish, *, dry_run: bool = False) -> Step:
    """Begin a trial, in the place of one that the city has.

    :param dry_run: choose and check, but change nothing and do not ask the endpoint.
    :raises UnknownName: the city has no such version.
    :raises PublishError: nothing serves that it could be tried against, it serves already, the version may not answer
        people, it takes other questions, or the endpoint does not answer with it as it should.
    """
    versions = registry.versions(city.aws.sagemaker, city.group)
    loaded = promotion.load(city, promotion.choose(versions, city.group, wish.choice).arn)
    champion = _champion(city)
    _refuse(city, loaded, champion, wish)
    candidate = promotion.candidate_of(loaded, author)
    trial = _trial(loaded, loaded.model, champion, author, wish)
    if dry_run:
        return Step(city.slug, "planned", trial, f"version {trial.version} would be tried {trial.sentence}")
    model = publish.install(city, candidate)
    trial = _trial(loaded, model, champion, author, wish)
    now = live.read(city.aws.s3, city.keys, city.slug)
    over = trial.over(now.pointer if now else None, clock.utc_now())
    if over is not None:
        raise PublishError(f"city {city.slug!r}: the trial was not begun, for {over}", city=city.slug)
    challengers.change(city.objects, city.keys, lambda found: found.begun(trial))
    return Step(city.slug, "begun", trial, f"version {trial.version} is tried {trial.sentence}")


def end(city: CityContext, author: Author) -> Step:
    """End a city's trial; all its requests are the champion's again."""
    trial = challengers.read(city.objects, city.keys).running.get(city.slug)
    if trial is None:
        return Step(city.slug, "unchanged", None, "no challenger of the city is on trial")
    return _ended(city, trial, Verdict(ENDED, author.sentence("ended")), author.by)


def look(city: CityContext, trial: Challenger, rows: Iterable[Row], by: str, now: datetime) -> Step:
    """Look after a running trial: end it when it is over, lost or fails, promote what has won.

    :param rows: the city's scores.
    :param by: who looks, for the history.
    :raises PlatformError: what serves, or what is on trial, can't be read or written.
    """
    current = live.read(city.aws.s3, city.keys, city.slug)
    champion = current.pointer if current else None
    displaced, over = trial.displaced(champion), trial.over(champion, now)
    verdict = trial_verdict.compare(trial, rows)
    if displaced is not None:
        return _ended(city, trial, Verdict(ENDED, displaced), by, champion)
    failure = _failure(city, trial)
    if failure is not None:
        verdict = Verdict(WORSE, failure)
    if verdict.kind == WORSE:
        return _ended(city, trial, verdict, by)
    if verdict.kind == BETTER:
        return _won(city, trial, verdict, by)
    if over is None:
        return Step(city.slug, "running", trial, verdict.sentence)
    said = f"{over}; {verdict.sentence}"
    if trial.promotes == challengers.NOT_WORSE:
        return _won(city, trial, Verdict(challengers.NOT_WORSE, said), by)
    return _ended(city, trial, Verdict(UNDECIDED, said), by)


def _won(city: CityContext, trial: Challenger, verdict: Verdict, by: str) -> Step:
    """Make a challenger live that has won, where that is wanted and approved; else say what is left to do."""
    todo = f"`./fleet promote {city.slug} --version {trial.version}` makes it live"
    if trial.promotes == challengers.NEVER:
        return _ended(city, trial, verdict.and_so(todo), by)
    loaded = promotion.load(city, trial.model.package_arn)
    if loaded.package.status != registry.APPROVED:
        why = f"version {trial.version} is {loaded.package.status} in the registry"
        return _ended(city, trial, verdict.and_so(f"{why}, and {todo}"), by)
    won = "has won" if verdict.kind == BETTER else "was not worse in"
    author = Author(by, f"it {won} its trial {trial.sentence}: {verdict.sentence}")
    candidate = promotion.candidate_of(loaded, author, over=trial.champion)
    ready = publish.prepare(city, candidate, force=True)
    done = publish.commit(city, ready) if isinstance(ready, publish.Ready) else ready
    if done.outcome != Outcome.LIVE:
        return _ended(city, trial, verdict.and_so(f"{'; '.join(done.reasons)}, and {todo}"), by)
    ended = _ended(city, trial, verdict, by, done.pointer)
    return Step(ended.city, "promoted", trial, f"{trial.model.target_model} is live: {verdict.sentence}")


def _failure(city: CityContext, trial: Challenger) -> str | None:
    """Ask a challenger for its own samples, and return why it can't go on; None where it can.

    What passes by itself, and an endpoint that is closed or under way, says nothing of the challenger.
    """
    key = city.keys.model(trial.model.target_model)
    try:
        if not city.objects.exists(key):
            return f"{city.keys.uri(key)} is gone, so no instance that starts can load it"
        loaded = promotion.load(city, trial.model.package_arn)
        rows = loaded.artifact.rows
        known = [
            (f"sample {number}", list(row), answer)
            for number, (row, answer) in enumerate(zip(rows, loaded.artifact.predictions, strict=True), 1)
        ]
        check_answers(city.aws.runtime, city.address_of(trial.model), known, as_json=loaded.artifact.is_table)
    except Busy as error:
        log.info("City %r: its challenger is not looked at: %s", city.slug, error)
    except (ClientError, BotoCoreError) as error:
        log.warning("City %r: its challenger can't be asked now: %s", city.slug, error)
    except RegistryError as error:
        return f"its version can't be used any more: {error}"
    except PublishError as error:
        return f"the endpoint does not answer with the challenger as it should: {error}"
    return None


def _ended(
    city: CityContext, trial: Challenger, verdict: Verdict, by: str, champion: LivePointer | None = None
) -> Step:
    """End a trial; one of a run ends that run first, so that a death in between leaves it to the next look.

    :param champion: what serves, where that is what has ended the trial.
    """
    if trial.of_run and challengers.read(city.objects, city.keys).running.get(city.slug) == trial:
        _end_run(city, trial, verdict, by, champion)
    done = _end(city, trial, verdict, by)
    return done or Step(city.slug, "unchanged", trial, "another trial has begun meanwhile")


def _end_run(
    city: CityContext, trial: Challenger, verdict: Verdict, by: str, champion: LivePointer | None
) -> None:
    """Say in the registry and in the run's record what has become of a run's model that was tried.

    One that did not go live may not be taken for approved: whoever looks for the newest approved version would find it.
    """
    package = registry.describe(city.aws.sagemaker, trial.model.package_arn)
    if package is None:
        return
    mine = trial.model.target_model
    outcome, event = Outcome.HELD, Event.REFUSE
    if champion is not None and champion.target_model == mine:
        outcome = Outcome.LIVE
    elif champion is not None and champion.as_of > trial.model.as_of:
        outcome, event = Outcome.SUPERSEDED, Event.SUPERSEDE
    ends = "" if verdict.kind == ENDED else f", {verdict.kind}"
    said = f"its trial {trial.sentence} has ended{ends}: {verdict.sentence}"
    left_to_a_person = verdict.kind in (BETTER, challengers.NOT_WORSE) or (
        verdict.kind == UNDECIDED and trial.promotes == challengers.NEVER
    )
    if outcome != Outcome.LIVE and not left_to_a_person and package.status == registry.APPROVED:
        decision = package_status.decided(registry.REJECTED, event, by)
        package_status.set_status(city.aws.sagemaker, package.arn, decision, said)
    release.tell_record(city, package, outcome, reasons=(said,), by=by)


def _end(city: CityContext, which: Challenger, verdict: Verdict, by: str) -> Step | None:
    """End a trial; None where it is not there any more."""
    gone: list[Challenger | None] = [None]

    def changed(found: challengers.Challengers) -> challengers.Challengers:
        gone[0] = trial = found.running.get(city.slug)
        if trial is None or trial != which:
            gone[0] = None
            return found
        ended = Ended(
            trial.model.target_model,
            trial.version,
            trial.way,
            trial.since,
            clock.now_iso(),
            by,
            verdict.kind,
            verdict.sentence,
        )
        return found.without(city.slug, ended)

    challengers.change(city.objects, city.keys, changed)
    trial = gone[0]
    return None if trial is None else Step(city.slug, "ended", trial, f"{verdict.kind}: {verdict.sentence}")


def _champion(city: CityContext) -> LivePointer:
    current = live.read(city.aws.s3, city.keys, city.slug)
    if current is None:
        raise PublishError(
            f"city {city.slug!r}: no model of it is live, so there is nothing to be tried against; "
            f"`./fleet promote {city.slug}` makes one live",
            city=city.slug,
        )
    return current.pointer


def _refuse(city: CityContext, loaded: LoadedPackage, champion: LivePointer, wish: Wish) -> None:
    """Refuse a trial that would answer people what nobody approved, or fail their requests."""
    model, package = loaded.model, loaded.package
    where = f"city {city.slug!r}, version {package.number}"
    if model.target_model == champion.target_model:
        raise PublishError(f"{where}: it is the champion already", city=city.slug)
    if package.status == registry.REJECTED and wish.way != CANARY:
        log.warning("%s is Rejected in the registry; a shadow answers nobody", where)
    if wish.way == CANARY and package.status != registry.APPROVED:
        raise PublishError(
            f"{where}: is {package.status} in the registry; a canary answers people, and takes an approved version. "
            f"`./fleet approve {city.slug} --version {package.number}` approves it, which may make it live; --shadow "
            "tries it without answering anybody",
            city=city.slug,
        )
    if publish.housed(city, model, loaded.artifact.algorithm).container:
        raise PublishError(
            f"{where}: its model gets a container of its own, and a challenger has to be one that a shared endpoint "
            "loads; `./fleet compare` compares two models on held-out rows",
            city=city.slug,
        )
    ours, theirs = questions(model), questions(champion)
    if wish.way == CANARY and ours != theirs:
        names = sorted(set(model.features) ^ set(champion.features))
        what = f"features differ: {', '.join(names)}" if names else "kind, task or kinds of features differ"
        raise PublishError(
            f"{where}: takes other questions than the champion ({what}), so a canary would not understand them; "
            "--shadow tries it on those that it understands",
            city=city.slug,
        )


def _trial(
    loaded: LoadedPackage, model: ServedModel, champion: LivePointer, author: Author, wish: Wish
) -> Challenger:
    return Challenger(
        model=model,
        version=loaded.package.number,
        way=wish.way,
        share=wish.share,
        champion=champion.target_model,
        sequence=champion.origin,
        since=clock.now_iso(),
        until=clock.iso(wish.until),
        by=author.by,
        reason=author.note,
        promotes=wish.promotes,
    )
