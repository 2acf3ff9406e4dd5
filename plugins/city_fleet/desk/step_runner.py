"""Runs job scripts one after the other, each in a fork of an interpreter that has imported what they import.

A program of its own, of the standard library alone: ``python step_runner.py CODE`` in the Python of the image. It reads
a step as a line of JSON, runs it, and writes its end as a line of JSON. The imports are most of a small city's job.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
from typing import Any, NoReturn

_BEFOREHAND = ("numpy", "pandas", "lean_xgboost")


def main() -> None:
    """Do what comes on standard input until it ends."""
    code = sys.argv[1]
    sys.path.insert(0, code)
    sys.dont_write_bytecode = True
    for name in _BEFOREHAND:
        with contextlib.suppress(
            Exception
        ):  # scripts of one's own may need none of it, and say what they lack
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps({"exit_code": _run(code, json.loads(line))}), file=answers, flush=True)


def _run(code: str, step: dict[str, Any]) -> int:
    """Run a step in a process of its own.

    :param step: ``script``, ``arguments``, ``environment``, and ``log``, the file that gets what it prints.
    :return: its exit code; minus the number of the signal that has ended it.
    """
    child = os.fork()
    if child == 0:
        _child(code, step)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _child(code: str, step: dict[str, Any]) -> NoReturn:
    exit_code = 1
    try:
        log = os.open(step["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.environ.update(step["environment"])
        path = os.path.join(code, step["script"])
        sys.argv = [path, *step["arguments"]]
        runpy.run_path(path, run_name="__main__")
        exit_code = 0
    except SystemExit as end:
        exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback  # noqa: PLC0415 - when something is wrong

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_code)


if __name__ == "__main__":
    main()
