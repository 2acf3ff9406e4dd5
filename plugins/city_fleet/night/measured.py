"""What is measured, and what of AWS is only read of: the figures behind a plan of a night, each with where it is from.

A plan is as good as these. Each can be replaced: ``dataclasses.replace(MEASURED, start_up_seconds=300)``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Figures of one installation; all times in seconds."""

    starts_per_second: float = 4.1
    """Starts of tasks that one scheduler manages: PostgreSQL, LocalExecutor, two processors (docs/scaling.md)."""
    start_latency: float = 3.0
    """From a task that may run to its first call of AWS, on an Airflow that is not busy."""
    city_task_seconds: float = 4.0
    """What a task that decides, registers and publishes takes: some 25 calls of AWS, one after the other."""
    cohort_task_limit: int = 16
    """Mapped tasks of one DAG at a time: ``[core] max_active_tasks_per_dag``."""
    creates_per_second: float = 1.0
    """Jobs of a kind that are created in a second: not published; what is refused comes back at this pace."""

    start_up_seconds: float = 120.0
    """From Create to Downloading, which AWS does not bill. Public logs of CPU training jobs: 109 to 180, median 119."""
    warm_start_seconds: float = 20.0
    """The same on an instance of a warm pool (AWS: under 20 seconds)."""
    download_seconds: float = 40.0
    """Image and data, billed. Public logs of the same jobs: 33 to 64, median 38."""
    interpreter_seconds: float = 4.0
    """Python and its imports, of each job, on an instance that has read none of it before."""
    preprocess_seconds: float = 2.5
    """A Texas city's rows, by the local SageMaker; so the next two."""
    train_seconds: float = 2.0
    evaluate_seconds: float = 3.0
    city_seconds: float = 2.0
    """A Texas city of a cohort's job, all three steps. A hundred of them take 62 s of a processor (make bench-cohort),
    and ten took 37 s on one that was shared with much else; an instance is between the two."""
    upload_seconds: float = 2.0
    """A job's outputs, billed."""
    log_kilobytes: float = 6.0
    """Of a job."""
    kept_megabytes: float = 0.5
    """Of a city's run: tables, model, reports."""


MEASURED = Measured()
