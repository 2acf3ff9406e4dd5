"""Asking the endpoint, and checking that it answers with a model as it should. Clients are passed in."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from botocore.exceptions import ClientError

from city_fleet import aws_errors, outgoing_text
from city_fleet.champions.artifact import Known, Value
from city_fleet.errors import PublishError
from city_fleet.state.model_address import Address

if TYPE_CHECKING:
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

log = outgoing_text.logger(__name__)

# Predictions over HTTP are text of float32 values; anything beyond rounding is a different model.
_RELATIVE_TOLERANCE = 1e-5
# A sum of products rounds by what it is made of, and not by what is left of it: of the largest prediction.
_SUM_TOLERANCE = 1e-9
_PROBABILITY_TOLERANCE = 1e-6
_INVOKE_TRIES = 8
_INVOKE_WAIT_SECONDS = 2.0
#: Of a request: SageMaker takes 6 MB. Of its answer: 6 MB hold some 150,000 probabilities with their names.
_MOST_BODY_BYTES = 4_000_000
_MOST_PROBABILITIES = 50_000
#: Held-out rows of a table may be a hundred thousand: so many of them tell other serving code.
_MOST_CHECKED = 500


#: A row whose prediction is known: its name in errors, its values in the model's feature order, its prediction.
KnownRow: TypeAlias = tuple[str, Sequence[Value], Known]


def check_answers(
    runtime: SageMakerRuntimeClient, at: Address, rows: Sequence[KnownRow], *, as_json: bool = False
) -> None:
    """Invoke the endpoint with a model on rows whose predictions are known; of many rows, on some from all over.

    :param at: where the model answers.
    :param as_json: the model is that of a table, whose rows hold raw values.
    :raises PublishError: the endpoint fails, or answers differently.
    """
    if as_json and len(rows) > _MOST_CHECKED:
        rows = [rows[number * len(rows) // _MOST_CHECKED] for number in range(_MOST_CHECKED)]
    classes = max((len(known) for _, _, known in rows if isinstance(known, Mapping)), default=0)
    values = [each for _, each, _ in rows]
    answers = ask(runtime, at, values, as_json=as_json, classes=classes)
    numbers = [abs(known) for _, _, known in rows if not isinstance(known, Mapping)]
    near = _SUM_TOLERANCE * max(numbers, default=0.0) if as_json else 0.0
    for (name, _, known), answer in zip(rows, answers, strict=True):
        if not _is_close(answer, known, near):
            raise PublishError(
                f"endpoint {at.endpoint!r} answers {_shown(answer)} for the {name} with {at.target_model}, but when "
                f"the model was evaluated it was {_shown(known)}; the endpoint runs other serving code. Run the "
                "fleet's _endpoint DAG, then try again"
            )
    log.info("The endpoint answers all %d rows with %s as it should", len(rows), at.target_model)


def check_forecast(runtime: SageMakerRuntimeClient, at: Address, known: Mapping[str, Any]) -> None:
    """Ask the endpoint for a forecast by the city's name, and compare it with the evaluation's.

    :param at: where the model answers.
    :param known: what the evaluation's own code answered to the same question; of a parent with ``asked``: for which
        of its cities, with what was known of it.
    :raises PublishError: the endpoint fails, or answers differently.
    """
    endpoint, target = at.endpoint, at.target_model
    try:
        question = json.dumps({"forecast": known.get("asked") or {}}).encode()
        answer = json.loads(_answer(runtime, at, question, True))
        steps = [(each["period"], each["step"]) for each in answer["forecasts"]]
        same = (answer["known_until"], steps) == (
            known["known_until"],
            [(each["period"], each["step"]) for each in known["forecasts"]],
        )
        differs = None if same else "other periods"
        for each, expected in zip(answer["forecasts"], known["forecasts"], strict=same):
            if differs is None and not _is_close(each["prediction"], expected["prediction"], 0.0):
                differs = f"{each['prediction']!r} for {each['period']}, and not {expected['prediction']!r}"
    except ClientError as error:
        raise PublishError(
            f"endpoint {endpoint!r} has no forecast by the city's name with {target}, as the evaluation had: "
            f"{aws_errors.message_of(error)}. Where it runs other serving code, run the fleet's _endpoint DAG, then "
            "try again"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PublishError(
            f"endpoint {endpoint!r}: the answer of {target} is not a forecast: {error}"
        ) from error
    if differs is not None:
        raise PublishError(
            f"endpoint {endpoint!r} forecasts {differs} with {target}, which is not what the model said when it was "
            "evaluated; the endpoint runs other serving code. Run the fleet's _endpoint DAG, then try again"
        )
    log.info("The endpoint forecasts %d periods with %s as it should", len(steps), target)


def invoke(runtime: SageMakerRuntimeClient, at: Address, rows: Sequence[Sequence[Value]]) -> list[float]:
    """Ask an endpoint for predictions of a series' model.

    :param rows: rows × features in the model's feature order; None is a missing value.
    :return: one prediction per row, in the target's unit.
    :raises PublishError: with the endpoint's own message.
    """
    answers = ask(runtime, at, rows)
    numbers = [each for each in answers if not isinstance(each, Mapping)]
    if len(numbers) != len(answers):
        raise PublishError(
            f"endpoint {at.endpoint!r}: {at.target_model} answers classes, where a number is needed"
        )
    return numbers


def ask(
    runtime: SageMakerRuntimeClient,
    at: Address,
    rows: Sequence[Sequence[Value]],
    *,
    as_json: bool = False,
    classes: int = 0,
) -> list[Known]:
    """Ask an endpoint for predictions of one target model, by as many requests as the rows need.

    :param rows: rows × features in the model's feature order; None is a missing value.
    :param as_json: rows hold raw values and are sent as JSON; else numbers, sent as CSV.
    :param classes: how many the model tells apart; 0 for a regression.
    :return: one prediction per row: in the target's unit, or the probability of each class by its name.
    :raises PublishError: with the endpoint's own message.
    """
    endpoint, target = at.endpoint, at.target_model
    predictions: list[Known] = []
    try:
        for body in _bodies(rows, as_json, max(1, _MOST_PROBABILITIES // max(classes, 1))):
            answer = _answer(runtime, at, body, as_json)
            predictions += [_prediction(value) for value in json.loads(answer)["predictions"]]
    except ClientError as error:
        raise PublishError(
            f"endpoint {endpoint!r} does not answer with {target}: {aws_errors.message_of(error)}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PublishError(
            f"endpoint {endpoint!r}: the answer of {target} is not a prediction: {error}"
        ) from error
    if len(predictions) != len(rows):
        raise PublishError(
            f"endpoint {endpoint!r}: {target} answered {len(predictions)} predictions for {len(rows)} rows"
        )
    return predictions


def _bodies(rows: Sequence[Sequence[Value]], as_json: bool, most_rows: int) -> Iterator[bytes]:
    """Write rows as bodies of requests: CSV of numbers, JSON of raw values."""
    lines: list[str] = []
    size = 0
    for row in rows:
        if as_json:
            line = json.dumps(row)
        else:
            line = ",".join("" if value is None else repr(value) for value in row)
        if lines and (size + len(line) > _MOST_BODY_BYTES or len(lines) == most_rows):
            yield _body(lines, as_json)
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 2
    yield _body(lines, as_json)


def _body(lines: Sequence[str], as_json: bool) -> bytes:
    return (f'{{"instances": [{", ".join(lines)}]}}' if as_json else "\n".join(lines)).encode()


def _prediction(value: Any) -> Known:
    if not isinstance(value, dict):
        return float(value)
    return {str(name): float(each) for name, each in value["probabilities"].items()}


def _is_close(answer: Known, known: Known, near: float) -> bool:
    if isinstance(answer, Mapping) and isinstance(known, Mapping):
        return answer.keys() == known.keys() and all(
            math.isclose(answer[name], each, rel_tol=_RELATIVE_TOLERANCE, abs_tol=_PROBABILITY_TOLERANCE)
            for name, each in known.items()
        )
    if isinstance(answer, Mapping) or isinstance(known, Mapping):
        return False
    return math.isclose(answer, known, rel_tol=_RELATIVE_TOLERANCE, abs_tol=near)


def _shown(value: Known) -> str:
    """Return a prediction as a sentence has it; of many classes the most probable ones."""
    if not isinstance(value, Mapping):
        return repr(value)
    best = sorted(value.items(), key=lambda each: -each[1])[:3]
    return ", ".join(f"{name[:50]!r} with {each:.6g}" for name, each in best)


def _answer(runtime: SageMakerRuntimeClient, at: Address, body: bytes, as_json: bool) -> bytes:
    """Return the endpoint's answer, patient with a model that it has to load first and with load."""
    attempt = 1
    while True:
        try:
            answer = runtime.invoke_endpoint(
                **at.request,
                ContentType="application/json" if as_json else "text/csv",
                Accept="application/json",
                Body=body,
            )
            return answer["Body"].read()
        except ClientError as error:
            if attempt == _INVOKE_TRIES or not aws_errors.is_transient(error):
                raise
        time.sleep(_INVOKE_WAIT_SECONDS * attempt)
        attempt += 1
