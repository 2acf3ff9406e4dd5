"""Quotas of SageMaker as Service Quotas names them: what an account has, and under which code more is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from city_fleet.errors import ConfigError, display_path

TABLE = Path(__file__).with_name("service_quotas.json")

TRAINING = "training job"
SPOT_TRAINING = "spot training job"
WARM_POOL = "training warm pool"
PROCESSING = "processing job"
ENDPOINT = "endpoint"

#: The command whose output :func:`read` reads.
COMMAND = "aws service-quotas list-service-quotas --service-code sagemaker --output json"


def quota_name(instance_type: str, usage: str) -> str:
    """Return a quota's name, such as ``ml.m5.large for training job usage``."""
    return f"{instance_type} for {usage} usage"


@dataclass(frozen=True)
class Quotas:
    """What an account has, by the quota's name.

    :param instances: how many; a quota that is not in it is not known.
    :param codes: ``L-…`` by name.
    """

    instances: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)

    def code(self, name: str) -> str | None:
        """Return a quota's code; None where neither the account's list nor the table has it."""
        return self.codes.get(name) or known_codes().get(name)


def read(path: Path) -> Quotas:
    """Read what the AWS command line prints of an account's quotas.

    :param path: a file with the output of :data:`COMMAND`.
    :raises ConfigError: there is no such file, or it holds something else.
    """
    name = display_path(path)
    try:
        rows = json.loads(path.read_bytes())["Quotas"]
        numbers: dict[str, int] = {}
        codes: dict[str, str] = {}
        for row in rows:
            numbers[str(row["QuotaName"])] = int(row["Value"])
            codes[str(row["QuotaName"])] = str(row["QuotaCode"])
    except OSError as error:
        raise ConfigError(
            file=name, got=error.strerror or str(error), allowed=f"what `{COMMAND}` prints"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(file=name, got="no list of quotas", allowed=f"what `{COMMAND}` prints") from None
    return Quotas(numbers, codes)


@cache
def known_codes() -> dict[str, str]:
    """Return codes by name, of the types that are asked for most."""
    table: dict[str, Any] = json.loads(TABLE.read_bytes())
    return dict(table["codes"])
