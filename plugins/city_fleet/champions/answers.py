"""Asking the shared endpoint, and checking that it answers with a model as it should. Clients are passed in."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from city_fleet import aws_errors, outgoing_text
from city_fleet.errors import PublishError
from city_fleet.state.context import CityContext

if TYPE_CHECKING:
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

log = outgoing_text.logger(__name__)

# Predictions over HTTP are text of float32 values; anything beyond rounding is a different model.
_RELATIVE_TOLERANCE = 1e-5
_INVOKE_TRIES = 8
_INVOKE_WAIT_SECONDS = 2.0


#: A row whose prediction is known: its name in errors, its values in the model's feature order, its prediction.
KnownRow = tuple[str, Sequence[float | None], float]


def check_answers(city: CityContext, target: str, rows: Sequence[KnownRow]) -> None:
    """Invoke the endpoint with a model on rows whose predictions are known.

    :raises PublishError: the endpoint fails, or answers differently.
    """
    answers = invoke(city.aws.runtime, city.endpoint, target, [values for _, values, _ in rows])
    for (name, _, known), answer in zip(rows, answers, strict=True):
        if not math.isclose(answer, known, rel_tol=_RELATIVE_TOLERANCE):
            raise PublishError(
                f"endpoint {city.endpoint!r} answers {answer!r} for the {name} with {target}, but when the model was "
                f"evaluated it was {known!r}; the endpoint runs other serving code. Run the fleet's _endpoint DAG, "
                "then try again"
            )
    log.info("The endpoint answers all %d rows with %s as it should", len(rows), target)


def invoke(
    runtime: SageMakerRuntimeClient, endpoint: str, target: str, rows: Sequence[Sequence[float | None]]
) -> list[float]:
    """Ask the shared endpoint for predictions of one target model.

    :param rows: rows × features in the model's feature order; None is a missing value.
    :return: one prediction per row, in the target's unit.
    :raises PublishError: with the endpoint's own message.
    """
    body = "\n".join(",".join("" if value is None else repr(value) for value in row) for row in rows)
    try:
        answer = _answer(runtime, endpoint, target, body.encode())
        predictions = [float(value) for value in json.loads(answer)["predictions"]]
    except ClientError as error:
        raise PublishError(
            f"endpoint {endpoint!r} does not answer with {target}: {aws_errors.message_of(error)}"
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PublishError(
            f"endpoint {endpoint!r}: the answer of {target} is not a prediction: {error}"
        ) from error
    if len(predictions) != len(rows):
        raise PublishError(
            f"endpoint {endpoint!r}: {target} answered {len(predictions)} predictions for {len(rows)} rows"
        )
    return predictions


def _answer(runtime: SageMakerRuntimeClient, endpoint: str, target: str, body: bytes) -> bytes:
    """Return the endpoint's answer, patient with a model that it has to load first and with load."""
    attempt = 1
    while True:
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint,
                TargetModel=target,
                ContentType="text/csv",
                Accept="application/json",
                Body=body,
            )
            return answer["Body"].read()
        except ClientError as error:
            if attempt == _INVOKE_TRIES or not aws_errors.is_transient(error):
                raise
        time.sleep(_INVOKE_WAIT_SECONDS * attempt)
        attempt += 1
