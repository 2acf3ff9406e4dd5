"""Prices are of the fleet's region or none: no other region's stand in, and what can't be read stops no page."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.errors import ConfigError
from city_fleet.night.prices import OWN_TABLE, list_prices, own_bytes, prices_of, prices_to_show


def test_what_is_shown_is_of_the_fleets_region(tmp_path: Path) -> None:
    assert prices_to_show("us-east-1", tmp_path) == list_prices()
    elsewhere = prices_to_show("eu-central-1", tmp_path)
    assert (elsewhere.region, elsewhere.instance_hour, elsewhere.as_of) == ("eu-central-1", {}, "")
    uses = {"Training": {"ml.m5.large": 0.138}}
    own = tmp_path / OWN_TABLE
    own.write_bytes(
        own_bytes({"eu-central-1": {"as_of": "2026-11-27", "source": "our contract", "uses": uses}})
    )
    assert prices_to_show("eu-central-1", tmp_path).instance_hour == {"ml.m5.large": 0.138}
    own.write_text("{", encoding="utf-8")
    assert prices_to_show("us-east-1", tmp_path).instance_hour == {}
    with pytest.raises(ConfigError):
        prices_of("us-east-1", tmp_path)
