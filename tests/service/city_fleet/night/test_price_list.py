"""AWS's price list over HTTP, in its own form: what is taken of it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from city_fleet.errors import PlatformError
from city_fleet.night import price_list
from city_fleet.night.prices import HOSTING, own_table, prices_of
from tests.support.command_line import fleet as run_fleet
from tests.support.fleets import SMALL
from tests.support.http_server import running_http_server

PRICES = {
    "EUC1-Train:ml.m5.large": "0.138",
    "EUC1-Processing:ml.t3.medium": "0.0600000000",
    "EUC1-Host:ml.m5.large": "0.1380000000",
    "EUC1-Notebk:ml.m5.large": "9.0",
    "EUC1-Train:VolumeUsage.gp2": "7.0",
}
NOT_HERE = "USE1-Train:ml.m5.large"


def offer(prices: dict[str, str]) -> dict[str, Any]:
    """A price list as AWS publishes it, with so many products."""
    products, terms = {}, {}
    for number, (usage, price) in enumerate({**prices, NOT_HERE: "5.0"}.items()):
        sku = f"SKU{number:013d}"
        name = usage.rpartition(":")[2]
        products[sku] = {
            "sku": sku,
            "productFamily": "ML Instance",
            "attributes": {
                "servicecode": "AmazonSageMaker",
                "regionCode": "us-east-1" if usage == NOT_HERE else "eu-central-1",
                "instanceName": name,
                "usagetype": usage,
                "operation": "RunInstance",
            },
        }
        dimension = {
            "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
            "beginRange": "0",
            "endRange": "Inf",
            "unit": "GB-Mo" if "Volume" in usage else "Hrs",
            "pricePerUnit": {"USD": price},
            "appliesTo": [],
        }
        term = {"offerTermCode": "JRTCKXETXF", "sku": sku, "priceDimensions": {"r": dimension}}
        terms[sku] = {f"{sku}.JRTCKXETXF": {**term, "effectiveDate": "2026-11-01T00:00:00Z"}}
    return {
        "formatVersion": "v1.0",
        "offerCode": "AmazonSageMaker",
        "version": "20261120193141",
        "publicationDate": "2026-11-20T19:31:41Z",
        "products": products,
        "terms": {"OnDemand": terms},
    }


@pytest.fixture
def answers() -> dict[str, Any]:
    return {"status": 200, "body": json.dumps(offer(PRICES)).encode()}


@pytest.fixture
def host(answers: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.setdefault("asked", []).append(self.path)
            self.send_response(answers["status"])
            self.send_header("Content-Length", str(len(answers["body"])))
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(answers["body"])

        def log_message(self, *_: Any) -> None:
            pass

    with running_http_server(Handler) as address:
        yield address


def test_prices_are_fetched_shown_and_counted(
    host: str, answers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_list, "HOST", host)
    (tmp_path / "small.yaml").write_text(
        SMALL.replace("fleet: small", "fleet: small\nregion: eu-central-1") + "cities: {a: }\n",
        encoding="utf-8",
    )

    def refresh() -> str:
        done = run_fleet("cost", "--refresh-prices", CITY_FLEET_FLEETS=str(tmp_path))
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert not prices_of("eu-central-1", tmp_path).as_of
    assert "eu-central-1: 3 prices of 2026-11-20, all are new" in refresh()
    assert answers["asked"] == ["/offers/v1.0/aws/AmazonSageMaker/current/eu-central-1/index.json"]
    prices = prices_of("eu-central-1", tmp_path)
    assert (prices.as_of, prices.has_others) == ("2026-11-20", False)
    assert prices.hour("Training", "ml.m5.large") == 0.138
    assert prices.hour(HOSTING, "ml.t3.medium") is None
    answers["body"] = json.dumps(offer({**PRICES, "EUC1-Train:ml.m5.large": "0.15"})).encode()
    said = refresh()
    assert "1 have changed" in said
    assert "Training ml.m5.large: 0.138 → 0.15" in said
    # What goes wrong changes nothing.
    kept = (tmp_path / "prices.json").read_bytes()
    answers["body"] = b"<html>sign in</html>"
    done = run_fleet("cost", "--refresh-prices", CITY_FLEET_FLEETS=str(tmp_path))
    assert done.returncode == 1
    assert "is no price list of SageMaker" in done.stderr
    assert (tmp_path / "prices.json").read_bytes() == kept
    assert own_table(tmp_path).keys() == {"eu-central-1"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_no_list_of_the_region_is_refused(
    host: str, answers: dict[str, Any], subtests: pytest.Subtests
) -> None:
    whole = offer(PRICES)
    bodies: dict[str, tuple[int, Any, str]] = {
        "another service": (200, {**whole, "offerCode": "AmazonEC2"}, "offerCode"),
        "no prices": (200, offer({}), "has no prices of eu-central-1"),
        "a price that is none": (200, offer({**PRICES, "EUC1-Host:ml.c5.large": "NaN"}), "a price is nan"),
        "a list": (200, [whole], "no price list"),
        "elsewhere": (302, {}, "can't be fetched"),
        "an error": (503, {}, "go on to count"),
    }
    for name, (status, body, said) in bodies.items():
        with subtests.test(name):
            answers |= {"status": status, "body": json.dumps(body).encode()}
            with pytest.raises(PlatformError, match=said):
                price_list.fetch("eu-central-1", host)
    assert "/elsewhere" not in answers["asked"]
    answers |= {"status": 200, "body": b" " * 200}
    with pytest.raises(PlatformError, match="larger than 100 bytes"):
        price_list.fetch("eu-central-1", host, most_bytes=100)
    with pytest.raises(PlatformError, match="no price list in US dollars"):
        price_list.fetch("cn-north-1", host)
    with pytest.raises(PlatformError, match="can't be fetched"):
        price_list.fetch("eu-central-1", "http://127.0.0.1:9")
