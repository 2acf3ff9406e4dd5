"""Collects what a chaos run has left: from the local SageMaker, S3 and Airflow, by their public APIs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from city_fleet import naming
from city_fleet.jobs import job_requests
from city_fleet.jobs.sagemaker_jobs import KINDS, JobKind
from city_fleet.plan import EVALUATE, CityPlan
from city_fleet.state import live, registry
from local.stack.stack import Stack
from tests.e2e.chaos.judgement import Evidence, Job, Run


@dataclass
class Remembered:
    """What Airflow has told, and has forgotten since: its database may be lost.

    :param ended: (city, run id) → state and tries of a run that has ended.
    :param renamed: (city, run id) → the id under which the same night was started again.
    """

    ended: dict[tuple[str, str], tuple[str, dict[str, int]]] = field(default_factory=dict)
    renamed: dict[tuple[str, str], str] = field(default_factory=dict)

    def now(self, city: str, run_id: str) -> str:
        """Return the id that a night's run has by now."""
        while (city, run_id) in self.renamed:
            run_id = self.renamed[city, run_id]
        return run_id


def collect(
    stack: Stack,
    plans: list[CityPlan],
    started: dict[tuple[str, str], str],
    remembered: Remembered | None = None,
) -> Evidence:
    """Return what the runs have left.

    :param started: (city, run id) → the stamp of its as_of, for every run that was started; of a night that was started
        again the last one.
    :param remembered: what Airflow does not know any more. Jobs and records of a night count as its last run's.
    """
    known = remembered or Remembered()
    s3, sagemaker = stack.client("s3"), stack.client("sagemaker")
    runs = [
        _run(stack, plan, run_id, as_of, known)
        for plan in plans
        for (city, run_id), as_of in started.items()
        if city == plan.city.slug
    ]
    pointers = {plan.city.slug: live.read(s3, plan.keys, plan.city.slug) for plan in plans}
    histories = {plan.city.slug: live.history(s3, plan.keys, plan.city.slug) for plan in plans}
    return Evidence(
        jobs=[job for kind in KINDS.values() for job in _jobs(sagemaker, s3, kind, known)],
        runs=runs,
        versions={plan.city.slug: _versions(sagemaker, plan.package_group) for plan in plans},
        pointers={city: asdict(found.pointer) for city, found in pointers.items() if found},
        histories={city: [asdict(each) for each in found] for city, found in histories.items()},
        models=frozenset(
            key.removeprefix(plans[0].keys.models_prefix())
            for key in _keys(s3, plans[0].keys.bucket, plans[0].keys.models_prefix())
        ),
    )


def tries(stack: Stack, dag_id: str, run_id: str) -> dict[str, int]:
    """Return how many tries the tasks of a run took, where that is more than one."""
    tasks = stack.airflow.task_instances(dag_id, run_id)
    return {task["task_id"]: task["try_number"] for task in tasks if task["try_number"] > 1}


def _run(stack: Stack, plan: CityPlan, run_id: str, as_of: str, known: Remembered) -> Run:
    city, s3 = plan.city.slug, stack.client("s3")
    prefix = plan.keys.record(plan.city.slug, naming.parse_as_of(as_of), "").rsplit("/", 1)[0] + "/"
    records = [json.loads(_read(s3, plan.keys.bucket, key)) for key in _keys(s3, plan.keys.bucket, prefix)]
    state, many = known.ended.get((city, run_id)) or (
        str(stack.airflow.run(plan.dag_id, run_id)["state"]),
        tries(stack, plan.dag_id, run_id),
    )
    return Run(
        city=city,
        run_id=run_id,
        as_of=as_of,
        state=state,
        records=[record for record in records if known.now(city, record["run_id"]) == run_id],
        tries=many,
    )


def _jobs(sagemaker: Any, s3: Any, kind: JobKind, known: Remembered) -> list[Job]:
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
                    run_id=known.now(
                        tags[job_requests.TAG_CITY], naming.run_id_of_tag(tags[job_requests.TAG_DAG_RUN])
                    ),
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
