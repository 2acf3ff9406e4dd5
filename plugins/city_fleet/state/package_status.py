"""The model registry, written: the approval status of a version, who set it and why, and whether it is carried out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from city_fleet import clock, naming
from city_fleet.state.registry import (
    DECIDED_AT,
    DECIDED_BY,
    DECIDED_EVENT,
    DECIDED_STATUS,
    EXPIRES_AT,
    REASON_DIGEST,
    SETTLED_STATUS,
    ModelPackage,
)

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

_LONGEST_METADATA = 256
_LONGEST_REASON = 1024


def metadata_value(text: str) -> str:
    """Return a text as metadata allow it: at most 256 letters, digits, spaces and ``_.:/=+-@``."""
    return re.sub(r"[^\w .:/=+@-]", "_", text)[:_LONGEST_METADATA]


def fitting(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries that fit: a URI that is cut off leads nowhere, and an empty value is refused."""
    return {name: value for name, value in metadata.items() if 0 < len(value) <= _LONGEST_METADATA}


def decided(
    status: str, event: str, by: str, *, settled: bool = True, expires_at: str | None = None
) -> dict[str, str]:
    """Return the metadata that say what set a version's status.

    :param event: what brought it about, an event of champions/approval_states.py.
    :param by: who: ``<dag id>/<run id>`` or the name of a person.
    :param settled: whether all that follows from the status has been carried out.
    :param expires_at: stamp of the moment until which the version awaits approval.
    """
    values = {DECIDED_STATUS: status, DECIDED_EVENT: event, DECIDED_BY: by, EXPIRES_AT: expires_at}
    if settled:
        values[SETTLED_STATUS] = status
    return {name: metadata_value(value) for name, value in values.items() if value}


def set_status(
    sagemaker: SageMakerClient, package_arn: str, decision: Mapping[str, str], reason: str
) -> None:
    """Change a version's approval status, and keep why.

    :param decision: of :func:`decided`, to ``Approved`` or ``Rejected``; SageMaker takes no version back to
        ``PendingManualApproval``.
    :param reason: for people.
    """
    stamp = {DECIDED_AT: clock.stamp(clock.utc_now())}
    note(sagemaker, package_arn, {**decision, **stamp}, reason, ModelApprovalStatus=decision[DECIDED_STATUS])


def note(
    sagemaker: SageMakerClient,
    package_arn: str,
    metadata: Mapping[str, str],
    reason: str | None = None,
    **request: Any,
) -> None:
    """Keep something about a version; without more arguments its approval status stays.

    :param metadata: is merged with what is there.
    :param reason: why its status is what it is, for people.
    :param request: more arguments of UpdateModelPackage.
    """
    values = fitting(metadata)
    if reason is not None:
        request["ApprovalDescription"] = " ".join(reason.split())[:_LONGEST_REASON]
        values[REASON_DIGEST] = naming.digest(request["ApprovalDescription"])
    sagemaker.update_model_package(ModelPackageArn=package_arn, CustomerMetadataProperties=values, **request)


def settle(sagemaker: SageMakerClient, version: ModelPackage) -> None:
    """Keep that all that follows from a version's status has been carried out, if that is not known yet."""
    if version.settled_status != version.status:
        note(sagemaker, version.arn, {SETTLED_STATUS: version.status})
