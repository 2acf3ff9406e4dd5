"""A blow for the whole Airflow: its database is gone, and a new one knows nothing."""

from __future__ import annotations

import contextlib
import time

import psutil

from local.stack import database
from local.stack.errors import StackError
from local.stack.stack import Stack

HEALTHY_WITHIN_SECONDS = 240.0
POLL_SECONDS = 0.3


def lose_database(stack: Stack) -> None:
    """Kill all of Airflow, delete its database, and start Airflow with a new one; AWS goes on meanwhile.

    DAGs are paused as they are for the first time, and no run is there.
    """
    killed = []
    for record in stack.records:
        process = record.find() if record.name in stack.components else None
        if process is not None:
            # Its workers too: a worker of before would go on writing to a database that it takes for its own.
            killed += [process, *process.children(recursive=True)]
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=30)
    for path in stack.layout.database.parent.glob(f"{stack.layout.database.name}*"):
        path.unlink()
    database.lay_down(stack.layout, stack.log("migrate-again"), stack.say)
    for name in stack.components:
        stack.restart(name)
    _wait_until_healthy(stack)
    stack.create_pools()


def _wait_until_healthy(stack: Stack) -> None:
    end = time.monotonic() + HEALTHY_WITHIN_SECONDS
    missing = stack.unhealthy()
    while missing:
        stack.require_alive()
        if time.monotonic() > end:
            raise StackError(
                f"Not healthy {HEALTHY_WITHIN_SECONDS:.0f} seconds after the loss: {', '.join(missing)}"
            )
        time.sleep(POLL_SECONDS)
        missing = stack.unhealthy()
