"""The fleet file's `network` and `kms_key`: what is taken, and the sentences for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import load_fleet
from city_fleet.errors import FleetFileError
from tests.support.fleets import SMALL

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SUBNETS = "subnets: [subnet-0123456789abcdef0], security_group_ids: [sg-0123456789abcdef0]"


def test_a_fleet_in_a_vpc(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"{SMALL}kms_key: {KEY}\nnetwork: {{{SUBNETS}}}\ncities: {{a: }}\n", encoding="utf-8")
    fleet = load_fleet(path, {})
    assert fleet.kms_key == KEY
    assert fleet.network is not None
    assert fleet.network.subnets == ("subnet-0123456789abcdef0",)
    assert not fleet.network.isolate_processing


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("kms_key: alias/mine", "'kms_key': got 'alias/mine'; allowed: the ARN of a KMS key"),
        ("network: {}", "'network.subnets': got nothing"),
        ("network: {subnets: [], security_group_ids: [sg-0123456789abcdef0]}", "'network.subnets': got"),
        (
            "network: {subnets: [vpc-0123456789], security_group_ids: [sg-0123456789abcdef0]}",
            "'network.subnets[0]': got 'vpc-0123456789'; allowed: the id of a subnet",
        ),
        (
            "network: {subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef0], "
            "security_group_ids: [sg-0123456789abcdef0]}",
            "'network.subnets[1]': got 'subnet-0123456789abcdef0' a second time",
        ),
        (
            f"network: {{{SUBNETS}, isolate_processing: true}}\n"
            "defaults: {own_scripts: {requirements: include/scripts/requirements.txt}}",
            "'defaults.own_scripts.requirements': got 'include/scripts/requirements.txt'; allowed: null where "
            "network.isolate_processing is true",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, settings: str, sentence: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"{SMALL}{settings}\ncities: {{a: }}\n", encoding="utf-8")
    try:
        fleet = load_fleet(path, {})
        said = [str(error) for error in fleet.errors]
    except FleetFileError as error:
        said = [str(each) for each in error.errors]
    assert any(sentence in each for each in said), said
