"""Where the project's files are: its root folder and the folder of the fleet files. Standard library only.

Airflow's processes and the command line both ask here, so they read the same files wherever they were started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: The environment variable that names another root folder.
PROJECT_VARIABLE = "CITY_FLEET_PROJECT"
#: The environment variable that names another folder of fleet files.
FLEETS_VARIABLE = "CITY_FLEET_FLEETS"
_FLEETS = "include/fleets"
_LIBRARY = Path(__file__).resolve().parents[1]
#: What the wheel brings of ``dags/`` and ``include/``; a checkout has no such folder.
_CARRIED = _LIBRARY / "carried"


def project_root(environ: Mapping[str, str], carried: Path = _CARRIED) -> Path:
    """Return the folder below which a fleet file's relative paths are.

    It is the folder that ``CITY_FLEET_PROJECT`` names; else, for a library from the wheel, Airflow's home, and for
    a checkout or a copy in a project's ``plugins/`` the folder beside whose ``plugins/`` the library is.

    :param environ: environment variables.
    :param carried: the folder that only the wheel has.
    """
    if named := environ.get(PROJECT_VARIABLE):
        return Path(os.path.expanduser(named)).absolute()  # without an error for a user who has no home
    if carried.is_dir():
        return Path(os.path.expanduser(environ.get("AIRFLOW_HOME") or "~/airflow")).absolute()
    return _LIBRARY.parents[1]


PROJECT_ROOT = project_root(os.environ)


def project_path(path: str | Path) -> Path:
    """Return a path as a fleet file means it: a relative one is below the project's root.

    What is not there, but comes with the wheel (the job scripts), is found in the wheel.
    """
    found, carried = PROJECT_ROOT / path, _CARRIED / path
    return carried if not found.exists() and carried.exists() else found


def dag_files() -> list[Path]:
    """Return the files of DAGs, of the wheel or of this checkout, sorted by name."""
    folder = _CARRIED if _CARRIED.is_dir() else _LIBRARY.parents[1]
    return sorted((folder / "dags").glob("*.py"))


def command_name() -> str:
    """Return how a person calls the command line here: ``./fleet`` in a checkout, the wheel's ``city-fleet``."""
    return "city-fleet" if _CARRIED.is_dir() else "./fleet"


def fleets_folder() -> Path:
    """Return the folder of the fleet files: the one that ``CITY_FLEET_FLEETS`` names, or the project's own.

    A relative path is below the project's root, not below the working directory: that of Airflow's processes is
    not the user's. An empty variable counts as not set.
    """
    return PROJECT_ROOT / (os.environ.get(FLEETS_VARIABLE) or _FLEETS)
