"""No process of a stack outlives it, and none of anybody else's is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local import ROOT
from local.stack import processes
from local.stack.environment import MARKER
from tests.support.waiting import wait_until


def _spawn(state_dir: Path, code: str) -> processes.Recorded:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, MARKER: str(state_dir)}
    return processes.spawn("sleeper", command, environment, state_dir / "sleeper.log", state_dir)


def test_end_takes_a_grandchild_that_left_its_group_and_lost_its_parent(state_dir: Path) -> None:
    record = _spawn(
        state_dir,
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        os.wait()
        time.sleep(600)
        """,
    )
    wait_until(lambda: len(processes.marked(state_dir)) == 2, 20, "both processes are there")
    assert processes.end([record], state_dir) == []
    assert processes.marked(state_dir) == []
    assert record.find() is None


def test_end_kills_what_ignores_sigterm_and_names_it(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERM_GRACE_SECONDS", 0.5)
    record = _spawn(
        state_dir,
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(600)
        """,
    )
    wait_until(lambda: "deaf" in processes.tail(record.log), 20, "the process says that it is deaf")
    assert processes.end([record], state_dir) == ["sleeper"]
    assert record.find() is None


def test_a_number_that_belongs_to_somebody_else_by_now_is_left_alone(state_dir: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        started_at = psutil.Process(other.pid).create_time()
        record = processes.Recorded("scheduler", other.pid, started_at - 3600, "")
        assert record.find() is None
        assert replace(record, started_at=started_at).find() is not None
        assert processes.end([record], state_dir) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_keeper_ends_the_stack_of_a_parent_that_was_killed(state_dir: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                f"""
                import os, sys, time
                from pathlib import Path
                from local.stack import processes
                state = Path({str(state_dir)!r})
                processes.start_keeper(state)
                command = [sys.executable, "-c", "import time; time.sleep(600)"]
                environment = {{**os.environ, {MARKER!r}: str(state)}}
                processes.spawn("sleeper", command, environment, state / "log", state)
                time.sleep(600)
                """
            ),
        ],
        cwd=ROOT,
    )
    wait_until(lambda: len(processes.marked(state_dir)) == 1, 20, "the parent is gone")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: processes.marked(state_dir) == [], 20, "the keeper has ended the rest")


def test_exit_code_and_tail_tell_how_a_process_ended(state_dir: Path) -> None:
    record = _spawn(state_dir, "print('first'); print('last words'); raise SystemExit(3)")
    wait_until(lambda: processes.exit_code(record) == 3, 20, "the process has ended")
    assert processes.tail(record.log, lines=1) == "last words"
    assert processes.tail(state_dir / "none.log") == "(the log is empty)"


def test_memory_counts_the_stack_alone(state_dir: Path) -> None:
    assert processes.memory_mib(state_dir) == 0
    record = _spawn(
        state_dir, "data = bytearray(50_000_000); print('there', flush=True); import time; time.sleep(600)"
    )
    wait_until(lambda: "there" in processes.tail(record.log), 20, "the process is there")
    assert 45 < processes.memory_mib(state_dir) < 120
    processes.end([record], state_dir)
