"""Starts a model server as SageMaker does and talks to it over HTTP alone: for the tests of any such container.

``CONTRACT_COMMAND="python my_server.py" pytest tests/service/model_server/test_contract.py`` tests another one.
It gets the variables of :meth:`ModelServer.environment`; ``SAGEMAKER_BASE_DIR`` stands for ``/opt/ml``,
where ``code`` holds the user's module.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.support.paths import IMAGE_PYTHON, ROOT
from tests.support.waiting import wait_until

START_SECONDS = 30


class ModelServer:
    """A running model server.

    :param base: stands for /opt/ml.
    :param interpreter: what our own model server runs in.
    :param variables: more of its environment.
    """

    def __init__(
        self, base: Path, wait: bool = True, interpreter: str = IMAGE_PYTHON, **variables: str
    ) -> None:
        self.base = base
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        default = f"{interpreter} {ROOT / 'include' / 'model_server' / '__main__.py'}"
        command = shlex.split(os.environ.get("CONTRACT_COMMAND", default))
        self.log = base / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=self.environment() | variables, stdout=log, stderr=subprocess.STDOUT
            )
        if wait:
            wait_until(self.answers, START_SECONDS, "the model server answers")

    def environment(self) -> dict[str, str]:
        """What the contract gives a container."""
        return {
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "MODEL_SERVER_HOST": "127.0.0.1",
            "SAGEMAKER_BASE_DIR": str(self.base),
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/code.tar.gz",
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "SAGEMAKER_MULTI_MODEL": "true",
        }

    def answers(self) -> bool:
        """Whether /ping is answered."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.call("GET", "/ping")[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request on a connection of its own; JSON answers are decoded."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return self.on(connection, method, path, body, **headers)
        finally:
            connection.close()

    def on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Any = None,
        **headers: str,
    ) -> tuple[int, Any]:
        """One request on a given connection."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, {name.replace("_", "-"): v for name, v in headers.items()})
        response = connection.getresponse()
        content = response.read()
        if response.headers.get("Content-Type") == "application/json":
            return response.status, json.loads(content or b"null")
        return response.status, content.decode()

    def load(self, name: str, text: str = "model") -> tuple[int, Any]:
        """Load a model whose only file holds a text."""
        folder = self.base / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.txt").write_text(text)
        return self.load_folder(name, folder)

    def load_folder(self, name: str, folder: Path) -> tuple[int, Any]:
        """Load a model from an extracted artifact."""
        return self.call("POST", "/models", {"model_name": name, "url": str(folder)})

    def ask(self, name: str, body: bytes, content_type: str = "text/csv", **headers: str) -> tuple[int, Any]:
        """Invoke a model; the answer is text/csv."""
        fields = {"Content_Type": content_type, "Accept": "text/csv"} | headers
        return self.call("POST", f"/models/{name}/invoke", body, **fields)

    def answer(self, name: str, body: bytes, accept: str) -> http.client.HTTPResponse:
        """The answer to text/csv as it came, with its header."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            fields = {"Content-Type": "text/csv", "Accept": accept}
            connection.request("POST", f"/models/{name}/invoke", body, fields)
            response = connection.getresponse()
            response.read()
            return response
        finally:
            connection.close()

    def names(self) -> list[str]:
        """The models that are in memory."""
        found: list[str] = []
        token = "0"
        while True:
            _, page = self.call("GET", f"/models?next_page_token={token}")
            found += [each["modelName"] for each in page["models"]]
            if "nextPageToken" not in page:
                return found
            token = page["nextPageToken"]

    def metrics(self) -> dict[str, float]:
        """All series of ``GET /metrics``; a line that is none fails."""
        _, text = self.call("GET", "/metrics")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def metric(self, name: str) -> float:
        """A metric without labels."""
        return self.metrics()[f"model_server_{name}"]

    def resident_bytes(self) -> int:
        """Memory the process takes (Linux)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def talk(self, *pieces: bytes, seconds: float = 20) -> bytes:
        """Send bytes as they are; what comes back until the server closes or answers nothing more for a while."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces go out as they are cut
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
            received = b""
            while piece := client.recv(65536):
                received += piece
            return received

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
