"""What one stack is made of: where it keeps its state, on which ports it listens, and which engine it runs on."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from local import ROOT
from local.stack.engine import Engine

HOST = "127.0.0.1"
UI_PORT = 8080
SAGEMAKER_PORT = 8585


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Layout:
    """What one stack is made of: folders, ports, and how often DAG files are looked at.

    :param state_dir: everything the stack writes; nothing is written elsewhere
    :param ui_port: Airflow's api-server and UI
    :param sagemaker_port: the local SageMaker
    :param execution_port: Airflow's API for its own tasks; only the stack itself uses it, so it is any free port
    :param fleets_dir: folder with the fleet files
    :param parse_interval_seconds: how long an edited fleet file may go unnoticed
    :param engine: its database and its executor
    :param replay_since: from which day on schedules that have ended are replayed, one tick a night; None for not at all
    :param database_port: PostgreSQL, where the engine has it; only the stack itself uses it
    :param broker_port: Redis, likewise
    :param triggerers: how many triggerers there are; a second one takes over what a lost one was waiting for
    :param airflow_settings: variables (`AIRFLOW__SECTION__KEY`) that replace the stack's own settings; these and the
        others beside it are not remembered of a detached stack
    :param component_settings: component → variables of any name that replace those of this component alone
    :param sagemaker_options: options of `python -m local.sagemaker` besides the stack's own
    :param sagemaker_module: what is run in its place, with the same options
    """

    state_dir: Path
    ui_port: int = UI_PORT
    sagemaker_port: int = SAGEMAKER_PORT
    dags_dir: Path = ROOT / "dags"
    plugins_dir: Path = ROOT / "plugins"
    fleets_dir: Path = ROOT / "include" / "fleets"
    parse_interval_seconds: int = 15
    execution_port: int = field(default_factory=free_port)
    engine: Engine = field(default_factory=Engine)
    database_port: int = field(default_factory=free_port)
    broker_port: int = field(default_factory=free_port)
    triggerers: int = 1
    replay_since: date | None = None
    airflow_settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    component_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    sagemaker_options: tuple[str, ...] = ()
    sagemaker_module: str = "local.sagemaker"

    @property
    def airflow_home(self) -> Path:
        """Airflow's own folder: its database and generated configuration."""
        return self.state_dir / "airflow"

    @property
    def database(self) -> Path:
        """Airflow's SQLite file."""
        return self.airflow_home / "airflow.db"

    @property
    def postgres_data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.state_dir / "postgres" / "data"

    @property
    def redis_dir(self) -> Path:
        """Redis's configuration, and what is queued there."""
        return self.state_dir / "redis"

    @property
    def sagemaker_data(self) -> Path:
        """The local SageMaker's folder: S3, jobs, registry, endpoints."""
        return self.state_dir / "sagemaker"

    @property
    def logs_dir(self) -> Path:
        """One log file per process, and the task logs below `tasks`."""
        return self.state_dir / "logs"

    @property
    def ui_url(self) -> str:
        """Airflow's UI and REST API."""
        return f"http://{HOST}:{self.ui_port}"

    @property
    def execution_url(self) -> str:
        """The API through which tasks talk to Airflow."""
        port = self.ui_port if self.engine.postgres else self.execution_port
        return f"http://{HOST}:{port}/execution/"

    @property
    def sagemaker_url(self) -> str:
        """The local SageMaker, S3, IAM, STS and CloudWatch Logs."""
        return f"http://{HOST}:{self.sagemaker_port}"

    @property
    def env_file(self) -> Path:
        """The shared environment, as shell assignments."""
        return self.state_dir / "stack.env"

    @property
    def passwords_file(self) -> Path:
        """The UI's login, as Airflow's SimpleAuthManager reads it."""
        return self.state_dir / "passwords.json"
