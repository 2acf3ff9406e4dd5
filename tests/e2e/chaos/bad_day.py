"""The faults that are on through a whole chaos run, whatever becomes of the local SageMaker that has them."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import httpx

from local.stack.stack import Stack
from tests.e2e.chaos.strikes import FAULTS_PATH


class BadDay:
    """Faults of a local SageMaker, which forgets them when it is killed.

    :param document: the faults, as PUT /_local/faults takes them.
    """

    def __init__(self, stack: Stack, document: dict[str, Any]) -> None:
        self._url = stack.layout.sagemaker_url + FAULTS_PATH
        self._document = document
        self._on = False
        self._struck: Counter[str] = Counter()

    def keep(self) -> None:
        """Turn the faults on, unless they are; a server that does not answer yet gets them next time."""
        if not self._on:
            with contextlib.suppress(httpx.HTTPError):
                httpx.put(self._url, json=self._document, trust_env=False).raise_for_status()
                self._on = True

    def forgotten(self) -> None:
        """Say that the server has been killed."""
        self._on = False

    def count(self) -> None:
        """Count what has been struck so far, before a server is killed."""
        with contextlib.suppress(httpx.HTTPError):
            for fault in httpx.get(self._url, trust_env=False).json()["faults"]:
                self._struck[fault["kind"]] += fault["injected"]

    def end(self) -> dict[str, int]:
        """Turn all faults off; return how often each kind has struck."""
        self.count()
        httpx.delete(self._url, trust_env=False).raise_for_status()
        return dict(self._struck)
