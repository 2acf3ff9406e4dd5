"""Which database the Airflow of a stack has, and which executor runs its tasks."""

from __future__ import annotations

from dataclasses import dataclass

from local.stack.errors import UsageError

SQLITE, POSTGRES = "sqlite", "postgres"
LOCAL, CELERY = "local", "celery"
MOST_WORKERS = 16


@dataclass(frozen=True)
class Engine:
    """A database and an executor.

    :param database: "sqlite", or "postgres": a PostgreSQL server of the stack's own
    :param executor: "local": the scheduler forks a process per task; "celery": workers take them from a Redis of the
        stack's own
    :param workers: how many Celery workers there are
    """

    database: str = SQLITE
    executor: str = LOCAL
    workers: int = 2

    def __str__(self) -> str:
        workers = f" WORKERS={self.workers}" if self.celery else ""
        return f"DB={self.database} EXECUTOR={self.executor}{workers}"

    @property
    def postgres(self) -> bool:
        """Tell whether there is a PostgreSQL."""
        return self.database == POSTGRES

    @property
    def celery(self) -> bool:
        """Tell whether there are Celery workers, and a Redis."""
        return self.executor == CELERY


def choose_engine(database: str, executor: str, workers: str) -> Engine:
    """Read what a person has asked for.

    :param database: of `make up DB=…`; empty for SQLite, or for PostgreSQL where the executor needs it
    :param executor: of `EXECUTOR=…`; empty for local
    :param workers: of `WORKERS=…`; empty for two
    :raises UsageError: one of them is not known, or they don't go together
    """
    executor = executor or LOCAL
    if executor not in (LOCAL, CELERY):
        raise UsageError(f"EXECUTOR={executor} is not known; allowed: {LOCAL}, {CELERY}.")
    database = database or (POSTGRES if executor == CELERY else SQLITE)
    if database not in (SQLITE, POSTGRES):
        raise UsageError(f"DB={database} is not known; allowed: {SQLITE}, {POSTGRES}.")
    if executor == CELERY and database == SQLITE:
        raise UsageError(
            f"EXECUTOR={CELERY} needs DB={POSTGRES}: a SQLite file has one writer at a time, and workers of other"
            " machines can't reach it."
        )
    if workers and executor != CELERY:
        raise UsageError(f"WORKERS={workers} goes with EXECUTOR={CELERY}; {LOCAL} has no workers.")
    if workers and not (workers.isdecimal() and 1 <= int(workers) <= MOST_WORKERS):
        raise UsageError(f"WORKERS={workers} is not a number of workers; allowed: 1 to {MOST_WORKERS}.")
    return Engine(database, executor, int(workers) if workers else Engine.workers)
