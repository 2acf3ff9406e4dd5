"""Calls of AWS that a run makes, by operation.

Those of a city's own run are counted: a test holds them to the table in docs/internals/jobs.md, which another test
holds to what the local SageMaker counts. Polls are shared, and depend on how long jobs wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

#: One run of one city that trains, judges and publishes, with a champion to compare with.
OF_A_CITY: Mapping[str, int] = {
    "logs:DescribeLogStreams": 3,
    "logs:GetLogEvents": 3,
    "s3:GetObject": 26,
    "s3:HeadObject": 1,
    "s3:ListObjectsV2": 9,
    "s3:PutObject": 15,
    "sagemaker-runtime:InvokeEndpoint": 2,
    "sagemaker:CreateModelPackageGroup": 1,
    "sagemaker:CreateModelPackage": 1,
    "sagemaker:CreateProcessingJob": 2,
    "sagemaker:CreateTrainingJob": 1,
    "sagemaker:DescribeModelPackage": 1,
    "sagemaker:DescribeProcessingJob": 2,
    "sagemaker:DescribeTrainingJob": 1,
    "sagemaker:ListModelPackages": 1,
    "sagemaker:UpdateModelPackage": 1,
}
#: A cohort's job, whatever the number of its cities.
OF_A_COHORT: Mapping[str, int] = {
    "logs:DescribeLogStreams": 1,
    "logs:GetLogEvents": 1,
    "s3:GetObject": 3,
    "s3:ListObjectsV2": 2,
    "s3:PutObject": 4,
    "sagemaker:CreateTrainingJob": 1,
    "sagemaker:DescribeTrainingJob": 1,
}
#: Each city of a cohort: what is S3's of a city's own run, and of the registry one look, one version, one approval.
OF_A_COHORTS_CITY: Mapping[str, int] = {
    "s3:GetObject": 22,
    "s3:HeadObject": 1,
    "s3:ListObjectsV2": 7,
    "s3:PutObject": 12,
    "sagemaker-runtime:InvokeEndpoint": 2,
    "sagemaker:CreateModelPackage": 1,
    "sagemaker:ListModelPackages": 1,
    "sagemaker:UpdateModelPackage": 1,
}
#: Waiting jobs on one page of a list.
PAGE = 100


def calls_of(cities: int, cohorts: int, in_cohorts: int) -> Counter[str]:
    """Return the calls of a night's runs, without polls.

    :param cities: with a DAG of their own.
    :param in_cohorts: cities of all the cohorts together.
    """
    found: Counter[str] = Counter()
    for calls, times in (
        (OF_A_CITY, cities),
        (OF_A_COHORT, cohorts),
        (OF_A_COHORTS_CITY, in_cohorts),
    ):
        found.update({operation: count * times for operation, count in calls.items()})
    return +found


def polls(seconds: float, waiting: float, period: float) -> int:
    """Return how often a kind of jobs is listed: once a period, and once more for each further page.

    :param seconds: for which any job of the kind runs.
    :param waiting: jobs that run at a time, in the mean.
    :param period: ``waiter_delay_seconds``.
    """
    if seconds <= 0 or waiting <= 0:
        return 0
    return round(seconds / period * max(1.0, waiting / PAGE))
