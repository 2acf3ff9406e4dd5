"""The whole of City Fleet on one machine: the local SageMaker and Airflow's four components, real processes.

`Stack` is used by `make demo` (attached: everything ends with us), `make up` (detached: recorded, ended by
`make down`) and the end-to-end tests. Loopback only.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from local_stack import environment, processes, records
from local_stack.airflow_api import AirflowApi
from local_stack.environment import Layout
from local_stack.errors import StackError
from local_stack.processes import Recorded

# A cold start on two slow cores takes about a minute; this is for machines that are slower still, or busy.
START_TIMEOUT_SECONDS = 300.0
MIGRATE_TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.25
JOBS_POOL = "city_fleet_jobs"
JOBS_POOL_SLOTS = 64
# Airflow's processes, in the order they are started: the two API servers take longest and the others wait for
# them. They are two, because of SQLite: the core API writes its audit log on its event loop. In one process
# with the execution API that write can wait for a task's transaction whose commit waits for the event loop
# (3.3.2: both stand still until SQLite's time-out). Apart, each waits for the other for milliseconds.
COMPONENTS = ("api-server", "execution-api", "scheduler", "triggerer", "dag-processor")
# The names under which Airflow's health endpoint reports the components that keep a heartbeat.
HEARTBEATS = ("scheduler", "dag_processor", "triggerer")

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


class Stack:
    """One stack in one state directory.

    :param layout: folders and ports
    :param detached: the processes outlive us until `stop` is called, here or by another process
    :param say: called with one line of progress at a time

    As a context manager it starts, waits until it is healthy, and always stops::

        with Stack(Layout(state_dir=tmp_path, ui_port=free_port(), sagemaker_port=free_port())) as stack:
            stack.airflow.trigger("texas_housing.austin")
    """

    def __init__(self, layout: Layout, *, detached: bool = False, say: Say = _silent) -> None:
        self.layout = layout
        self.detached = detached
        self.say = say
        self._records: list[Recorded] = []
        self._keeper: subprocess.Popen[bytes] | None = None
        self._started_at = datetime.now(UTC)
        self._airflow: AirflowApi | None = None

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what it offers while it runs ---------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """The complete environment for a process that is to work with this stack, less the stack's marker."""
        whole = environment.process_environment(self.layout)
        return {name: value for name, value in whole.items() if name != environment.MARKER}

    @property
    def airflow(self) -> AirflowApi:
        """Airflow's REST API, logged in."""
        if self._airflow is None:
            password = environment.stack_secrets(self.layout)["ui_password"]
            self._airflow = AirflowApi(self.layout.ui_url, environment.UI_USER, password)
        return self._airflow

    def client(self, service: str) -> Any:
        """Return a boto3 client of this stack's stand-in for AWS."""
        import boto3  # noqa: PLC0415 - half a second that `status` and `down` need not pay
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        # No profile and no file of the person's: neither an account of theirs nor a profile that isn't there.
        nobody = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        session = boto3.session.Session(botocore_session=botocore.session.Session(session_vars=nobody))
        return session.client(
            service,
            endpoint_url=self.layout.sagemaker_url,
            region_name=environment.REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - any value is accepted, none is a secret
            config=Config(proxies={}, retries={"max_attempts": 2}),
        )

    def log(self, name: str) -> Path:
        """Return the log file of a process: "sagemaker", or one of COMPONENTS."""
        return self.layout.logs_dir / f"{name}.log"

    # -- starting -----------------------------------------------------------------------------------------

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start everything and return when all of it is healthy.

        :raises StackError: a port is taken, a process died or the deadline passed; nothing is left running
        """
        deadline = time.monotonic() + timeout_seconds
        environment.require_free_port(self.layout.ui_port, "UI_PORT")
        environment.require_free_port(self.layout.sagemaker_port, "SAGEMAKER_PORT")
        environment.write_environment(self.layout)
        self._started_at = datetime.now(UTC)
        if not self.detached:
            self._keeper = processes.start_keeper(self.layout.state_dir)
        try:
            self._spawn("sagemaker", self._sagemaker_command())
            self._migrate()
            for name in COMPONENTS:
                self._spawn(name, _component_command(name, self.layout))
            self._wait_until_healthy(deadline)
            self._create_pools()
        except BaseException:
            self.stop()
            raise

    def _spawn(self, name: str, command: list[str]) -> None:
        record = processes.spawn(
            name, command, environment.process_environment(self.layout), self.log(name), environment.ROOT
        )
        self._records.append(record)
        if self.detached:
            records.write(self.layout, self._records)

    def _sagemaker_command(self) -> list[str]:
        images = [
            f"--image={image}={environment.ROOT / interpreter}"
            for image, interpreter in environment.IMAGES.items()
        ]
        return [
            *(sys.executable, "-m", "local_sagemaker"),
            f"--host={environment.HOST}",
            f"--port={self.layout.sagemaker_port}",
            f"--data-dir={self.layout.state_dir / 'sagemaker'}",
            *images,
        ]

    def _migrate(self) -> None:
        """Lay down Airflow's database: a copy of an empty one, which is made once per version of Airflow.

        A database that is there already is migrated in place, which does nothing where it is current.
        """
        version = importlib.metadata.version("apache-airflow-core")
        kept = environment.ROOT / ".local" / "cache" / f"airflow-{version}.db"
        database = self.layout.database
        if not database.exists() and kept.exists():
            shutil.copyfile(kept, database)
            (database.parent / _VERSION_FILE).write_text(version)
            return
        if database.exists() and _read(database.parent / _VERSION_FILE) == version:
            return
        fresh = not database.exists()
        self.say("laying down Airflow's database")
        log = self.log("migrate")
        with log.open("wb") as output:
            try:
                code = subprocess.call(
                    [*_airflow(), "db", "migrate"],
                    env=environment.process_environment(self.layout),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=MIGRATE_TIMEOUT_SECONDS,
                )
            except subprocess.TimeoutExpired:
                code = -1
        if code != 0:
            raise StackError(f"`airflow db migrate` failed. The end of {log}:\n{processes.tail(log)}")
        (database.parent / _VERSION_FILE).write_text(version)
        if fresh:
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Two stacks may get here at once; the last complete copy wins.
            scratch = kept.with_name(f"{kept.name}.{os.getpid()}")
            shutil.copyfile(database, scratch)
            scratch.replace(kept)

    def _wait_until_healthy(self, deadline: float) -> None:
        waiting_for = ""
        while True:
            missing = self.unhealthy()
            if not missing:
                return
            self.require_alive()
            if time.monotonic() > deadline:
                name = missing[0].replace("_", "-")
                log = self.log(name)
                raise StackError(
                    f"{name} did not become healthy in time (waiting for: {', '.join(missing)})."
                    f" The end of {log}:\n{processes.tail(log)}"
                )
            if ", ".join(missing) != waiting_for:
                waiting_for = ", ".join(missing)
                self.say(f"waiting for {waiting_for}")
            time.sleep(POLL_SECONDS)

    def unhealthy(self) -> list[str]:
        """Return the components that do not answer, or whose heartbeat is older than this start."""
        missing = []
        with httpx.Client(trust_env=False, timeout=5) as http:
            if not _answers(http, f"{self.layout.sagemaker_url}/_local/health"):
                missing.append("sagemaker")
            if not _answers(http, f"{self.layout.execution_url}health"):
                missing.append("execution-api")
            health = _answers(http, f"{self.layout.ui_url}/api/v2/monitor/health")
        if not health:
            return [*missing, "api-server"]
        return missing + [name for name in HEARTBEATS if not self._is_beating(health.get(name) or {}, name)]

    def _is_beating(self, report: dict[str, Any], name: str) -> bool:
        latest = report.get(f"latest_{name}_heartbeat")
        if report.get("status") != "healthy" or not latest:
            return False
        # A heartbeat of the previous stack in this state directory would look healthy for half a minute.
        return bool(datetime.fromisoformat(latest) >= self._started_at)

    def _create_pools(self) -> None:
        self.airflow.put_pool(
            JOBS_POOL, JOBS_POOL_SLOTS, "SageMaker jobs that City Fleet has running at a time"
        )

    # -- stopping -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End every process of this stack and wait until they are gone. May be called twice."""
        ours, self._records = self._records, []
        if ours:
            processes.end(ours, self.layout.state_dir)
        if self._airflow is not None:
            self._airflow.close()
            self._airflow = None
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            self._keeper.wait(timeout=60)
            self._keeper = None
        if self.detached:
            records.forget(self.layout)
            # ./fleet would go on talking to a stack that is gone.
            self.layout.env_file.unlink(missing_ok=True)

    @classmethod
    def find(cls, state_dir: Path) -> Stack | None:
        """Return a state directory's detached stack, running or half dead; None where none is recorded."""
        found = records.read(state_dir)
        if found is None:
            return None
        layout, recorded = found
        stack = cls(layout, detached=True)
        stack._records = recorded
        stack._started_at = datetime.fromtimestamp(min(record.started_at for record in recorded), UTC)
        return stack

    @property
    def records(self) -> list[Recorded]:
        """The processes that belong to this stack."""
        return list(self._records)

    def dead(self) -> list[Recorded]:
        """Return the processes that should run and don't."""
        return [record for record in self._records if record.find() is None]

    def require_alive(self) -> None:
        """Make sure that no process has died.

        :raises StackError: one has; with the end of its log
        """
        if dead := self.dead():
            raise StackError(self.why_dead(dead[0]))

    @staticmethod
    def why_dead(record: Recorded) -> str:
        """Say how a process ended, with the last lines of its log."""
        code = processes.exit_code(record)
        how = f" with exit code {code}" if code is not None else ""
        return f"{record.name} ended{how}. The end of {record.log}:\n{processes.tail(record.log)}"

    def memory_mib(self) -> float:
        """Return the memory that all processes of the stack hold together, in MiB."""
        return processes.memory_mib(self.layout.state_dir)


_VERSION_FILE = "airflow-version"


def _airflow() -> list[str]:
    return [sys.executable, "-m", "airflow"]


def _component_command(name: str, layout: Layout) -> list[str]:
    forking = [sys.executable, "-m", "local_stack.component"]
    # Task logs are read from disk: no log server on a public port.
    return {
        "api-server": [*_airflow(), "api-server", "--apps", "core"],
        "execution-api": [
            *(*_airflow(), "api-server", "--apps", "execution"),
            *("--host", environment.HOST, "--port", str(layout.execution_port)),
        ],
        "scheduler": [*forking, "scheduler", "--skip-serve-logs"],
        "triggerer": [*_airflow(), "triggerer", "--skip-serve-logs"],
        "dag-processor": [*forking, "dag-processor"],
    }[name]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _answers(http: httpx.Client, url: str) -> dict[str, Any]:
    """Return the JSON object behind a URL, or {} where there is none (yet)."""
    try:
        response = http.get(url)
        body = response.json() if response.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
