"""The laptop's executor knows a resumed task although the end of its first piece is reported late."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace

from airflow.utils.state import TaskInstanceState

from local.stack.executor import ResumeSafeLocalExecutor


@dataclass
class Piece:
    """Work that a worker takes, cannot run and reports as failed."""

    key: str
    display_name: str = "piece"
    running_state: None = None
    success_state: TaskInstanceState = TaskInstanceState.SUCCESS
    failure_state: TaskInstanceState = TaskInstanceState.FAILED


def hand_out(executor: ResumeSafeLocalExecutor, piece: Piece) -> None:
    executor.queued_tasks[piece.key] = piece  # type: ignore[index,assignment]
    executor._process_workloads([piece])


def wait_for_an_end(executor: ResumeSafeLocalExecutor) -> None:
    deadline = time.monotonic() + 60
    while executor.result_queue.empty():
        assert time.monotonic() < deadline, "no worker reported an end"
        time.sleep(0.05)


def test_a_resumed_task_is_known_until_its_own_end() -> None:
    executor = ResumeSafeLocalExecutor(parallelism=1)
    executor.start()
    try:
        task = SimpleNamespace(id="some id", key="texas_housing.austin/train")
        assert not executor.has_task(task)
        hand_out(executor, Piece(task.key))
        assert executor.has_task(task)
        wait_for_an_end(executor)
        # The trigger fired and the scheduler queued the second piece before it read the first one's end.
        executor._handed_out[task.key] += 1
        executor._read_results()
        assert executor.has_task(task)
        executor.change_state(task.key, TaskInstanceState.SUCCESS)
        assert not executor.has_task(task)
    finally:
        executor.end()
