"""The command line of ``python -m local.sagemaker``: its options, and the settings that they make."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from local.sagemaker.quotas import USAGES
from local.sagemaker.settings import Settings, is_loopback

_DEFAULT = Settings()


def parse_command_line(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line.

    :param arguments: the arguments without the program's name; None = those of this process.
    :raises SystemExit: with status 2 and a sentence on stderr when an argument is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m local.sagemaker",
        description="SageMaker on a laptop: boto3 and the aws CLI talk to it, jobs run, endpoints answer.",
    )
    _add_server_options(parser.add_argument_group("the server"))
    _add_instance_options(parser.add_argument_group("images and instances"))
    _add_job_options(parser.add_argument_group("jobs"))
    _add_endpoint_options(parser.add_argument_group("endpoints"))
    _add_check_options(parser.add_argument_group("checks and faults"))
    parsed = parser.parse_args(arguments)
    if not parsed.allow_non_loopback and not is_loopback(parsed.host):
        parser.error(
            f"--host {parsed.host} is not a loopback address, and the server runs code for anyone who reaches"
            " it without asking who they are; use --host 127.0.0.1, or add --allow-non-loopback if the"
            " network is yours alone"
        )
    if parsed.allowed_host and not parsed.allow_non_loopback:
        parser.error("--allowed-host goes with --allow-non-loopback: on loopback no other name leads here")
    return Settings(
        host=parsed.host,
        port=parsed.port,
        data_dir=parsed.data_dir,
        images=dict(parsed.image),
        image_labels={
            image: {label: value for other, label, value in parsed.image_label if other == image}
            for image, _, _ in parsed.image_label
        },
        max_running_jobs=parsed.max_running_jobs,
        stop_grace_seconds=parsed.stop_grace_seconds,
        start_delay_seconds=parsed.start_delay_seconds,
        start_up_seconds=parsed.start_up_seconds,
        quotas=dict(parsed.quota),
        isolate=not parsed.no_isolation,
        allowed_hosts=frozenset(name.lower() for name in parsed.allowed_host),
        hidden_folders=tuple(parsed.hide),
        warm_runner=not parsed.no_warm_runner,
        max_loaded_models=parsed.max_loaded_models,
        model_load_timeout_seconds=parsed.model_load_timeout_seconds,
        model_load_seconds=parsed.model_load_seconds,
        model_memory_bytes=parsed.model_memory_mb * 1024**2,
        model_disk_bytes=parsed.model_disk_mb * 1024**2,
        max_body_bytes=parsed.max_body_mb * 1024**2,
        ready_file=parsed.ready_file,
        faults=parsed.faults,
        allow_non_loopback=parsed.allow_non_loopback,
        check_roles=not parsed.no_role_check,
        check_data=not parsed.no_data_check,
    )


def _add_server_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default=_DEFAULT.host, help="address to listen on (default %(default)s)")
    group.add_argument(
        "--port",
        type=_port,
        default=_DEFAULT.port,
        help="port to listen on; 0 = any free one (default %(default)s)",
    )
    group.add_argument(
        "--allow-non-loopback",
        action="store_true",
        help="listen on an address other machines can reach. There is no authentication: anyone who reaches the"
        " port can run code as you",
    )
    group.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="with --allow-non-loopback, a name that this server goes by, so that requests may have it as Host;"
        " localhost and IP addresses are allowed anyway, all other names are refused; repeatable",
    )
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder that keeps S3, all resources and the files of jobs (default: a temporary one)",
    )
    group.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help='file for {"url": ..., "pid": ...}, written once the server answers',
    )
    group.add_argument(
        "--max-body-mb",
        type=_at_least_one,
        default=_DEFAULT.max_body_bytes // 1024**2,
        metavar="MB",
        help="largest request body, in MiB; it is held in memory (default %(default)s)",
    )


def _add_instance_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image",
        action="append",
        default=[],
        type=_image,
        metavar="REPOSITORY:TAG=PYTHON",
        help="Python interpreter that runs the jobs and model servers of a container image; repeatable",
    )
    group.add_argument(
        "--image-label",
        action="append",
        default=[],
        type=_label,
        metavar="REPOSITORY:TAG=LABEL=VALUE",
        help="Docker label of an image; as on AWS, the image of a multi-model container needs the label "
        "com.amazonaws.sagemaker.capabilities.multi-models=true, which AWS's own images have; repeatable",
    )
    group.add_argument(
        "--quota",
        action="append",
        default=[],
        type=_quota,
        metavar="NAME=N",
        help="limit of instances, as 'ml.m5.large for training job usage=4'; repeatable",
    )
    group.add_argument(
        "--start-delay-seconds",
        type=_seconds,
        default=_DEFAULT.start_delay_seconds,
        metavar="SECONDS",
        help="time a job or an endpoint waits for its instance (default %(default)g; minutes on AWS)",
    )
    group.add_argument(
        "--start-up-seconds",
        type=_seconds,
        metavar="SECONDS",
        help="the same of training and processing jobs alone; a job on a warm pool does not wait",
    )
    group.add_argument(
        "--hide",
        action="append",
        default=[],
        type=_folder,
        metavar="DIR",
        help="a folder that no container sees, besides this server's own data, where the system allows that;"
        " repeatable",
    )
    group.add_argument(
        "--no-isolation",
        action="store_true",
        help="let containers see each other's files; by default they do not, where the system allows that",
    )


def _add_job_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-running-jobs",
        type=_at_least_one,
        default=_DEFAULT.max_running_jobs,
        metavar="N",
        help="jobs that run at the same time; the others wait (default: the number of CPUs, %(default)s)",
    )
    group.add_argument(
        "--stop-grace-seconds",
        type=_seconds,
        default=_DEFAULT.stop_grace_seconds,
        metavar="SECONDS",
        help="time a stopped job has between SIGTERM and SIGKILL (default %(default)g, as on AWS)",
    )
    group.add_argument(
        "--no-warm-runner",
        action="store_true",
        help="start a new interpreter for each job; by default jobs run in forks of one that has imported NumPy, "
        "pandas and XGBoost already",
    )


def _add_endpoint_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-loaded-models",
        type=_at_least_one,
        default=_DEFAULT.max_loaded_models,
        metavar="N",
        help="models an endpoint variant keeps loaded (default %(default)s)",
    )
    group.add_argument(
        "--model-load-timeout-seconds",
        type=_seconds,
        default=_DEFAULT.model_load_timeout_seconds,
        metavar="SECONDS",
        help="time a request waits for its model to be loaded before it is told that the model is not ready"
        " (default %(default)g, as on AWS)",
    )
    group.add_argument(
        "--model-load-seconds",
        type=_seconds,
        default=_DEFAULT.model_load_seconds,
        metavar="SECONDS",
        help="time that loading a model takes on top, also before the first answer of a container with one model"
        " (default %(default)g; 5 to 16 for AWS's own XGBoost container)",
    )
    group.add_argument(
        "--model-memory-mb",
        type=_at_least_one,
        default=_DEFAULT.model_memory_bytes // 1024**2,
        metavar="MB",
        help="memory of an endpoint variant's model server, in MiB; models are unloaded to stay below (default"
        " %(default)s)",
    )
    group.add_argument(
        "--model-disk-mb",
        type=_at_least_one,
        default=_DEFAULT.model_disk_bytes // 1024**2,
        metavar="MB",
        help="disk for the extracted models of an endpoint variant, in MiB (default %(default)s)",
    )


def _add_check_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--no-role-check",
        action="store_true",
        help="accept any role; without this a role must exist in IAM and trust sagemaker.amazonaws.com",
    )
    group.add_argument(
        "--no-data-check",
        action="store_true",
        help="accept training inputs and model data that are not in S3; a job without its inputs fails later",
    )
    group.add_argument(
        "--faults",
        type=Path,
        metavar="FILE",
        help="JSON file with faults that are on from the start; /_local/faults changes them later",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a number from 0 to 65535")
    return int(text)


def _image(text: str) -> tuple[str, Path]:
    name, _, python = text.partition("=")
    if ":" not in name or not python:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: REPOSITORY:TAG=PYTHON, for example"
            " sagemaker-xgboost:3.2-0=/opt/image/bin/python"
        )
    # Not resolved: a virtual environment's python is a link, and its place is what makes it that environment.
    path = Path(python).absolute()
    if not os.access(path, os.X_OK) or path.is_dir():
        raise argparse.ArgumentTypeError(f"image {name}: {path} is not an interpreter that can be run")
    return name, path


def _folder(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if path == Path(path.root):
        raise argparse.ArgumentTypeError("/ can't be hidden: the interpreters of the images lie below it")
    return path


def _label(text: str) -> tuple[str, str, str]:
    image, _, rest = text.partition("=")
    label, _, value = rest.partition("=")
    if ":" not in image or not label or not value:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: REPOSITORY:TAG=LABEL=VALUE, for example"
            " my-image:1=com.amazonaws.sagemaker.capabilities.multi-models=true"
        )
    return image, label, value


def _quota(text: str) -> tuple[str, int]:
    name, _, limit = text.rpartition("=")
    instance_type, _, usage = name.partition(" for ")
    if (
        usage.removesuffix(" usage") not in USAGES
        or not instance_type.startswith("ml.")
        or not limit.isdecimal()
    ):
        allowed = ", ".join(f"'ml.m5.large for {usage} usage=4'" for usage in USAGES)
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed, for any instance type: {allowed}")
    return name, int(limit)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number from 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 86400:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: seconds from 0 to 86400")
    return value
