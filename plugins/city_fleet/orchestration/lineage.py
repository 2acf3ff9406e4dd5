"""What a city's task has read and made, for a lineage catalog: raw data, prepared rows, model, version, endpoint. Pure.

A dataset keeps its name from night to night, so that a catalog grows with the cities and not with the nights: what a
job writes is named by city and step, without the run's key, which is its version. The exact places of the night stand
in the facts. docs/observe.md has the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from city_fleet import naming
from city_fleet.jobs.cohort_plan import CohortPlan
from city_fleet.plan import COHORT, EVALUATE, JOB_STEPS, PUBLISH, REGISTER, CityPlan, Run
from city_fleet.state.outcomes import Outcome

_STEPS = (*JOB_STEPS, COHORT)


@dataclass(frozen=True)
class Dataset:
    """Something that is read or made, as OpenLineage names it.

    :param namespace: ``s3://<bucket>``, or ``arn:aws:sagemaker:<region>:<account>``.
    :param version: of what was read or made; empty where the task does not know it.
    """

    namespace: str
    name: str
    version: str = ""


@dataclass(frozen=True)
class Lineage:
    """What a task has read and made.

    :param facts: whose it is, by which job, and where exactly it lies; each a text or a list of texts.
    """

    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    facts: Mapping[str, str | list[str]] = field(default_factory=dict)


def of_job(
    plan: CityPlan | CohortPlan, run: Run, description: Mapping[str, Any], *, raw: bool, job: str
) -> Lineage:
    """Return the lineage of a job that is over.

    :param description: SageMaker's answer to Describe.
    :param raw: whether the job reads the city's raw data. It reads them by a list of files, which says nothing of where
        they are from; the plan does.
    :param job: its name.
    """
    wrote = output_uris(description)
    read = _raw(plan) if raw and isinstance(plan, CityPlan) else ()
    return Lineage(
        (*read, *_written(plan.keys, input_uris(description))),
        _written(plan.keys, wrote),
        {**_about(plan, run), "job": job, "uris": wrote},
    )


def of_version(plan: CityPlan, run: Run, registered: Mapping[str, Any]) -> Lineage:
    """Return the lineage of a model that was registered: of the model with what has judged it.

    :param registered: result of the task ``register``.
    """
    judged = plan.keys.uri(plan.keys.step(plan.who, run.key, EVALUATE))
    version = _version(registered["package_arn"])
    facts = {**_about(plan, run), "modelPackageArn": str(registered["package_arn"])}
    return Lineage(_written(plan.keys, [judged]), (version,), facts)


def of_publication(plan: CityPlan, run: Run, package_arn: str, published: Mapping[str, Any]) -> Lineage:
    """Return the lineage of a version that a run has tried to let go live; without an output where it did not.

    :param published: result of the task ``publish``.
    """
    version = _version(package_arn)
    facts = {**_about(plan, run), "modelPackageArn": package_arn}
    if published["outcome"] != Outcome.LIVE:
        return Lineage((version,), (), facts)
    target_model = str(published["target_model"])
    serves = Dataset(version.namespace, f"endpoint/{plan.endpoint}/{plan.city.slug}", target_model)
    # Its name is that of the asset by which other DAGs are told.
    pointer = _in_s3(plan.keys.live_asset(plan.city.slug), target_model)
    uris = [plan.keys.uri(plan.keys.model(target_model))]
    return Lineage((version,), (serves, pointer), {**facts, "targetModel": target_model, "uris": uris})


def of_cohorts_city(
    plan: CityPlan, run: Run, output_uri: str, results: Mapping[str, Mapping[str, Any]], job: str
) -> Lineage:
    """Return the lineage of a city whose cohort's job has trained it: of all steps at once.

    :param output_uri: of the job.
    :param results: step → what it has left; empty for one that was not taken.
    :param job: the job's name.
    """
    read = (*_raw(plan), *_written(plan.keys, [output_uri]))
    facts: dict[str, str | list[str]] = {**_about(plan, run), "job": job, "uris": [output_uri]}
    registered, published = results[REGISTER], results[PUBLISH]
    if not registered:
        return Lineage(read, (), facts)
    made = of_version(plan, run, registered)
    if not published:
        return Lineage(read, made.outputs, {**facts, **made.facts})
    live = of_publication(plan, run, registered["package_arn"], published)
    return Lineage(read, (*made.outputs, *live.outputs), {**facts, **live.facts})


def input_uris(description: Mapping[str, Any]) -> list[str]:
    """Return where a job has read.

    :param description: or its request.
    """
    uris = [item["S3Input"]["S3Uri"] for item in description.get("ProcessingInputs", ()) if "S3Input" in item]
    return uris + [
        item["DataSource"]["S3DataSource"]["S3Uri"] for item in description.get("InputDataConfig", ())
    ]


def output_uris(description: Mapping[str, Any]) -> list[str]:
    """Return where a job has written."""
    outputs = description.get("ProcessingOutputConfig", {}).get("Outputs", ())
    uris = [each["S3Output"]["S3Uri"] for each in outputs if "S3Output" in each]
    artifact = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    return uris + ([artifact] if artifact else [])


def _raw(plan: CityPlan) -> tuple[Dataset, ...]:
    """Return the raw data that a city's run reads; a parent's are those of its cities."""
    of = plan.children or (plan.city.slug,)
    return tuple(_in_s3(plan.fleet.raw_place(slug).uri) for slug in of)


def _written(keys: naming.Keys, uris: Iterable[str]) -> tuple[Dataset, ...]:
    """Return what jobs have written there, once for each step; code, settings and lists of files are not told."""
    found: dict[Dataset, None] = {}
    prefix = keys.uri(keys.runs_prefix())
    for uri in uris:
        # <city>/<run key>/<step>/…
        parts = uri.removeprefix(prefix).split("/") if uri.startswith(prefix) else []
        if len(parts) > 3 and parts[2] in _STEPS:
            found[_in_s3(f"{prefix}{parts[0]}/{parts[2]}", parts[1])] = None
    return tuple(found)


def _version(package_arn: str) -> Dataset:
    """Return the versions of a package group, at one of them."""
    namespace, resource = package_arn.rsplit(":", 1)
    name, number = resource.rsplit("/", 1)
    return Dataset(namespace, name, number)


def _in_s3(uri: str, version: str = "") -> Dataset:
    bucket, key = naming.split_uri(uri)
    return Dataset(f"s3://{bucket}", key.rstrip("/"), version)


def _about(plan: CityPlan | CohortPlan, run: Run) -> dict[str, str]:
    who = {"cohort": plan.name} if isinstance(plan, CohortPlan) else {"city": plan.city.slug}
    whose = {"fleet": plan.fleet.fleet, "environment": plan.fleet.environment}
    return {**whose, **who, "asOf": run.stamp, "runKey": run.key}
