"""The environment that the stack's processes share.

The environment is the only thing that makes the library work against the laptop instead of AWS: an endpoint
URL and credentials that mean nothing. It is written to `<state>/stack.env`, which `bin/airflow` and `./fleet`
load.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import sys
import tempfile

from local import ROOT
from local.stack import engine_settings
from local.stack.layout import HOST, Layout
from local.stack.secrets_file import stack_secrets, write_private

UI_USER = "admin"
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
        **({"CITY_FLEET_REPLAY_SINCE": layout.replay_since.isoformat()} if layout.replay_since else {}),
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
            # The three seconds of a DAG file take more than the default of 30 where others keep the machine busy, and
            # a task that can't read its file so often is failed.
            "DAGBAG_IMPORT_TIMEOUT": "120",
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
            "DAG_FILE_PROCESSOR_TIMEOUT": "180",
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
    variables |= engine_settings.variables(layout, drawn)
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


def process_environment(layout: Layout, component: str = "") -> dict[str, str]:
    """Return the whole environment of a process of the stack that works with Airflow.

    :param component: which one it is, where it is one of the stack's components
    """
    own = engine_settings.worker_variables(layout, component) | dict(
        layout.component_settings.get(component, {})
    )
    return _own_environment() | build_environment(layout) | own | _marks(layout)


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
