"""What the tests of the laptop stack share: a state directory whose processes are gone in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.stack import processes


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    folder.mkdir()
    yield folder
    for process in processes.marked(folder):
        process.kill()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Poll a condition up to a deadline."""

    def wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.05)

    return wait
