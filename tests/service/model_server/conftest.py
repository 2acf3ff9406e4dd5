"""Model servers with a tiny user module, and artifacts as our own training writes them."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.model_servers import ModelServer
from tests.support.paths import IMAGE_PYTHON, ROOT, SCRIPTS

INFERENCE = """
import pathlib, time
class Heavy(str):
    pass
def model_fn(model_dir):
    text = pathlib.Path(model_dir, "model.txt").read_text()
    if text == "huge":
        raise MemoryError("no room")
    if text == "broken":
        raise ValueError("this model is broken")
    if text == "slow":
        time.sleep(0.5)
    while text == "gated" and not pathlib.Path(model_dir, "open").exists():
        time.sleep(0.01)
    if text.startswith("heavy"):
        model = Heavy(text)
        model.ballast = bytearray(b"x" * 20_000_000)
        return model
    print("loaded", text, flush=True)
    return text
def input_fn(body, content_type):
    return body
def predict_fn(data, model):
    if data == "sleep":
        time.sleep(1.0)
    if data == "crash":
        raise RuntimeError("the booster of /opt/ml/model/m.ubj is gone\\nin a second line")
    if data == "teapot":
        error = ValueError("ignored")
        error.status_code, error.message = 418, "I am a teapot"
        raise error
    return f"{model}:{data}"
def output_fn(prediction, accept, context):
    return (prediction + ":" + str(context.get_request_header(0, "X-Asked-By")), "text/plain")
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ModelServer]]:
    """Starts servers of the test's own: ``start(MODEL_SERVER_QUEUE="1")``, with the tiny module above."""
    running: list[ModelServer] = []

    def start(inference: str = INFERENCE, wait: bool = True, **variables: str) -> ModelServer:
        base = tmp_path / f"server-{len(running)}"
        (base / "code").mkdir(parents=True)
        (base / "code" / "inference.py").write_text(inference)
        running.append(ModelServer(base, wait, **variables))
        return running[-1]

    yield start
    for server in running:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def server(start: Callable[..., ModelServer]) -> ModelServer:
    """A multi-model server."""
    return start()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracted artifacts of random models, each with rows and XGBoost's own answers in ``<name>.expected.json``.

    Made once for all processes of a test run.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "artifacts"
    script = ROOT / "tests" / "support" / "make_artifacts.py"
    with folder.with_name("artifacts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = folder.with_name("artifacts.making")
            subprocess.run([IMAGE_PYTHON, str(script), str(SCRIPTS), str(making)], check=True)
            making.rename(folder)
    return folder


@pytest.fixture(scope="module")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """A server with our own inference.py."""
    server = ModelServer(
        tmp_path_factory.mktemp("plain"),
        SAGEMAKER_SUBMIT_DIRECTORY=str(SCRIPTS),
        SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv",
    )
    yield server
    server.process.kill()
    server.process.wait()
