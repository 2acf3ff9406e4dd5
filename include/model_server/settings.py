"""The server's settings, read from environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EVICTIONS = ("lru", "refuse")


class BadSetting(ValueError):
    """A variable of the environment that can't be used; the message names it and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What the server runs with; each comes from a variable of the environment.

    :param host: MODEL_SERVER_HOST.
    :param port: SAGEMAKER_BIND_TO_PORT; 0 = any free one.
    :param multi_model: SAGEMAKER_MULTI_MODEL is ``true``.
    :param base: SAGEMAKER_BASE_DIR; stands for ``/opt/ml``.
    :param program: SAGEMAKER_PROGRAM, the user's module.
    :param submitted: SAGEMAKER_SUBMIT_DIRECTORY: the module's folder, or an archive on S3 that is in ``<base>/code``
        already, or is fetched into it.
    :param default_accept: SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: type of the answer when the caller asks for none.
    :param memory_bytes: MODEL_SERVER_MEMORY_BYTES: what all loaded models may take together; 0 = no limit.
    :param evicts: MODEL_SERVER_EVICTION: ``lru`` = the least recently used models make room for a new one, and are
        loaded again when they are asked for; ``refuse`` = 507, the host unloads models as it likes.
    :param threads: MODEL_SERVER_THREADS: how many requests the user's functions answer at a time.
    :param queue: MODEL_SERVER_QUEUE: how many more may wait for them, and how many for models that are being
        loaded; then 503.
    :param connections: MODEL_SERVER_CONNECTIONS: how many may be open; one more is answered with 503.
    :param body_bytes: MODEL_SERVER_BODY_BYTES: largest body of a request.
    :param request_seconds: MODEL_SERVER_REQUEST_SECONDS: how long a request may take to arrive, and an answer to leave.
    :param idle_seconds: MODEL_SERVER_IDLE_SECONDS: how long a connection may stay open without a request.
    :param drain_seconds: MODEL_SERVER_DRAIN_SECONDS: how long requests that run have after SIGTERM.
    """

    host: str = "0.0.0.0"  # noqa: S104 - a container's own network; SageMaker asks from outside
    port: int = 8080
    multi_model: bool = False
    base: Path = Path("/opt/ml")
    program: str = "inference.py"
    submitted: str = ""
    default_accept: str = "application/json"
    memory_bytes: int = 0
    evicts: bool = True
    threads: int = 8
    queue: int = 256
    connections: int = 1024
    body_bytes: int = 6_291_456
    request_seconds: int = 30
    idle_seconds: int = 300
    drain_seconds: int = 60

    @property
    def code_folder(self) -> Path:
        """Where the user's module lies."""
        if self.submitted.startswith("s3://") or not self.submitted:
            return self.base / "code"
        return Path(self.submitted)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    :raises BadSetting: that names the variable.
    """
    default = Settings()

    def number(name: str, value: int, low: int = 0) -> int:
        text = environment.get(name, str(value))
        if not (text.isascii() and text.isdigit() and low <= int(text) <= 1 << 50):
            raise BadSetting(f"{name}: got {text!r}; allowed: a whole number from {low}.")
        return int(text)

    eviction = environment.get("MODEL_SERVER_EVICTION", "lru")
    if eviction not in EVICTIONS:
        raise BadSetting(f"MODEL_SERVER_EVICTION: got {eviction!r}; allowed: {', '.join(EVICTIONS)}.")
    port = number("SAGEMAKER_BIND_TO_PORT", default.port)
    if port > 65535:
        raise BadSetting(f"SAGEMAKER_BIND_TO_PORT: got {port}; allowed: a port, up to 65535.")
    return Settings(
        host=environment.get("MODEL_SERVER_HOST", default.host),
        port=port,
        multi_model=environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true",
        base=Path(environment.get("SAGEMAKER_BASE_DIR", str(default.base))),
        program=environment.get("SAGEMAKER_PROGRAM") or default.program,
        submitted=environment.get("SAGEMAKER_SUBMIT_DIRECTORY", ""),
        default_accept=environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or default.default_accept,
        memory_bytes=number("MODEL_SERVER_MEMORY_BYTES", default.memory_bytes),
        evicts=eviction == "lru",
        threads=number("MODEL_SERVER_THREADS", default.threads, 1),
        queue=number("MODEL_SERVER_QUEUE", default.queue),
        connections=number("MODEL_SERVER_CONNECTIONS", default.connections, 1),
        body_bytes=number("MODEL_SERVER_BODY_BYTES", default.body_bytes),
        request_seconds=number("MODEL_SERVER_REQUEST_SECONDS", default.request_seconds, 1),
        idle_seconds=number("MODEL_SERVER_IDLE_SECONDS", default.idle_seconds, 1),
        drain_seconds=number("MODEL_SERVER_DRAIN_SECONDS", default.drain_seconds, 1),
    )
