"""What the infrastructure of an installation is called: the stack, its queue, its functions. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.plan import endpoint_name

#: The zip files of ``make lambda``, by what the functions are for.
FUNCTIONS = ("predict", "retrain")
_LONGEST = 63


@dataclass(frozen=True)
class StackNames:
    """The names of one installation's infrastructure; every one begins with fleet and environment.

    :param fleet: its settings.
    """

    fleet: Fleet

    @property
    def stack(self) -> str:
        """Return the stack's name: at most 63 letters, digits and hyphens, of the 128 that CloudFormation allows."""
        return self._name("")

    @property
    def tags(self) -> list[dict[str, str]]:
        """Return the tags of everything that the stack makes."""
        tags = {naming.TAG_FLEET: self.fleet.fleet, naming.TAG_ENVIRONMENT: self.fleet.environment}
        return [{"Key": key, "Value": value} for key, value in tags.items()]

    @property
    def role(self) -> str:
        """Return the name of the fleet file's role, without its path."""
        return self.fleet.role.rsplit("/", 1)[1]

    @property
    def role_path(self) -> str:
        """Return the path of the fleet file's role, ``/`` for most."""
        return "/" + self.fleet.role.split(":role/", 1)[1].removesuffix(self.role)

    @property
    def endpoint(self) -> str:
        return endpoint_name(self.fleet)

    @property
    def jobs_prefix(self) -> str:
        """Return what the names of jobs, package groups and versions begin with, those that had to be cut too."""
        return naming.job_prefix(self.fleet.fleet, self.fleet.environment)

    @property
    def endpoint_prefix(self) -> str:
        """Return what the names of the endpoint, its configurations and models begin with."""
        # A name that is too long ends with "---<ten digits>-<ten digits>".
        return self.endpoint[: _LONGEST - 24].rstrip("-")

    @property
    def database(self) -> str:
        """Return the name of the database in the Glue catalog: Athena wants it without hyphens."""
        return f"{self.fleet.fleet}__{self.fleet.environment}"

    def of(self, purpose: str) -> str:
        """Return the name of something, ``texas-housing--production--arrivals``."""
        return self._name(purpose)

    def _name(self, purpose: str) -> str:
        parts = (self.fleet.fleet, self.fleet.environment)
        return naming.aws_name(*parts, *([purpose] if purpose else []))
