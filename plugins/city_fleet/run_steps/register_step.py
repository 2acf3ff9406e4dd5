"""Every trained model becomes a version of the registry, and stands where the gate's judgement puts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock, naming, outgoing_text
from city_fleet.approval import approvals
from city_fleet.champions import approval_states, gate, package_request
from city_fleet.champions.approval_states import Effect, Event, ModelState
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.plan import DECIDE, EVALUATE, PREPROCESS, TRAIN
from city_fleet.run_steps.step_input import CityRun
from city_fleet.state import live, package_status, registry
from city_fleet.state.author import Author
from city_fleet.state.context import Clients
from city_fleet.state.registry import ModelPackage

_log = outgoing_text.logger(__name__)

#: Kind of origin of a model that another installation of the fleet has made.
INSTALLATION = "installation"


@dataclass(frozen=True)
class NewVersion:
    """A version that is to be registered.

    :param status: its approval status.
    :param extras: more members of the CreateModelPackage request.
    :param group_exists: whether its package group has versions already.
    """

    image_uri: str
    model_url: str
    description: str
    status: str
    extras: Mapping[str, Any]
    group_exists: bool

    def as_package(self, arn: str) -> ModelPackage:
        """Return the version as Describe would show it, now that it has an ARN."""
        return registry.version_from(
            {
                **self.extras,
                "ModelPackageArn": arn,
                "ModelApprovalStatus": self.status,
                "CreationTime": clock.utc_now(),
            }
        )


#: Registers a version and returns its ARN.
Create = Callable[[NewVersion], str]


def register_once(at: CityRun, create: Create) -> tuple[dict[str, Any], ModelPackage]:
    """Register a run's model, whoever else is about to register the same.

    :return: as :func:`register`.
    """
    try:
        return register(at, create)
    except ClientError as error:
        if not aws_errors.is_token_taken(error):
            raise
    _log.info("Another DAG run about the same has registered this model in the meantime")
    return register(at, create)


def create_version(aws: Clients, group: str, new: NewVersion) -> str:
    """Register a version by boto3 alone, and return its ARN: one request where its group is known to be there."""
    if not new.group_exists:
        try:
            aws.sagemaker.create_model_package_group(ModelPackageGroupName=group)
        except ClientError as error:
            if not aws_errors.is_taken(error):
                raise
    request = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": new.description,
        "ModelApprovalStatus": new.status,
        **new.extras,
    }
    return str(aws.sagemaker.create_model_package(**request)["ModelPackageArn"])


def register(at: CityRun, create: Create) -> tuple[dict[str, Any], ModelPackage]:
    """Register a run's model, and say where it stands; one that is registered already is judged anew.

    :return: what later steps need, and the version as it is then.
    :raises OtherInstallation: another installation has registered the group's versions.
    """
    city, run, sagemaker = at.city, at.run, at.city.aws.sagemaker
    decision = gate.Decision.from_dict(at.result(DECIDE))
    event = Event.PROMOTE if decision.promote else Event.HOLD
    sha256 = at.result(EVALUATE)["report"]["artifact_sha256"]
    listed = registry.versions(sagemaker, city.group)
    known = [version for version in listed if version.artifact_sha256 == sha256]
    package: ModelPackage | None = None
    if known or (listed and not _is_ours(at)):
        package = registry.read(sagemaker, (known or listed)[0].arn)
        registry.refuse_other(city.keys, package)
    state = ModelState.NEW
    if known and package is not None:
        state = approvals.state_of(city, package)
        _log.info("Version %d holds this artifact already, and is %s", known[0].number, state.value)
    step = approval_states.transition(state, event)
    author = Author(at.name, decision.reasons[0])
    if step.effect is Effect.REGISTER or package is None:
        new = _new_version(at, step.state, event, before=len(known), group_exists=bool(listed))
        package = new.as_package(create(new))
    else:
        package_status.note(sagemaker, package.arn, _judgement(at))
        _, package = approvals.write(city.aws, registry.read(sagemaker, package.arn), state, event, author)
    if step.state is ModelState.WAITING:
        _make_room(at, listed, package.arn, author.by)
    state = approvals.state_of(city, package)
    _log.info("Version %d of %s is %s", package.number, city.group, state.value)
    goes = decision.promote and approval_states.status_of(state) != registry.REJECTED
    result = {
        "package_arn": package.arn,
        "version": package.number,
        "status": package.status,
        "state": state.value,
        "proceed": run.force or goes,
        "reason": package.status_reason,
    }
    return result, package


def _is_ours(at: CityRun) -> bool:
    """Tell whether the city's package group is this installation's by what its own live pointer names."""
    now = live.read(at.city.aws.s3, at.city.keys, at.city.slug)
    return now is not None and f":model-package/{at.city.group}/" in now.pointer.package_arn


def _make_room(at: CityRun, listed: list[registry.ModelPackageSummary], newcomer: str, by: str) -> None:
    """Let the newest of the versions that await approval supersede the others.

    Where no person is asked, the run that has registered another one has let it go live by now, most nights.
    """
    asks = at.city.plan.city.approval == "manual"
    if asks or any(each.status == registry.PENDING and each.arn != newcomer for each in listed):
        approvals.make_room(at.city.aws, at.city.group, newcomer, by)


def _new_version(
    at: CityRun, state: ModelState, event: Event, *, before: int, group_exists: bool
) -> NewVersion:
    """Return the version to be registered.

    :param before: how many versions hold the same artifact already.
    """
    plan, run = at.city.plan, at.run
    evaluated = at.result(EVALUATE)
    sha256 = evaluated["report"]["artifact_sha256"]
    status = str(approval_states.status_of(state))
    image = image_uri(plan.city.algorithm, plan.fleet.region)
    url = evaluated.get("artifact_uri") or at.result(TRAIN)["artifact_uri"]
    lineage = {
        **_judgement(at),
        "manifest_uri": at.result(PREPROCESS)["manifest_uri"],
        "code_uri": CodeBundle.of(plan).prefix_uri(plan.keys),
        "preprocess_job": at.result(PREPROCESS)["job"],
        "train_job": at.result(TRAIN)["job"],
        **_origin(at, at.result(TRAIN).get("origin")),
    }
    model = package_request.TrainedModel(image, url, sha256, lineage)
    expires_at = _expires_at(at) if state is ModelState.WAITING else None
    decided = package_status.decided(status, event, at.name, expires_at=expires_at)
    return NewVersion(
        image,
        url,
        registry.package_description(run.stamp, sha256, at.name, run.key),
        status,
        package_request.register_extras(plan, run, model, decided=decided, before=before),
        group_exists,
    )


def _origin(at: CityRun, origin: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the metadata that say where a model comes from that no job of this installation has trained.

    What made one of another installation is what its registry says, so that it counts as out of date where this
    installation's settings or scripts are others.
    """
    if origin is None:
        return {}
    if origin["kind"] == INSTALLATION:
        made, keys = registry.made_by(origin), at.city.keys
        said = {
            "origin": f"version {origin['version']} of installation {origin['installation']}",
            "origin_package": origin["package_arn"],
            "origin_run": origin["dag_run"] or origin["run_key"],
            "origin_evaluation": origin["evaluation_uri"],
            "origin_manifest": origin["manifest_uri"],
            "settings_digest": made["settings_digest"] or "",
            "code_uri": keys.uri(keys.code(made["code_digest"] or "unknown")),
        }
    else:
        said = {
            "origin": f"import of {origin['kind']}: {origin['model']}",
            "origin_file": origin["file"],
            "origin_sha256": origin["sha256"],
            "origin_libraries": ", ".join(f"{name} {each}" for name, each in origin["libraries"].items()),
        }
    return {name: package_status.metadata_value(str(text)) for name, text in said.items()}


def _judgement(at: CityRun) -> dict[str, str]:
    """Return the metadata that say by which evaluation a version was judged last."""
    evaluated, decision = at.result(EVALUATE), at.result(DECIDE)
    return {
        "evaluation_uri": evaluated["evaluation_uri"],
        "evaluate_job": evaluated["job"],
        "decision_uri": decision["decision_uri"],
        "data_until": decision.get("data_until") or "",
        **_serving_half(decision),
    }


def _expires_at(at: CityRun) -> str | None:
    """Return until when the model awaits approval by a person; None where no person is asked.

    It counts from the start of the run: a retry must send the same request, or SageMaker refuses its token.
    """
    city = at.city.plan.city
    if city.approval == "auto":
        return None
    return naming.as_of_stamp(at.started() + timedelta(hours=city.approval_expires_hours))


def _serving_half(decision: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata that say which half of the model serves: whether it has learned what has judged it."""
    if decision.get("refit") is None:
        return {}
    return {"refit": str(decision["refit"]).lower(), "known_until": decision.get("known_until") or ""}
