"""Where the time of the tests goes: wall and processor seconds of each file, child processes included.

    make test ARGS="-p tests.support.times"
    .venv/bin/python -m tests.support.times

On a machine that does something else beside, only processor seconds say how a change has turned out.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.paths import ROOT

#: Each process of pytest-xdist appends a line per phase of a test; a new run begins a new file.
FILE = ROOT / ".local" / "cache" / "test-times.jsonl"
SHOWN = 40


class Times:
    """Notes what each phase of a test has taken; a server that a test starts counts for it as long as it lives."""

    def __init__(self, path: Path) -> None:
        self._me = psutil.Process()
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self._wall, self._cpu = time.monotonic(), self._processors()

    def _processors(self) -> float:
        """Return the processor seconds of this process and of all that it has started so far."""
        found = os.times()
        seconds = found.user + found.system + found.children_user + found.children_system
        for child in self._me.children(recursive=True):
            try:
                used = child.cpu_times()
            except psutil.Error:
                continue
            seconds += used.user + used.system
            seconds += getattr(used, "children_user", 0.0) + getattr(used, "children_system", 0.0)
        return seconds

    def _note(self, what: str, phase: str) -> None:
        wall, cpu = time.monotonic(), self._processors()
        line = {"id": what, "phase": phase, "wall": wall - self._wall, "cpu": cpu - self._cpu}
        self._file.write(json.dumps(line) + "\n")
        self._wall, self._cpu = wall, cpu

    def pytest_collection_finish(self) -> None:
        """Each process imports all test modules, for as long as some tests take: that is not the first one's."""
        self._note("collection", "setup")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        try:
            return (yield)
        finally:
            self._note(item.nodeid, "setup")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        try:
            return (yield)
        finally:
            self._note(item.nodeid, "call")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        try:
            return (yield)
        finally:
            self._note(item.nodeid, "teardown")


def pytest_configure(config: pytest.Config) -> None:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    if not hasattr(config, "workerinput"):  # the process that distributes the tests, or the only one
        FILE.write_text("", encoding="utf-8")
    config.pluginmanager.register(Times(FILE), "city-fleet-times")


def main() -> None:
    wall: Counter[str] = Counter()
    cpu: Counter[str] = Counter()
    lines: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        path = line["id"].partition("::")[0]
        wall[path] += line["wall"]
        cpu[path] += line["cpu"]
    print(f"{'wall s':>8} {'cpu s':>8}")
    print(f"{wall.total():8.1f} {cpu.total():8.1f}  all of {len(wall)} files")
    for path, seconds in wall.most_common(SHOWN):
        print(f"{seconds:8.1f} {cpu[path]:8.1f}  {path}")
    print()
    for line in sorted(lines, key=lambda line: -float(line["wall"]))[:SHOWN]:
        print(f"{line['wall']:8.1f} {line['cpu']:8.1f}  {line['phase']:8} {line['id']}")


if __name__ == "__main__":
    main()
