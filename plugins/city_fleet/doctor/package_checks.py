"""The doctor's look at Python packages: is installed what this place needs?

An Airflow needs what the library imports, in any version of a range. A laptop also runs the tests, jobs and the local
SageMaker, and has the versions that requirements.txt pins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from city_fleet.doctor.findings import Area, Finding

AREA = Area("packages")


class Role(StrEnum):
    """What a place is for."""

    AIRFLOW = "airflow"
    LAPTOP = "laptop"


#: What the library imports where Airflow runs. The wheel depends on the same list: pyproject.toml.
AIRFLOW_NEEDS = (
    "apache-airflow>=3.3,<4",
    "apache-airflow-providers-amazon>=9.30",
    "boto3>=1.42.93",
    "pydantic>=2.11,<3",
    "pyyaml>=6.0.3",
    "typer>=0.15",
    "rich>=13",
    "httpx>=0.25",
    "croniter>=6.2.2",
    "packaging>=25.0",
)
#: Beside them, where a fleet has `dataset.holidays`: the extra `holidays` of the wheel.
HOLIDAYS_NEED = "holidays>=0.60"
#: Where a fleet has `forecasts.schedule`: the extra `parquet`.
PARQUET_NEED = "pyarrow>=16"
_REPAIR = {
    Role.AIRFLOW: 'pip install "apache-airflow==$(airflow version)" and City Fleet\'s wheel: docs/install.md',
    Role.LAPTOP: "make environments (for the packages that an Airflow needs: ./fleet doctor --role airflow)",
}


def role_here(prefix: str, root: Path) -> Role:
    """Tell what a Python environment is for: ``.venv`` of a checkout is a laptop's, any other an Airflow's.

    :param prefix: ``sys.prefix``.
    :param root: the project's root.
    """
    return Role.LAPTOP if Path(prefix).resolve() == (root / ".venv").resolve() else Role.AIRFLOW


def needs(role: Role, root: Path, *, holidays: bool = False, parquet: bool = False) -> list[str]:
    """Return the requirements of a place, as lines of a requirements file; none where a laptop has no such file.

    :param holidays: whether a fleet asks for those of a country, ``parquet``: for tables of its forecasts.
    """
    if role is Role.AIRFLOW:
        more = {HOLIDAYS_NEED: holidays, PARQUET_NEED: parquet}
        return [*AIRFLOW_NEEDS, *(need for need, wanted in more.items() if wanted)]
    path = root / "requirements.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def installed_versions() -> dict[str, str]:
    """Return the installed distributions: canonical name → version."""
    return {canonicalize_name(each.metadata["Name"]): each.version for each in metadata.distributions()}


def check(
    requirements: Iterable[str], installed: Mapping[str, str], role: Role = Role.LAPTOP
) -> list[Finding]:
    """Compare what is installed with what a place needs. Pure.

    :param requirements: lines of a requirements file.
    :param installed: canonical name → version.
    :param role: an Airflow's requirements are ranges, outside of which the library does not work; a laptop's are
        the versions that were tested.
    """
    missing, other, good = [], [], 0
    for line in requirements:
        text = line.split("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        version = installed.get(canonicalize_name(wanted.name))
        if version is None:
            missing.append(f"{wanted.name}{wanted.specifier}")
        elif not wanted.specifier.contains(version, prereleases=True):
            other.append(f"{wanted.name} {version} instead of {wanted.specifier}")
        else:
            good += 1
    ranges, repair = role is Role.AIRFLOW, _REPAIR[role]
    as_wanted = "in versions that City Fleet works with" if ranges else "as requirements.txt pins them"
    found = [AREA.ok(f"{good} packages are installed {as_wanted}")] if good else []
    if missing:
        found.append(AREA.fail(f"not installed: {', '.join(missing)}", repair))
    if other and ranges:
        found.append(AREA.fail(f"a version that City Fleet does not work with: {', '.join(other)}", repair))
    elif other:
        found.append(AREA.warn(f"another version than was tested: {', '.join(other)}", repair))
    if not found:
        found.append(AREA.warn("there is no requirements.txt to compare with", "Run this in a checkout"))
    return found
