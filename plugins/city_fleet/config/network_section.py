"""The section ``network``: the VPC that jobs and endpoint run in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from city_fleet.config.name_types import SecurityGroup, Subnet
from city_fleet.config.section import Section, or_refuse, repeated
from city_fleet.config.value_types import Flag


class Network(Section):
    """The VPC that jobs and endpoint run in, and what they may reach."""

    subnets: Annotated[tuple[Subnet, ...], Field(min_length=1, max_length=16)]
    """Subnets of the VPC, 1 to 16; S3 and ECR must be reachable from them, by endpoints of the VPC or a NAT gateway."""
    security_group_ids: Annotated[tuple[SecurityGroup, ...], Field(min_length=1, max_length=5)]
    """Security groups of that VPC, 1 to 5."""
    isolate_processing: Flag = False
    """Processing containers get no network; training and endpoint fetch their scripts themselves, and keep theirs."""
    encrypt_traffic: Flag = False
    """Encrypt what a job's instances send each other: it has one, but a rule of the account may ask for it."""

    @model_validator(mode="after")
    def _check(self) -> Network:
        problems = repeated("subnets", self.subnets)
        return or_refuse(self, problems + repeated("security_group_ids", self.security_group_ids))
