"""Where the stack keeps its state, on which ports it listens, and the environment its processes share.

The environment is the only thing that makes the library work against the laptop instead of AWS: an endpoint
URL and credentials that mean nothing. It is written to `<state>/stack.env`, which `bin/airflow` and `./fleet`
load.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import secrets
import shlex
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local import ROOT

HOST = "127.0.0.1"
UI_PORT = 8080
SAGEMAKER_PORT = 8585
UI_USER = "admin"
SECRETS_FILE = "secrets.json"
REGION = "us-east-1"

# The interpreter that stands for each image: repository:tag as it ends the image's URI.
IMAGES = {
    "sagemaker-xgboost:3.2-0": ".venv-image/bin/python",
    # On AWS it has a newer scikit-learn and NumPy, and no XGBoost; the scripts are the same.
    "sagemaker-scikit-learn:1.9-0-cpu-py3": ".venv-image/bin/python",
    "city-fleet-model-server:1": ".venv-image/bin/python",
}
# As include/model_server/Dockerfile labels it; AWS's own images are known to have the label.
IMAGE_LABELS = ("city-fleet-model-server:1=com.amazonaws.sagemaker.capabilities.multi-models=true",)

# Every process of a stack carries the stack's state directory under this name, so that strays can be found.
# It is not in stack.env: what a person starts by hand isn't the stack's to end.
MARKER = "CITY_FLEET_STACK"


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
    :param triggerers: how many triggerers there are; a second one takes over what a lost one was waiting for
    :param airflow_settings: variables (`AIRFLOW__SECTION__KEY`) that replace the stack's own settings; these and the
        others beside it are not remembered of a detached stack
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
    triggerers: int = 1
    airflow_settings: Mapping[str, str] = field(default_factory=dict, hash=False)
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
        return f"http://{HOST}:{self.execution_port}/execution/"

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


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step: on a full disk the old one stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(descriptor)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def stack_secrets(layout: Layout) -> dict[str, str]:
    """Return the secrets of this state directory; they are made the first time.

    :return: jwt_secret, fernet_key, secret_key and ui_password
    """
    path = layout.state_dir / SECRETS_FILE
    if path.exists():
        known: dict[str, str] = json.loads(path.read_text())
        return known
    drawn = {
        "jwt_secret": secrets.token_urlsafe(48),
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "secret_key": secrets.token_urlsafe(32),
        "ui_password": secrets.token_urlsafe(12),
    }
    write_private(path, json.dumps(drawn))
    return drawn


def build_environment(layout: Layout) -> dict[str, str]:
    """Return what the stack's processes get on top of the person's own environment.

    :return: variable name → value; complete for Airflow, boto3 and the fleet's command line
    """
    return {
        **fleet_variables(layout),
        **_rest_variables(layout, stack_secrets(layout)),
        "PYTHONPATH": os.pathsep.join([str(layout.plugins_dir), str(ROOT)]),
        **_airflow_variables(layout, stack_secrets(layout)),
        **_host_variables(),
    }


def fleet_variables(layout: Layout) -> dict[str, str]:
    """Return what points the library, and any other user of AWS, at this stack."""
    return {
        # The AWS side. Any credentials do; ~/.aws stays out, so that no profile leads to a real account.
        "AWS_ENDPOINT_URL": layout.sagemaker_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # City Fleet's own.
        "CITY_FLEET_FLEETS": str(layout.fleets_dir),
        "CITY_FLEET_COMPILED": str(layout.airflow_home / "compiled_fleets"),
        "CITY_FLEET_WAITER_DELAY_SECONDS": "1",
    }


def _rest_variables(layout: Layout, drawn: dict[str, str]) -> dict[str, str]:
    """What lets `./fleet` ask Airflow's REST API; `make status` prints the same login."""
    return {
        "CITY_FLEET_AIRFLOW_URL": layout.ui_url,
        "CITY_FLEET_AIRFLOW_USER": UI_USER,
        "CITY_FLEET_AIRFLOW_PASSWORD": drawn["ui_password"],
    }


def _airflow_variables(layout: Layout, drawn: dict[str, str]) -> dict[str, str]:
    """Airflow's settings: one machine, two cores, loopback only."""
    sections = {
        "CORE": {
            "EXECUTOR": "local.stack.executor.ResumeSafeLocalExecutor",
            "PARALLELISM": "8",
            "DAGS_FOLDER": str(layout.dags_dir),
            "PLUGINS_FOLDER": str(layout.plugins_dir),
            "LOAD_EXAMPLES": "False",
            "DAGS_ARE_PAUSED_AT_CREATION": "True",
            "FERNET_KEY": drawn["fernet_key"],
            "SIMPLE_AUTH_MANAGER_USERS": f"{UI_USER}:admin",
            "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.passwords_file),
            "EXECUTION_API_SERVER_URL": layout.execution_url,
            "HOSTNAME_CALLABLE": "socket.gethostname",
        },
        "DATABASE": {
            # Several processes write; SQLite's own 5 seconds of patience are too few.
            "SQL_ALCHEMY_CONN": f"sqlite:///{layout.database}?timeout=60",
            "SQL_ALCHEMY_CONN_ASYNC": f"sqlite+aiosqlite:///{layout.database}?timeout=60",
        },
        "SCHEDULER": {"SCHEDULER_IDLE_SLEEP_TIME": "0.5", "JOB_HEARTBEAT_SEC": "5"},
        # A task's supervisor may notice only this late that the task has ended (3.3.2 waits on sockets that close
        # before the process does). With the default of 5 seconds a job of 2 seconds wakes its deferred task
        # before its first half was reported as done, and the scheduler takes that report for a lost task.
        "WORKERS": {"MIN_HEARTBEAT_INTERVAL": "1"},
        "DAG_PROCESSOR": {
            "REFRESH_INTERVAL": str(layout.parse_interval_seconds),
            # A fleet file is not a DAG file: only parsing its DAG file again shows that it changed.
            "MIN_FILE_PROCESS_INTERVAL": str(layout.parse_interval_seconds),
            "PARSING_PROCESSES": "1",
        },
        "API": {
            "HOST": HOST,
            "PORT": str(layout.ui_port),
            "BASE_URL": layout.ui_url,
            "WORKERS": "1",
            "SECRET_KEY": drawn["secret_key"],
        },
        "API_AUTH": {"JWT_SECRET": drawn["jwt_secret"]},
        "LOGGING": {
            "BASE_LOG_FOLDER": str(layout.logs_dir / "tasks"),
            "DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(layout.logs_dir / "parsing"),
            "COLORED_CONSOLE_LOG": "False",
        },
    }
    variables = {f"AIRFLOW__{s}__{k}": v for s, options in sections.items() for k, v in options.items()}
    variables["AIRFLOW_HOME"] = str(layout.airflow_home)
    # Without a connection of this name every task start asks for it in vain and warns.
    variables["AIRFLOW_CONN_AWS_DEFAULT"] = "aws://"
    return variables | dict(layout.airflow_settings)


def _host_variables() -> dict[str, str]:
    """What depends on the machine: proxies that must not see loopback, and macOS's rule about forking."""
    own = [part for part in os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(",") if part]
    no_proxy = ",".join(dict.fromkeys([*own, HOST, "localhost"]))
    variables = {"NO_PROXY": no_proxy, "no_proxy": no_proxy}
    if sys.platform == "darwin":
        variables["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    return variables


def process_environment(layout: Layout) -> dict[str, str]:
    """Return the whole environment of a process of the stack that works with Airflow."""
    return _own_environment() | build_environment(layout) | _marks(layout)


def bare_environment(layout: Layout) -> dict[str, str]:
    """Return the whole environment of a process that needs none of the stack's secrets: the local SageMaker.

    What a process does not hold, no job can find there.
    """
    return _own_environment() | _host_variables() | _marks(layout)


def _own_environment() -> dict[str, str]:
    """The person's, less what is set for another Airflow, another AWS account or another Python."""
    foreign = ("AIRFLOW", "AWS_", "CITY_FLEET_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return _name_of_the_user() | own


def _name_of_the_user() -> dict[str, str]:
    """A name and a home for a user whom the system does not know (a container's number): Airflow asks for both."""
    try:
        known = pwd.getpwuid(os.getuid())
    except KeyError:
        return {
            "USER": f"user-{os.getuid()}",
            "LOGNAME": f"user-{os.getuid()}",
            "HOME": tempfile.gettempdir(),
        }
    return {"USER": known.pw_name, "LOGNAME": known.pw_name, "HOME": known.pw_dir}


def _marks(layout: Layout) -> dict[str, str]:
    # Airflow renames its processes, which overwrites the environment that others see, unless SPT_NOENV is
    # set: the marker would be lost.
    return {MARKER: str(layout.state_dir), "SPT_NOENV": "1"}


def write_environment(layout: Layout) -> None:
    """Write the files that make a state directory usable: stack.env and the UI's passwords."""
    layout.state_dir.mkdir(parents=True, exist_ok=True)
    layout.state_dir.chmod(0o700)
    for folder in (layout.airflow_home, layout.logs_dir):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# The environment of this stack, for bin/airflow, ./fleet or a shell: set -a; . stack.env; set +a",
        *(f"{name}={shlex.quote(value)}" for name, value in build_environment(layout).items()),
    ]
    write_private(layout.env_file, "\n".join(lines) + "\n")
    write_private(layout.passwords_file, json.dumps({UI_USER: stack_secrets(layout)["ui_password"]}) + "\n")
