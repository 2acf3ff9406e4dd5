"""Collects what a chaos run has left: from the local SageMaker, S3 and Airflow, by their public APIs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from city_fleet import naming
from city_fleet.jobs import job_requests
from city_fleet.jobs.sagemaker_jobs import KINDS, JobKind
from city_fleet.plan import EVALUATE, CityPlan
from city_fleet.state import live, registry
from local.stack.stack import Stack
from tests.e2e.chaos.judgement import Evidence, Job, Run


def collect(stack: Stack, plans: list[CityPlan], started: dict[tuple[str, str], str]) -> Evidence:
    """Return what the runs have left.

    :param started: (city, run id) → the stamp of its as_of, for every run that was started.
    """
    s3, sagemaker = stack.client("s3"), stack.client("sagemaker")
    runs = [
        _run(stack, s3, plan, run_id, as_of)
        for plan in plans
        for (city, run_id), as_of in started.items()
        if city == plan.city.slug
    ]
    pointers = {plan.city.slug: live.read(s3, plan.keys, plan.city.slug) for plan in plans}
    histories = {plan.city.slug: live.history(s3, plan.keys, plan.city.slug) for plan in plans}
    return Evidence(
        jobs=[job for kind in KINDS.values() for job in _jobs(sagemaker, s3, kind)],
        runs=runs,
        versions={plan.city.slug: _versions(sagemaker, plan.package_group) for plan in plans},
        pointers={city: asdict(found.pointer) for city, found in pointers.items() if found},
        histories={city: [asdict(each) for each in found] for city, found in histories.items()},
        models=frozenset(
            key.removeprefix(plans[0].keys.models_prefix())
            for key in _keys(s3, plans[0].keys.bucket, plans[0].keys.models_prefix())
        ),
    )


def _run(stack: Stack, s3: Any, plan: CityPlan, run_id: str, as_of: str) -> Run:
    prefix = plan.keys.record(plan.city.slug, naming.parse_as_of(as_of), "").rsplit("/", 1)[0] + "/"
    records = [json.loads(_read(s3, plan.keys.bucket, key)) for key in _keys(s3, plan.keys.bucket, prefix)]
    return Run(
        city=plan.city.slug,
        run_id=run_id,
        as_of=as_of,
        state=str(stack.airflow.run(plan.dag_id, run_id)["state"]),
        records=[record for record in records if record["run_id"] == run_id],
        tries={
            task["task_id"]: task["try_number"]
            for task in stack.airflow.task_instances(plan.dag_id, run_id)
            if task["try_number"] > 1
        },
    )


def _jobs(sagemaker: Any, s3: Any, kind: JobKind) -> list[Job]:
    jobs = []
    for page in sagemaker.get_paginator(kind.method("list")).paginate():
        for summary in page[kind.summaries_key]:
            listed = sagemaker.list_tags(ResourceArn=summary[kind.arn_key])["Tags"]
            tags = {tag["Key"]: tag["Value"] for tag in listed}
            description = kind.describe(sagemaker, summary[kind.name_key])
            assert description is not None
            artifact = None
            if tags[job_requests.TAG_STEP] == EVALUATE and kind.status(description) == "Completed":
                (output,) = description["ProcessingOutputConfig"]["Outputs"]
                bucket, prefix = naming.split_uri(output["S3Output"]["S3Uri"])
                key = f"{prefix.rstrip('/')}/city={tags[job_requests.TAG_CITY]}/model.tar.gz"
                artifact = hashlib.sha256(_read(s3, bucket, key)).hexdigest()
            jobs.append(
                Job(
                    name=summary[kind.name_key],
                    city=tags[job_requests.TAG_CITY],
                    step=tags[job_requests.TAG_STEP],
                    run_id=naming.run_id_of_tag(tags[job_requests.TAG_DAG_RUN]),
                    status=kind.status(description),
                    artifact_sha256=artifact,
                    failure=str(description.get("FailureReason") or ""),
                )
            )
    return jobs


def _versions(sagemaker: Any, group: str) -> list[str]:
    """Return the SHA-256 of the artifact of each version of a group."""
    found = []
    try:
        for page in sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group):
            for summary in page["ModelPackageSummaryList"]:
                words = summary["ModelPackageDescription"].replace(",", "").split()
                found.append(words[words.index(registry.ARTIFACT_WORD) + 1])
    except sagemaker.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
    return found


def _keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def _read(s3: Any, bucket: str, key: str) -> bytes:
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
