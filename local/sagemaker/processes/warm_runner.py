"""Starts job scripts in forks of a warm interpreter per image (warm.py), or as new processes where a fork would differ.

A script pays for neither the start of its interpreter nor the import of NumPy, pandas and XGBoost. Whatever the
interpreter or a library reads of the environment when it starts has been read by then: a job that sets such a
variable otherwise is started as a new process. So is a command that does not run a Python script, and the first job
of an image, during which the interpreter warms up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from local.sagemaker.processes.processes import SUPERVISOR, Hidden, Supervised, SupervisedProcess
from local.sagemaker.processes.sandbox import base_environment
from local.sagemaker.processes.warm import LENGTH

PROGRAM = Path(__file__).with_name("warm.py")
TOOLKIT = PROGRAM.with_name("container")  # takes itself off the path
#: What the scripts of jobs import; one that an image lacks is left out.
MODULES = (
    "numpy",
    "pandas",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "scipy.sparse",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "xgboost",
)
#: Arrow, which pandas imports, has an allocator with a thread of its own: a process with threads must not fork.
WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
PADDING = "x" * 8_000  # room for a job's command line in the list of processes, and for its environment
READY_SECONDS = 120.0
LOST = 137
#: What interpreters and libraries read when they start.
READ_AT_START = (
    "PYTHON",
    "LD_",
    "LC_",
    "LANG",
    "TZ",
    "OMP_",
    "GOMP_",
    "KMP_",
    "OPENBLAS_",
    "GOTO_",
    "MKL_",
    "BLIS_",
    "BLAS",
    "VECLIB_",
    "NUMEXPR_",
    "NPY_",
    "NUMPY_",
    "SCIPY_",
    "SKLEARN_",
    "JOBLIB_",
    "XGBOOST_",
    "CUDA_",
    "PANDAS_",
    "ARROW_",
    "JE_ARROW_",
    "MALLOC_",
    "GLIBC_",
)

log = logging.getLogger(__name__)


class WarmRunner:
    """Starts commands, in a fork of a warm interpreter where that is possible.

    :param paths: the interpreters that may be forked.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = {str(path) for path in paths} if hasattr(socket, "send_fds") else set()
        self._lock = threading.Lock()
        self._interpreters: dict[str, WarmInterpreter | None] = {}
        self._closed = False

    @property
    def warm(self) -> list[str]:
        """The interpreters that are warm."""
        return [path for path, warm in self._interpreters.items() if warm is not None]

    def start(
        self,
        command: list[str],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        hidden: Hidden | None,
        on_line: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> Supervised:
        """Start a command; see :class:`SupervisedProcess` for the parameters."""
        script = Path(command[1]) if len(command) > 1 else Path()
        if hidden is not None:
            script = hidden.on_host(str(script))
        if command[0] in self._paths and suits(command, environment, script):
            warm = self._interpreter(command[0])
            if warm is not None and not warm.shadowed_in(script.parent, cwd):
                try:
                    return ForkedProcess(
                        warm,
                        command=command,
                        environment=environment,
                        cwd=cwd,
                        hidden=hidden,
                        on_line=on_line,
                        on_end=on_end,
                    )
                except (OSError, EOFError) as error:
                    log.warning("the warm interpreter %s is lost and started again: %s", command[0], error)
                    self._forget(command[0], warm)
        return SupervisedProcess(
            command, environment=environment, cwd=cwd, hidden=hidden, on_line=on_line, on_end=on_end
        )

    def _interpreter(self, path: str) -> WarmInterpreter | None:
        """The warm interpreter; None while there is none."""
        with self._lock:
            if path in self._interpreters or self._closed:
                return self._interpreters.get(path)
            self._interpreters[path] = None
        threading.Thread(target=self._warm_up, args=(path,), name="warm-up", daemon=True).start()
        return None

    def _warm_up(self, path: str) -> None:
        try:
            warm = WarmInterpreter(path)
        except (OSError, EOFError, ValueError) as error:
            log.warning("jobs of %s are started without a warm interpreter: %s", path, error)
            return
        with self._lock:
            if not self._closed:
                self._interpreters[path] = warm
                return
        warm.close()

    def _forget(self, path: str, warm: WarmInterpreter) -> None:
        with self._lock:
            if self._interpreters.get(path) is warm:
                del self._interpreters[path]
        warm.close()

    def close(self) -> None:
        """Let the warm interpreters go; what they forked goes on."""
        with self._lock:
            self._closed = True
            warm = [each for each in self._interpreters.values() if each is not None]
            self._interpreters.clear()
        for each in warm:
            each.close()


class WarmInterpreter:
    """One warm interpreter. Making it waits until it is warm.

    :param path: file of the Python interpreter.
    :raises OSError, EOFError: when it does not come up.
    :raises ValueError: when it must not be forked; the message says why.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(READY_SECONDS)
        environment = base_environment(Path(path)) | WITHOUT_THREADS | {"PADDING": PADDING}
        with theirs:
            self._process = subprocess.Popen(
                [path, str(PROGRAM), str(SUPERVISOR), ",".join(MODULES), PADDING],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        try:
            answer = json.loads(self._read(LENGTH.unpack(self._read(LENGTH.size))[0]))
            if answer["problem"]:
                raise ValueError(answer["problem"])
            self._modules = frozenset(answer["modules"])
        except BaseException:
            self.close()
            raise

    def shadowed_in(self, *folders: Path) -> bool:
        """Whether a script would find a module of its own under the name of one that is imported already.

        :param folders: where it looks first.
        """
        return any(
            name.partition(".")[0] in self._modules
            for folder in folders
            if folder != TOOLKIT
            for name in os.listdir(folder)
        )

    def fork(self, request: Mapping[str, object], descriptors: list[int]) -> int:
        """Start a supervised script.

        :param request: what warm.py expects.
        :param descriptors: leash, output and status; ours are to be closed afterwards.
        :return: process id of the supervisor.
        """
        body = json.dumps(request).encode()
        with self._lock:
            socket.send_fds(self._control, [LENGTH.pack(len(body))], descriptors)
            self._control.sendall(body)
            return int(LENGTH.unpack(self._read(LENGTH.size))[0])

    def close(self) -> None:
        """Let the interpreter end."""
        self._control.close()
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            chunk = self._control.recv(length - len(data))
            if not chunk:
                raise EOFError("it has ended")
            data += chunk
        return data


class ForkedProcess(Supervised):
    """A script in a fork of a warm interpreter; the parameters are those of :class:`SupervisedProcess`."""

    def __init__(
        self,
        warm: WarmInterpreter,
        *,
        command: list[str],
        environment: Mapping[str, str],
        cwd: Path,
        hidden: Hidden | None,
        on_line: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        theirs, leash = os.pipe()
        output, their_output = os.pipe()
        status, their_status = os.pipe()
        request = {
            "command": command,
            "environment": dict(environment),
            "cwd": str(cwd),
            "fence": hidden and ([str(each) for each in hidden.folders], str(hidden.kept), hidden.opt_ml),
        }
        try:
            self._pid = warm.fork(request, [theirs, their_output, their_status])
        except BaseException:
            for descriptor in (leash, output, status):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (theirs, their_output, their_status):
                os.close(descriptor)
        self._status = os.fdopen(status, "rb")
        self._code: int | None = None
        self._ended = threading.Event()
        super().__init__(os.fdopen(leash, "wb", 0), os.fdopen(output, "rb"), on_line, on_end)
        threading.Thread(target=self._watch, name=f"status-{self._pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command, None while it runs."""
        return self._code

    def wait_for_end(self, timeout_seconds: float | None) -> int:
        """Wait for the supervisor's end."""
        if not self._ended.wait(timeout_seconds):
            raise subprocess.TimeoutExpired("script", timeout_seconds or 0.0)
        assert self._code is not None  # noqa: S101
        return self._code

    def _watch(self) -> None:
        with self._status as stream:
            code = stream.read(LENGTH.size)
        self._code = LENGTH.unpack(code)[0] if len(code) == LENGTH.size else LOST
        self._ended.set()


def suits(command: list[str], environment: Mapping[str, str], script: Path) -> bool:
    """Whether a command means the same in a fork of a warm interpreter.

    :param command: program and arguments.
    :param environment: its whole environment.
    :param script: where the first argument lies on this machine.
    """
    if not script.name.endswith(".py") or not script.is_file():
        return False
    base = base_environment(Path(command[0]))
    return read_at_start(environment) == read_at_start(base)


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that interpreters and libraries read when they start.

    :param environment: all variables of the command.
    """
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}
