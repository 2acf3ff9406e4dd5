"""An entry of the installations section: where another installation of the fleet keeps its things."""

from __future__ import annotations

from city_fleet.config.name_types import Bucket, Environment, Profile, Region, Role
from city_fleet.config.section import Section


class Installation(Section):
    """Another installation of the same fleet, which is read and never written to."""

    environment: Environment
    """Its environment, as its own fleet file says it."""
    bucket: Bucket | None = None
    """Its bucket; null: this installation's."""
    region: Region | None = None
    """Its region; null: this installation's."""
    role_arn: Role | None = None
    """IAM role that is taken to read it; null: none."""
    profile: Profile | None = None
    """Profile of AWS's configuration whose credentials read it, or take the role; null: those of every command."""
