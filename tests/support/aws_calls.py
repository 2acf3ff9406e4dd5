"""Clients of AWS as a test wants them: without retries, and counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import boto3
from botocore.config import Config

from tests.support.local_sagemaker import LocalSageMaker


def client(server: LocalSageMaker, service: str, **settings: Any) -> Any:
    """A client of its own, whose calls may be counted or stopped.

    :param settings: of botocore's ``Config``.
    """
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(**{"retries": {"total_max_attempts": 1}, "proxies": {}, **settings}),
    )


class Calls:
    """What clients ask for, in the order they do."""

    def __init__(self, *clients: Any) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        for each in clients:
            each.meta.events.register("provide-client-params", self._see)

    def _see(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.seen.append((model.name, params))

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for name, _ in self.seen)

    def taken(self) -> dict[str, int]:
        """The counts since the last time."""
        found, self.seen = dict(self.counts), []
        return found
