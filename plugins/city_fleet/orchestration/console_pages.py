"""Lets Airflow's page of a task lead to what the task has made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from city_fleet import outgoing_text
from city_fleet.jobs.sagemaker_jobs import JobKind
from city_fleet.orchestration.task_links import LINKS
from city_fleet.views.consoles import ConsolePages

if TYPE_CHECKING:
    from airflow.sdk import Context
    from botocore.client import BaseClient

_log = outgoing_text.logger(__name__)


def say_links(context: Context, **addresses: str) -> None:
    """Let Airflow's page of the task lead to what the task has made. Never fails the task.

    :param addresses: member of a link → URL; an empty one is no link.
    """
    try:
        context["ti"].xcom_push(key=LINKS, value={name: url for name, url in addresses.items() if url})
    except Exception as error:  # a job that was paid for is not given up for a link
        _log.warning("Airflow can't be told where this is shown (%s): %s", ", ".join(addresses), error)


def say_job(context: Context, client: BaseClient, kind: JobKind, job: str, folder: str) -> None:
    """Let Airflow's page of the task lead to a job, to its log and to what it writes.

    :param client: a boto3 client of SageMaker.
    :param folder: URI of S3 below which the job writes into a folder of its name.
    """
    pages = ConsolePages.of(client)
    say_links(context, job=pages.job(kind, job), log=pages.log(kind, job), output=pages.s3(f"{folder}{job}/"))


def say_made(context: Context, client: BaseClient, *, package: str = "", output: str = "") -> None:
    """Let Airflow's page of the task lead to a model package and to what the task has written.

    :param client: a boto3 client of SageMaker.
    :param package: ARN; empty for none.
    :param output: URI of S3; empty for none.
    """
    pages = ConsolePages.of(client)
    say_links(context, package=package and pages.package(package), output=output and pages.s3(output))
