"""The result of a city's run, read where the library leaves it: run record, live pointer, shared endpoint."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import naming
from local.stack.choice import Choice
from local.stack.evidence import evidence
from local.stack.stack import Stack

LIVE = "live"
# Ends that are as the library's rules decided; anything else is a failure.
DECIDED = (LIVE, "held", "superseded", "too_little_data")


@dataclass(frozen=True)
class Prediction:
    """The endpoint's prediction for a city's last held-out period.

    :param actual: the period's true value, in the target's unit
    :param latency_ms: of one request over HTTP, as the caller sees it
    """

    period: str
    predicted: float
    actual: float
    latency_ms: float


@dataclass
class Outcome:
    """One row of the demo's table.

    :param how: a word of DECIDED, or "failed"
    :param record: the run record, {} where there is none
    :param evidence: lines that explain a failure; empty without one
    """

    city: str
    how: str
    record: dict[str, Any] = field(default_factory=dict)
    prediction: Prediction | None = None
    evidence: list[str] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        """Whether the run ended as the rules decided."""
        return self.how in DECIDED and not self.evidence

    @property
    def reason(self) -> str:
        """Why it ended so, in the library's words."""
        return "; ".join(self.record.get("reasons") or []).strip()

    def mape(self, whose: str) -> float | None:
        """Return the MAPE (a fraction) of "challenger" or "naive"."""
        value = ((self.record.get("metrics") or {}).get(whose) or {}).get("mape")
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
        record = self._record(city, run_id)
        how = str(record.get("outcome", "failed"))
        outcome = Outcome(city, how, record)
        if run_state != "success" or how not in DECIDED:
            outcome.how = "failed"
            outcome.evidence = evidence(self.stack, self.choice.dag_id(city), run_id)
        elif not record:
            outcome.evidence = [f"the run ended, but left no record below {self._records(city)}"]
        elif how == LIVE:
            try:
                outcome.prediction = self._ask(city, record)
            except (ClientError, BotoCoreError, ValueError, KeyError, LookupError) as error:
                outcome.evidence = [f"endpoint {self.choice.endpoint}: {error}"]
        return outcome

    def _records(self, city: str) -> str:
        return self.choice.keys.city_records(city)

    def _record(self, city: str, run_id: str) -> dict[str, Any]:
        """Return the newest record of a run."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.choice.fleet.bucket, Prefix=self._records(city)
        )
        objects = [item for page in pages for item in page.get("Contents", [])]
        for item in sorted(objects, key=lambda found: found["LastModified"], reverse=True):
            record = self._read_json(item["Key"])
            if record.get("run_id") == run_id:
                return record
        return {}

    def _read_json(self, key: str) -> dict[str, Any]:
        body = self._s3.get_object(Bucket=self.choice.fleet.bucket, Key=key)["Body"].read()
        value: dict[str, Any] = json.loads(body)
        return value

    def _ask(self, city: str, record: dict[str, Any]) -> Prediction:
        """Ask the shared endpoint as an application would: pointer, then one row of the held-out data."""
        pointer = self._read_json(self.choice.keys.live(city))
        holdout = self._read_json(naming.split_uri(record["holdout_uri"])[1])
        row = holdout["rows"][-1]
        values = dict(zip(holdout["features"], row["values"], strict=True))
        cells = [values[name] for name in pointer["features"]]
        started = time.perf_counter()
        response = self._runtime.invoke_endpoint(
            EndpointName=self.choice.endpoint,
            TargetModel=pointer["target_model"],
            ContentType="text/csv",
            Accept="text/csv",
            Body=",".join("" if cell is None else repr(cell) for cell in cells).encode(),
        )
        predicted = float(response["Body"].read())
        latency_ms = (time.perf_counter() - started) * 1000
        return Prediction(row["period"], predicted, float(row["actual"]), latency_ms)
