"""A registered model becomes the one that serves its city, and its run's record says so. Clients are passed in."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import clock, naming
from city_fleet.champions import approval_states, gate, publish
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.errors import PublishError
from city_fleet.plan import CityPlan
from city_fleet.state import registry, run_records
from city_fleet.state.author import Author
from city_fleet.state.clients import Clients
from city_fleet.state.outcome import Decided
from city_fleet.state.package_text import metadata_value
from city_fleet.state.registry import ModelPackage

_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "404"})


def publish_version(
    aws: Clients,
    plan: CityPlan,
    version: ModelPackage,
    state: ModelState,
    author: Author,
    *,
    approves: Event | None = None,
    force: bool = False,
    record: bool = True,
) -> Decided:
    """Make a registered model the one that serves its city, or keep in the registry why not.

    :param state: where the version stands.
    :param approves: the event that approves the version in the last moment, when the endpoint has answered with it;
        None for one that is approved already.
    :param force: publish despite gate, order of as_of and pin.
    :param record: tell the run's record how it ended; a run that is still under way does that itself.
    :raises PublishError: what the run left is gone, or the endpoint does not answer as it should.
    """
    report, decision, holdout = _judged(aws.s3, version)
    made = registry.made_by(version.metadata)

    def approve() -> None:
        if approves is not None:
            verb = "let go live" if approves is Event.RELEASE else "approved"
            registry.set_status(
                aws.sagemaker,
                version.arn,
                registry.APPROVED,
                author.sentence(verb),
                event=approves,
                by=author.by,
            )

    publication = publish.publish(
        aws.s3,
        aws.runtime,
        keys=plan.keys,
        endpoint=plan.endpoint,
        candidate=publish.Candidate(
            city=plan.city.slug,
            as_of=naming.parse_as_of(version.as_of),
            artifact_uri=version.artifact_uri,
            artifact_sha256=version.metadata["artifact_sha256"],
            package_arn=version.arn,
            features=tuple(report["features"]),
            published_by=author.by,
            reason=_reason(version, author, approves),
            settings_digest=made["settings_digest"],
            code_digest=made["code_digest"],
        ),
        decision=decision,
        rule=plan.city.gate,
        holdout=holdout,
        force=force,
        approve=approve,
    )
    reasons = publication.reasons
    if publication.outcome == publish.LIVE:
        if approves is None:
            registry.settle(aws.sagemaker, version)
        person = version.status_reason if approves is None else author.sentence("approved")
        if person and (approves or version.event) != Event.RELEASE:
            reasons = (person, *reasons)
    else:
        refused = Event.SUPERSEDE if publication.outcome == publish.SUPERSEDED else Event.REFUSE
        status = approval_states.status_of(approval_states.transition(state, refused).state)
        if status == registry.REJECTED:  # one that has served stays approved
            registry.set_status(aws.sagemaker, version.arn, status, reasons[0], event=refused, by=author.by)
        elif version.settled_status != version.status:
            registry.settle(aws.sagemaker, version)
    if record:
        tell_record(aws.s3, plan, version, publication.outcome, reasons=reasons, by=author.by)
    return Decided(
        plan.city.slug,
        version.number,
        publication.outcome,
        reasons,
        publication.pointer.target_model,
    )


def _reason(version: ModelPackage, author: Author, approves: Event | None) -> str:
    """Return why a version goes live, beside the gate's reasons: a person's words, or who that person is."""
    if (approves or version.event) == Event.RELEASE:
        return ""
    told = approves is not None or version.metadata.get(registry.DECIDED_BY) == metadata_value(author.by)
    return author.note if told else version.status_reason


def target_model(plan: CityPlan, version: ModelPackage) -> str:
    """Return the target model under which a version would serve."""
    return naming.target_model(
        plan.city.slug, naming.parse_as_of(version.as_of), version.metadata["artifact_sha256"]
    )


def tell_record(
    s3: Any, plan: CityPlan, version: ModelPackage, outcome: str, *, reasons: tuple[str, ...], by: str
) -> None:
    """Write how a run ended after all, beside the record of a run that ended waiting for a person."""
    before = newest_record(s3, plan, version)
    if before is None or (before["outcome"], before["reasons"]) == (outcome, list(reasons)):
        return
    record = {
        **before,
        "outcome": outcome,
        "reasons": list(reasons),
        "target_model": target_model(plan, version) if outcome == publish.LIVE else before["target_model"],
        "decided_by": by,
        "finished_at": clock.now_iso(),
    }
    run_records.write(
        s3,
        plan.keys,
        record,
        as_of=naming.parse_as_of(version.as_of),
        key_of_run=version.metadata["run_key"],
    )


def newest_record(s3: Any, plan: CityPlan, version: ModelPackage) -> dict[str, Any] | None:
    """Return what the run that made a version has recorded last; None while it is under way."""
    first = plan.keys.record(
        plan.city.slug, naming.parse_as_of(version.as_of), version.metadata.get("run_key", "-")
    )
    listed = s3.list_objects_v2(Bucket=plan.keys.bucket, Prefix=first.removesuffix(".json"))
    records = [
        json.loads(s3.get_object(Bucket=plan.keys.bucket, Key=item["Key"])["Body"].read())
        for item in listed.get("Contents", [])
    ]
    return max(records, key=lambda record: str(record["finished_at"]), default=None)


def _judged(s3: Any, version: ModelPackage) -> tuple[dict[str, Any], gate.Decision, dict[str, Any]]:
    """Return report, decision and held-out rows of the evaluation that judged a version last."""
    evaluation = version.metadata.get("evaluation_uri") or version.evaluation_uri
    holdout = evaluation.removesuffix("evaluation.json") + "holdout.json"
    report, decision = _read_json(s3, evaluation), _read_json(s3, version.metadata.get("decision_uri", ""))
    return report, gate.Decision.from_dict(decision), _read_json(s3, holdout)


def _read_json(s3: Any, uri: str) -> dict[str, Any]:
    try:
        bucket, key = naming.split_uri(uri)
        return dict(json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    except ValueError as error:
        raise PublishError(f"{uri!r}: what the evaluation left can't be read: {error}") from error
    except ClientError as error:
        if error.response["Error"]["Code"] not in _MISSING:
            raise
        raise PublishError(
            f"{uri}: what the evaluation left is gone, so the model can't be checked; `./fleet promote` checks it by "
            "the artifact's own samples"
        ) from error
