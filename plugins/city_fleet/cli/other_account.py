"""AWS for commands that read another installation of a fleet: clients of its region, with its profile or its role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from city_fleet.cli.aws import PARALLEL_CITIES, aws_errors
from city_fleet.config.places import command_name
from city_fleet.config.settings import Fleet
from city_fleet.errors import PlatformError, UnknownName, display_path
from city_fleet.naming import Keys

if TYPE_CHECKING:
    from botocore.session import Session

    from city_fleet.config.installations_section import Installation
    from city_fleet.importing.elsewhere import Elsewhere

#: What the other account's CloudTrail shows beside the role.
_SESSION_NAME = "city-fleet-promote"


class ReadingClients:
    """Clients that read another installation.

    Created here and not in the threads that use them: creating boto3 clients is not thread-safe.
    """

    def __init__(self, session: Session, region: str) -> None:
        from botocore.config import Config  # noqa: PLC0415 - slow to import

        def client(service: str) -> Any:
            pool = Config(max_pool_connections=PARALLEL_CITIES)
            return session.create_client(service, region_name=region, config=pool)

        self.s3, self.sagemaker, self.runtime = map(client, ("s3", "sagemaker", "sagemaker-runtime"))


def elsewhere(fleet: Fleet, name: str) -> Elsewhere:
    """Return another installation of a fleet with the clients to read it.

    :param name: in the fleet file's ``installations``.
    :raises UnknownName: the file names no such installation.
    :raises PlatformError: it is this one, or there are no credentials for it.
    """
    from city_fleet.importing.elsewhere import Elsewhere  # noqa: PLC0415 - imports botocore

    other = fleet.installations.get(name)
    if other is None:
        raise UnknownName("installation", name, fleet.installations, display_path(fleet.path))
    keys = Keys(other.bucket or fleet.bucket, fleet.fleet, other.environment)
    region = other.region or fleet.region
    if keys == fleet.keys and other.profile is None and other.role_arn is None:
        raise PlatformError(
            f"{display_path(fleet.path)}: installation {name!r} is this one itself, environment "
            f"{keys.environment!r} in {keys.bucket}: there is nothing to carry. To make a version of this "
            f"installation live: `{command_name()} promote CITY --version N --reason TEXT`"
        )
    with aws_errors():
        return Elsewhere(name, keys, ReadingClients(_session(other, region), region))


def _session(other: Installation, region: str) -> Session:
    """Return a session with the profile's credentials, or those of the role, which are renewed before they expire."""
    import botocore.session  # noqa: PLC0415 - slow to import
    from botocore import credentials  # noqa: PLC0415

    session = botocore.session.Session(profile=other.profile)
    if other.role_arn is None:
        return session
    sts = session.create_client("sts", region_name=region)
    asked = {"RoleArn": other.role_arn, "RoleSessionName": _SESSION_NAME}
    taken = credentials.DeferredRefreshableCredentials(
        credentials.create_assume_role_refresher(sts, asked), "sts-assume-role"
    )

    class Role(credentials.CredentialProvider):
        METHOD = CANONICAL_NAME = "city-fleet-role"

        def load(self) -> credentials.Credentials:
            return taken

    session = botocore.session.Session(profile=other.profile)
    session.register_component("credential_provider", credentials.CredentialResolver([Role()]))
    return session
