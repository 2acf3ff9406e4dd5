"""forked_worker.py: one process does one thing after another, and its end costs one of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.paths import IMAGE_PYTHON, SCRIPTS

PROGRAM = """
import json, os, signal, subprocess, sys, threading, time
from forked_worker import Worker, WorkerLost

held = []

def work(name, say):
    say("begun")
    if name == "talks":
        print("talks: with its own name")
        os.write(2, b"as native code does\\n\\xff no text\\n")
        print("without an end", end="")
    elif name == "is_killed":
        print("last words")
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "leaves_a_child":
        # It holds the worker's pipes open for longer than the worker lives.
        subprocess.Popen(["sleep", "5"], close_fds=False)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif name == "exits":
        sys.exit(3)
    elif name == "hangs":
        time.sleep(600)
    elif name == "dies_idle":
        threading.Timer(0.2, os._exit, (1,)).start()
    elif name == "grows":
        held.append(b"x" * (200 << 20))
    return {"pid": os.getpid(), "held": len(held)}

worker = Worker(work, most_idle_bytes=150 << 20)
found = {}
for name in sys.argv[1:]:
    try:
        answer = worker.do(name, 1.5 if name == "hangs" else 60)
    except WorkerLost as lost:
        answer = {"lost": lost.reason, "said": lost.said}
    found[name] = answer | {"started": worker.started}
    if name == "dies_idle":
        time.sleep(0.6)
worker.close()
print(json.dumps(found))
"""


def test_what_happens_to_one_thing_happens_to_no_other(tmp_path: Path) -> None:
    names = ["first", "talks", "is_killed", "second", "leaves_a_child", "exits", "hangs"]
    names += ["dies_idle", "after", "grows", "last"]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [IMAGE_PYTHON, str(program), *names],
        env={"PYTHONPATH": str(SCRIPTS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *lines, last = done.stdout.splitlines()
    found = json.loads(last)
    assert found["first"]["pid"] == found["talks"]["pid"]
    assert found["is_killed"]["said"] == "begun"
    assert "SIGKILL" in found["is_killed"]["lost"]
    assert "memory" in found["is_killed"]["lost"]
    assert "SIGSEGV" in found["leaves_a_child"]["lost"]
    assert "exit code 1" in found["exits"]["lost"]
    assert "more than 1.5 seconds" in found["hangs"]["lost"]
    # What has grown is replaced, and what it held is gone.
    assert (found["grows"]["held"], found["last"]["held"]) == (1, 0)
    # What ends between two things costs neither.
    assert "pid" in found["after"]
    assert [found[name]["started"] for name in names] == [1, 1, 1, 2, 2, 3, 4, 5, 6, 6, 7]
    talk = [line for line in lines if line.startswith("talks")]
    assert set(talk) == {
        "talks: with its own name",
        "talks: as native code does",
        "talks: \\xff no text",
        "talks: without an end",
    }
    assert "is_killed: last words" in lines
    assert any(line.startswith("exits: SystemExit: 3") for line in lines)
