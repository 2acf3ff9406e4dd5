"""Commands under their supervisor: what they are told reaches them, however early."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from local.sagemaker.processes.processes import SupervisedProcess


@pytest.mark.parametrize(("order", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_a_command_may_be_ended_as_soon_as_it_is_started(tmp_path: Path, order: str, number: int) -> None:
    for _ in range(5):
        process = SupervisedProcess(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            environment=dict(os.environ),
            cwd=tmp_path,
            hidden=None,
            on_line=lambda line: None,
        )
        getattr(process, order)()
        assert process.wait(30) == 128 + number
