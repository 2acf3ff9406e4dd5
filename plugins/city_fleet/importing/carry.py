"""A version is carried from another installation of the fleet: read there, judged, approved and served here.

The gate of this installation judges it against the champion that serves here, on the held-out rows that judged it
there. Then it goes the way of an import: import_run.py. Clients are passed in; nothing is written to the other one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from city_fleet.approval import approvals
from city_fleet.champions import data_checks, gate, promotion
from city_fleet.champions.approval_states import ModelState
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.promotion import Choice
from city_fleet.champions.run_evidence import ARTIFACT, EVALUATION, HOLDOUT
from city_fleet.champions.second_evaluation import champion_on
from city_fleet.errors import ArtifactError, PublishError
from city_fleet.importing import elsewhere, import_run
from city_fleet.importing.elsewhere import CarriedVersion, Elsewhere
from city_fleet.importing.same_data import differences
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import EVALUATE, PREPROCESS
from city_fleet.state import live, registry, serving_code
from city_fleet.state.author import Author
from city_fleet.state.live_pointer import Versioned
from city_fleet.state.outcomes import Outcome
from city_fleet.state.registry import ModelPackage


@dataclass(frozen=True)
class Order:
    """What is to be carried, and how.

    :param force: publish despite gate, order of as_of and pin, and also what is Rejected there.
    :param pin: if it goes live, keep it live until a person unpins it.
    :param dry_run: read and judge it, and change nothing.
    """

    choice: Choice = field(default_factory=Choice)
    force: bool = False
    pin: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Carried:
    """What came of a city.

    :param outcome: as of a run; ``unchanged`` where it is here already; ``planned`` of a dry run.
    :param origin: which version it is, and where it comes from.
    :param version: of this installation's registry; None where there is none.
    :param decision: of the gate here; None where it was not asked.
    :param target_model: that serves, where this version does.
    """

    city: str
    outcome: Outcome
    origin: Mapping[str, Any]
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    version: int | None = None
    package_arn: str | None = None
    target_model: str | None = None
    record_uri: str | None = None
    decision: gate.Decision | None = field(default=None, repr=False)

    @property
    def good(self) -> bool:
        """Tell whether it serves, may come to serve, or would."""
        if self.outcome == Outcome.PLANNED:
            return self.decision is not None and self.decision.promote
        return self.outcome in (Outcome.LIVE, Outcome.ON_TRIAL, Outcome.PENDING, Outcome.UNCHANGED)


def carry(place: PlannedCity, there: Elsewhere, order: Order, author: Author) -> Carried:
    """Carry a city's version from another installation. Repeating it is harmless: it stays one version.

    :param author: who carries it, and why.
    :raises UnknownName: there is no such version there.
    :raises RegistryError: City Fleet did not register it there, or what judged it lies elsewhere.
    :raises ArtifactError: its artifact can't be used, or is about something else than the city's dataset here.
    :raises PublishError: what judged it is gone, it is Rejected there, or the endpoint here can't answer with it.
    """
    package = elsewhere.package_of(there, place.slug, order.choice)
    champion = live.read(place.aws.s3, place.keys, place.slug)
    known = _here_already(place, there, package, champion)
    if known is not None:
        if order.pin and known.target_model is not None and not order.dry_run:
            promotion.promote(place, author, Choice(known.version), pin=True)
        return known
    version = elsewhere.read(there, place.slug, package)
    _refuse(place, there, version, force=order.force)
    report = _report(place, version, champion)
    notes = tuple(_notes(place, version, champion, force=order.force))
    if order.dry_run:
        rule = place.plan.city.gate
        data = data_checks.check(version.status, report, rule.data)
        decision = gate.decide(report, rule, data=data, force=order.force)
        return Carried(place.slug, Outcome.PLANNED, version.origin, notes=notes, decision=decision)
    brought = _brought(version, report, champion, author, force=order.force)
    done = import_run.finish(place, brought, author)
    if order.pin and done.outcome == Outcome.LIVE:
        promotion.promote(place, author, Choice(done.version), pin=True)
    return Carried(
        place.slug,
        Outcome(done.outcome),
        version.origin,
        done.reasons,
        notes,
        done.version,
        done.package_arn,
        done.target_model,
        done.record_uri,
        done.decision,
    )


def _here_already(
    place: PlannedCity, there: Elsewhere, package: ModelPackage, champion: Versioned | None
) -> Carried | None:
    """Return that a version serves here, or waits for a person here; None where it does neither."""
    sha256 = package.metadata.get("artifact_sha256")
    origin = {"installation": there.name, "version": package.number, "package_arn": package.arn}
    if champion is not None and champion.pointer.artifact_sha256 == sha256:
        pointer = champion.pointer
        number = registry.version_of(pointer.package_arn)
        return Carried(
            place.slug,
            Outcome.UNCHANGED,
            origin,
            (f"it is here already as version {number}, and live since {pointer.moved_at}",),
            version=number,
            package_arn=pointer.package_arn,
            target_model=pointer.target_model,
        )
    for listed in registry.versions(place.aws.sagemaker, place.group):
        if listed.artifact_sha256 != sha256:
            continue
        found = registry.read(place.aws.sagemaker, listed.arn)
        registry.refuse_other(place.keys, found)
        if found.waits_for_person and approvals.state_of(place, found) is ModelState.WAITING:
            why = f"it is here already as version {listed.number}, which awaits approval"
            return Carried(
                place.slug, Outcome.UNCHANGED, origin, (why,), version=listed.number, package_arn=listed.arn
            )
        return None  # of older versions of the same artifact nobody awaits anything
    return None


def _refuse(place: PlannedCity, there: Elsewhere, version: CarriedVersion, *, force: bool) -> None:
    """Refuse what this installation can't serve, or was rejected there."""
    package = version.package
    if package.status == registry.REJECTED and not force:
        why = f": {package.status_reason}" if package.status_reason else ""
        raise PublishError(
            f"Version {package.number} is Rejected in installation {there.name}{why}. Name another one with --version; "
            "--force carries it all the same",
            city=place.slug,
        )
    try:
        other = differences(version.card, place.plan)
    except (KeyError, TypeError, AttributeError) as error:
        name = type(error).__name__
        raise ArtifactError(
            f"{version.artifact_uri}: model.json is not as train.py writes it ({name}: {error})"
        ) from None
    if other:
        raise ArtifactError(
            f"{version.artifact_uri}: is a model of another dataset than the city's in this fleet file: "
            f"{'; '.join(other)}. Make the two fleet files say the same, or train it here",
            city=place.slug,
        )
    if version.made.algorithm:
        import_run.refuse_lacking_code(place, version.made.algorithm)


def _report(place: PlannedCity, version: CarriedVersion, champion: Versioned | None) -> dict[str, Any]:
    """Return the evaluation's report, with the champion that serves here in the place of the one there."""
    report = {**version.report, "champion": None, "parent": None}
    if champion is None:
        return report
    if gate.newer_champion(report, {"as_of": champion.pointer.as_of}):
        seen = {"target_model": champion.pointer.target_model, "as_of": champion.pointer.as_of}
        return report | {"champion": {**seen, "etag": champion.etag}}  # which decides it, whoever is better
    return report | {"champion": champion_on(place, version.holdout, champion)}


def _notes(
    place: PlannedCity, version: CarriedVersion, champion: Versioned | None, *, force: bool
) -> Iterator[str]:
    """Yield what a person should know, and what stops nothing."""
    package, plan = version.package, place.plan
    if package.status != registry.APPROVED:
        yield f"it is {package.status} there"
    made = registry.made_by(package.metadata)
    code, settings = CodeBundle.of(plan).digest, plan.settings_digest
    if made["code_digest"] != code:
        yield f"it was made by another version of the job scripts ({made['code_digest']} there, {code} here)"
    if made["settings_digest"] != settings:
        yield f"it was made by other settings ({made['settings_digest']} there, {settings} here)"
    noted = serving_code.noted(place.objects, place.keys, place.endpoint) or {}
    served, own = noted.get(version.made.algorithm), version.made.algorithm_digest
    if served and own and not own.startswith(served):
        yield f"this endpoint's algorithm {version.made.algorithm} is another version than the one that made it"
    if champion is not None and champion.pointer.pinned and not force:
        yield f"{champion.pointer.target_model} is pinned here by {champion.pointer.moved_by}, and stays"
    if plan.city.parent is not None:
        yield f"it is not compared with its parent {plan.city.parent}: the next run does that"


def _brought(
    version: CarriedVersion,
    report: Mapping[str, Any],
    champion: Versioned | None,
    author: Author,
    *,
    force: bool,
) -> import_run.Brought:
    # Judged against another champion, or by force, it is another run: what was decided before keeps its evidence.
    against = "" if champion is None else champion.pointer.target_model
    package = version.package
    return import_run.Brought(
        import_run.PROMOTE,
        (package.arn, version.origin["sha256"], against, "force" if force else ""),
        package.as_of,
        {
            PREPROCESS: version.data,
            EVALUATE: {
                EVALUATION: _json(report),
                HOLDOUT: _json(version.holdout),
                ARTIFACT: version.body,
                "decision_there.json": _json(version.decision),
                "evaluation_there.json": _json(version.report),
            },
        },
        {**version.origin, "by": author.by, "reason": author.note},
        force=force,
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()
