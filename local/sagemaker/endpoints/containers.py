"""A running model server: the process, its file system, its port and its log."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local import ROOT
from local.sagemaker.container_spec import ContainerSpec
from local.sagemaker.endpoints.runtime_errors import ContainerError
from local.sagemaker.processes.archives import BadArchive, extract
from local.sagemaker.processes.images import UnknownImage, find_interpreter
from local.sagemaker.processes.logs import LogStream
from local.sagemaker.processes.processes import SupervisedProcess
from local.sagemaker.processes.s3_transfer import TransferError, describe, download, split_uri
from local.sagemaker.processes.sandbox import Sandbox
from local.sagemaker.reach import Server

#: Started by its path and known by HTTP alone; inside an image of its own it is the entry point.
MODEL_SERVER = ROOT / "include" / "model_server" / "__main__.py"
PING_SECONDS = 0.05
PING_TIMEOUT_SECONDS = 2.0
DRAIN_SECONDS = 65.0  # a request has 60 seconds
QUOTED_LOG_LINES = 12
QUOTED_LOG_LENGTH = 800  # of the 1,024 characters of a FailureReason


class ContainerFailed(Exception):
    """The model server did not start; the message is the endpoint's FailureReason."""


class ModelContainer:
    """One model server process. Making it starts it; it has answered ``/ping`` when the constructor returns.

    :param server: the server it belongs to.
    :param spec: what to run.
    :param region: region of the endpoint.
    :param instance: id of the instance it is on, with the other containers of its variant; part of the log stream.
    :param give_up: set when the server is shutting down.
    :raises ContainerFailed: when it does not start; its process and its folder are removed then.
    """

    def __init__(
        self, server: Server, spec: ContainerSpec, region: str, instance: str, give_up: threading.Event
    ) -> None:
        self.spec = spec
        self.instance = instance
        self._server = server
        self._s3 = server.aws.client("s3", region)
        try:
            interpreter = find_interpreter(server.settings, spec.image)
        except UnknownImage as error:
            raise ContainerFailed(str(error)) from error
        self._give_up = give_up
        self._ended = threading.Event()
        self._process: SupervisedProcess | None = None
        self.sandbox = Sandbox(server.data_dir / "endpoints", f"{spec.endpoint}-{spec.variant}")
        #: Where a multi-model container's models lie, and the folder as it was made, whatever the container does.
        self.models = self.sandbox.opt_ml / "models"
        self.models_descriptor: int | None = None
        self.logs = LogStream(
            server.aws.client("logs", region),
            f"/aws/sagemaker/Endpoints/{spec.endpoint}",
            "/".join(part for part in (spec.variant, instance, spec.hostname) if part),
        )
        try:
            self._prepare()
            self.port = free_port()
            if reason := server.faults.endpoint_failure(spec.endpoint, spec.variant):
                raise ContainerFailed(reason)
            self._start(interpreter, region)
            self._wait_until_it_answers()
        except BaseException:
            self.stop(grace_seconds=0.0)
            raise

    @property
    def url(self) -> str:
        """URL of the model server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and not self._ended.is_set()

    def check_load(self, target: str) -> None:
        """Called before the model server is asked to load a model.

        :param target: TargetModel of the request for it.
        :raises ContainerError: when a fault wants the load to fail.
        """
        if message := self._server.faults.model_load_failure(self.spec.endpoint, target):
            raise ContainerError(500, message)

    def stop(self, grace_seconds: float = DRAIN_SECONDS) -> None:
        """Stop the model server: requests that it has are answered, then process and folder are removed.

        :param grace_seconds: how long they may take.
        """
        if self._process is not None:
            self._process.stop(grace_seconds)
        if self.models_descriptor is not None:
            os.close(self.models_descriptor)
            self.models_descriptor = None
        self.logs.close()
        self.sandbox.remove()

    def _prepare(self) -> None:
        """Do what a container does first on AWS: fetch the code, and the model when it has one of its own."""
        submitted = self.spec.environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        if submitted.startswith("s3://"):
            self._fetch(submitted, "code", "the code of SAGEMAKER_SUBMIT_DIRECTORY")
        if not self.spec.multi_model and self.spec.model_data_url:
            self._fetch(self.spec.model_data_url, "model", "model data")
        for folder in ("model", "code"):
            (self.sandbox.opt_ml / folder).mkdir(exist_ok=True)
        self.models.mkdir()
        self.models_descriptor = os.open(self.models, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def _fetch(self, uri: str, folder: str, what: str) -> None:
        archive = self.sandbox.tmp / f"{folder}.tar.gz"
        try:
            download(self._s3, *split_uri(uri), archive)
            extract(archive, self.sandbox.opt_ml / folder)
        except (ClientError, BotoCoreError, TransferError) as error:
            raise ContainerFailed(
                f'Failed to download {what} for container "{self.spec.name}" from URL: "{uri}" ({describe(error)}). '
                f"Please "
                "ensure that there is an object located at the URL and that the role passed to CreateModel "
                "has "
                "permissions to download the object."
            ) from error
        except BadArchive as error:
            raise ContainerFailed(
                f'Failed to extract {what} archive from URL "{uri}": {error}. Please ensure that the object '
                f"located "
                "at the URL is a valid tar.gz archive."
            ) from error

    def _start(self, interpreter: Path, region: str) -> None:
        environment = self.sandbox.environment(
            interpreter,
            {"AWS_REGION": region, "SAGEMAKER_BASE_DIR": "/opt/ml"},
            self.spec.environment,
            {
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                "SAGEMAKER_MULTI_MODEL": "true" if self.spec.multi_model else "false",
                "MODEL_SERVER_HOST": "127.0.0.1",
                "MODEL_SERVER_MEMORY_BYTES": str(self._server.settings.model_memory_bytes),
                # As on AWS: the host decides which model makes room.
                "MODEL_SERVER_EVICTION": "refuse",
            },
        )
        self._process = SupervisedProcess(
            [str(interpreter), str(MODEL_SERVER), "serve"],
            environment=environment,
            cwd=self.sandbox.root,
            hidden=self._server.hidden(self.sandbox.root),
            on_line=lambda line: self.logs.write(self.sandbox.to_container(line)),
            on_end=self._ended.set,
        )
        self._server.faults.model_server_started(self.spec.endpoint, self._process)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.spec.startup_seconds
        while time.monotonic() < deadline and not (self._ended.is_set() or self._give_up.is_set()):
            if self._ping():
                return
            self._ended.wait(PING_SECONDS)
        lines = "\n".join(self.logs.tail(QUOTED_LOG_LINES))[-QUOTED_LOG_LENGTH:] or "(none)"
        raise ContainerFailed(
            f"The {self.spec.name} container for production variant {self.spec.variant} did not pass the ping "
            f"health check. Please check CloudWatch logs for this endpoint. Its last log lines:\n{lines}"
        )

    def _ping(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PING_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def new_instance() -> str:
    """An id for an instance that has just come up."""
    return f"i-{uuid.uuid4().hex[:17]}"


def free_port() -> int:
    """A port of this machine on which no process listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
