"""Where a browser shows what is in AWS: AWS's consoles, or the pages of the local SageMaker. Pure.

Which of them follows from the boto3 client that made it: what is in AWS is shown by AWS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from city_fleet import naming
from city_fleet.jobs.sagemaker_jobs import JobKind

if TYPE_CHECKING:
    from botocore.client import BaseClient

#: Of each partition, as the Amazon provider's links have it (9.39.0).
_CONSOLES = {
    "aws": "https://console.aws.amazon.com",
    "aws-cn": "https://console.amazonaws.cn",
    "aws-us-gov": "https://console.amazonaws-us-gov.com",
}
_OF_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn")
#: What the consoles call the pages of a kind of job.
_JOB_PAGES = {"Processing": "processing-jobs", "Training": "jobs"}


@dataclass(frozen=True)
class ConsolePages:
    """The addresses of pages about what is in one account and region; empty ones where there is no console.

    :param endpoint: URL of SageMaker's API.
    :param partition: of AWS: ``aws``, ``aws-cn``, ``aws-us-gov``.
    """

    endpoint: str
    region: str
    partition: str

    @classmethod
    def of(cls, client: BaseClient) -> ConsolePages:
        """Return the pages of where a boto3 client's requests go."""
        meta = client.meta
        return cls(meta.endpoint_url.rstrip("/"), meta.region_name, meta.partition)

    def job(self, kind: JobKind, name: str) -> str:
        """Return the page of a job."""
        return self._page(
            f"/sagemaker/home?region={self.region}#/{_JOB_PAGES[kind.name]}/{name}",
            f"/{kind.name.lower()}-job/{name}",
        )

    def log(self, kind: JobKind, name: str) -> str:
        """Return the page of a job's log: in CloudWatch the streams that begin with its name."""
        group = quote(quote(kind.log_group, safe=""), safe="").replace("%", "$")
        return self._page(
            f"/cloudwatch/home?region={self.region}#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{name}",
            f"/{kind.name.lower()}-job/{name}/log",
        )

    def package(self, arn: str) -> str:
        """Return the page of a version of the model registry."""
        name = quote(arn.partition(":model-package/")[2])
        return self._page(f"/go/view?arn={quote(arn, safe='')}", f"/model-package/{name}")

    def shared_endpoint(self, name: str) -> str:
        """Return the page of an endpoint."""
        return self._page(f"/sagemaker/home?region={self.region}#/endpoints/{name}", f"/endpoint/{name}")

    def s3(self, uri: str) -> str:
        """Return the page of an object, or of a folder where the URI ends with ``/``.

        :raises ValueError: it is no URI of S3.
        """
        bucket, key = naming.split_uri(uri)
        what = "buckets" if not key or key.endswith("/") else "object"
        return self._page(
            f"/s3/{what}/{bucket}?region={self.region}&prefix={quote(key, safe='')}",
            f"/s3/{bucket}/{quote(key)}",
        )

    def _page(self, of_aws: str, of_stand_in: str) -> str:
        url = urlsplit(self.endpoint)
        if not (url.hostname or "").endswith(_OF_AWS):
            # What stands before an "@" may be a password, and everybody who sees the task sees its links.
            return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}/_local/pages{of_stand_in}"
        console = _CONSOLES.get(self.partition)
        return f"{console}{of_aws}" if console else ""
