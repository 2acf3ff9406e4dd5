"""Where the project's files are: its root folder and the folder of the fleet files. Standard library only.

Airflow's processes and the command line both ask here, so they read the same files wherever they were started.
"""

from __future__ import annotations

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[3]
#: The environment variable that names another folder of fleet files.
FLEETS_VARIABLE = "CITY_FLEET_FLEETS"
_FLEETS = "include/fleets"


def project_path(path: str | Path) -> Path:
    """Return a path as a fleet file means it: a relative one is below the project's root."""
    return PROJECT_ROOT / path


def fleets_folder() -> Path:
    """Return the folder of the fleet files: the one that ``CITY_FLEET_FLEETS`` names, or the project's own.

    A relative path is below the project's root, not below the working directory: that of Airflow's processes is
    not the user's. An empty variable counts as not set.
    """
    return project_path(os.environ.get(FLEETS_VARIABLE) or _FLEETS)
