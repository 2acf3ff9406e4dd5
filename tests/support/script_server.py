"""Runs job scripts in forks of one process of the image's Python: a question per line in, an answer per line out.

A script finds what a new interpreter would give it, but that what takes long to import is imported; a job of a
second costs a test so much less. Strings' hash seed is the same in all jobs of a server.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import sys
import time
import traceback

SCRIPTS = sys.argv[1]
sys.path.insert(0, SCRIPTS)

import numpy  # noqa: E402, F401 - what takes long to import, once
import pandas  # noqa: E402, F401
import pyarrow.csv  # noqa: E402
import pyarrow.parquet  # noqa: E402, F401
import scipy.stats  # noqa: E402, F401
import sklearn.metrics  # noqa: E402, F401
import xgboost  # noqa: E402, F401


def run(question: dict[str, object]) -> int:
    """Run a script to its end in this process, which is its own, and return its exit code."""
    for stream, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(str(question[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, stream)
        os.close(file)
    os.environ.update(question["environment"])  # type: ignore[arg-type]
    path = os.path.join(SCRIPTS, str(question["script"]))
    sys.argv = [path, *question["arguments"]]  # type: ignore[misc]
    sys.path[0] = os.path.dirname(path)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def answer(question: dict[str, object]) -> int:
    """Return how a script ended, as a shell's parent sees it: the exit code, or the signal below zero."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run(question)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    deadline = time.monotonic() + float(str(question["timeout"]))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.005)


for line in sys.stdin:
    print(answer(json.loads(line)), flush=True)
