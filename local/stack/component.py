"""`python -m local.stack.component scheduler …`: Airflow's command, with slow imports done before it forks.

LocalExecutor and Celery's workers fork a process per task, and the dag-processor one per parsed file. What is
imported before the fork is shared by all of them; the Amazon provider alone costs each task start about a second
otherwise (measured: 18 empty tasks took 6 instead of 21 seconds of processor time). Only third-party modules are
listed: the library itself is imported by each task anew, so that an edit counts at the next task start.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

# What building the DAGs needs.
PARSING = (
    "airflow.providers.amazon.aws.operators.sagemaker",
    "airflow.providers.amazon.aws.triggers.sagemaker",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.hitl",
    "airflow.timetables.trigger",
    "pydantic",
    "yaml",
)
# What running a task needs on top of that.
RUNNING = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.amazon.aws.hooks.s3",
    "boto3",
)


def main() -> None:
    """Import what the forked processes will need, then become `airflow`."""
    for name in PARSING + (RUNNING if sys.argv[1:2] in (["scheduler"], ["celery"]) else ()):
        # A module that is not there is the task's to complain about.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    airflow = importlib.import_module("airflow.__main__")
    sys.argv[0] = "airflow"
    airflow.main()


if __name__ == "__main__":
    main()
