"""A blow for the whole Airflow: its database is gone, and a new one knows nothing."""

from __future__ import annotations

import contextlib
import time

import psutil

from local.stack import database, processes
from local.stack.errors import StackError
from local.stack.stack import Stack

HEALTHY_WITHIN_SECONDS = 240.0
ENDED_WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.3


def lose_database(stack: Stack) -> None:
    """Kill all of Airflow, delete its database, and start Airflow with a new one; AWS goes on meanwhile.

    DAGs are paused as they are for the first time, and no run is there.
    """
    aws = next(record.find() for record in stack.records if record.name == "sagemaker")
    aws_family = processes.family([aws] if aws else [])
    # Workers too, those of a scheduler that has been killed before as well: a worker of before would go on writing to a
    # database that it takes for its own.
    killed = [each for each in processes.marked(stack.layout.state_dir) if each.pid not in aws_family]
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    end = time.monotonic() + ENDED_WITHIN_SECONDS
    while left := [each.pid for each in killed if _alive(each)]:
        if time.monotonic() > end:
            raise StackError(f"these do not end: {left}")
        time.sleep(POLL_SECONDS)
    for path in stack.layout.database.parent.glob(f"{stack.layout.database.name}*"):
        path.unlink()
    database.lay_down(stack.layout, stack.log("migrate-again"), stack.say)
    for name in stack.components:
        stack.restart(name)
    _wait_until_healthy(stack)
    stack.create_pools()


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait_until_healthy(stack: Stack) -> None:
    end = time.monotonic() + HEALTHY_WITHIN_SECONDS
    missing = stack.unhealthy()
    while missing:
        for record in stack.dead():  # as a supervisor does
            stack.restart(record.name)
        if time.monotonic() > end:
            raise StackError(
                f"Not healthy {HEALTHY_WITHIN_SECONDS:.0f} seconds after the loss: {', '.join(missing)}"
            )
        time.sleep(POLL_SECONDS)
        missing = stack.unhealthy()
