"""What a way to Airflow's REST API has to do; there are two, :mod:`login_channel` and :mod:`mwaa_channel`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Answer:
    """What Airflow has answered.

    :param value: what its JSON says; None of an answer without a body, or that is no JSON.
    :param text: of an answer that is no JSON, the answer.
    """

    status: int
    value: Any = None
    text: str = ""

    @classmethod
    def of_body(cls, status: int, body: bytes) -> Answer:
        try:
            return cls(status, json.loads(body) if body else None)
        except (ValueError, RecursionError):
            return cls(status, None, body.decode(errors="replace"))

    @property
    def is_error(self) -> bool:
        return self.status >= 400

    @property
    def detail(self) -> str:
        """Return what Airflow says about an error."""
        detail: Any = self.text
        if isinstance(self.value, Mapping):
            detail = self.value.get("detail", self.value)
        if isinstance(detail, Mapping) and "reason" in detail:
            detail = detail["reason"]
        return str(detail)[:500]


class Channel(Protocol):
    """A way to one Airflow, under one identity. Safe to use from many threads."""

    @property
    def place(self) -> str:
        """Return which Airflow it is, as errors name it: ``Airflow at http://…``."""

    def send(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Answer:
        """Make one request.

        :param path: below ``/api/v2``.
        :param params: of the query; a list stands for several of a name.
        :param body: becomes JSON; None for none.
        :raises AirflowError: Airflow does not answer, or does not know who asks.
        """

    def close(self) -> None:
        """Let its connections go."""
