"""A state directory of a laptop stack whose processes are gone in the end: a fixture, for folders that import it."""

from __future__ import annotations

from collections.abc import Iterator
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
