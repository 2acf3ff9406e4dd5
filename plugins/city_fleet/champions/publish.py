"""Publishing: an evaluated artifact becomes the model that serves.

:func:`prepare` does all that has no effect yet: it judges the artifact against the champion, copies it to its
content-addressed key and has the endpoint answer held-out rows with it. The caller then approves the model in the
registry, and :func:`commit` moves the live pointer by one conditional write. Every moment is safe to die in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from city_fleet import clock, naming, outgoing_text
from city_fleet.champions import artifact, containers, gate
from city_fleet.champions.answers import check_answers, check_forecast
from city_fleet.champions.artifact import Artifact
from city_fleet.champions.second_evaluation import evaluate_again
from city_fleet.config import Gate
from city_fleet.errors import PointerMoved, PublishError
from city_fleet.plan import ENDPOINT_PURPOSE
from city_fleet.state import live, objects, registry, retire_marks, serving_code
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import LivePointer, ServedModel, Versioned
from city_fleet.state.outcomes import Outcome

log = outgoing_text.logger(__name__)


@dataclass(frozen=True)
class Candidate:
    """An evaluated artifact that may become the champion.

    :param model: what the live pointer will say of it.
    :param artifact_uri: where its bytes are: those that the evaluation judged.
    :param decision: what the gate said of it.
    :param rule: by which the gate judges it again, should the champion have changed.
    :param holdout: ``holdout.json`` of its evaluation: features, and rows with values, actual and predicted.
    :param author: who publishes it, and why.
    :param move: what the live pointer calls this move.
    :param pinned: whether it stays until a person unpins it.
    :param forecast: what it answered when it was asked by the city's name alone; None where it can't be.
    :param over: target model of the only champion that it may take the place of, also by force; a pin keeps that one.
    """

    model: ServedModel
    artifact_uri: str
    decision: gate.Decision
    rule: Gate
    holdout: Mapping[str, Any]
    author: Author
    move: str = live.PUBLISH
    pinned: bool = False
    forecast: Mapping[str, Any] | None = None
    over: str | None = None


@dataclass(frozen=True)
class Publication:
    """How publishing ended.

    :param outcome: ``live``; ``held`` (evaluated again against a champion that moved, and worse);
        ``superseded`` (the champion has seen newer data); or ``on_trial`` (of ``run_trial.py``).
    :param pointer: the live pointer afterwards.
    :param moved: whether it was this call that moved it; False for an artifact that was live already.
    """

    outcome: Outcome
    decision: gate.Decision
    pointer: LivePointer
    reasons: tuple[str, ...]
    moved: bool = False


@dataclass(frozen=True)
class Ready:
    """A candidate that the endpoint has answered with: only the live pointer has to move.

    :param champion: the live pointer that it was judged against; None where no model serves.
    :param force: publish despite gate, order of as_of and pin.
    """

    candidate: Candidate
    champion: Versioned | None
    force: bool


def prepare(city: CityContext, candidate: Candidate, *, force: bool = False) -> Ready | Publication:
    """Make everything ready for a candidate to serve, or say why it does not. Repeating it is harmless.

    When the model that serves is no longer the one that the decision compared with, the candidate is evaluated again:
    on the same held-out rows by what the new champion was judged by, and the gate decides anew.

    :param force: publish despite gate, order of as_of and pin.
    :return: the end, where it serves already or may not: nothing has been written then.
    :raises PublishError: the artifact is not what was evaluated, or the endpoint does not answer with it as the
        evaluation did.
    :raises EndpointUnderWay: it gets a container of its own, on an endpoint that is being made; repeating goes on.
    """
    champion = live.read(city.aws.s3, city.keys, city.slug)
    judged = _judge(city, candidate, champion, force=force)
    if isinstance(judged, Publication):
        return judged
    return Ready(replace(judged, model=install(city, candidate)), champion, force)


def install(city: CityContext, candidate: Candidate) -> ServedModel:
    """Put a candidate's artifact where the endpoint loads it from, and have it answer as the evaluation says.

    Nothing serves it yet. Repeating it is harmless.

    :return: the model, as it answers.
    :raises PublishError: as :func:`prepare` does.
    :raises EndpointUnderWay: as :func:`prepare` does.
    """
    # It may have been published before and be about to be retired; from now on it is not.
    retire_marks.claim(city.aws.s3, city.keys, city.slug, candidate.model.target_model)
    made = _install_artifact(city, candidate)
    model = housed(city, candidate.model, made.algorithm)
    known = [(f"held-out row {_name(row)}", row["values"], _served(row)) for row in candidate.holdout["rows"]]
    at = containers.bring_up(city, model) if model.container else city.address_of(model)
    try:
        check_answers(city.aws.runtime, at, known, as_json=made.is_table)
        if candidate.forecast is not None:
            check_forecast(city.aws.runtime, at, candidate.forecast)
    except PublishError:
        _check_code(city, at.endpoint, made)  # says better what is wrong
        raise
    if model.container:
        containers.take_over(city, model, at)
    # The digest vouches for the artifact, and so for what it says of its rows.
    return replace(model, **made.says)


def housed(city: CityContext, model: ServedModel, algorithm: str) -> ServedModel:
    """Return a model with the endpoint that is to serve it, and the way to it there.

    :param algorithm: that has made it.
    """

    def image() -> str:
        package = registry.describe(city.aws.sagemaker, model.package_arn)
        return package.image if package is not None else ""

    home = city.home_of(algorithm, image)
    route = containers.route_of(model) if home.in_container else {}
    return replace(model, endpoint=home.endpoint, route=route)


def commit(city: CityContext, ready: Ready) -> Publication:
    """Move the live pointer to a candidate that is ready, unless the champion has changed and now refuses it.

    :raises PlatformError: others moved the pointer again and again.
    """
    candidate, champion = ready.candidate, ready.champion
    s3, where = city.aws.s3, city.keys.uri(city.keys.live(city.slug))
    attempts = objects.rounds(where)
    while True:
        if next(attempts) > 1:
            champion = live.read(s3, city.keys, city.slug)
            judged = _judge(city, candidate, champion, force=ready.force)
            if isinstance(judged, Publication):
                return judged
            candidate = judged
        decision = candidate.decision
        pointer = LivePointer.serving(
            judged_model(candidate),
            sequence=live.next_sequence(s3, city.keys, city.slug, champion),
            published_at=clock.now_iso(),
            published_by=candidate.author.by,
            predecessor=champion.pointer.target_model if champion else None,
            pinned=candidate.pinned,
            move=candidate.move,
            reason=candidate.author.note,
        )
        try:
            moved = live.move(s3, city.keys, pointer, champion)
        except PointerMoved:
            continue
        return Publication(Outcome.LIVE, decision, moved.pointer, decision.reasons, moved=True)


def judged_model(candidate: Candidate) -> ServedModel:
    """Return a candidate's model with what the gate said of it, as a live pointer has it."""
    decision = candidate.decision
    return replace(
        candidate.model,
        metrics=decision.metrics.get("challenger", {}),
        reasons=decision.reasons,
        data_until=candidate.model.data_until or decision.data_until,
        refit=decision.refit,
        known_until=decision.known_until,
    )


def _install_artifact(city: CityContext, candidate: Candidate) -> Artifact:
    """Copy the artifact to its content-addressed key, after checking that its bytes are the evaluated ones.

    :return: what it says of itself.
    :raises PublishError: it is gone, its bytes have another SHA-256, or it takes other features than are said.
    """
    model = candidate.model
    body = objects.read_uri(city.aws.s3, candidate.artifact_uri)
    if body is None:
        raise PublishError(
            f"city {city.slug!r}: {candidate.artifact_uri} is gone; clear the train task with everything downstream"
        )
    found = hashlib.sha256(body).hexdigest()
    if found != model.artifact_sha256:
        raise PublishError(
            f"city {city.slug!r}: {candidate.artifact_uri} has SHA-256 {found}, but the evaluation judged "
            f"{model.artifact_sha256}; the artifact was changed or cut off after training. Clear the train task "
            "with everything downstream"
        )
    made = artifact.parse(body, candidate.artifact_uri)
    if (made.city, made.features) != (city.slug, model.features):
        # The digest vouches for the artifact; what lies beside it may say anything.
        raise PublishError(
            f"city {city.slug!r}: {candidate.artifact_uri} is a model of city {made.city!r} with the features "
            f"{', '.join(made.features)}; its evaluation says {', '.join(model.features)}. The evaluation's report was "
            "changed, or the artifact is another city's. Clear the evaluate task with everything downstream"
        )
    key = city.keys.model(model.target_model)
    if city.objects.create(key, body, objects.GZIP) is None:
        raise PublishError(
            f"city {city.slug!r}: {city.keys.uri(key)} holds other bytes than its name says: it was overwritten. "
            "Delete that object, then clear this task"
        )
    return made


def _check_code(city: CityContext, endpoint: str, made: Artifact) -> None:
    """Refuse an artifact of an algorithm that the endpoint's code lacks, in words that say what to do."""
    served = serving_code.served(city.aws.sagemaker, endpoint) if made.algorithm else None
    dag = naming.fleet_dag_id(city.keys.fleet, ENDPOINT_PURPOSE)
    wrong = serving_code.lacking([made.algorithm], served, endpoint, dag)
    if wrong is not None:
        raise PublishError(f"city {city.slug!r}: {wrong}. Then clear this task", city=city.slug)


def _name(row: Mapping[str, Any]) -> str:
    """Return the name of a held-out row: a period of a series, or an example of a table."""
    return str(row["period"] if "period" in row else row["example"])


def _served(row: Mapping[str, Any]) -> artifact.Known:
    """Return what the serving model answers for a held-out row; another model may have judged it there."""
    answer: artifact.Known = row["served"] if "served" in row else row["predicted"]
    return answer


def _judge(
    city: CityContext, candidate: Candidate, champion: Versioned | None, *, force: bool
) -> Candidate | Publication:
    """Return the candidate as judged against this champion, or the end where it serves already or may not."""
    decision = candidate.decision
    if champion is None:
        return candidate
    if champion.pointer.target_model == candidate.model.target_model:
        reasons = (*decision.reasons, "this artifact is live already")
        return Publication(Outcome.LIVE, decision, champion.pointer, reasons)
    refusal = None if force else _refusal(candidate, champion.pointer)
    if candidate.over is not None:
        refusal = _other_than(candidate.over, champion.pointer)
    if refusal:
        outcome, reason = refusal
        return Publication(outcome, decision, champion.pointer, (reason,))
    # A pointer that was written anew, as by a pin, serves the model that it was compared with still.
    if force or champion.pointer.target_model == decision.champion_target_model:
        return candidate
    log.info("The champion is no longer the one evaluated against; evaluating %s again", city.slug)
    again = evaluate_again(city, candidate.holdout, decision, candidate.rule, champion)
    decision = replace(
        again, warnings=decision.warnings, refit=decision.refit, known_until=decision.known_until
    )
    if not decision.promote:
        return Publication(Outcome.HELD, decision, champion.pointer, decision.reasons)
    return replace(candidate, decision=decision)


def _other_than(over: str, champion: LivePointer) -> tuple[Outcome, str] | None:
    """Return outcome and reason where a champion is not the one that may be replaced, or is pinned."""
    if champion.target_model != over:
        return Outcome.SUPERSEDED, f"{champion.target_model} serves meanwhile, and not {over}"
    return _pinned(champion)


def _pinned(champion: LivePointer) -> tuple[Outcome, str] | None:
    if not champion.pinned:
        return None
    why = f": {champion.reason}" if champion.reason else ""
    return Outcome.HELD, (
        f"{champion.target_model} is pinned by {champion.moved_by} since {champion.moved_at}{why}; "
        f"`./fleet unpin {champion.city}` lets new models go live"
    )


def _refusal(candidate: Candidate, champion: LivePointer) -> tuple[Outcome, str] | None:
    """Return outcome and reason when a champion may not be replaced by this candidate."""
    pinned = _pinned(champion)
    if pinned is not None:
        return pinned
    newer = gate.newer_champion({"as_of": candidate.model.as_of}, {"as_of": champion.as_of})
    return (Outcome.SUPERSEDED, newer) if newer else None
