"""Fleets as a careful installation has them: in a VPC and with a key of its own; and with the longest names."""

from __future__ import annotations

from city_fleet.config import Fleet
from city_fleet.config.network_section import Network
from tests.support.fleets import texas

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_LONG = "a_fleet_with_a_name_of_32_letter"


def private() -> Fleet:
    network = Network(
        subnets=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
        security_group_ids=("sg-0123456789abcdef0",),
        isolate_processing=True,
        encrypt_traffic=True,
    )
    return texas().model_copy(update={"kms_key": KEY, "network": network})


def with_long_names() -> Fleet:
    return texas().model_copy(update={"fleet": _LONG, "environment": _LONG})
