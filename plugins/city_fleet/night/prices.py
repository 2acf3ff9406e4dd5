"""List prices of AWS, from ``prices.json``: dated, of one region, and no more than is needed to compare two plans."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("prices.json")


@dataclass(frozen=True)
class Prices:
    """What things cost, in US dollars.

    :param as_of: the day on which they were looked up.
    :param instance_hour: by SageMaker instance type, on demand.
    :param spot_share: what a spot instance costs of the price on demand: an assumption, spot prices move.
    """

    as_of: str
    region: str
    source: str
    instance_hour: dict[str, float]
    spot_share: float
    s3_put_or_list_per_1000: float
    s3_get_per_1000: float
    s3_gb_month: float
    logs_gb_ingested: float

    def instance_seconds(self, instance_type: str, seconds: float, *, spot: bool = False) -> float | None:
        """Return the price of an instance for some seconds; None of a type that is not in the table."""
        hour = self.instance_hour.get(instance_type)
        if hour is None:
            return None
        return hour * seconds / 3600 * (self.spot_share if spot else 1)


@cache
def list_prices() -> Prices:
    """Return the prices of ``prices.json``."""
    table = json.loads(TABLE.read_bytes())
    return Prices(**{name: table[name] for name in Prices.__dataclass_fields__})
