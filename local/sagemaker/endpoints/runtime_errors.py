"""Errors of InvokeEndpoint, which has an API and codes of its own."""

from __future__ import annotations

from local.sagemaker.errors import SageMakerError

LONGEST_MESSAGE = 16_000


class ValidationError(SageMakerError):
    """A bad request of the caller (not the control plane's ValidationException)."""

    code = "ValidationError"
    status = 400


class ModelNotReady(SageMakerError):
    """The model is still being loaded; trying again helps."""

    code = "ModelNotReadyException"
    status = 429


class ServiceUnavailable(SageMakerError):
    """The model server is not there; trying again helps."""

    code = "ServiceUnavailable"
    status = 503


class ContainerError(Exception):
    """The container, or what it was given, is at fault; becomes a :class:`ModelError` of its endpoint.

    :param status: what the container answered.
    :param message: its own words.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message[:LONGEST_MESSAGE]


class ModelError(SageMakerError):
    """The container's error as callers see it.

    :param endpoint: name of the endpoint.
    :param error: what the container answered.
    :param region: region of the endpoint.
    :param account_id: account of the endpoint.
    :param container: what the container is called.
    """

    code = "ModelError"
    status = 424

    def __init__(
        self,
        endpoint: str,
        error: ContainerError,
        region: str,
        account_id: str,
        container: str = "primary",
    ) -> None:
        group = f"/aws/sagemaker/Endpoints/{endpoint}"
        whose = "client" if 400 <= error.status < 500 else "server"
        super().__init__(
            f'Received {whose} error ({error.status}) from {container} with message "{error.message}". See '
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
            f"#logEventViewer:group={group} "
            f"in account {account_id} for more information.",
            members={
                "OriginalStatusCode": error.status,
                "OriginalMessage": error.message,
                "LogStreamArn": f"arn:aws:logs:{region}:{account_id}:log-group:{group}",
            },
        )
