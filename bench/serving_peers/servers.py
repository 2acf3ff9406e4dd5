"""How each server is installed, started, and spoken to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "include" / "scripts"
HERE = Path(__file__).resolve().parent
XGBOOST = ("numpy==2.1.0", "xgboost-cpu==3.2.0")
START_SECONDS = 120


class Absent(Exception):
    """A peer that can't run here; the message says why."""


class Server:
    """One server: installed when it is made, started by :meth:`start`.

    :param home: folder for its environment and files.
    """

    name = ""
    packages: tuple[str, ...] = ()
    models = 1000

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.python = home / "env" / "bin" / "python"
        installed = home / "installed.json"
        if not installed.exists() or json.loads(installed.read_text()) != list(self.packages):
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            for command in (
                [sys.executable, "-m", "venv", str(home / "env")],
                [str(self.python), "-m", "pip", "install", "--quiet", *self.packages],
            ):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise Absent(f"{self.name} can't be installed: {(done.stderr or done.stdout)[-300:]}")
            installed.write_text(json.dumps(list(self.packages)))

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Variables of its own."""
        return {}

    def start(self, **variables: str) -> None:
        """Start it and wait until it answers."""
        base = {"PATH": f"{self.python.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        with (self.home / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=base | self.environment() | variables,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.ask("GET", self.ready_path)[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                words = (self.home / "server.log").read_text(errors="replace")[-400:]
                self.stop()
                raise Absent(f"{self.name} does not start: {words}")
            time.sleep(0.05)

    ready_path = "/ping"

    def load(self, name: str, folder: Path) -> float:
        """Load a model; seconds until it has answered for the first time."""
        began = time.perf_counter()
        body = json.dumps({"model_name": name, "url": str(folder)}).encode()
        status, answer = self.ask("POST", "/models", body, {"Content-Type": "application/json"})
        if status != 200:
            raise RuntimeError(f"{self.name} does not load {folder}: {status} {answer[:200]!r}")
        return time.perf_counter() - began

    def request(self, name: str, row: Sequence[float]) -> bytes:
        """An invocation's bytes."""
        body = ",".join(map(repr, row)).encode()
        return http_request(f"/models/{name}/invoke", body, "text/csv")

    def value(self, answer: bytes) -> float:
        """The prediction in an answer."""
        return float(answer)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def predict(self, name: str, row: Sequence[float]) -> float:
        """One prediction."""
        request = self.request(name, row)
        head, _, body = request.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        status, answer = self.ask("POST", line.split()[1], body, dict(each.split(": ", 1) for each in fields))
        if status != 200:
            raise RuntimeError(f"{self.name}: {status} {answer[:200]!r}")
        return self.value(answer)

    def _tree(self) -> list[psutil.Process]:
        if self.process is None:
            return []
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def memory_bytes(self) -> int:
        """Proportional set size of all its processes."""
        return sum(each.memory_full_info().pss for each in self._tree())

    def cpu_seconds(self) -> float:
        """Processor time of all its processes."""
        times = [each.cpu_times() for each in self._tree()]
        return sum(each.user + each.system for each in times)

    def stop(self) -> None:
        """End it and its children."""
        if self.process is None:
            return
        everyone = self._tree() if self.process.poll() is None else []
        for each in everyone:
            each.terminate()
        _, alive = psutil.wait_procs(everyone, timeout=10)
        for each in alive:
            each.kill()
        self.process.wait()
        self.process = None


class Ours(Server):
    """The model server."""

    name = "ours"
    packages = (*XGBOOST, "uvloop==0.23.0")

    def command(self) -> list[str]:
        return [str(self.python), str(REPOSITORY / "include" / "model_server" / "__main__.py")]

    def environment(self) -> dict[str, str]:
        return {
            "SAGEMAKER_SUBMIT_DIRECTORY": str(SCRIPTS),
            "SAGEMAKER_MULTI_MODEL": "true",
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
            "MODEL_SERVER_HOST": "127.0.0.1",
        }


class FastApi(Server):
    """FastAPI and a dictionary of boosters."""

    name = "fastapi"
    packages = (*XGBOOST, "fastapi==0.165.0", "uvicorn[standard]==0.54.0")

    def command(self) -> list[str]:
        return [str(self.python), str(HERE / "fastapi_boosters.py"), str(self.port)]


class MlServer(Server):
    """MLServer with its own XGBoost runtime; it predicts the logarithm of a ratio, without the way back."""

    name = "mlserver"
    packages = ("mlserver==1.7.1", "mlserver-xgboost==1.7.1", "xgboost-cpu==3.2.0")
    models = 100
    ready_path = "/v2/health/ready"

    def command(self) -> list[str]:
        store = self.home / "models"
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir()
        settings = {
            "host": "127.0.0.1",
            "http_port": self.port,
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            "parallel_workers": 0,
            "load_models_at_startup": False,
            "debug": False,
        }
        (store / "settings.json").write_text(json.dumps(settings))
        return [str(self.python.parent / "mlserver"), "start", str(store)]

    def load(self, name: str, folder: Path) -> float:
        place = self.home / "models" / name
        place.mkdir()
        (place / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": name,
                    "implementation": "mlserver_xgboost.XGBoostModel",
                    "parameters": {"uri": str(folder / "xgboost-model.ubj")},
                }
            )
        )
        began = time.perf_counter()
        status, answer = self.ask("POST", f"/v2/repository/models/{name}/load")
        if status != 200:
            raise RuntimeError(f"mlserver does not load {folder}: {status} {answer[:200]!r}")
        return time.perf_counter() - began

    def request(self, name: str, row: Sequence[float]) -> bytes:
        tensor = {"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}
        body = json.dumps({"inputs": [tensor]}).encode()
        return http_request(f"/v2/models/{name}/infer", body, "application/json")

    def value(self, answer: bytes) -> float:
        found: Any = json.loads(answer)
        return float(found["outputs"][0]["data"][0])


class MultiModelServer(Server):
    """multi-model-server, which the managed container runs, with a handler that does what that container does."""

    name = "multi-model-server"
    packages = ("multi-model-server==1.1.2", *XGBOOST)
    models = 6  # a process each

    def command(self) -> list[str]:
        if shutil.which("java") is None:
            raise Absent("multi-model-server needs Java, which is not on PATH")
        packages = next((self.home / "env" / "lib").glob("python3*")) / "site-packages"
        address = f"http://127.0.0.1:{self.port}"
        properties = self.home / "mms.properties"
        properties.write_text(
            f"inference_address={address}\nmanagement_address={address}\ndefault_workers_per_model=1\n"
            f"decode_input_request=false\npreload_model=false\n"
            f"default_service_handler={HERE / 'mms_handler.py'}:handle\n"
        )
        return [
            *("java", f"-Dmodel_server_home={packages}", f"-Djava.io.tmpdir={self.home}"),
            *("-cp", f".:{packages}/mms/frontend/*", "com.amazonaws.ml.mms.ModelServer"),
            *("--python", str(self.python), "-f", str(properties), "-s", "/"),
        ]

    def environment(self) -> dict[str, str]:
        return {
            "BENCH_SCRIPTS": str(SCRIPTS),
            "PYTHONPATH": str(HERE),
            "SAGEMAKER_MULTI_MODEL": "true",
            "LOG_LOCATION": str(self.home / "logs"),
            "METRICS_LOCATION": str(self.home / "logs"),
        }


ALL: tuple[type[Server], ...] = (Ours, FastApi, MlServer, MultiModelServer)


def http_request(path: str, body: bytes, content_type: str) -> bytes:
    """A request as SageMaker would send it to a container."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def free_port() -> int:
    """A free port; multi-model-server refuses those from 49,152 on."""
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
