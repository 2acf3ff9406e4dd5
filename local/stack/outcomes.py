"""The result of a city's run, read where the library leaves it: run record, live pointer, shared endpoint."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import naming
from city_fleet.metrics import TOP_K
from city_fleet.state import live, run_records, shared_endpoints
from city_fleet.state.model_address import address_of
from city_fleet.state.objects import ObjectStore
from local.stack.choice import Choice
from local.stack.evidence import evidence
from local.stack.stack import Stack

LIVE = "live"
# Ends that are as the library's rules decided; anything else is a failure.
DECIDED = (LIVE, "on_trial", "held", "superseded", "too_little_data")


@dataclass(frozen=True)
class Prediction:
    """The endpoint's prediction for a city's last held-out row.

    :param row: its period, or its name in the table
    :param predicted: a number in the target's unit; of a classification classes with their probabilities, the likeliest
        first: both of two, or the first few of many
    :param actual: the true number, in the target's unit, or class
    :param latency_ms: of one request over HTTP, as the caller sees it
    """

    row: str
    predicted: float | tuple[tuple[str, float], ...]
    actual: float | str
    latency_ms: float


@dataclass
class Outcome:
    """One row of the demo's table.

    :param how: a word of DECIDED, or "failed"
    :param record: the run record, {} where there is none
    :param metric: the one that the city's gate compares
    :param algorithm: of candidates the one that was best; empty where the fleet file names a single one
    :param baseline: what the new model is compared with that needs no model, in a few words; empty where unknown
    :param evidence: lines that explain a failure; empty without one
    """

    city: str
    how: str
    record: dict[str, Any] = field(default_factory=dict)
    prediction: Prediction | None = None
    evidence: list[str] = field(default_factory=list)
    metric: str = "mape"
    algorithm: str = ""
    baseline: str = ""

    @property
    def decided(self) -> bool:
        """Whether the run ended as the rules decided."""
        return self.how in DECIDED and not self.evidence

    @property
    def reason(self) -> str:
        """Why it ended so, in the library's words."""
        return "; ".join(self.record.get("reasons") or []).strip()

    def measured(self, whose: str) -> float | None:
        """Return the gate's metric of "challenger" or "naive"."""
        value = ((self.record.get("metrics") or {}).get(whose) or {}).get(self.metric)
        return float(value) if isinstance(value, int | float) else None


class Reader:
    """Reads outcomes of one fleet from the stack's S3, endpoint and logs."""

    def __init__(self, stack: Stack, choice: Choice) -> None:
        self.stack = stack
        self.choice = choice
        self._s3 = stack.client("s3")
        self._runtime = stack.client("sagemaker-runtime")

    def outcome(self, city: str, run_id: str, run_state: str) -> Outcome:
        """Return how a city's run ended, with a prediction for a model that is live.

        :param run_state: Airflow's state of the run
        """
        record = run_records.of_run(self._s3, self.choice.keys, city, run_id) or {}
        how = str(record.get("outcome", "failed"))
        outcome = Outcome(city, how, record, metric=self.choice.metric(city))
        if run_state != "success" or how not in DECIDED:
            outcome.how = "failed"
            outcome.evidence = evidence(self.stack, self.choice.dag_id(city), run_id)
        elif not record:
            outcome.evidence = [
                f"the run ended, but left no record below {self.choice.keys.city_records(city)}"
            ]
        elif how == LIVE:
            try:
                outcome.prediction = self._ask(city, record)
                self._describe(outcome)
            except (ClientError, BotoCoreError, ValueError, KeyError, LookupError) as error:
                outcome.evidence = [f"endpoint {self.choice.endpoint}: {error}"]
        return outcome

    def _read_json(self, key: str) -> dict[str, Any]:
        body = self._s3.get_object(Bucket=self.choice.fleet.bucket, Key=key)["Body"].read()
        value: dict[str, Any] = json.loads(body)
        return value

    def _describe(self, outcome: Outcome) -> None:
        """Fill in what the evaluation says of the algorithm and the baseline."""
        report = self._read_json(naming.split_uri(outcome.record["evaluation_uri"])[1])
        if self.choice.city(outcome.city).algorithm.candidates:
            outcome.algorithm = str(report.get("algorithm") or "")
        outcome.baseline = next(iter(report.get("baselines") or {}), "")

    def _ask(self, city: str, record: dict[str, Any]) -> Prediction:
        """Ask the shared endpoint as an application would: pointer, then one row of the held-out data."""
        keys = self.choice.keys
        found = live.read(self._s3, keys, city)
        if found is None:
            raise LookupError(f"no model of {city} is live any more")
        pointer = found.pointer
        shared = shared_endpoints.read(ObjectStore(self._s3, keys.bucket), keys)
        at = address_of(pointer, shared, self.choice.endpoint)
        holdout = self._read_json(naming.split_uri(record["holdout_uri"])[1])
        row = holdout["rows"][-1]
        values = dict(zip(holdout["features"], row["values"], strict=True))
        dataset = self.choice.city(city).dataset
        request = (
            _csv_request([values[name] for name in pointer.features])
            if dataset.kind == "series"
            else _json_request({name: values[name] for name in pointer.features}, dataset.task)
        )
        started = time.perf_counter()
        response = self._runtime.invoke_endpoint(**at.request, **request)
        body = response["Body"].read()
        latency_ms = (time.perf_counter() - started) * 1000
        predicted = float(body) if dataset.kind == "series" else answer(json.loads(body)["predictions"][0])
        actual = row["actual"] if isinstance(row["actual"], str) else float(row["actual"])
        return Prediction(str(row.get("period") or row["example"]), predicted, actual, latency_ms)


def _csv_request(cells: list[float | None]) -> dict[str, Any]:
    body = ",".join("" if cell is None else repr(cell) for cell in cells).encode()
    return {"ContentType": "text/csv", "Accept": "text/csv", "Body": body}


def _json_request(row: dict[str, Any], task: str) -> dict[str, Any]:
    body = {"instances": [row]} | ({"top_k": TOP_K} if task == "multiclass" else {})
    return {
        "ContentType": "application/json",
        "Accept": "application/json",
        "Body": json.dumps(body).encode(),
    }


def answer(prediction: Any) -> float | tuple[tuple[str, float], ...]:
    """Read one prediction of an answer in JSON, as docs/steps.md describes it.

    :return: a number, or classes with their probabilities, the likeliest first
    :raises KeyError: it is neither
    """
    if isinstance(prediction, int | float):
        return float(prediction)
    if "top_k" in prediction:
        return tuple((each["label"], float(each["probability"])) for each in prediction["top_k"])
    pairs = prediction["probabilities"].items()
    return tuple(sorted(((label, float(share)) for label, share in pairs), key=lambda pair: -pair[1]))
