"""Whose is it? What an installation keeps says which fleet and environment it belongs to. Standard library only.

Keys and names keep installations apart. What is read at a key of ours, or met under a name of ours, and says that it is
another installation's was copied or named by somebody, and is neither believed nor changed.
A boto3 client is passed in where tags are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.errors import OtherInstallation
from city_fleet.naming import Keys

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

FLEET, ENVIRONMENT = "fleet", "environment"


def stamp(keys: Keys) -> dict[str, Any]:
    """Return the two members by which an object says whose it is."""
    return {FLEET: keys.fleet, ENVIRONMENT: keys.environment}


def other(keys: Keys, said: Mapping[str, Any]) -> str | None:
    """Return the other installation that something says it belongs to; None where it is ours or does not say.

    Earlier versions said nothing in pointers and marks, and wrote an environment as ``pre-prod`` that is ``pre_prod``
    today.

    :param said: members ``fleet`` and ``environment``, as far as they are there.
    """
    fleet, environment = str(said.get(FLEET) or ""), str(said.get(ENVIRONMENT) or "")
    ours = fleet in ("", keys.fleet) and environment.replace("-", "_") in ("", keys.environment)
    return None if ours else f"fleet {fleet!r}, environment {environment!r}"


def refuse_other(keys: Keys, said: Mapping[str, Any], where: str, advice: str) -> None:
    """Refuse what says that it belongs to another installation.

    :param said: as :func:`other` takes it.
    :param where: what it is: a URI, a name or an ARN.
    :param advice: a sentence: what to do.
    :raises OtherInstallation: it does.
    """
    whose = other(keys, said)
    if whose is not None:
        raise OtherInstallation(
            f"{where}: belongs to {whose}, and this is fleet {keys.fleet!r}, environment {keys.environment!r}. "
            f"Nothing was changed. {advice}"
        )


def tags_of(sagemaker: SageMakerClient, arn: str) -> dict[str, str]:
    """Return the tags of something in SageMaker."""
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def of_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what tags say of an installation, as :func:`other` takes it."""
    return {FLEET: tags.get(naming.TAG_FLEET, ""), ENVIRONMENT: tags.get(naming.TAG_ENVIRONMENT, "")}
