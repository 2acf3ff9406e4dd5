"""A model package becomes the model that serves its city, and its run's record says so. Clients are passed in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from city_fleet import clock, naming
from city_fleet.champions import approval_states, publish, run_evidence, run_trial
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.state import objects, package_status, registry, run_records
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.outcomes import Decided, Outcome
from city_fleet.state.package_status import metadata_value
from city_fleet.state.registry import ModelPackage


@dataclass(frozen=True)
class Release:
    """On whose word a model package goes live.

    :param approves: the event that approves the package in the last moment, when the endpoint has answered with it;
        None for one that is approved already.
    :param force: publish despite gate, order of as_of and pin.
    :param record: tell the run's record how it ended; a run that is still under way does that itself.
    """

    author: Author
    approves: Event | None = None
    force: bool = False
    record: bool = True

    @property
    def sentence(self) -> str:
        """Return who approves the package, for the registry."""
        return self.author.sentence("let go live" if self.approves is Event.RELEASE else "approved")


def publish_package(city: PlannedCity, package: ModelPackage, state: ModelState, release: Release) -> Decided:
    """Make a model package the one that serves its city, or have it tried first; or keep in the registry why not.

    :param state: where the package stands.
    :raises PublishError: what the run left is gone, or the endpoint does not answer as it should.
    """
    sagemaker, author, approves = city.aws.sagemaker, release.author, release.approves
    tries = city.plan.tries and not release.force
    candidate = _candidate(city, package, release)
    other = run_trial.under_way(city, candidate) if tries else None
    ready = other or publish.prepare(city, candidate, force=release.force)
    if isinstance(ready, publish.Publication):
        publication = ready
    else:
        if approves is not None:
            approval = package_status.decided(registry.APPROVED, approves, author.by)
            package_status.set_status(sagemaker, package.arn, approval, release.sentence)
        trial = run_trial.planned(city, package, ready, author) if tries else None
        publication = run_trial.begin(city, trial, ready) if trial else publish.commit(city, ready)
    reasons = publication.reasons
    if publication.outcome in (Outcome.LIVE, Outcome.ON_TRIAL):
        if approves is None:
            package_status.settle(sagemaker, package)
        person = package.status_reason if approves is None else author.sentence("approved")
        if person and (approves or package.event) != Event.RELEASE:
            reasons = (person, *reasons)
    else:
        refused = Event.SUPERSEDE if publication.outcome == Outcome.SUPERSEDED else Event.REFUSE
        status = approval_states.status_of(approval_states.transition(state, refused).state) or ""
        if status == registry.REJECTED:  # one that has served stays approved
            rejection = package_status.decided(status, refused, author.by)
            package_status.set_status(sagemaker, package.arn, rejection, reasons[0])
        else:
            package_status.settle(sagemaker, package)
    if release.record:
        tell_record(city, package, publication.outcome, reasons=reasons, by=author.by)
    serves = publication.pointer.target_model
    return Decided(city.slug, package.number, publication.outcome, reasons, serves, publication.moved)


def model_of(package: ModelPackage, city: str, features: tuple[str, ...]) -> ServedModel:
    """Return what the live pointer says of a registered model, but for what the gate said of it.

    :param city: slug of the city that it serves.
    :param features: feature names in the order of a request row.
    """
    sha256, made = package.metadata["artifact_sha256"], registry.made_by(package.metadata)
    return ServedModel(
        city=city,
        target_model=naming.target_model(city, naming.parse_as_of(package.as_of), sha256),
        package_arn=package.arn,
        as_of=package.as_of,
        metrics={},
        features=features,
        artifact_sha256=sha256,
        settings_digest=made["settings_digest"],
        code_digest=made["code_digest"],
    )


def target_model(city: str, package: ModelPackage) -> str:
    """Return the target model under which a package serves its city, or would."""
    return model_of(package, city, ()).target_model


def tell_record(
    city: CityContext, package: ModelPackage, outcome: Outcome, *, reasons: tuple[str, ...], by: str
) -> None:
    """Write how a run ended after all, beside its record that says that it awaits approval."""
    before = newest_record(city, package)
    if before is None or (before["outcome"], before["reasons"]) == (outcome, list(reasons)):
        return
    live = outcome == Outcome.LIVE
    record = {
        **before,
        "outcome": outcome,
        "reasons": list(reasons),
        "target_model": target_model(city.slug, package) if live else before["target_model"],
        "served_by": city.slug if live else before.get("served_by"),
        "decided_by": by,
        "finished_at": clock.now_iso(),
    }
    as_of, run = naming.parse_as_of(package.as_of), package.metadata["run_key"]
    run_records.write(city.aws.s3, city.keys, record, as_of=as_of, key_of_run=run)


def newest_record(city: CityContext, package: ModelPackage) -> dict[str, Any] | None:
    """Return what the run that made a package has recorded last; None while it is under way."""
    as_of, run = naming.parse_as_of(package.as_of), package.metadata.get("run_key", "-")
    prefix = city.keys.record(city.slug, as_of, run).removesuffix(".json")
    found = [city.objects.get(item.key) for item in city.objects.items(prefix)]
    records = [objects.json_of(record.body) for record in found if record]
    return max(records, key=lambda record: str(record["finished_at"]), default=None)


def _candidate(city: PlannedCity, package: ModelPackage, release: Release) -> publish.Candidate:
    """Return a package as a candidate, with the evaluation that judged it last."""
    evidence = run_evidence.read(
        city.aws.s3,
        decision_uri=package.metadata.get("decision_uri", ""),
        evaluation_uri=package.metadata.get("evaluation_uri") or package.evaluation_uri,
    )
    report = evidence.report
    return publish.Candidate(
        model=replace(
            model_of(package, city.slug, tuple(report["features"])),
            data_until=(report.get("holdout") or {}).get("last"),
        ),
        artifact_uri=package.artifact_uri,
        decision=evidence.decision,
        rule=city.plan.city.gate,
        holdout=evidence.holdout,
        author=Author(release.author.by, _reason(package, release)),
        forecast=report.get("forecast"),
    )


def _reason(package: ModelPackage, release: Release) -> str:
    """Return why a package goes live, beside the gate's reasons: a person's words, or who that person is.

    Of one that no run of this installation has trained also where it comes from, and why it was brought.
    """
    author, approves = release.author, release.approves
    origin = package.metadata.get("origin")
    told = approves is not None or package.metadata.get(registry.DECIDED_BY) == metadata_value(author.by)
    words = author.note if told else package.status_reason
    if (approves or package.event) == Event.RELEASE and origin is None:
        return ""
    return "; ".join(filter(None, (origin, words)))
