"""The processes of a stack: their names, in the order in which they are started, and how each is started."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from local import ROOT
from local.stack import environment, postgres, redis_server
from local.stack.database import AIRFLOW
from local.stack.engine_settings import TASKS_PER_WORKER
from local.stack.layout import HOST, Layout

# Airflow's processes, in the order they are started: the two API servers take longest and the others wait for
# them. They are two, because of SQLite: the core API writes its audit log on its event loop. In one process
# with the execution API that write can wait for a task's transaction whose commit waits for the event loop
# (3.3.2: both stand still until SQLite's time-out). Apart, each waits for the other for milliseconds.
COMPONENTS = ("api-server", "execution-api", "scheduler", "triggerer", "dag-processor")
# With PostgreSQL no writer waits for another's file, and one process does.
POSTGRES_COMPONENTS = tuple(name for name in COMPONENTS if name != "execution-api")

POSTGRES, REDIS = "postgres", "redis"


@dataclass(frozen=True)
class Program:
    """How a process is started.

    :param variables: its whole environment
    :param folder: its working directory
    :param user: whose process it is; None for ours
    :param inherited: open files that it is given
    :param stop_signal: what makes it end in order
    """

    command: list[str]
    variables: Mapping[str, str]
    folder: Path = ROOT
    user: str | None = None
    inherited: tuple[int, ...] = ()
    stop_signal: int = signal.SIGTERM


def servers(layout: Layout) -> tuple[str, ...]:
    """Return what Airflow's components stand on; it is started before them, and ended after them."""
    engine = layout.engine
    return ((POSTGRES,) if engine.postgres else ()) + ((REDIS,) if engine.celery else ())


def require_servers(layout: Layout) -> None:
    """Make sure that what Airflow is to stand on is installed here.

    :raises StackError: it isn't; with what to install
    """
    if layout.engine.postgres:
        postgres.require()
    if layout.engine.celery:
        redis_server.program()


def components(layout: Layout) -> tuple[str, ...]:
    """Return Airflow's processes; the second triggerer is called triggerer-2, the first worker worker-1, and so on."""
    engine = layout.engine
    return (
        *(POSTGRES_COMPONENTS if engine.postgres else COMPONENTS),
        *(f"triggerer-{number}" for number in range(2, layout.triggerers + 1)),
        *(f"worker-{number}" for number in range(1, engine.workers + 1) if engine.celery),
    )


@contextlib.contextmanager
def program(name: str, layout: Layout) -> Iterator[Program]:
    """Give how a process of the stack is started; what it inherits is open as long as the block runs.

    :param name: "sagemaker", a server's or a component's
    :raises StackError: PostgreSQL or Redis is not installed; or PostgreSQL can't be run by this user
    """
    if name == "sagemaker":
        yield Program(_sagemaker(layout), environment.bare_environment(layout))
    elif name == POSTGRES:
        with postgres.data_folder(layout) as (data, inherited):
            yield Program(
                postgres.command(layout, data),
                environment.bare_environment(layout),
                folder=Path("/"),
                user=postgres.server_user(),
                inherited=inherited,
                # It ends its clients' sessions, instead of waiting for them.
                stop_signal=signal.SIGINT,
            )
    elif name == REDIS:
        yield Program(redis_server.command(layout), environment.bare_environment(layout))
    else:
        yield Program(_component(name, layout), environment.process_environment(layout, name))


def _sagemaker(layout: Layout) -> list[str]:
    return [
        *(sys.executable, "-m", layout.sagemaker_module),
        f"--host={HOST}",
        f"--port={layout.sagemaker_port}",
        f"--data-dir={layout.sagemaker_data}",
        # The secrets of this stack and of others: no job may see them.
        *(f"--hide={folder}" for folder in (layout.state_dir, ROOT / ".local")),
        *(f"--image={image}={ROOT / interpreter}" for image, interpreter in environment.IMAGES.items()),
        *(f"--image-label={label}" for label in environment.IMAGE_LABELS),
        *layout.sagemaker_options,
    ]


def _component(name: str, layout: Layout) -> list[str]:
    forking = [sys.executable, "-m", "local.stack.component"]
    core = [*AIRFLOW, "api-server", "--apps", "core"]
    # Task logs are read from disk: no log server on a public port.
    return {
        "api-server": [*AIRFLOW, "api-server"] if layout.engine.postgres else core,
        "execution-api": [
            *(*AIRFLOW, "api-server", "--apps", "execution"),
            *("--host", HOST, "--port", str(layout.execution_port)),
        ],
        "scheduler": [*forking, "scheduler", "--skip-serve-logs"],
        "triggerer": [*AIRFLOW, "triggerer", "--skip-serve-logs"],
        "dag-processor": [*forking, "dag-processor"],
        "worker": [
            *(*forking, "celery", "worker", "--skip-serve-logs", "--without-gossip", "--without-mingle"),
            *("--concurrency", str(TASKS_PER_WORKER), "--celery-hostname", f"{name}@%h"),
        ],
    }[name if name in COMPONENTS else name.rpartition("-")[0]]
