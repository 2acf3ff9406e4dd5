"""A version of another installation of the fleet, with all that judged it there: read, and never written to.

Nothing is believed that the other registry does not vouch for: it holds the artifact's digest and the decision's URI,
whose name is a digest of the decision, which holds those of the evaluation's files; and all of it must lie in the other
installation's own part of its bucket. Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.champions import artifact, promotion, run_evidence
from city_fleet.champions.artifact import Artifact
from city_fleet.champions.promotion import Choice
from city_fleet.errors import PublishError, RegistryError, UnknownName
from city_fleet.naming import Keys
from city_fleet.run_steps.register_step import INSTALLATION
from city_fleet.state import known_values, live, registry
from city_fleet.state.context import CityContext, Clients
from city_fleet.state.objects import json_of, read_uri
from city_fleet.state.registry import ModelPackage

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

STATUS, MANIFEST = "status.json", "manifest.json"
_MOST_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Elsewhere:
    """Another installation of the fleet.

    :param name: in the fleet file.
    :param keys: where it keeps its objects.
    :param aws: clients that read it; nothing is asked of its endpoint.
    """

    name: str
    keys: Keys
    aws: Clients

    def city(self, slug: str) -> CityContext:
        group = naming.package_group(self.keys.fleet, self.keys.environment, slug)
        return CityContext(self.aws, self.keys, "", group, slug)


@dataclass(frozen=True)
class CarriedVersion:
    """A version and what judged it there.

    :param origin: where it comes from, as the run record keeps it: see :func:`read`.
    :param artifact_uri: where its bytes are there.
    :param body: those bytes, and ``made``: what they say of themselves; ``card``: their ``model.json``.
    :param report: ``evaluation.json``, and ``holdout``: ``holdout.json``.
    :param decision: of the gate there, as it was kept.
    :param data: file name → bytes: what was measured and known of the data, ``status.json``, ``manifest.json`` and,
        of a series, ``known.json``.
    """

    package: ModelPackage
    origin: Mapping[str, Any]
    artifact_uri: str
    body: bytes
    made: Artifact
    card: Mapping[str, Any]
    report: Mapping[str, Any]
    holdout: Mapping[str, Any]
    decision: Mapping[str, Any]
    data: Mapping[str, bytes]

    @property
    def status(self) -> Any:
        """Return what the preprocess job has measured there."""
        return json_of(self.data[STATUS])


def package_of(there: Elsewhere, slug: str, choice: Choice) -> ModelPackage:
    """Return the version of a city that is meant: the one that serves there, where none is named.

    :raises UnknownName: there is none of that number, or nothing serves there.
    :raises PublishError: its live pointer can't be read, or another installation's lies there.
    """
    city = there.city(slug)
    if choice != Choice():
        arn = promotion.choose(
            registry.versions(city.aws.sagemaker, city.group), f"{there.name}: {city.group}", choice
        ).arn
        return registry.read(city.aws.sagemaker, arn)
    found = live.read(city.aws.s3, city.keys, slug)
    if found is None:
        where = f"installation {there.name} ({city.keys.uri(city.keys.live_prefix())})"
        raise UnknownName("model that serves city", slug, (), where)
    return registry.read(city.aws.sagemaker, found.pointer.package_arn)


def read(there: Elsewhere, slug: str, package: ModelPackage) -> CarriedVersion:
    """Read a version with what judged it.

    :raises RegistryError: City Fleet did not register it, or what it names lies elsewhere than in its installation.
    :raises ArtifactError: its artifact is gone, was changed, is another city's or of a newer format.
    :raises PublishError: what judged it is gone, or was changed since.
    """
    city = there.city(slug)
    loaded = promotion.load(city, package.arn)
    metadata = package.metadata
    evaluation = metadata.get("evaluation_uri") or package.evaluation_uri
    named = {name: metadata.get(name, "") for name in ("decision_uri", "manifest_uri")}
    for name, uri in {**named, "evaluation_uri": evaluation, "artifact": loaded.artifact_uri}.items():
        if not uri.startswith(city.keys.uri(city.keys.prefix)):
            raise RegistryError(
                f"{package.arn}: its {name} is {uri or 'missing'!r}; allowed: an object below "
                f"{city.keys.uri(city.keys.prefix)}, where installation {there.name} keeps its own"
            )
    s3, decision_uri = city.aws.s3, named["decision_uri"]
    try:
        evidence = run_evidence.read(s3, decision_uri=decision_uri, evaluation_uri=evaluation)
        decision = run_evidence.read_decision(s3, decision_uri)
        data = _data(s3, named["manifest_uri"].removesuffix(MANIFEST))
    except PublishError as error:
        # What its words advise is to be done there.
        raise PublishError(
            f"Installation {there.name} can't show what judged version {package.number}: {error}"
        ) from None
    body = artifact.fetch_bytes(s3, loaded.artifact_uri, loaded.model.artifact_sha256)
    return CarriedVersion(
        package=package,
        origin={
            "kind": INSTALLATION,
            "installation": there.name,
            "environment": there.keys.environment,
            "bucket": there.keys.bucket,
            "package_arn": package.arn,
            "version": package.number,
            "status": package.status,
            "run_key": metadata.get("run_key", ""),
            "dag_run": metadata.get("dag_run", ""),
            "sha256": loaded.model.artifact_sha256,
            "artifact_uri": loaded.artifact_uri,
            "decision_uri": decision_uri,
            "evaluation_uri": evaluation,
            "manifest_uri": named["manifest_uri"],
            "code_uri": metadata.get("code_uri", ""),
            "settings_digest": metadata.get("settings_digest", ""),
        },
        artifact_uri=loaded.artifact_uri,
        body=body,
        made=loaded.artifact,
        card=artifact.card_of(body, loaded.artifact_uri),
        report=evidence.report,
        holdout=evidence.holdout,
        decision=decision,
        data=data,
    )


def _data(s3: S3Client, folder_uri: str) -> dict[str, bytes]:
    """Read what a run has left about its data.

    :param folder_uri: the city's folder of its preprocess job's report.
    :raises PublishError: what it has measured is gone.
    """
    limits = {
        STATUS: _MOST_MANIFEST_BYTES,
        MANIFEST: _MOST_MANIFEST_BYTES,
        known_values.KNOWN_FILE: known_values.MAX_BYTES,
    }
    found = {name: read_uri(s3, folder_uri + name, limit) for name, limit in limits.items()}
    if found[STATUS] is None:
        raise PublishError(f"{folder_uri}{STATUS} is gone, and nobody can say what its data were like")
    return {name: body for name, body in found.items() if body is not None}
