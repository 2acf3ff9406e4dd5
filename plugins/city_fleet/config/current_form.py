"""Which compiled form of a fleet file is its last good one on this machine. Standard library only.

A folder for each fleet file, by the file's place in the project: git-sync gives each commit a new checkout.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from city_fleet.config import places


@dataclass(frozen=True)
class Current:
    """Which form of a fleet file is its last good one.

    :param digest: the form's name.
    :param listed: the list of cities that the file named, as it named it.
    :param cities: how many cities it had.
    :param shared: it came from the fleet's bucket, and was not made of the file here.
    """

    digest: str
    listed: str | None
    cities: int
    shared: bool = False


def folder_of(path: Path) -> Path:
    """Return the folder of a fleet file's forms; it need not exist."""
    absolute = path.absolute()
    try:
        place = str(absolute.relative_to(places.PROJECT_ROOT))
    except ValueError:
        place = str(absolute)
    name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return places.compiled_folder() / name


def read_current(folder: Path) -> Current | None:
    """Return what a file's folder says, or None where it says nothing that can be read."""
    try:
        found = json.loads((folder / "current.json").read_bytes())
        shared = found.get("shared") is True
        return Current(str(found["form"]), found["listed"], int(found["cities"]), shared)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
