"""boto3 clients to our own port: how the stand-in itself uses S3 and CloudWatch Logs."""

from __future__ import annotations

import os
import secrets
import threading
from typing import Any

import boto3
import botocore.session
from botocore.config import Config


class Aws:
    """boto3 clients of this server itself: its own threads use its S3 and CloudWatch Logs over HTTP, as callers do.

    :param url: where this server listens.
    :param region: the region of a client when none is asked for.
    """

    def __init__(self, url: str, region: str) -> None:
        self.url = url
        self.region = region
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        # The user's own profiles, proxies and endpoint settings must never be picked up here: a job's output
        # would leave for a real account.
        core = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
        core.set_config_variable("config_file", os.devnull)
        core.set_config_variable("credentials_file", os.devnull)
        #: Tells requests of the server itself from those of its callers.
        self.access_key = f"local-{secrets.token_hex(8)}"
        self._session = boto3.session.Session(
            aws_access_key_id=self.access_key,
            aws_secret_access_key="local",  # noqa: S106
            region_name=region,
            botocore_session=core,
        )
        self._config = Config(
            proxies={},
            retries={"mode": "standard", "max_attempts": 3},
            s3={"addressing_style": "path"},
            max_pool_connections=32,
        )

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client, shared between threads.

        :param service: as boto3 spells it, for example ``s3``.
        :param region: region of the client; by default that of the server.
        """
        key = (service, region or self.region)
        # Clients may be shared between threads, but making one is not thread safe.
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._session.client(
                    service, region_name=key[1], endpoint_url=self.url, config=self._config
                )
            return self._clients[key]
