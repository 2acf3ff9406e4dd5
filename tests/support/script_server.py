"""Runs job scripts in forks of one process of the image's Python: a question per line in, an answer per line out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
import traceback

SCRIPTS = sys.argv[1]
sys.path.insert(0, SCRIPTS)

import sklearn.metrics  # noqa: E402, F401 - what takes long to import, once
import xgboost  # noqa: E402, F401


def run(question: dict[str, object]) -> dict[str, object]:
    """Run a script to its end in this process, and return its exit code and what it wrote to stderr."""
    os.environ.update(question["environment"])  # type: ignore[arg-type]
    sys.argv = [str(question["script"]), *question["arguments"]]  # type: ignore[misc]
    said = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            runpy.run_path(f"{SCRIPTS}/{question['script']}", run_name="__main__")
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            code = 70
            traceback.print_exc(file=said)
    return {"code": code, "stderr": said.getvalue()}


for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(run(json.loads(line))).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        print(answer.read() or json.dumps({"code": -1, "stderr": "the process died"}), flush=True)
    os.waitpid(child, 0)
