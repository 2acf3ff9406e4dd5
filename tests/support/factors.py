"""A fleet whose models are one number each (the factor of the first feature), served by an ``inference.py`` of ten
lines: for tests of publishing and of live pointers, which are about order and conditions and not about XGBoost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from city_fleet import naming
from city_fleet.champions import answers, publish, run_evidence
from city_fleet.champions.gate import Decision, decide
from city_fleet.champions.run_evidence import EVALUATION, HOLDOUT
from city_fleet.config import Gate
from city_fleet.metrics import regression_metrics
from city_fleet.naming import Keys
from city_fleet.state import live, objects, registry, serving_code
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.model_address import Address
from tests.support.archives import archive
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.waiting import wait_until

KEYS = Keys("city-fleet", "factors", "laptop")
ENDPOINT = "factors"
ENVIRONMENT = "laptop"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"
SETTINGS_DIGEST, CODE_DIGEST = "5e771265" * 2, "c0de" * 4
RULE = Gate(metric="mape", must_beat_naive=True, tolerance=0.0, minimum_rows=3)
ACTUAL = (100.0, 200.0, 300.0, 400.0)
NAIVE = (150.0, 150.0, 250.0, 350.0)
INFERENCE = """
import json, os

def model_fn(model_dir):
    with open(os.path.join(model_dir, "factor")) as file:
        return float(file.read())

def input_fn(body, content_type):
    text = body.decode() if isinstance(body, bytes) else body
    return [float(line.split(",")[0]) for line in text.splitlines()]

def predict_fn(rows, factor):
    return [row * factor for row in rows]

def output_fn(predictions, accept):
    return json.dumps({"predictions": predictions}), "application/json"
"""


def create_endpoint(aws: LocalSageMaker) -> str:
    """Bring the fleet's endpoint into service, unless it is; return its name."""
    s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
    if sagemaker.list_endpoints(NameContains=ENDPOINT)["Endpoints"]:
        return ENDPOINT
    s3.put_object(
        Bucket=KEYS.bucket, Key="factors/code.tar.gz", Body=archive({"inference.py": INFERENCE.encode()})
    )
    sagemaker.create_model(
        ModelName=ENDPOINT,
        ExecutionRoleArn="arn:aws:iam::123456789012:role/city-fleet",
        Containers=[
            {
                "Image": IMAGE,
                "Mode": "MultiModel",
                "ModelDataUrl": KEYS.uri(KEYS.models_prefix()),
                "Environment": {
                    "SAGEMAKER_PROGRAM": "inference.py",
                    "SAGEMAKER_SUBMIT_DIRECTORY": KEYS.uri("factors/code.tar.gz"),
                    serving_code.VARIABLE: "xgboost=1a2b3c4d",
                },
            }
        ],
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": ENDPOINT,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=ENDPOINT, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)

    def status() -> bool:
        found = sagemaker.describe_endpoint(EndpointName=ENDPOINT)
        assert found["EndpointStatus"] != "Failed", found["FailureReason"]
        return bool(found["EndpointStatus"] == "InService")

    wait_until(status, 60, "the endpoint is in service")
    return ENDPOINT


@dataclass(frozen=True)
class Aws:
    """The clients of one actor."""

    s3: Any
    sagemaker: Any
    runtime: Any


@dataclass(frozen=True)
class Trained:
    """What training and registering leave of a model.

    :param by: the run that publishes it.
    """

    model: ServedModel
    artifact_uri: str
    by: str

    @property
    def target_model(self) -> str:
        return self.model.target_model

    @property
    def package_arn(self) -> str:
        return self.model.package_arn

    @property
    def artifact_sha256(self) -> str:
        return self.model.artifact_sha256


class City:
    """A city that trains models of one number, registers them, and publishes them."""

    def __init__(self, aws: LocalSageMaker, slug: str | None = None) -> None:
        self.server = aws
        self.slug = slug or f"c{uuid.uuid4().hex}"
        self.s3, self.runtime = aws.client("s3"), aws.client("sagemaker-runtime")
        self.sagemaker = aws.client("sagemaker")
        self.group = naming.package_group(KEYS.fleet, ENVIRONMENT, self.slug)

    def train(
        self,
        factor: float,
        month: int,
        *,
        status: str | None = "Approved",
        sample_factor: float | None = None,
        judged: float | None = None,
    ) -> tuple[Trained, dict[str, Any]]:
        """Leave an artifact where training would, a version in the registry, and the evaluation's held-out rows.

        :param month: of 2014, the model's as_of.
        :param status: of the version; None leaves registering it to the caller.
        :param sample_factor: the factor that the artifact's own samples say it has.
        :param judged: the factor of the model that was judged; then the one that serves has learned the held-out rows.
        """
        sampled = factor if sample_factor is None else sample_factor
        as_of = datetime(2014, month, 1, tzinfo=UTC)
        card = {
            "format_version": 1,
            "city": self.slug,
            "as_of": naming.as_of_stamp(as_of),
            "features": ["x", "y"],
        }
        samples = {"rows": [[x, None] for x in ACTUAL], "predictions": [x * sampled for x in ACTUAL]}
        members = {
            "factor": str(factor).encode(),
            "city_fleet/model.json": json.dumps(card).encode(),
            "city_fleet/samples.json": json.dumps(samples).encode(),
        }
        if judged is not None:
            answered = [[None, f"2013-{n + 1:02}-01", 1, x * judged] for n, x in enumerate(ACTUAL)]
            half = {"format_version": 1, "refit": True, "known_until": "2013-12-01", "distance": 0.5}
            members["city_fleet/backtest.json"] = json.dumps(half | {"rows": answered}).encode()
        body = archive(members)
        run = f"{KEYS.prefix}runs/{self.slug}/{uuid.uuid4().hex[:10]}"
        key = f"{run}/model.tar.gz"
        self.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=body)
        rows = [
            {
                "period": f"2013-{n + 1:02}-01",
                "values": [x, None],
                "actual": x,
                "predicted": x * (factor if judged is None else judged),
                "naive": y,
                **({} if judged is None else {"served": x * factor}),
                "step": 1,
                "known_until": f"2013-{n:02}-01" if n else "2012-12-01",
                "block": 0,
            }
            for n, (x, y) in enumerate(zip(ACTUAL, NAIVE, strict=True))
        ]
        holdout = {"features": ["x", "y"], "rows": rows}
        files = {EVALUATION: {"features": ["x", "y"], "rows": len(rows)}, HOLDOUT: holdout}
        digests = {}
        for name, content in files.items():
            file = json.dumps(content).encode()
            digests[name] = hashlib.sha256(file).hexdigest()
            self.s3.put_object(Bucket=KEYS.bucket, Key=f"{run}/{name}", Body=file)
        decision = run_evidence.sealed(self.judge(holdout), digests)
        kept = f"{run}/decide/decision-{naming.digest(decision, run_evidence.DIGEST_LENGTH)}.json"
        self.s3.put_object(Bucket=KEYS.bucket, Key=kept, Body=json.dumps(decision).encode())
        sha256 = hashlib.sha256(body).hexdigest()
        stamp = naming.as_of_stamp(as_of)
        model = ServedModel(
            city=self.slug,
            target_model=naming.target_model(self.slug, as_of, sha256),
            package_arn=self._register(KEYS.uri(key), stamp, sha256, status, kept) if status else "",
            as_of=stamp,
            metrics={"mape": abs(factor - 1)},
            features=("x", "y"),
            artifact_sha256=sha256,
            settings_digest=SETTINGS_DIGEST,
            code_digest=CODE_DIGEST,
        )
        return Trained(model, KEYS.uri(key), f"factors.{self.slug}/month-{month}"), holdout

    def context(self, s3: Any = None, group: str = "") -> CityContext:
        """Return the city as the library is given it.

        :param s3: another client of S3.
        :param group: another model package group than the city's own.
        """
        aws = Aws(s3 or self.s3, self.sagemaker, self.runtime)
        return CityContext(aws, KEYS, ENDPOINT, group or self.group, self.slug)

    def candidate(self, trained: Trained, holdout: dict[str, Any], decision: Decision) -> publish.Candidate:
        author = Author(trained.by)
        return publish.Candidate(trained.model, trained.artifact_uri, decision, RULE, holdout, author)

    def install(self, trained: Trained) -> None:
        """Put an artifact where the endpoint loads it from."""
        body = objects.read_uri(self.s3, trained.artifact_uri)
        assert body is not None
        self.context().objects.create(KEYS.model(trained.target_model), body)

    def _register(self, uri: str, as_of: str, sha256: str, status: str, decision: str) -> str:
        run = decision.partition("/decide/")[0]
        with contextlib.suppress(self.sagemaker.exceptions.ClientError):
            self.sagemaker.create_model_package_group(ModelPackageGroupName=self.group)
        answer = self.sagemaker.create_model_package(
            ModelPackageGroupName=self.group,
            ModelPackageDescription=registry.package_description(as_of, sha256, "factors/test", "0" * 10),
            ModelApprovalStatus=status,
            InferenceSpecification={
                "Containers": [{"Image": IMAGE, "ModelDataUrl": uri}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            CustomerMetadataProperties={
                "as_of": as_of,
                "artifact_sha256": sha256,
                "decision_uri": KEYS.uri(decision),
                "evaluation_uri": KEYS.uri(f"{run}/evaluation.json"),
                "run_key": run.rsplit("/", 1)[1][:10],
                "decided_status": status,
                "settled_status": status,
                "decided_event": "hold" if status == "Rejected" else "promote",
                "code_uri": KEYS.uri(KEYS.code(CODE_DIGEST)),
                "settings_digest": SETTINGS_DIGEST,
            },
        )
        return str(answer["ModelPackageArn"])

    def go_live(self, factor: float, month: int, at: str | None = None, **training: Any) -> live.LivePointer:
        """Train a model and make it live without a gate, as if at an instant.

        :param at: ISO 8601; the first of the model's month by default.
        """
        trained, _ = self.train(factor, month, **training)
        self.install(trained)
        current = live.read(self.s3, KEYS, self.slug)
        pointer = live.LivePointer.serving(
            trained.model,
            sequence=live.next_sequence(self.s3, KEYS, self.slug, current),
            published_at=at or f"2014-{month:02}-01T00:00:00+00:00",
            published_by=trained.by,
            predecessor=current.pointer.target_model if current else None,
        )
        return live.move(self.s3, KEYS, pointer, current).pointer

    def chain(self) -> list[live.LivePointer]:
        """Return everything that ever served, oldest first; a chain with a gap or a wrong link fails."""
        current = self.pointer
        states = live.history(self.s3, KEYS, self.slug) + ([current] if current else [])
        assert [state.sequence for state in states] == list(range(1, len(states) + 1))
        assert [state.predecessor for state in states[1:]] == [state.target_model for state in states[:-1]]
        return states

    def answer(self) -> float:
        """Return the factor that the endpoint answers with through the live pointer, as an application would ask."""
        pointer = self.pointer
        assert pointer is not None
        return answers.invoke(self.runtime, Address(ENDPOINT, pointer.target_model), [[1.0, None]])[0]

    def status(self, pointer: live.LivePointer | Trained) -> str:
        """Return the status of a model's version in the registry."""
        return str(
            self.sagemaker.describe_model_package(ModelPackageName=pointer.package_arn)["ModelApprovalStatus"]
        )

    def remove_artifact(self, pointer: live.LivePointer) -> None:
        """Delete the object that the endpoint would load."""
        self.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(pointer.target_model))

    def judge(self, holdout: dict[str, Any]) -> Decision:
        """Decide against the champion of this moment, as the evaluation job would."""
        current = live.read(self.s3, KEYS, self.slug)
        rows = holdout["rows"]
        report: dict[str, Any] = {
            "rows": len(rows),
            "challenger": regression_metrics(ACTUAL, [row["predicted"] for row in rows]),
            "naive": regression_metrics(ACTUAL, NAIVE),
            "champion": None,
        }
        if current:
            report["champion"] = {
                "etag": current.etag,
                "target_model": current.pointer.target_model,
                **current.pointer.metrics,
            }
        return decide(report, RULE)

    def publish(
        self,
        trained: Trained,
        holdout: dict[str, Any],
        decision: Decision,
        *,
        force: bool = False,
    ) -> publish.Publication:
        candidate = self.candidate(trained, holdout, decision)
        ready = publish.prepare(self.context(), candidate, force=force)
        if isinstance(ready, publish.Publication):
            return ready
        return publish.commit(self.context(), ready)

    def retrain(self, factor: float, month: int) -> publish.Publication:
        candidate, holdout = self.train(factor, month)
        return self.publish(candidate, holdout, self.judge(holdout))

    @property
    def pointer(self) -> live.LivePointer | None:
        current = live.read(self.s3, KEYS, self.slug)
        return current.pointer if current else None
