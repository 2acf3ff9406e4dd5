"""List prices of AWS: ``prices.json``, dated and of one region, and those that an installation has fetched itself.

What ``./fleet cost --refresh-prices`` fetches stands in ``prices.json`` beside the fleet files, by region, and goes
before the table that comes with the library. A price that neither has is not known; nothing is reckoned with another
region's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from city_fleet.errors import ConfigError, display_path

TABLE = Path(__file__).with_name("prices.json")
#: Name of the installation's own table, in the folder of the fleet files.
OWN_TABLE = "prices.json"
#: What an instance is used for, as the price list calls it.
TRAINING, PROCESSING, HOSTING = USES = ("Training", "Processing", "Hosting")
_FORMAT = 1


@dataclass(frozen=True)
class Prices:
    """What things cost, in US dollars.

    :param as_of: the day on which they were looked up; empty where no price of the region is known.
    :param instance_hour: by SageMaker instance type, on demand.
    :param spot_share: what a spot instance costs of the price on demand: an assumption, spot prices move.
    :param by_use: by what an instance is used for and its type, where the table tells uses apart; else it is empty.
    :param has_others: the prices of S3 and CloudWatch are of the region too.
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
    by_use: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    has_others: bool = True

    def instance_seconds(self, instance_type: str, seconds: float, *, spot: bool = False) -> float | None:
        """Return the price of an instance for some seconds; None of a type that is not in the table."""
        hour = self.instance_hour.get(instance_type)
        if hour is None:
            return None
        return hour * seconds / 3600 * (self.spot_share if spot else 1)

    def hour(self, use: str, instance_type: str) -> float | None:
        """Return the price of an hour on demand; None where it is not known.

        :param use: one of :data:`USES`.
        """
        return (self.by_use.get(use, {}) if self.by_use else self.instance_hour).get(instance_type)


@cache
def list_prices() -> Prices:
    """Return the prices of ``prices.json``, whatever region somebody works in."""
    table = json.loads(TABLE.read_bytes())
    names = Prices.__dataclass_fields__.keys() - {"by_use", "has_others"}
    return Prices(**{name: table[name] for name in names})


def prices_of(region: str, folder: Path) -> Prices:
    """Return the prices of a region: the installation's own, else those of the library, else none.

    :param folder: of the fleet files.
    :raises ConfigError: the installation's own table is there and can't be read.
    """
    shipped = list_prices()
    own = own_table(folder).get(region)
    here = shipped.region == region
    if own is None:
        return shipped if here else _none_of(region)
    uses = own["uses"]
    every = {kind: price for use in USES for kind, price in uses.get(use, {}).items()}
    members = {name: getattr(shipped, name) for name in Prices.__dataclass_fields__}
    told = {"as_of": own["as_of"], "region": region, "source": own["source"]}
    return Prices(**members | told | {"instance_hour": every, "by_use": uses, "has_others": here})


def prices_to_show(region: str, folder: Path) -> Prices:
    """Return the prices of a region, for who shows them beside other things; none where a table can't be read."""
    try:
        return prices_of(region, folder)
    except ConfigError:
        return _none_of(region)  # ./fleet cost and the budget say so


def own_table(folder: Path) -> dict[str, Any]:
    """Return the installation's own table: region → ``as_of``, ``source`` and ``uses``; empty where there is none.

    :raises ConfigError: it is none.
    """
    path = folder / OWN_TABLE
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _refused(path, f"a file that cannot be read ({type(error).__name__})") from error
    try:
        if value["format_version"] != _FORMAT:
            raise ValueError("format_version")
        for region in value["regions"].values():
            if not isinstance(region["as_of"], str) or not isinstance(region["source"], str):
                raise TypeError("as_of")
            for table in region["uses"].values():
                if not all(_is_price(price) for price in table.values()):
                    raise ValueError("a price")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _refused(path, "no table of prices") from error
    return dict(value["regions"])


def own_bytes(regions: Mapping[str, Any]) -> bytes:
    """Return an installation's own table as it stands in its file.

    :param regions: as :func:`own_table` returns them.
    """
    value = {"format_version": _FORMAT, "currency": "US dollars", "regions": regions}
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _none_of(region: str) -> Prices:
    shipped = list_prices()
    members = {name: getattr(shipped, name) for name in Prices.__dataclass_fields__}
    nothing = {"as_of": "", "region": region, "source": "", "instance_hour": {}, "has_others": False}
    return Prices(**members | nothing)


def _refused(path: Path, got: str) -> ConfigError:
    hint = "`./fleet cost --refresh-prices` writes it anew; without it the library's own prices count."
    return ConfigError(file=display_path(path), got=got, allowed="what the command has written", hint=hint)
