"""The doctor's look at Python packages: are those installed that the project pins?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from city_fleet.doctor.findings import Area, Finding

AREA = Area("packages")
_REPAIR = "Install the lock: uv pip sync requirements/production.lock (on a laptop: make environments)"
# requirements.txt names it for the tests; requirements/production.lock leaves it out.
_FOR_TESTS = frozenset({"pytest"})


def installed_versions() -> dict[str, str]:
    """Return the installed distributions: canonical name → version."""
    return {canonicalize_name(each.metadata["Name"]): each.version for each in metadata.distributions()}


def check(requirements: Iterable[str], installed: Mapping[str, str]) -> list[Finding]:
    """Compare what is installed with pinned requirements. Pure.

    :param requirements: lines of requirements.txt.
    :param installed: canonical name → version.
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
        if version is None and canonicalize_name(wanted.name) in _FOR_TESTS:
            continue
        if version is None:
            missing.append(f"{wanted.name}{wanted.specifier}")
        elif not wanted.specifier.contains(version, prereleases=True):
            other.append(f"{wanted.name} {version} instead of {wanted.specifier}")
        else:
            good += 1
    found = [AREA.ok(f"{good} packages are installed as requirements.txt pins them")] if good else []
    if missing:
        found.append(AREA.fail(f"not installed: {', '.join(missing)}", _REPAIR))
    if other:
        found.append(AREA.warn(f"another version than was tested: {', '.join(other)}", _REPAIR))
    return found
