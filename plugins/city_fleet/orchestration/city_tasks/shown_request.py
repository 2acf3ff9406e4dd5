"""The request of a job before its task has run, for ``airflow tasks render``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from city_fleet.jobs import fixed_run
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.plan import CityPlan, Run
from city_fleet.views.preview import preview

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def shown_request(plan: CityPlan, s3: S3Client, run_id: str, moment: datetime, step: str) -> dict[str, Any]:
    """Return the request that a step's first attempt would send now. Only reads.

    :param moment: the run's as_of.
    """
    bundle = CodeBundle.of(plan)
    fixed, _ = fixed_run.find(s3, plan, moment, bundle.digest)
    found = preview(
        plan,
        Run(run_id, fixed.key, moment, champion=fixed.champion, parent=fixed.parent),
        image_uri=image_uri(plan.city.algorithm, plan.fleet.region),
        bundle=bundle,
        raw=[each.name for each in fixed.raw],
        looked=True,
    )
    return found.jobs[step].request
