"""The boto3 clients of a task's Airflow connection."""

from __future__ import annotations

import importlib.util
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from city_fleet.orchestration.aws_hooks import AwsHook
from city_fleet.state.encryption import encrypting
from city_fleet.state.scalable_targets import ScalingClient

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

#: The provider's deferrable operators need it; an Airflow may do without (docs/install.md).
AIOBOTOCORE_IS_INSTALLED = importlib.util.find_spec("aiobotocore") is not None

#: Of a task's clients. A worker must not sit through botocore's long back-off: the triggerer waits cheaper. Reading
#: takes longer than InvokeEndpoint may (60 s).
CLIENT_SETTINGS = {
    "retries": {"mode": "standard", "max_attempts": 3},
    "connect_timeout": 10,
    "read_timeout": 70,
}
CLIENT_CONFIG = Config(**CLIENT_SETTINGS)


class TaskClients:
    """boto3 clients, made when they are first used.

    :param aws_conn_id: Airflow connection for AWS; its endpoint URL is the only thing a laptop changes.
    :param region: None for that of the connection.
    :param kms_key: of the fleet file: encrypts what is written to S3.
    """

    def __init__(self, aws_conn_id: str | None, region: str | None, kms_key: str | None = None) -> None:
        self.aws_conn_id = aws_conn_id
        self.region = region
        self.kms_key = kms_key
        self._hook = AwsHook(aws_conn_id=aws_conn_id, client_type="s3", region_name=region)
        self._one_at_a_time = threading.Lock()

    @cached_property
    def s3(self) -> S3Client:
        return encrypting(self._client("s3"), self.kms_key)

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        return self._client("sagemaker")

    @cached_property
    def runtime(self) -> SageMakerRuntimeClient:
        return self._client("sagemaker-runtime")

    @cached_property
    def scaling(self) -> ScalingClient:
        """Return the client of Application Auto Scaling."""
        return self._client("application-autoscaling")

    def _client(self, service: str) -> Any:
        with self._one_at_a_time:
            return self._hook.client_of(service, CLIENT_CONFIG)
