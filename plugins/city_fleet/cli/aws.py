"""AWS for commands: clients of a fleet's region, and AWS's errors as sentences.

Endpoint URL and credentials come from the usual AWS variables, profiles and roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from city_fleet import clock
from city_fleet.cli.output import say
from city_fleet.config import Fleet
from city_fleet.config.top_lines import TopLines
from city_fleet.errors import PlatformError
from city_fleet.naming import Keys
from city_fleet.state.encryption import encrypting

if TYPE_CHECKING:
    from botocore.config import Config

    from city_fleet.config.usable_fleets import Shared

#: How many cities a command works on at the same time.
PARALLEL_CITIES = 16


def client(fleet: Fleet, service: str, config: Config | None = None) -> Any:
    """Return a boto3 client, which several threads may use.

    :param service: as boto3 names it, e.g. ``sagemaker-runtime``.
    :param config: settings beside those of every command.
    """
    import boto3  # noqa: PLC0415 - slow to import, and many commands need none of it
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    pool = Config(max_pool_connections=PARALLEL_CITIES)
    if boto3.DEFAULT_SESSION is None:
        found = botocore.session.get_session()
        found.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        boto3.setup_default_session(botocore_session=found)
    made = boto3.client(service, region_name=fleet.region, config=pool.merge(config) if config else pool)
    return encrypting(made, fleet.kms_key) if service == "s3" else made


def _moment(value: Any) -> datetime:
    """Return a timestamp of an answer. botocore's own way takes 300 times as long, for each object of a listing."""
    if isinstance(value, str):
        with suppress(ValueError):
            return clock.parse_zulu(value)
    from botocore.utils import parse_timestamp  # noqa: PLC0415

    return parse_timestamp(value)


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn what AWS refuses, and AWS that is not to be reached, into an error with a sentence.

    :raises PlatformError: with AWS's own words.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    from city_fleet.aws_errors import facts, sentence  # noqa: PLC0415

    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise PlatformError(sentence(error), **facts(error)) from None


def shared_form(lines: TopLines) -> Shared | None:
    """Return from S3 the last good form of the fleet that a broken file names, or None where there is none."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    from city_fleet.state import form_store  # noqa: PLC0415
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    keys = Keys(lines.bucket, lines.fleet, lines.environment)
    quick = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2})
    try:
        with aws_errors():
            client = boto3.client("s3", region_name=lines.region, config=quick)
            return form_store.last_good(ObjectStore(client, lines.bucket), keys)
    except PlatformError as error:
        where = keys.uri(keys.compiled_current())
        say(f"warning: {where} can't be asked for the last good form: {error}", err=True)
        return None
