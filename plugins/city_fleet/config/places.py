"""Where the project's files are: its root folder and the folder of the fleet files.

Airflow's processes and the command line both ask here, so they read the same files wherever they were started. A path
in a fleet file leads to nothing else: not by ``..``, not as an absolute path, not by a symbolic link.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from city_fleet.errors import ConfigError, display_path, show_value

#: The environment variable that names another root folder.
PROJECT_VARIABLE = "CITY_FLEET_PROJECT"
#: The environment variable that names another folder of fleet files.
FLEETS_VARIABLE = "CITY_FLEET_FLEETS"
#: The environment variable that names another folder for compiled fleets.
COMPILED_VARIABLE = "CITY_FLEET_COMPILED"
_FLEETS = "include/fleets"
_LIBRARY = Path(__file__).resolve().parents[1]
#: What the wheel brings of ``dags/`` and ``include/``; a checkout has no such folder.
_CARRIED = _LIBRARY / "carried"
#: What a fleet file's path may be, in words.
ALLOWED_PATH = "a path below the project's root or the fleet file's folder, after symbolic links"


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


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether a path leads, after symbolic links, below the project's root, a folder, or what the wheel brings.

    :param folder: that of the fleet file.
    """
    try:
        real = path.resolve()
        return any(real.is_relative_to(root.resolve()) for root in (PROJECT_ROOT, folder, _CARRIED))
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that no file system takes
        return False


def scripts_folder(given: str, fleet_file: Path, field: str = "scripts") -> Path:
    """Return a folder of scripts, or a single script, that a fleet file names.

    :raises ConfigError: it lies elsewhere on the host.
    """
    path = project_path(given)
    if not is_inside(path, fleet_file.parent):
        file, got = display_path(fleet_file), f"{show_value(given)}, which leads out of the project"
        raise ConfigError(file=file, field=field, got=got, allowed=ALLOWED_PATH)
    return path


def source_places(given: str, fleet_file: Path) -> list[Path]:
    """Return where the raw data may lie that a fleet file names: below the project's root, or beside the file.

    :return: nothing that lies elsewhere on the host; an empty list where the path leads there.
    """
    places = dict.fromkeys((project_path(given), fleet_file.parent / given))
    inside = [path for path in places if is_inside(path, fleet_file.parent)]
    if any(path.exists() for path in inside):
        return inside
    # A link beside the fleet file is refused, and not called missing because the root has no file of its name.
    return [] if any(os.path.lexists(path) for path in places if path not in inside) else inside


def script_files(folder: Path) -> list[Path]:
    """Return the Python files of a folder of scripts and its sub-folders, sorted; without hidden ones and caches."""
    return _scripts_and_links_out(folder)[0]


def links_out(folder: Path) -> list[str]:
    """Return a folder's scripts and sub-folders that are links to what is neither the folder's nor the project's."""
    return [path.relative_to(folder).as_posix() for path in _scripts_and_links_out(folder)[1]]


def _scripts_and_links_out(folder: Path) -> tuple[list[Path], list[Path]]:
    scripts, out = [], []
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        if here in seen:  # links in a circle
            folders.clear()
            continue
        seen.add(here)
        below = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        out += [Path(place, name) for name in below if not is_inside(Path(place, name), folder)]
        folders[:] = [name for name in below if Path(place, name) not in out]
        scripts += [Path(place, name) for name in files if name.endswith(".py") and not name.startswith(".")]
    out += [path for path in scripts if not is_inside(path, folder)]
    return sorted(scripts), sorted(out)


def dag_files() -> list[Path]:
    """Return the files of DAGs, of the wheel or of this checkout, sorted by name."""
    folder = _CARRIED if _CARRIED.is_dir() else _LIBRARY.parents[1]
    return sorted((folder / "dags").glob("*.py"))


def is_installed() -> bool:
    """Tell whether the library is a wheel's; one of a checkout, or of a project's ``plugins/``, may change any time."""
    return _CARRIED.is_dir()


def command_name() -> str:
    """Return how a person calls the command line here: ``./fleet`` in a checkout, the wheel's ``city-fleet``."""
    return "city-fleet" if is_installed() else "./fleet"


def version() -> str:
    """Return the version of City Fleet: of the wheel, or of this checkout."""
    import tomllib  # noqa: PLC0415 - a DAG file of no fleet imports next to nothing
    from importlib import metadata  # noqa: PLC0415

    if _CARRIED.is_dir():
        return metadata.version("city-fleet")
    text = (_LIBRARY.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


def fleets_folder() -> Path:
    """Return the folder of the fleet files: the one that ``CITY_FLEET_FLEETS`` names, or the project's own.

    A relative path is below the project's root, not below the working directory: that of Airflow's processes is
    not the user's. An empty variable counts as not set.
    """
    return PROJECT_ROOT / (os.environ.get(FLEETS_VARIABLE) or _FLEETS)


def compiled_folder() -> Path:
    """Return the folder that mirrors compiled fleets: the one that ``CITY_FLEET_COMPILED`` names, or a default.

    The default is in Airflow's home, which no deployment replaces as it does a checkout; for a checkout without an
    Airflow it is in ``.local``. A relative path is below the project's root.
    """
    if named := os.environ.get(COMPILED_VARIABLE):
        return PROJECT_ROOT / Path(named).expanduser()
    home = os.environ.get("AIRFLOW_HOME") or ("~/airflow" if _CARRIED.is_dir() else PROJECT_ROOT / ".local")
    return Path(home).expanduser().absolute() / "compiled_fleets"


def replay_since() -> date | None:
    """Return the day from which on this installation replays schedules that have ended; None where it does not.

    It is the installation's, as the laptop's is, whose samples end in the past, and no fleet file's.

    :raises ConfigError: the variable holds no day.
    """
    from city_fleet.ticks import REPLAY_VARIABLE  # noqa: PLC0415 - a DAG file of no fleet imports next to nothing

    named = os.environ.get(REPLAY_VARIABLE)
    if not named:
        return None
    try:
        return date.fromisoformat(named)
    except ValueError:
        raise ConfigError(
            file="environment",
            field=REPLAY_VARIABLE,
            got=show_value(named),
            allowed="a day such as 2026-11-26",
        ) from None
