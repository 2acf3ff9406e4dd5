"""Airflow's own commands as a person types them, several in one process: starting one takes seconds of imports."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.paths import ROOT

# `airflow` itself is this main with these arguments.
_RUNS = """
import json, shlex, sys, traceback
from airflow.__main__ import main
for line in json.load(sys.stdin):
    sys.argv, code = ["airflow", *shlex.split(line)], 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    print(f"\\x1e{code}", flush=True)
"""


class Said(NamedTuple):
    """How a command has ended, and what it has printed, its log included."""

    code: int
    text: str


def airflow_commands(environment: Mapping[str, str], *lines: str, timeout_seconds: float = 600) -> list[Said]:
    """Run Airflow's commands one after the other; return what each has said.

    :param lines: without ``airflow``, quoted as for a shell.
    """
    done = subprocess.run(
        [sys.executable, "-c", _RUNS],
        input=json.dumps(lines),
        env=dict(environment),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    *parts, _ = done.stdout.split("\x1e")
    assert len(parts) == len(lines), done.stdout
    texts = [parts[0], *(part.partition("\n")[2] for part in parts[1:])]
    codes = [int(part.partition("\n")[0]) for part in (*parts[1:], done.stdout.split("\x1e")[-1])]
    return [Said(code, text) for code, text in zip(codes, texts, strict=True)]


def quoted(*words: str) -> str:
    """Return words as one line for :func:`airflow_commands`."""
    return shlex.join(words)
