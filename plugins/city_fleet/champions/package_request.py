"""The request that registers a model as a version of its city's package group. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from city_fleet import naming
from city_fleet.plan import CityPlan, Run
from city_fleet.state import package_status

CONTENT_TYPES = ["text/csv", "application/json"]


@dataclass(frozen=True)
class TrainedModel:
    """What a run has trained and evaluated.

    :param image_uri: of the image that serves it.
    :param lineage: what it came from and how it was judged: jobs and URIs, by name; with ``evaluation_uri``.
    """

    image_uri: str
    artifact_uri: str
    artifact_sha256: str
    lineage: Mapping[str, str]


def register_extras(
    plan: CityPlan, run: Run, model: TrainedModel, *, decided: Mapping[str, str], before: int = 0
) -> dict[str, Any]:
    """Return what a CreateModelPackage request holds beyond the provider operator's own arguments.

    The client token depends on the artifact, so a retry is the same request; the operator looks up the artifact
    before. Metadata values allow few characters, so sentences stay in ``decision.json`` and its URI stands here.

    :param decided: which approval status it gets and why, as metadata.
    :param before: how many versions hold the same artifact already, because it was judged anew after a rejection.
    """
    token = [plan.package_group, model.artifact_sha256, *([before] if before else [])]
    return {
        "ClientToken": naming.digest(token, 32),
        "InferenceSpecification": {
            "Containers": [{"Image": model.image_uri, "ModelDataUrl": model.artifact_uri}],
            "SupportedContentTypes": CONTENT_TYPES,
            "SupportedResponseMIMETypes": CONTENT_TYPES,
        },
        "ModelMetrics": {
            "ModelQuality": {
                "Statistics": {"ContentType": "application/json", "S3Uri": model.lineage["evaluation_uri"]}
            }
        },
        "CustomerMetadataProperties": package_status.fitting(
            {
                "fleet": plan.fleet.fleet,
                "city": plan.city.slug,
                "environment": plan.fleet.environment,
                "as_of": run.stamp,
                "artifact_sha256": model.artifact_sha256,
                "settings_digest": plan.settings_digest,
                "run_key": run.key,
                "dag_run": package_status.metadata_value(naming.tag_of_run_id(run.run_id)),
                **model.lineage,
                **decided,
            }
        ),
    }
