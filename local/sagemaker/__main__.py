"""``python -m local.sagemaker``: listen, serve, and leave nothing running behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from local import without_foreign

sys.path[:] = without_foreign(sys.path)

import uvicorn

from local.sagemaker import disk
from local.sagemaker.command_line import parse_command_line
from local.sagemaker.data_dir import DataDirError, data_dir, use_own_temporary_folder, write_whole
from local.sagemaker.faults.fault_specs import FaultError
from local.sagemaker.server import SageMakerServer
from local.sagemaker.settings import Settings


class StartError(Exception):
    """The server can't start; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT.

    :returns: the exit status.
    """
    settings = parse_command_line(arguments)
    try:
        with (
            contextlib.closing(listen(settings.host, settings.port)) as listening,
            data_dir(settings.data_dir) as folder,
        ):
            serve(settings, listening, folder)
    except (StartError, DataDirError) as error:
        print(f"local.sagemaker: {error}", file=sys.stderr)
        return 1
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    :raises StartError: if the port is taken or may not be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"--host {host}: {error.strerror or error}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(512)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is taken by another program; stop that one, or choose another port"
                " with --port (0 = any free one)"
            ) from None
        raise StartError(
            f"can't listen on {host}, port {port}: {error.strerror}; see --host and --port"
        ) from None
    return listening


def url_of(listening: socket.socket) -> str:
    """The URL under which this machine reaches a listening socket."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(settings: Settings, listening: socket.socket, folder: Path) -> None:
    """Serve until a signal; jobs and model servers are stopped while S3 still answers them."""
    # Imported here: moto's import takes a second, and the message about a taken port should not wait for it.
    from local.sagemaker.app import create_app  # noqa: PLC0415
    from local.sagemaker.protocol.http_protocol import HttpConnection  # noqa: PLC0415

    if settings.ready_file is not None:
        settings.ready_file.unlink(missing_ok=True)  # left by a server that was killed
    try:
        use_own_temporary_folder(folder)
        server = SageMakerServer.create(settings, url_of(listening), folder)
        app = create_app(server)
        if settings.faults is not None:
            server.faults.load(settings.faults)
        server.recover()
    except FaultError as error:
        raise StartError(f"--faults {error}") from None
    except OSError as error:
        reason = disk.full(folder) if disk.is_full(error) else f"{error.filename or folder}: {error.strerror}"
        raise StartError(f"{reason}. What is kept in {folder} is as it was.") from error
    http = HttpServer(
        uvicorn.Config(
            app,
            http=HttpConnection,
            log_level="warning",
            proxy_headers=False,
            access_log=False,
            lifespan="off",
            server_header=False,
            # boto3 keeps connections for minutes; one that is closed under it costs the caller a retry.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
            backlog=512,
        ),
        ready=lambda: announce(server),
    )

    def stop() -> None:
        try:
            server.shutdown()
        finally:
            http.should_exit = True

    stopping = threading.Thread(target=stop, name="stop")

    def on_signal(signum: int, frame: FrameType | None) -> None:
        if stopping.ident is None:
            stopping.start()
        else:  # the second signal: end at once. Jobs and model servers die with this process.
            os._exit(1)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, on_signal)
    try:
        http.run(sockets=[listening])
    finally:
        if stopping.ident is None:
            stop()
        else:
            stopping.join()
        server.store.close()
        if settings.ready_file is not None:
            settings.ready_file.unlink(missing_ok=True)


def announce(server: SageMakerServer) -> None:
    """Say that the server answers: a line on standard output, and the ready file."""
    ready_file = server.settings.ready_file
    if ready_file is not None:
        write_whole(ready_file, json.dumps({"url": server.url, "pid": os.getpid()}).encode() + b"\n")
    print(f"The local SageMaker listens on {server.url}", flush=True)
    if not server.own_opt_ml:
        why = "--no-isolation" if not server.settings.isolate else "no user and mount namespaces, or no /opt"
        print(
            f"Jobs and model servers have no /opt/ml of their own here ({why}): it is rewritten in their arguments, "
            "variables and hyperparameters, and a script that names it itself does not find its files",
            flush=True,
        )
    if server.faults.summary():
        server.faults.tell()


class HttpServer(uvicorn.Server):
    """uvicorn's server, which calls back once it answers and leaves signals to :func:`serve`."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer requests, then call back."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would stop serving S3 before the jobs are stopped, and die of the signal."""
        yield


if __name__ == "__main__":
    sys.exit(main())
