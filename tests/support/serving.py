"""A real endpoint with real, small models, for what reads predictions: the library's own serving code and artifacts."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import tarfile
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from city_fleet import naming
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.state import live, serving_code
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.waiting import wait_until

KEYS = naming.Keys("city-fleet", "houses", "laptop")
FEATURES = ("median_mean_12", "sales_lag_1", "trend")
ROW: dict[str, float | None] = {"median_mean_12": 200_000.0, "sales_lag_1": 1500, "trend": 180.5}
MODELS = 3

# In the image's Python, with the job scripts' own code: what training leaves, for a city that matters to nobody.
TRAIN = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from algorithms.xgboost import FittedBooster
from lean_xgboost import xgboost
from model_artifact import Model, save_artifact
from model_card import ModelCard
from table_schema import Feature, Schema
from target_transform import TargetTransform

features = sys.argv[3].split(",")
for number in range(int(sys.argv[4])):
    draws = np.random.default_rng(number)
    values = draws.uniform(1, 100, (60, len(features)))
    matrix = xgboost.DMatrix(values, label=values[:, 1] / 100 + number, feature_names=features, nthread=1)
    booster = xgboost.train({"nthread": 1, "max_depth": 2}, matrix, 5)
    transform = TargetTransform.parse("log_ratio_to_mean:12", "median")
    columns = tuple(map(Feature, features))
    schema = Schema("series", "regression", "austin", "20140101T000000Z", "median", transform, columns)
    card = ModelCard(schema, "xgboost", {"train": 60})
    folder = pathlib.Path(sys.argv[2], str(number))
    folder.mkdir()
    save_artifact(folder, Model(FittedBooster(booster, schema, {}), card), values[-3:])
"""

SLOW_LOAD = """
def _slow(load):
    def slow(model_dir):
        import time
        time.sleep({})
        return load(model_dir)
    return slow
model_fn, packed_model_fn = _slow(model_fn), _slow(packed_model_fn)
"""


@dataclass
class Serving:
    """A fleet whose endpoint is in service.

    :param artifacts: archives of small models that predict differently.
    """

    server: LocalSageMaker
    artifacts: Sequence[bytes]
    endpoint: str = "houses"
    s3: Any = field(init=False)

    def __post_init__(self) -> None:
        self.s3 = self.server.client("s3")

    def publish(self, city: str, model: int | bytes = 0, **changes: Any) -> live.LivePointer:
        """Make a model the one that is live, without a gate.

        :param model: an artifact, or which of the small ones.
        """
        body = self.artifacts[model] if isinstance(model, int) else model
        current = live.read(self.s3, KEYS, city)
        sequence = current.pointer.sequence + 1 if current else 1
        as_of = datetime(2014, sequence, 1, tzinfo=UTC)
        sha256 = hashlib.sha256(body).hexdigest()
        target = naming.target_model(city, as_of, sha256)
        group = naming.package_group(KEYS.fleet, "laptop", city)
        self.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.model(target), Body=body)
        pointer = live.LivePointer(
            **{
                "sequence": sequence,
                "city": city,
                "target_model": target,
                "package_arn": f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/{sequence}",
                "as_of": naming.as_of_stamp(as_of),
                "metrics": {"mape": 0.04},
                "features": FEATURES,
                "artifact_sha256": sha256,
                "published_at": "2014-01-02T00:00:00+00:00",
                "published_by": "test",
                "predecessor": current.pointer.target_model if current else None,
                **changes,
            }
        )
        return live.move(self.s3, KEYS, pointer, current).pointer

    def expected(self, model: int) -> tuple[dict[str, float], float]:
        """Return a row and what training says that a small model predicts for it."""
        with tarfile.open(fileobj=io.BytesIO(self.artifacts[model])) as tar:
            member = tar.extractfile("city_fleet/samples.json")
            assert member is not None
            samples = json.load(member)
        return dict(zip(FEATURES, samples["rows"][0], strict=True)), samples["predictions"][0]

    @contextlib.contextmanager
    def faults(self, *faults: dict[str, Any]) -> Iterator[None]:
        """A bad day, as long as it lasts."""
        self._faults("PUT", list(faults))
        try:
            yield
        finally:
            self._faults("DELETE")

    def injected(self) -> list[int]:
        """Return how often each fault that is on has struck."""
        return [fault["injected"] for fault in self._faults("GET")["faults"]]

    def _faults(self, method: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server.url}/_local/faults", data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)


def city_name() -> str:
    """Return the name of a city that no other test uses."""
    return f"c{uuid.uuid4().hex}"


def serve(server: LocalSageMaker, folder: Path, load_seconds: float = 0) -> Serving:
    """Bring a fleet's endpoint into service, with the job scripts of this repository.

    :param folder: an empty folder.
    :param load_seconds: how much longer it takes to load a model.
    """
    artifacts = small_artifacts(folder)
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    files = dict(CodeBundle.load(SCRIPTS).files)
    if load_seconds:
        files["inference.py"] += SLOW_LOAD.format(load_seconds).encode()
    bundle = CodeBundle(tuple(sorted(files.items())))
    bundle.ensure_uploaded(s3, KEYS)
    serving = Serving(server, artifacts)
    sagemaker.create_model(
        ModelName=serving.endpoint,
        ExecutionRoleArn=ROLE,
        Containers=[
            {
                "Image": IMAGE_URI,
                "Mode": "MultiModel",
                "ModelDataUrl": KEYS.uri(KEYS.models_prefix()),
                "Environment": {
                    "SAGEMAKER_PROGRAM": "inference.py",
                    "SAGEMAKER_SUBMIT_DIRECTORY": bundle.archive_uri(KEYS),
                    **serving_code.environment(serving_code.algorithms_of(bundle.files)),
                },
            }
        ],
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": serving.endpoint,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=serving.endpoint, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=serving.endpoint, EndpointConfigName=serving.endpoint)

    def in_service() -> bool:
        found = sagemaker.describe_endpoint(EndpointName=serving.endpoint)
        assert found["EndpointStatus"] != "Failed", found["FailureReason"]
        return bool(found["EndpointStatus"] == "InService")

    wait_until(in_service, 60, "the endpoint is in service")
    return serving


def small_artifacts(folder: Path, models: int = MODELS) -> list[bytes]:
    """Make small models that predict differently, packed as training leaves them.

    :param folder: an empty folder.
    """
    subprocess.run(
        [str(IMAGE_PYTHON), "-c", TRAIN, str(SCRIPTS), str(folder), ",".join(FEATURES), str(models)],
        check=True,
        timeout=120,
    )
    return [archive_of(folder / str(number)) for number in range(models)]


def archive_of(folder: Path) -> bytes:
    """Pack an extracted artifact."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    return buffer.getvalue()
