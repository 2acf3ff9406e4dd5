"""The boto3 clients that the library is given: tasks, commands and tests each make their own."""

from __future__ import annotations

from typing import Any, Protocol


class Clients(Protocol):
    """The boto3 clients that decisions need."""

    @property
    def s3(self) -> Any: ...

    @property
    def sagemaker(self) -> Any: ...

    @property
    def runtime(self) -> Any: ...
