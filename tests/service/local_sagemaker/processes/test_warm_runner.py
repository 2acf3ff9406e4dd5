"""A script in a fork of a warm interpreter against the same script in a new one: it must not see a difference."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.sagemaker.processes.processes import Hidden
from local.sagemaker.processes.sandbox import Sandbox
from local.sagemaker.processes.warm_runner import WarmRunner, suits
from tests.support.paths import IMAGE_PYTHON

LOOK = '''"""A script that looks at everything it can see."""
import gc, inspect, json, os, resource, signal, sys, tempfile, threading
number: int = 1
seen = {
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "flags": repr(sys.flags),
    "executable": sys.executable, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "cwd": os.getcwd(), "environment": dict(os.environ), "umask": os.umask(0o22), "niceness": os.nice(0),
    "main": {name: str(type(value)) for name, value in sorted(globals().items())},
    "doc": __doc__, "file": __file__, "name": __name__, "annotations": repr(__annotations__),
    "spec": repr(__spec__), "package": repr(__package__), "cached": repr(__cached__),
    "is main": sys.modules["__main__"].__dict__ is globals(),
    "signals": {int(each): repr(signal.getsignal(each)) for each in signal.valid_signals() if each not in (9, 19)},
    "blocked": repr(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "wakeup": signal.set_wakeup_fd(-1),
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "streams": [repr(each) for each in (sys.stdin, sys.stdout, sys.stderr)],
    "buffering": [sys.stdout.write_through, sys.stdout.line_buffering, sys.stderr.line_buffering],
    "stdin": sys.stdin.read(), "descriptors": sorted(os.listdir("/proc/self/fd")),
    "threads": [thread.name for thread in threading.enumerate()],
    "limits": [resource.getrlimit(each) for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)],
    "recursion": sys.getrecursionlimit(), "gc": [gc.isenabled(), gc.get_threshold()],
    "temporary": tempfile.gettempdir(), "hooks": [repr(sys.excepthook), repr(sys.displayhook)],
    "command": open("/proc/self/cmdline").read().rstrip("\\0").split("\\0"),
    "shown": sorted(open("/proc/self/environ").read().rstrip("\\0").split("\\0")),
}
print(json.dumps(seen))
'''
SCRIPTS = {
    "ends": "print('ended')",
    "raises": "def inner():\n    raise ValueError('the median is -1')\ninner()",
    "raises from": "try:\n    1 / 0\nexcept Exception as error:\n    raise RuntimeError('no') from error",
    "is no Python": "def f(:",
    "is not UTF-8": "# \\xff\nprint('never')",
    "exits with a number": "import sys\nsys.exit(3)",
    "exits with -1": "import sys\nsys.exit(-1)",
    "exits with words": "import sys\nsys.exit('austin has no rows')",
    "exits at once": "import os\nos._exit(7)",
    "is killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "is terminated": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "is interrupted": "raise KeyboardInterrupt",
    "has a hook": "import sys\nsys.excepthook = lambda *_: print('hooked')\n1 / 0",
    "leaves a thread": (
        "import threading, time\ndef work():\n    time.sleep(0.1)\n    print('late')\n"
        "threading.Thread(target=work).start()\nprint('early')"
    ),
    "leaves a daemon": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "says goodbye": "import atexit\natexit.register(print, 'bye')\nprint('hi')",
    "goes with words": "class Last:\n    def __del__(self):\n        print('gone')\nlast = Last()",
    "leaves a pool": (
        "import concurrent.futures as f\npool = f.ThreadPoolExecutor(1)\npool.submit(print, 'in the pool')"
    ),
    "logs": "import logging\nlogging.warning('careful')\nimport warnings\nwarnings.warn('old', DeprecationWarning)",
    "writes bytes": "import sys\nsys.stdout.buffer.write(b'\\xff\\n')\nprint('\\udc80')",
    "spawns": (
        "import multiprocessing\ndef double(x):\n    return 2 * x\nif __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n        print(pool.map(double, [1, 2]))"
    ),
    "starts a program": "import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', 'print(5)']))",
    "pickles": "import pickle\nclass Row: pass\nprint(pickle.loads(pickle.dumps(Row())).__class__)",
    "imports its neighbour": "import neighbour\nprint(neighbour.WORDS, neighbour.__file__)",
    "reads tables": (
        "import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq, pandas as pd\n"
        "pq.write_table(pa.table({'sales': list(range(100_000))}), '/tmp/table.parquet')\n"
        "read = pq.read_table('/tmp/table.parquet', use_threads=True)\n"
        "print(pc.sum(read['sales']), pd.read_parquet('/tmp/table.parquet')['sales'].sum())"
    ),
    "computes": "import numpy\nprint(numpy.arange(4).sum(), numpy.random.default_rng(1).integers(100))",
}


class Runs:
    """Runs scripts both ways."""

    def __init__(self, folder: Path, wait_until: Callable[..., Any]) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.plain = WarmRunner([])
        self.warm = WarmRunner([IMAGE_PYTHON])
        self.run(self.warm, "pass")
        wait_until(lambda: self.warm.warm, 120, "the interpreter is warm")

    def start(
        self, runner: WarmRunner, script: str, neighbour: str = "neighbour.py", **more: str
    ) -> tuple[Any, list[str], threading.Event, Sandbox]:
        """Start a script; a module lies beside it."""
        sandbox = Sandbox(self.data / "jobs", "job")
        code = sandbox.opt_ml / "code"
        code.mkdir()
        (code / "script.py").write_text(script, encoding="latin-1")
        (code / neighbour).write_text("WORDS = 'next door'\n")
        lines: list[str] = []
        ended = threading.Event()
        process = runner.start(
            [str(IMAGE_PYTHON), str(code / "script.py"), "--city", "austin", "two words"],
            environment=sandbox.environment(IMAGE_PYTHON, {"COLOUR": "blue"}, more),
            cwd=code,
            hidden=Hidden((self.data,), sandbox.root),
            on_line=lines.append,
            on_end=ended.set,
        )
        return process, lines, ended, sandbox

    def run(self, runner: WarmRunner, script: str, **more: str) -> tuple[int, list[str]]:
        """Run a script; its exit code and its lines, without the sandbox's path."""
        process, lines, ended, sandbox = self.start(runner, script, **more)
        assert ended.wait(60)
        code = process.wait()
        sandbox.remove()
        return code, [line.replace(str(sandbox.root), "") for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]) -> Iterator[Runs]:
    if not IMAGE_PYTHON.exists():
        pytest.skip("the image's environment is not made")
    found = Runs(tmp_path_factory.mktemp("runs"), wait_until)
    yield found
    found.warm.close()


def test_a_script_sees_what_it_sees_in_a_new_interpreter(runs: Runs) -> None:
    (plain_code, (plain,)), (warm_code, (warm,)) = runs.run(runs.plain, LOOK), runs.run(runs.warm, LOOK)
    assert plain_code == warm_code == 0
    seen = json.loads(plain)
    assert json.loads(warm) == seen
    assert seen["argv"][1:] == ["--city", "austin", "two words"]
    assert seen["environment"]["COLOUR"] == "blue"


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_script_ends_as_it_ends_in_a_new_interpreter(runs: Runs, script: str) -> None:
    assert runs.run(runs.warm, script) == runs.run(runs.plain, script)
    assert runs.warm.warm


def test_files_that_are_left_open_are_written(runs: Runs, tmp_path: Path) -> None:
    target = tmp_path / "left.txt"
    assert runs.run(runs.warm, f"file = open({str(target)!r}, 'w')\nfile.write('all of it')") == (0, [])
    assert target.read_text() == "all of it"


def test_each_script_has_random_numbers_of_its_own(runs: Runs) -> None:
    script = "import random, numpy, uuid\nprint(random.random(), numpy.random.rand(), uuid.uuid4())"
    values = [runs.run(runs.warm, script)[1][0].split() for _ in range(3)]
    for column in zip(*values, strict=True):
        assert len(set(column)) == 3


def test_a_script_can_be_stopped_and_leaves_nothing(runs: Runs) -> None:
    script = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nprint(child.pid, flush=True)\n"
        "while True:\n    time.sleep(60)\n"
    )
    process, lines, ended, _ = runs.start(runs.warm, script)
    _wait(lambda: bool(lines))
    assert process.exit_code is None
    assert process.stop(10) == 5
    assert ended.wait(10)
    _wait(lambda: not Path(f"/proc/{lines[0]}").exists())

    process, lines, _, _ = runs.start(runs.warm, script.replace("sys.exit(5)", "None"))
    _wait(lambda: bool(lines))
    assert process.stop(0.2) == 137


def test_what_is_read_at_the_start_makes_a_new_interpreter(runs: Runs) -> None:
    script = "import sys\nprint('numpy' in sys.modules)"
    assert runs.run(runs.warm, script) == (0, ["True"])
    for name, value in (("OMP_NUM_THREADS", "2"), ("PYTHONPATH", "/x"), ("TZ", "UTC"), ("LC_ALL", "C")):
        assert runs.run(runs.warm, script, **{name: value}) == (0, ["False"])
    assert not suits([str(IMAGE_PYTHON), "-c", "pass"], {}, Path("-c"))
    assert not suits([str(IMAGE_PYTHON), "/nobody/has/this.py"], {}, Path("/nobody/has/this.py"))


def test_a_module_of_the_script_s_own_comes_first(runs: Runs) -> None:
    script = "import calendar\nprint(calendar.__file__)"
    for runner in (runs.warm, runs.plain):
        assert runs.run(runner, script, neighbour="calendar.py") == (0, ["/opt/ml/code/calendar.py"])


def test_a_warm_interpreter_that_dies_is_replaced(runs: Runs, wait_until: Callable[..., Any]) -> None:
    warm = runs.warm._interpreters[str(IMAGE_PYTHON)]
    assert warm is not None
    process, lines, ended, _ = runs.start(
        runs.warm, "import time\nprint('up', flush=True)\ntime.sleep(1)\nprint('done')"
    )
    _wait(lambda: bool(lines))
    os.kill(warm._process.pid, signal.SIGKILL)
    warm._process.wait()
    assert runs.run(runs.warm, "import sys\nprint('numpy' in sys.modules)") == (0, ["False"])
    assert ended.wait(30)
    assert (process.wait(), lines) == (0, ["up", "done"]), "what it had forked goes on"
    runs.run(runs.warm, "pass")
    wait_until(lambda: runs.warm.warm, 120, "the interpreter is warm again")
    assert runs.run(runs.warm, "import sys\nprint('numpy' in sys.modules)") == (0, ["True"])


def _wait(condition: Callable[[], bool]) -> None:
    """Poll: a thread of the runner fills what is looked at."""
    waiting = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waiting.wait(0.02)
    raise AssertionError("not within 20 s")
