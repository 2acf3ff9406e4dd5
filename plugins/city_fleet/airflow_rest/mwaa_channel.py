"""The way to an Airflow of Amazon MWAA: AWS's InvokeRestApi, whose caller IAM knows: no login, no address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors
from city_fleet.airflow_rest.channel import Answer
from city_fleet.errors import AirflowError


class MwaaClient(Protocol):
    """What is needed of boto3's client for ``mwaa``."""

    def invoke_rest_api(self, **request: Any) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


class MwaaChannel:
    """A channel to one environment of MWAA.

    :param client: of boto3, for ``mwaa``.
    :param environment: its name.
    """

    def __init__(self, client: MwaaClient, environment: str) -> None:
        self._client, self._environment = client, environment

    @property
    def place(self) -> str:
        return f"MWAA environment {self._environment!r}"

    def close(self) -> None:
        self._client.close()

    def send(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Answer:
        request: dict[str, Any] = {"Name": self._environment, "Path": path, "Method": method}
        if params:
            request["QueryParameters"] = dict(params)
        if body is not None:
            request["Body"] = body
        try:
            answer = self._client.invoke_rest_api(**request)
        except ClientError as error:
            # RestApiClientException and RestApiServerException: Airflow has answered, and it is an error.
            status = error.response.get("RestApiStatusCode")
            if isinstance(status, int):
                return _answer(status, error.response.get("RestApiResponse"))
            said = aws_errors.sentence(error, "MWAA").rstrip(".")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            raise AirflowError(f"{said} ({self.place}, {method} {path})", status=status) from error
        except BotoCoreError as error:
            raise AirflowError(f"{self.place} does not answer ({method} {path}): {error}") from error
        return _answer(int(answer["RestApiStatusCode"]), answer.get("RestApiResponse"))


def _answer(status: int, value: Any) -> Answer:
    # Airflow's JSON, or a text where it has answered none.
    return Answer(status, None, value) if isinstance(value, str) else Answer(status, value or None)
