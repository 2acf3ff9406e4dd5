"""SageMaker's two kinds of jobs: the names of their members, and the calls they share. A boto3 client is passed in.

Standard library and botocore only: operators, triggers and the reaper use the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

IN_PROGRESS = "InProgress"
STOPPING = "Stopping"
COMPLETED = "Completed"
FAILED = "Failed"
STOPPED = "Stopped"
#: A job in one of these states changes no more and bills no more.
OVER = frozenset({COMPLETED, FAILED, STOPPED})


class NameTaken(Exception):
    """A job of this name exists already: names are used up for ever."""


class JobKind:
    """One kind of job: how SageMaker names the members of its requests and answers.

    :param name: ``Processing`` or ``Training``, as the provider's triggers spell it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.name_key = f"{name}JobName"
        self.status_key = f"{name}JobStatus"
        self.arn_key = f"{name}JobArn"
        #: Where a List answer holds the jobs.
        self.summaries_key = f"{name}JobSummaries"
        #: When the job's instance started, and when the job ended; both are absent before.
        self.start_key, self.end_key = f"{name}StartTime", f"{name}EndTime"
        #: The CloudWatch log group of such jobs.
        self.log_group = f"/aws/sagemaker/{name}Jobs"

    def method(self, verb: str) -> str:
        """Return the boto3 method: ``describe_training_job``; for ``list`` the plural."""
        return f"{verb}_{self.name.lower()}_job{'s' if verb == 'list' else ''}"

    def create(self, client: SageMakerClient, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start a job and return the answer.

        :raises NameTaken: there is one of that name.
        """
        try:
            return dict(getattr(client, self.method("create"))(**request))
        except ClientError as error:
            if aws_errors.is_taken(error):
                raise NameTaken(request[self.name_key]) from error
            raise

    def describe(self, client: SageMakerClient, job: str) -> dict[str, Any] | None:
        """Return the Describe answer, or None when no job has that name."""
        try:
            return dict(getattr(client, self.method("describe"))(**{self.name_key: job}))
        except ClientError as error:
            if aws_errors.is_missing(error):
                return None
            raise

    def stop(self, client: SageMakerClient, job: str) -> bool:
        """Ask SageMaker to stop a job.

        :return: False when there was nothing to stop: it is over, stopping, or gone.
        """
        try:
            getattr(client, self.method("stop"))(**{self.name_key: job})
        except ClientError as error:
            if is_nothing_to_stop(error):
                return False
            raise
        return True

    def status(self, description: Mapping[str, Any]) -> str:
        return str(description[self.status_key])

    def is_over(self, description: Mapping[str, Any]) -> bool:
        """Tell whether a job has reached its last state."""
        return self.status(description) in OVER

    def created_at(self, description: Mapping[str, Any]) -> datetime:
        moment: datetime = description["CreationTime"]
        return moment


PROCESSING = JobKind("Processing")
TRAINING = JobKind("Training")
KINDS = {kind.name: kind for kind in (PROCESSING, TRAINING)}


def answered_at(answer: Mapping[str, Any]) -> datetime | None:
    """Return when SageMaker has answered, by its own clock and to the second; None if the answer does not say.

    A job's times are of the same clock. This host's may be some minutes ahead or behind.
    """
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        moment = parsedate_to_datetime(date) if date else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo else None


def time_at(client: SageMakerClient) -> datetime:
    """Ask SageMaker for its time, by the smallest request there is."""
    return answered_at(client.list_training_jobs(MaxResults=1)) or datetime.now(UTC)


def is_nothing_to_stop(error: ClientError) -> bool:
    """Tell whether Stop was refused because the job is over, stopping or gone: SageMaker says of each of them with the
    same code that the request is not valid."""
    return aws_errors.is_invalid(error) or aws_errors.is_missing(error)
