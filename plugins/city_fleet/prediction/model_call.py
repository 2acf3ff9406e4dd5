"""One request to a model, and whose fault it is when there is no answer.

Standard library and botocore only, as the Lambda function carries this module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors
from city_fleet.errors import CityFleetError, PredictError, ServingError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_answer import model_error
from city_fleet.state.model_address import Address

if TYPE_CHECKING:
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient


#: What our model server says of a model in the answer's custom attributes: whether it has answered since it was loaded.
COLD = {"city-fleet-cold=1": True, "city-fleet-cold=0": False}


@dataclass(frozen=True)
class ModelAnswer:
    """What an endpoint has answered.

    :param whose: it is, for errors.
    :param cold: whether it is the model's first since it was loaded; None where the endpoint's image does not say it.
    """

    content: bytes
    whose: str
    cold: bool | None = None


class ModelGone(CityFleetError):
    """The endpoint refuses the request itself: no such endpoint, or no such artifact.

    :param at: where it was asked.
    """

    def __init__(self, message: str, at: Address) -> None:
        super().__init__(message)
        self.at = at


def call_model(
    runtime: SageMakerRuntimeClient,
    at: Address,
    city: str,
    deadline: Deadline,
    *,
    body: bytes,
    as_json: bool,
    answer_bytes: int,
    refused: Callable[[str, str, ClientError], PredictError] = model_error,
) -> ModelAnswer:
    """Ask the endpoint for what a model answers.

    :param at: where the model answers.
    :param city: who is asked about, for errors.
    :param as_json: whether the body is application/json; else text/csv.
    :param answer_bytes: of the answer: more is cut off.
    :param refused: (city, whose, what the endpoint said) → what a mistake or a failure within the model is raised as.
    :raises ModelGone: the endpoint cannot use the request; most likely the artifact is not there.
    :raises PredictError: of the kind that says whose fault it is.
    """
    whose = f"city {city!r}: endpoint {at.endpoint!r} with {at.target_model}"

    def invoke() -> ModelAnswer:
        answer = runtime.invoke_endpoint(
            **at.request,
            ContentType="application/json" if as_json else "text/csv",
            Accept="application/json",
            Body=body,
        )
        content: bytes = answer["Body"].read(answer_bytes)
        return ModelAnswer(content, whose, COLD.get(answer.get("CustomAttributes", "")))

    try:
        return deadline.call(whose, invoke)
    except ClientError as error:
        if aws_errors.is_model_error(error):
            raise refused(city, whose, error) from error
        if aws_errors.is_invalid(error):
            raise ModelGone(f"{whose}: {aws_errors.message_of(error)}", at) from error
        raise ServingError(f"{whose}: {error}", city=city) from error
    except BotoCoreError as error:
        raise ServingError(f"{whose} cannot be asked: {error}", city=city) from error
