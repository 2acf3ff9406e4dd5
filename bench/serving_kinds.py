"""What each kind of model costs where it serves: by algorithm, task, and whether rows hold numbers alone.

server   a model server of its own: what a model takes (proportional set size, over copies of one), how long a load
         takes, and one row by name as JSON over a kept connection.
lambda   from the handler of the predict function to its answer, in this process: live pointer (believed), endpoint of a
         local SageMaker, model server. One row, warm.

The peer of every figure is the first line, a baseline that computes nothing: what HTTP, JSON and boto3 cost.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "plugins"))

from bench.serving_peers.servers import SCRIPTS, Ours
from bench.stand_in import IMAGE, REGION, StandIn, running, until
from city_fleet import naming
from city_fleet.champions.artifact import parse
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.state import live
from city_fleet.state.live_pointer import LivePointer

REPOSITORY = Path(__file__).resolve().parents[1]
COPIES, WARM, ASKED = 20, 20, 300
KEYS = naming.Keys("bench", "kinds", "laptop")
ENDPOINT = "bench-kinds"
AS_OF = datetime(2015, 8, 1, tzinfo=UTC)


def measure(home: Path) -> dict[str, Any]:
    """Measure every kind.

    :param home: folder for the server's environment and the artifacts, which are made once.
    :return: ``<algorithm>-<task>-<numbers or mixed>`` → figures.
    """
    artifacts = _artifacts(home)
    rows = json.loads((artifacts / "rows.json").read_text())
    names = sorted(path.name for path in artifacts.iterdir() if path.is_dir())
    found: dict[str, Any] = {name: {} for name in names}
    for name in names:
        found[name]["server"] = _server(home / "ours", artifacts / name, rows[name.partition("-")[2]])
    with running() as stand_in:
        os.environ.update(_variables(stand_in))
        _endpoint(stand_in)
        for name in names:
            _publish(stand_in, _city(name), artifacts / name)
        handler = _handler()
        for name in names:
            found[name]["lambda"] = _lambda(
                handler, _city(name), artifacts / name, rows[name.partition("-")[2]]
            )
    return found


def _artifacts(home: Path) -> Path:
    scripts = CodeBundle.load(SCRIPTS).digest
    folder = home / f"kinds-{scripts}"
    if not (folder / "rows.json").exists():
        image = REPOSITORY / ".venv-image" / "bin" / "python"
        script = Path(__file__).with_name("serving_kinds_models.py")
        subprocess.run(
            [str(image), str(script), str(SCRIPTS), str(folder)], check=True, stdout=subprocess.DEVNULL
        )
    return folder


def _features(folder: Path) -> list[str]:
    return list(json.loads((folder / "city_fleet" / "model.json").read_text())["features"])


def _server(home: Path, folder: Path, rows: list[list[Any]]) -> dict[str, float]:
    server = Ours(home)
    server.start()
    try:
        server.load("first", folder)  # brings the libraries it needs
        before = server.memory_bytes()
        loads = [server.load(f"copy-{number}", folder) for number in range(COPIES)]
        grown = server.memory_bytes() - before
        names = _features(folder)
        bodies = [json.dumps({"instances": [dict(zip(names, row, strict=True))]}).encode() for row in rows]
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", server.port)

        def ask(number: int) -> None:
            connection.request("POST", "/models/first/invoke", bodies[number % len(bodies)], headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content[:200]

        return {
            **_times(ask),
            "load_p50_ms": round(statistics.median(loads) * 1e3, 2),
            "mb_per_model": round(grown / COPIES / 1e6, 4),
            "first_mb": round(before / 1e6, 1),
        }
    finally:
        server.stop()


def _lambda(
    handler: Callable[..., dict[str, Any]], city: str, folder: Path, rows: list[list[Any]]
) -> dict[str, float]:
    names = _features(folder)
    events = [{"city": city, "features": dict(zip(names, row, strict=True))} for row in rows]

    def ask(number: int) -> None:
        answer = handler(events[number % len(events)], None)
        assert answer["status"] == 200, answer

    return _times(ask)


def _times(ask: Callable[[int], None]) -> dict[str, float]:
    for number in range(WARM):
        ask(number)
    times = []
    for number in range(ASKED):
        began = time.perf_counter()
        ask(number)
        times.append((time.perf_counter() - began) * 1e3)
    cuts = statistics.quantiles(times, n=100)
    return {"p50_ms": round(statistics.median(times), 3), "p99_ms": round(cuts[98], 3)}


def _city(name: str) -> str:
    return name.replace("-", "_")


def _variables(stand_in: StandIn) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": stand_in.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "NO_PROXY": "127.0.0.1,localhost",
        "CITY_FLEET_BUCKET": KEYS.bucket,
        "CITY_FLEET_FLEET": KEYS.fleet,
        "CITY_FLEET_ENVIRONMENT": KEYS.environment,
        "CITY_FLEET_ENDPOINT": ENDPOINT,
        "CITY_FLEET_POINTER_TTL_SECONDS": "3600",
    }


def _endpoint(stand_in: StandIn) -> None:
    s3, sagemaker = stand_in.client("s3"), stand_in.client("sagemaker")
    s3.create_bucket(Bucket=KEYS.bucket)
    bundle = CodeBundle.load(SCRIPTS)
    bundle.ensure_uploaded(s3, KEYS)
    container = {
        "Image": f"683313688378.dkr.ecr.{REGION}.amazonaws.com/{IMAGE}",
        "Mode": "MultiModel",
        "ModelDataUrl": KEYS.uri(KEYS.models_prefix()),
        "Environment": {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": bundle.archive_uri(KEYS),
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
        },
    }
    role = stand_in.create_role("bench")
    sagemaker.create_model(ModelName=ENDPOINT, ExecutionRoleArn=role, Containers=[container])
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": ENDPOINT,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=ENDPOINT, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)
    until(lambda: sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] == "InService")


def _publish(stand_in: StandIn, city: str, folder: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    body = buffer.getvalue()
    sha256, made = hashlib.sha256(body).hexdigest(), parse(body, city)
    target = naming.target_model(city, AS_OF, sha256)
    s3 = stand_in.client("s3")
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.model(target), Body=body)
    group = naming.package_group(KEYS.fleet, KEYS.environment, city)
    pointer = LivePointer(
        sequence=1,
        city=city,
        target_model=target,
        package_arn=f"arn:aws:sagemaker:{REGION}:123456789012:model-package/{group}/1",
        as_of=naming.as_of_stamp(AS_OF),
        metrics={},
        features=made.features,
        artifact_sha256=sha256,
        published_at="2015-08-02T00:00:00+00:00",
        published_by="bench",
        **made.says,
    )
    live.move(s3, KEYS, pointer, None)


def _handler() -> Callable[..., dict[str, Any]]:
    path = REPOSITORY / "include" / "lambda" / "predict" / "handler.py"
    spec = importlib.util.spec_from_file_location("bench_predict_handler", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: Callable[..., dict[str, Any]] = module.handler
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        json.dump(measure(chosen), sys.stdout, indent=2)
    print()
