"""What City Fleet asks of SageMaker's control plane: ``make bench-api`` prints JSON, with stock operators beside it.

city_run   calls of SageMaker, S3 and the logs in one run of one city, by step and operation; see :mod:`city_run`.
           Polls, which depend on how long jobs take, are told apart.
polling    calls a minute while so many tasks wait for jobs of five minutes, which end and are followed by others all
           the time; see :mod:`waiting_tasks`. In real time: with the period of 30 seconds that both have by default.
           A job changes twice here, when it is created and when it ends; a training job on AWS also changes in
           between, so a list may name all that wait: the most is one page more per 100 waiting tasks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="What City Fleet asks of SageMaker's control plane.")
    parser.add_argument("--tasks", default="10,100,1000", help="tasks that wait (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=2.5, help="how long, each (default %(default)g)")
    parser.add_argument("--poll-seconds", type=int, default=30, help="period of both (default %(default)s)")
    parser.add_argument("--job-seconds", type=float, default=300, help="a job takes (default %(default)g)")
    chosen = parser.parse_args()
    # Airflow logs to stdout; that is for the JSON.
    with tempfile.TemporaryDirectory() as home, contextlib.redirect_stdout(sys.stderr):
        _prepare_airflow(home)
        # They import Airflow, which reads its home then.
        import city_run  # noqa: PLC0415
        from waiting_tasks import Settings, measure  # noqa: PLC0415

        found: dict[str, Any] = {
            "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]},
            "settings": vars(chosen),
            "city_run": city_run.measure(),
            "polling": {},
        }
        for tasks in map(int, chosen.tasks.split(",")):
            settings = Settings(tasks, chosen.minutes, chosen.poll_seconds, chosen.job_seconds)
            found["polling"][f"{tasks} waiting tasks"] = measure(settings)
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


def _prepare_airflow(home: str) -> None:
    """An Airflow home of one's own, and the library on the path."""
    os.environ |= {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "plugins")]
    logging.disable(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
