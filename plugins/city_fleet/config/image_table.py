"""The managed images there are: versions, regions, accounts, and the Python in them. Standard library only.

``managed_images.json`` is written by ``make images`` from the table that the SageMaker SDK carries, and dated. It is
the only source while anything runs: the SDK need not be installed, and what is asked of AWS does not change with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("managed_images.json")
#: What include/scripts needs: datetime.UTC is new in it.
SCRIPTS_NEED = (3, 11)
#: The Python in each image, by framework: the SDK's table does not say it; `python3 --version` in the image does, or
#: AWS's public recipe of it. Images that are missing here are older than all of these, or new: look before you add one.
PYTHON_OF = {
    "xgboost": {"1.7-1": (3, 10), "3.0-5": (3, 10), "3.2-0": (3, 12)},
    "sklearn": {"1.4-2": (3, 10), "1.9-0": (3, 12)},
}
#: What an image lacks of the packages that algorithms of include/scripts import.
LACKS = {"xgboost": (), "sklearn": ("xgboost",)}
FRAMEWORKS = tuple(PYTHON_OF)


@dataclass(frozen=True)
class ManagedImage:
    """One version of an image.

    :param registries: the account that holds it, by region.
    :param python: the version of Python in it; None where it is not known, and older than what the scripts need.
    """

    repository: str
    tag: str
    registries: dict[str, str]
    python: tuple[int, int] | None

    @property
    def runs_scripts(self) -> bool:
        """Whether its Python is new enough for include/scripts."""
        return self.python is not None and self.python >= SCRIPTS_NEED


@cache
def managed_images(framework: str = "xgboost") -> dict[str, ManagedImage]:
    """Return the images of a framework by version."""
    table = json.loads(TABLE.read_bytes())[framework]
    return {
        version: ManagedImage(
            entry["repository"], entry["tag"], entry["registries"], PYTHON_OF[framework].get(version)
        )
        for version, entry in table.items()
    }  # fmt: skip


@cache
def image_accounts() -> frozenset[str]:
    """Return the accounts in which AWS keeps its images of all frameworks, of all regions."""
    images = [image for framework in FRAMEWORKS for image in managed_images(framework).values()]
    return frozenset(account for image in images for account in image.registries.values())


@cache
def usable_versions(framework: str = "xgboost") -> tuple[str, ...]:
    """Return the versions whose Python runs the job scripts."""
    return tuple(version for version, image in managed_images(framework).items() if image.runs_scripts)


@cache
def known_regions(framework: str = "xgboost") -> tuple[str, ...]:
    """Return the regions that have an image which runs the job scripts, sorted."""
    images = managed_images(framework)
    return tuple(
        sorted({region for version in usable_versions(framework) for region in images[version].registries})
    )


def python_text(version: tuple[int, int] | None) -> str:
    """Return a version of Python in words."""
    return f"Python {version[0]}.{version[1]}" if version else "an older Python"
