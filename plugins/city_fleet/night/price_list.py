"""AWS's public price list of SageMaker: fetched over HTTPS without credentials, checked, and shortened to what is used.

The list (``https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonSageMaker/current/<region>/index.json``) holds
products by SKU and their terms. A product's ``usagetype`` says what an instance is used for and its type, such as
``USE1-Train:ml.m5.large``; its price on demand is ``terms.OnDemand.<SKU>.….priceDimensions.….pricePerUnit.USD``.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from city_fleet.errors import PlatformError
from city_fleet.night.prices import HOSTING, PROCESSING, TRAINING

HOST = "https://pricing.us-east-1.amazonaws.com"
PATH = "/offers/v1.0/aws/AmazonSageMaker/current/{region}/index.json"
#: That of a large region is some tens of MB.
MOST_BYTES = 1 << 28
_TIMEOUT_SECONDS = 60
_USAGE = re.compile(r"(?:[A-Z][A-Z0-9]*-)?(Train|Processing|Host):(ml\.[a-z0-9-]+\.[a-z0-9-]+)")
_USES = {"Train": TRAINING, "Processing": PROCESSING, "Host": HOSTING}
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d+")
#: A list with fewer prices is not believed: something else has answered.
_FEWEST = 3


def fetch(region: str, host: str = HOST, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Return what instances cost in a region now: ``as_of``, ``source`` and ``uses``, as ``prices.json`` has them.

    :param host: where the list is; AWS's.
    :raises PlatformError: nobody answers, or with what is no price list of the region.
    """
    if not _REGION.fullmatch(region) or region.startswith("cn-"):
        raise PlatformError(
            f"Region {region!r} has no price list in US dollars at {host}; write prices.json by hand (docs/cost.md)"
        )
    url = host + PATH.format(region=region)
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            body = answer.read(most_bytes + 1)
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        raise PlatformError(
            f"{url}: AWS's price list can't be fetched: {error}. The prices of before go on to count; where this host "
            "may not reach the internet, run it on one that may and copy prices.json beside the fleet files"
        ) from error
    if len(body) > most_bytes:
        raise PlatformError(f"{url}: the answer is larger than {most_bytes:,} bytes, and is not believed")
    try:
        offer = json.loads(body)
        if offer["offerCode"] != "AmazonSageMaker":
            raise ValueError(f"offerCode is {offer['offerCode']!r}")
        found: dict[str, Any] = {
            "as_of": str(offer["publicationDate"])[:10],
            "source": url,
            "uses": _uses(offer, region),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PlatformError(
            f"{url}: the answer is no price list of SageMaker ({type(error).__name__}: {error}); nothing was changed"
        ) from error
    if sum(map(len, found["uses"].values())) < _FEWEST:
        raise PlatformError(f"{url}: the list has no prices of {region}; nothing was changed")
    return found


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two tables of a region, a line each: ``Training ml.m5.large: 0.115 → 0.12``."""
    old = {} if before is None else _flat(before)
    new = _flat(after)
    return [
        f"{name}: {old.get(name, 'none'):} → {new.get(name, 'none')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _uses(offer: Mapping[str, Any], region: str) -> dict[str, dict[str, float]]:
    terms, found = offer["terms"]["OnDemand"], dict[str, dict[str, float]]()
    for sku, product in offer["products"].items():
        attributes = product["attributes"]
        usage = _USAGE.fullmatch(str(attributes.get("usagetype") or ""))
        if usage is None or attributes.get("regionCode", region) != region:
            continue
        for price in _prices(terms.get(sku) or {}):
            of_use = found.setdefault(_USES[usage[1]], {})
            # Two prices of one thing: the dearer one, so that no sum is too small.
            of_use[usage[2]] = max(price, of_use.get(usage[2], 0.0))
    return {use: dict(sorted(table.items())) for use, table in sorted(found.items())}


def _prices(terms: Mapping[str, Any]) -> Iterator[float]:
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            if str(dimension["unit"]).lower() not in ("hrs", "hours", "hour"):
                continue
            price = float(dimension["pricePerUnit"]["USD"])
            if not math.isfinite(price) or price < 0:
                raise ValueError(f"a price is {price}")
            if price:
                yield price


def _flat(table: Mapping[str, Any]) -> dict[str, float]:
    return {f"{use} {kind}": price for use, of_use in table["uses"].items() for kind, price in of_use.items()}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What the list's host does not say itself is not asked for elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None
