"""A SageMaker client of boto3 that an event loop may use: each call runs in a thread.

For an Airflow without aiobotocore. That package fits one narrow range of botocore, so bringing it along would take an
environment's boto3 back; one poller per source makes a few calls a minute, which threads carry as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient


class ThreadClient(AbstractAsyncContextManager["ThreadClient"]):
    """Stands where an aiobotocore client could: opened by ``async with``, its calls awaited.

    :param client: the boto3 client; closed in the end.
    """

    def __init__(self, client: SageMakerClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._client, name)

        async def call(**request: Any) -> Any:
            return await asyncio.to_thread(method, **request)

        return call

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
