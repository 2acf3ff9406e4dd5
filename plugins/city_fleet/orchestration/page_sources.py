"""What the pages are made of in Airflow's API server: its fleet files, and AWS by the connection that tasks use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from city_fleet.config import Fleet
from city_fleet.config.places import fleets_folder
from city_fleet.config.usable_fleets import usable_fleets
from city_fleet.errors import FleetFileError
from city_fleet.state.encryption import encrypting

if TYPE_CHECKING:
    from fastapi import FastAPI
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

#: A look gives up after seconds: the next one begins soon. What people decide may take as long as an endpoint may.
_LOOKS = {
    "connect_timeout": 3,
    "read_timeout": 15,
    "retries": {"total_max_attempts": 2},
    "max_pool_connections": 16,
}
_ASKS_ENDPOINT = {"connect_timeout": 3, "read_timeout": 70, "retries": {"total_max_attempts": 2}}


class PageClients:
    """The boto3 clients of one fleet, which many threads use. All are made at once: making them is not thread-safe."""

    def __init__(self, fleet: Fleet) -> None:
        self.s3: S3Client = encrypting(_client(fleet, "s3", _LOOKS), fleet.kms_key)
        self.sagemaker: SageMakerClient = _client(fleet, "sagemaker", _LOOKS)
        self.runtime: SageMakerRuntimeClient = _client(fleet, "sagemaker-runtime", _ASKS_ENDPOINT)


def make_app() -> FastAPI:
    """Return the application of the pages; the API server alone calls this, when the first page is asked for."""
    from city_fleet.page.reading import Sources  # noqa: PLC0415
    from city_fleet.page.web_app import make_app as made_of  # noqa: PLC0415 - slow to import

    return made_of(Sources(fleets=_fleets, changed=_changed, clients=PageClients))


def _fleets() -> Sequence[Fleet | FleetFileError]:
    return usable_fleets(fleets_folder())


def _changed() -> object:
    """Return name, size and time of every file in the folder of fleet files: lists of cities lie there too."""
    found = []
    for path in sorted(fleets_folder().glob("*")):
        try:
            about = path.stat()
        except OSError:
            continue
        found.append((path.name, about.st_size, about.st_mtime_ns))
    return tuple(found)


def _client(fleet: Fleet, service: str, settings: dict[str, Any]) -> Any:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook  # noqa: PLC0415 - a second to import
    from botocore.config import Config  # noqa: PLC0415

    hook = AwsBaseHook(aws_conn_id="aws_default", client_type=service, region_name=fleet.region)
    return hook.get_client_type(config=Config(**settings).merge(hook.config))
