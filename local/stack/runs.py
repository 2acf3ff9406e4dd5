"""Start runs through Airflow's REST API and wait for them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from local.stack.errors import StackError
from local.stack.evidence import evidence
from local.stack.stack import Stack

POLL_SECONDS = 1.0
DAG_TIMEOUT_SECONDS = 180.0
RUN_TIMEOUT_SECONDS = 300.0


def wait_for_dags(stack: Stack, wanted: set[str]) -> None:
    """Wait until the dag-processor has delivered some DAGs.

    :raises StackError: it has not in time; says what went wrong with the DAG files
    """
    deadline = time.monotonic() + DAG_TIMEOUT_SECONDS
    while missing := wanted - stack.airflow.dag_ids():
        errors = stack.airflow.import_errors()
        # While a fleet file holds a mistake this file is an error, and the cities that it does not touch have DAGs.
        fatal = [error for error in errors if not error["filename"].endswith("fleet_mistakes.py")]
        if fatal or time.monotonic() > deadline:
            said = "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors)
            raise StackError(
                f"Airflow does not show {len(missing)} DAGs ({', '.join(sorted(missing)[:5])})."
                f" {said or 'The log: ' + str(stack.log('dag-processor'))}"
            )
        stack.require_alive()
        time.sleep(POLL_SECONDS)


def start_run(stack: Stack, dag_id: str, run_id: str, params: Mapping[str, Any]) -> None:
    """Start a run, and unpause its DAG."""
    # The run first: unpausing may start a scheduled run, and a DAG has one run at a time.
    stack.airflow.trigger(dag_id, params, dag_run_id=run_id)
    stack.airflow.set_paused(dag_id, False)


def wait_for_run(
    stack: Stack, dag_id: str, run_id: str, timeout_seconds: float = RUN_TIMEOUT_SECONDS
) -> None:
    """Wait until a run has ended well.

    :raises StackError: it failed, or did not end in time; the message holds what explains it
    """
    deadline = time.monotonic() + timeout_seconds
    while (state := stack.airflow.run(dag_id, run_id)["state"]) != "success":
        if state == "failed" or time.monotonic() > deadline:
            said = "failed" if state == "failed" else f"did not end within {timeout_seconds:.0f} s"
            raise StackError(f"{dag_id} {said}:\n" + "\n".join(evidence(stack, dag_id, run_id)))
        stack.require_alive()
        time.sleep(POLL_SECONDS)
