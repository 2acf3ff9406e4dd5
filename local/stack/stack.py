"""The whole of City Fleet on one machine: the local SageMaker and Airflow's components, real processes.

`Stack` is used by `make demo` (attached: everything ends with us), `make up` (detached: recorded, ended by
`make down`) and the end-to-end tests. Loopback only.
"""

from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from city_fleet.config import Fleet, load_fleets
from local.stack import database, environment, postgres, processes, programs, records, redis_server
from local.stack.airflow_api import AirflowApi
from local.stack.database import Say
from local.stack.disk_space import require_room
from local.stack.errors import StackError
from local.stack.health import unhealthy
from local.stack.layout import Layout
from local.stack.ports import require_free_ports
from local.stack.processes import Recorded
from local.stack.secrets_file import stack_secrets

# A cold start on two slow cores takes about a minute; this is for machines that are slower still, or busy.
START_TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.25
LAPTOP_POOL, JOBS_POOL_SLOTS = "city_fleet_laptop", 64


def _silent(text: str) -> None:
    """Drop a line of progress."""


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
            password = stack_secrets(self.layout)["ui_password"]
            self._airflow = AirflowApi(self.layout.ui_url, environment.UI_USER, password)
        return self._airflow

    def client(self, service: str) -> Any:
        """Return a boto3 client of this stack's stand-in for AWS."""
        import boto3  # noqa: PLC0415 - half a second that `status` and `down` need not pay
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        # No profile and no file of the person's: neither an account of theirs nor a profile that isn't there.
        no_settings = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        session = boto3.session.Session(botocore_session=botocore.session.Session(session_vars=no_settings))
        return session.client(
            service,
            endpoint_url=self.layout.sagemaker_url,
            region_name=environment.REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - any value is accepted, none is a secret
            config=Config(proxies={}, retries={"max_attempts": 2}),
        )

    def log(self, name: str) -> Path:
        """Return the log file of a process: "sagemaker", "postgres", "redis", or one of `components`."""
        return self.layout.logs_dir / f"{name}.log"

    @property
    def components(self) -> tuple[str, ...]:
        """Airflow's processes of this stack, in the order in which they are started."""
        return programs.components(self.layout)

    # -- starting -----------------------------------------------------------------------------------------

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start everything and return when all of it is healthy.

        :raises StackError: a port is taken, a process died or the deadline passed; nothing is left running
        """
        deadline = time.monotonic() + timeout_seconds
        require_free_ports(self.layout)
        programs.require_servers(self.layout)
        require_room(self.layout.state_dir)
        environment.write_environment(self.layout)
        self._started_at = datetime.now(UTC)
        if not self.detached:
            self._keeper = processes.start_keeper(self.layout.state_dir)
        try:
            self._spawn("sagemaker")
            self._start_servers()
            database.lay_down(self.layout, self.log("migrate"), self.say)
            for name in self.components:
                self._spawn(name)
            self._wait_until_healthy(deadline)
            self.create_pools()
        except BaseException:
            self.stop()
            raise

    def _start_servers(self) -> None:
        """Make what Airflow stands on, and start it."""
        if self.layout.engine.postgres:
            self.say("starting PostgreSQL")
            postgres.initialise(self.layout)
        if self.layout.engine.celery:
            redis_server.write_settings(self.layout)
        for name in programs.servers(self.layout):
            self._spawn(name)

    def _spawn(self, name: str) -> None:
        with programs.program(name, self.layout) as program:
            record = processes.spawn(
                name,
                program.command,
                program.variables,
                self.log(name),
                program.folder,
                options={**postgres.identity(program.user), "pass_fds": program.inherited},
                stop_signal=program.stop_signal,
            )
        self._records.append(record)
        if self.detached:
            records.write(self.layout, self._records)

    def restart(self, name: str) -> None:
        """Start a process again that has died, as systemd or Kubernetes does in a deployment.

        What it had started itself and left behind, such as a scheduler's workers, is not touched.

        :raises StackError: there is no such component, or it runs
        """
        known = {record.name: number for number, record in enumerate(self._records)}
        if name not in known:
            raise StackError(f"{name!r} can't be started again; allowed: {', '.join(known) or 'nothing'}.")
        if self._records[known[name]].find() is not None:
            raise StackError(f"{name} runs; only a component that has died is started again.")
        processes.forget(self._records.pop(known[name]))
        self._spawn(name)

    def _wait_until_healthy(self, deadline: float) -> None:
        waiting_for = ""
        while True:
            missing = self.unhealthy()
            if not missing:
                return
            self.require_alive()
            if time.monotonic() > deadline:
                name = missing[0]
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
        return unhealthy(self.layout, self._started_at)

    def create_pools(self) -> None:
        """Make the pool of each fleet's jobs, and the one of a laptop for fleets that come later."""
        variables = {**os.environ, **environment.fleet_variables(self.layout)}
        loaded = load_fleets(self.layout.fleets_dir, variables)
        for name in {LAPTOP_POOL, *(item.jobs_pool for item in loaded if isinstance(item, Fleet))}:
            self.airflow.put_pool(
                name, JOBS_POOL_SLOTS, "SageMaker jobs that City Fleet has running at a time"
            )

    # -- stopping -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End every process of this stack and wait until they are gone. May be called twice.

        Ctrl-C is ignored meanwhile, since it would leave half a stack.
        """
        with processes.undisturbed():
            self._stop()

    def _stop(self) -> None:
        if self._records:
            servers = [each for each in self._records if each.name in programs.servers(self.layout)]
            others = [each for each in self._records if each not in servers]
            processes.end(others, self.layout.state_dir, spare=servers)
            processes.end(servers, self.layout.state_dir)
            self._records = []
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
