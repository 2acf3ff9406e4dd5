"""Script mode: read the job's configuration, set the ``SM_*`` variables, run the user's program.

Follows the toolkit of the XGBoost image, aws/sagemaker-containers 2.8 (``_env.py``, ``_mapping.py``, ``_modules.py``,
``_trainer.py``, ``_errors.py``). Of a program that fails it says which command it was and no more, in
``/opt/ml/output/failure`` and so in the job's FailureReason, over whatever the program has written there; the program's
own words stand in the log. Two differences: the host has put the code of ``sagemaker_submit_directory`` into
``/opt/ml/code`` before the start, and the program is run by its file, not with ``-m`` after ``pip install .``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BASE_DIR_VARIABLE = "SAGEMAKER_BASE_DIR"  # the toolkit's own name for the folder that is /opt/ml on AWS
REQUIREMENTS = "requirements.txt"
TOOLKIT_PREFIX = "sagemaker_"
TUNING_METRIC = "_tuning_objective_metric"
PYTHON = "/miniconda3/bin/python3"  # the image's; what it says must not depend on where it runs


def main() -> int:
    """Run the training program of this container.

    :return: 0, or 1 when the program failed, however it ended, or could not be started.
    """
    base = Path(os.environ.get(BASE_DIR_VARIABLE, "/opt/ml"))
    try:
        hyperparameters = decode_hyperparameters(read_json(base / "input/config/hyperparameters.json"))
        program = str(hyperparameters.get("sagemaker_program", ""))
        script = base / "code" / program
        if not program or not script.is_file():
            raise FileNotFoundError(
                f"The program {program!r} named by the hyperparameter sagemaker_program is not in the "
                f"archive "
                f"of sagemaker_submit_directory; it holds {sorted(os.listdir(base / 'code'))}."
            )
        arguments = command_line(user_hyperparameters(hyperparameters))
        environment = {**os.environ, **training_environment(base, hyperparameters, arguments)}
        install_requirements(base / "code")
    except Exception as error:
        report_failure(base, f"Framework Error: {type(error).__name__}: {error}")
        return 1

    shown = " ".join([PYTHON, "-m", program.removesuffix(".py"), *arguments])
    print(f"Invoking script with the following command:\n\n{shown}\n", flush=True)
    if run([sys.executable, program, *arguments], cwd=base / "code", environment=environment) == 0:
        print("Reporting training SUCCESS", flush=True)
        (base / "output" / "success").touch()
        return 0
    report_failure(base, f'ExecuteUserScriptError:\nCommand "{shown}"')
    return 1


def install_requirements(code: Path) -> None:
    """Install what a requirements.txt beside the program asks for, as the toolkit does before it starts the program.

    :param code: folder of the program.
    :raises RuntimeError: pip has failed; what it said is in the log.
    """
    if not (code / REQUIREMENTS).is_file():
        return
    command = ["-m", "pip", "install", "-r", REQUIREMENTS]
    print(f"Installing dependencies from requirements.txt:\n{' '.join(['python3', *command])}", flush=True)
    if subprocess.run([sys.executable, *command], cwd=code, check=False).returncode != 0:
        raise RuntimeError(f"{REQUIREMENTS} can't be installed; pip says why in the log")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing file is an empty one.

    :param path: file below ``input/config``.
    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return content


def decode_hyperparameters(raw: dict[str, Any]) -> dict[str, Any]:
    """Decode hyperparameters as the toolkit does: JSON where it is JSON, else the plain string.

    :param raw: name to string, as sent in CreateTrainingJob.
    """
    decoded: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            decoded[name] = json.loads(value)
        except (TypeError, ValueError):
            decoded[name] = value
    return decoded


def user_hyperparameters(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is addressed to the toolkit itself.

    :param hyperparameters: all hyperparameters, decoded.
    """
    return {
        name: value
        for name, value in hyperparameters.items()
        if not name.startswith(TOOLKIT_PREFIX) and name != TUNING_METRIC
    }


def command_line(hyperparameters: dict[str, Any]) -> list[str]:
    """Spell hyperparameters as ``--name value``, sorted by name, one-letter names with a single dash.

    :param hyperparameters: decoded hyperparameters of the user.
    """

    def spell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, dict):
            return ",".join(f"{key}={value[key]}" for key in sorted(value))
        return str(value)

    arguments: list[str] = []
    for name in sorted(hyperparameters):
        arguments += [f"--{name}" if len(name) > 1 else f"-{name}", spell(hyperparameters[name])]
    return arguments


def training_environment(base: Path, hyperparameters: dict[str, Any], arguments: list[str]) -> dict[str, str]:
    """The ``SM_*`` variables of the training toolkit.

    :param base: folder that stands for ``/opt/ml``.
    :param hyperparameters: all decoded hyperparameters.
    :param arguments: the command line made of the user's.
    """
    config_dir = base / "input/config"
    resources = read_json(config_dir / "resourceconfig.json")
    channels = read_json(config_dir / "inputdataconfig.json")
    group = resources.get("current_group_name", "homogeneousCluster")
    groups = {each["instance_group_name"]: each for each in resources.get("instance_groups", [])}
    user = user_hyperparameters(hyperparameters)
    program = str(hyperparameters["sagemaker_program"])
    channel_dirs = {name: str(base / "input/data" / name) for name in channels}
    values: dict[str, Any] = {
        "hosts": resources.get("hosts", []),
        "network_interface_name": resources.get("network_interface_name", "eth0"),
        "hps": user,
        "user_entry_point": program,
        "framework_params": {
            name: value
            for name, value in hyperparameters.items()
            if name.startswith(TOOLKIT_PREFIX) and name not in TOOLKIT_HYPERPARAMETERS
        },
        "resource_config": resources,
        "input_data_config": channels,
        "output_data_dir": str(base / "output/data"),
        "channels": sorted(channels),
        "current_host": resources.get("current_host", ""),
        "current_instance_type": resources.get("current_instance_type", ""),
        "current_instance_group": group,
        "current_instance_group_hosts": groups.get(group, {}).get("hosts", []),
        "instance_groups": list(groups),
        "instance_groups_dict": groups,
        "distribution_instance_groups": [],
        "is_hetero": len(groups) > 1,
        "module_name": program.removesuffix(".py"),
        "log_level": hyperparameters.get("sagemaker_container_log_level", 20),
        "framework_module": "sagemaker_xgboost_container.training:main",
        "input_dir": str(base / "input"),
        "input_config_dir": str(config_dir),
        "output_dir": str(base / "output"),
        "output_intermediate_dir": str(base / "output/intermediate"),
        "num_cpus": int(os.environ.get("SM_NUM_CPUS", "1")),
        "num_gpus": 0,
        "num_neurons": 0,
        "model_dir": str(base / "model"),
        "module_dir": hyperparameters.get("sagemaker_submit_directory", str(base / "code")),
        "user_args": arguments,
    }
    values["training_env"] = {
        **{name: value for name, value in values.items() if name not in ("hps", "user_args")},
        "hyperparameters": user,
        "channel_input_dirs": channel_dirs,
        "job_name": os.environ.get("TRAINING_JOB_NAME", ""),
        "distribution_hosts": resources.get("hosts", []),
        "is_master": True,
        "master_hostname": resources.get("current_host", ""),
    }
    values.update({f"channel_{name}": path for name, path in channel_dirs.items()})
    values.update({f"hp_{name}": value for name, value in user.items()})
    return {f"SM_{name.upper()}": spell_variable(value) for name, value in values.items()}


TOOLKIT_HYPERPARAMETERS = frozenset(
    {
        "sagemaker_program",
        "sagemaker_submit_directory",
        "sagemaker_enable_cloudwatch_metrics",
        "sagemaker_region",
        "sagemaker_container_log_level",
        "sagemaker_job_name",
        "sagemaker_s3_output",
    }
)


def spell_variable(value: Any) -> str:
    """Spell a value for the environment: strings as they are, everything else as compact JSON.

    :param value: anything JSON can hold.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def run(command: list[str], *, cwd: Path, environment: dict[str, str]) -> int:
    """Run the program, which writes where this process does.

    :param command: interpreter, program, arguments.
    :param cwd: folder of the code.
    :param environment: the whole environment.
    :return: its exit code, -n when signal n ended it.
    """
    warm = sys.modules.get("sagemaker_warm")  # there when this process is a fork of a warm interpreter
    process: Any = (
        warm.start(command, cwd, environment) if warm else subprocess.Popen(command, cwd=cwd, env=environment)
    )
    # A stop reaches the whole process group, so the program has its own SIGTERM; we stay to report how it
    # ended.
    signal.signal(signal.SIGTERM, lambda *_: None)
    return int(process.wait())


def report_failure(base: Path, message: str) -> None:
    """Say why the training failed, on stderr and in ``output/failure``.

    :param base: folder that stands for ``/opt/ml``.
    :param message: why the training failed.
    """
    print(f"[{time.strftime('%Y-%m-%d:%H:%M:%S')}:ERROR] {message}", file=sys.stderr, flush=True)
    failure = base / "output" / "failure"
    try:
        failure.unlink(missing_ok=True)  # a pipe would hold this up
        failure.write_text(message, encoding="utf-8")
    except OSError as error:
        print(f"{failure} can't be written: {error.strerror}", file=sys.stderr, flush=True)
