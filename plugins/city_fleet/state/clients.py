"""The boto3 clients that the library is given: tasks, commands and tests each make their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient


class Clients(Protocol):
    """The boto3 clients that decisions need."""

    @property
    def s3(self) -> S3Client: ...

    @property
    def sagemaker(self) -> SageMakerClient: ...

    @property
    def runtime(self) -> SageMakerRuntimeClient: ...
