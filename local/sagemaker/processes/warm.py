"""A warm interpreter: imports what jobs import, then forks a child for each of them. Standard library only.

A program of its own, run by the interpreter that stands for an image: ``python warm.py SUPERVISOR MODULES PAD``.
Standard input is a socket from the server: each request comes with the three descriptors of a supervised process
(leash, output, status) and is answered with a process id. The forked child supervises (supervisor.py), and its own
child becomes the script: a script must not be able to tell that its interpreter is not a new one, but for the
modules that are there already and for its strings' hash seed, which jobs of one server share.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import signal
import socket
import struct
import sys
import threading
import types
from pathlib import Path
from typing import Any

NAME = "sagemaker_warm"  # under which the training toolkit's stand-in finds this module
TOOLKIT = "sagemaker_container"
LENGTH = struct.Struct("!I")
DESCRIPTORS = 3
COULD_NOT_START = 127


class Become(BaseException):
    """Raised in a forked child, caught where hardly anything is on the stack: run this script now."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        super().__init__()
        self.command = command
        self.environment = environment


class Started:
    """A script that runs in a forked child; stands in for ``subprocess.Popen``.

    :param pid: its process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self) -> int:
        """Wait for its end.

        :return: its exit code, -n when signal n ended it.
        """
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(command: list[str], folder: Path, environment: dict[str, str]) -> Started:
    """Run a script in a child of this process.

    :param command: interpreter, script, arguments.
    :param folder: working directory of the script.
    :param environment: the whole environment.
    """
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        raise Become(command, environment)
    return Started(pid)


def serve(control: socket.socket, supervisor: types.ModuleType) -> None:
    """Fork a child for each request, until the server is gone.

    :raises Become: in the children of the children.
    """
    while True:
        head, descriptors, _, _ = socket.recv_fds(control, LENGTH.size, DESCRIPTORS)
        if len(head) < LENGTH.size:
            return
        body = b""
        while len(body) < LENGTH.unpack(head)[0]:
            body += control.recv(LENGTH.unpack(head)[0] - len(body))
        pid = os.fork()
        if pid == 0:
            control.close()
            supervise(json.loads(body), descriptors, supervisor)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(LENGTH.pack(pid))


def supervise(request: dict[str, Any], descriptors: list[int], supervisor: types.ModuleType) -> None:
    """In the forked child: be the supervisor of a script. Does not return.

    :param request: ``command``, ``environment``, ``cwd``, ``fence``.
    :param descriptors: leash, output, status.
    :raises Become: in the child that is to run the script.
    """
    leash, output, status = descriptors
    code = COULD_NOT_START
    try:
        os.setsid()
        os.dup2(leash, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(leash)
        os.close(output)
        os.chdir(request["cwd"])

        def work() -> None:
            os.close(status)
            raise Become(request["command"], request["environment"])

        code = supervisor.supervise(work, request["fence"])
    except Become:
        raise
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"Could not start {request['command'][0]}: {error!r}\n".encode())
    with contextlib.suppress(OSError):
        os.write(status, LENGTH.pack(code))
    os._exit(0)


def prepare(command: list[str], environment: dict[str, str], path: list[str]) -> types.ModuleType:
    """Make this process look like one that was started with a command.

    :param command: interpreter, script, arguments.
    :param environment: the whole environment.
    :param path: ``sys.path`` without the script's folder.
    :return: the new ``__main__``.
    """
    os.environ.clear()
    os.environ.update(environment)
    retitle(command, environment)
    script = os.path.abspath(command[1])
    sys.argv[:] = command[1:]
    sys.orig_argv[:] = command
    sys.path[:] = [os.path.dirname(os.path.realpath(script)), *path]
    is_toolkit = script == os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "container", "__main__.py"
    )
    for name in list(sys.modules):
        if name.partition(".")[0] == TOOLKIT or (name == NAME and not is_toolkit):
            del sys.modules[name]
    for name, reset in (("tempfile", forget_folder), ("numpy.random", reseed)):
        if name in sys.modules:
            reset(sys.modules[name])
    main = types.ModuleType("__main__")
    members = {
        "__builtins__": builtins,
        "__file__": script,
        "__cached__": None,
        "__loader__": importlib.machinery.SourceFileLoader("__main__", script),
    }
    if sys.version_info < (3, 14):
        members["__annotations__"] = {}
    vars(main).update(members)
    sys.modules["__main__"] = main
    return main


def forget_folder(tempfile: Any) -> None:
    """Forget the folder for temporary files: the script's TMPDIR names another one."""
    tempfile.tempdir = None


def reseed(random: Any) -> None:
    """Seed NumPy's global generator anew: it got its seed at the import, and scripts would share that."""
    random.seed()


def retitle(command: list[str], environment: dict[str, str]) -> None:
    """Show the command in the list of processes. The room for it is this program's last argument (Linux).

    :param command: what is shown as the command line.
    :param environment: what is shown as the environment, as far as there is room.
    """
    try:
        with open("/proc/self/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return
    shown = (command, [f"{name}={value}" for name, value in environment.items()])
    for words, start, end in zip(shown, fields[45:49:2], fields[46:50:2], strict=True):
        room = int(end) - int(start)
        text = b"".join(os.fsencode(word) + b"\0" for word in words)[: room - 1]
        if int(start) and room > 0:
            ctypes.memmove(int(start), text.ljust(room, b"\0"), room)


def run(main: types.ModuleType, warm: frozenset[str]) -> None:
    """Run a script as ``__main__``, to the end of the process.

    :param main: the module, which knows its file.
    :param warm: names of the modules that were there before.
    :raises Become: in a child forked by the toolkit.
    """
    code = 0
    try:
        source = Path(vars(main)["__file__"]).read_bytes()
        exec(compile(source, vars(main)["__file__"], "exec", dont_inherit=True), vars(main))  # noqa: S102
    except Become:
        raise
    except SystemExit as exit_:
        if isinstance(exit_.code, int):
            code = exit_.code & 0xFF
        elif exit_.code is not None:
            print(exit_.code, file=sys.stderr)
            code = 1
    except BaseException as error:
        # Without the frame above, which is none of the script's.
        shown = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        sys.excepthook(type(error), shown, shown.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    leave(code, warm)


def leave(code: int, warm: frozenset[str]) -> None:
    """End the process as an interpreter does, without tearing down the modules imported before the fork: that takes
    longer than most jobs' own work.

    :param code: exit code, -n to die of signal n.
    :param warm: names of the modules that are not the script's.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    # Files that are still open are flushed when the last name for them is gone.
    for name in [*sys.modules][::-1]:
        if (name == "__main__" or name not in warm) and isinstance(sys.modules[name], types.ModuleType):
            vars(sys.modules[name]).clear()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def warm_up(modules: list[str]) -> str:
    """Import what jobs import.

    :param modules: their names; one that this image does not have is left out.
    :return: why this process must not fork; empty when it may.
    """
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(OSError):
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            return f"the imports have started {threads - 1} threads"
    gc.collect()
    gc.freeze()
    return ""


def load(path: str) -> types.ModuleType:
    """Load a module by its file.

    :param path: the module's Python file.
    """
    spec = importlib.util.spec_from_file_location("supervisor", path)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    this = sys.modules["__main__"]  # kept: its globals are those of the functions above
    sys.modules[NAME] = this
    script_path = sys.path[1:]
    supervisor_module = load(sys.argv[1])
    control_socket = socket.socket(fileno=os.dup(0))
    problem = warm_up(sys.argv[2].split(",") if sys.argv[2] else [])
    names = sorted({name.partition(".")[0] for name in sys.modules})
    answer = json.dumps({"problem": problem, "modules": names}).encode()
    control_socket.sendall(LENGTH.pack(len(answer)) + answer)
    warm_modules = frozenset(sys.modules)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the server hears of the end of a child over its pipe
    job = None
    try:
        if not problem:
            serve(control_socket, supervisor_module)
    except Become as become:
        job = become
    while job is not None:
        main_module = prepare(job.command, job.environment, script_path)
        job = None
        try:
            run(main_module, warm_modules)
        except Become as become:
            job = become
