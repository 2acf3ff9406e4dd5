"""How the cities of all fleets are spread over DAG files. Standard library only, until a file has a city to build.

Airflow gives a DAG file 50 seconds, and kills with it whatever the file has built: 3,168 cities in one file were no
fleet at all. So there are as many files as the largest fleets need, each with the cities of its shard, and as many of
them are at work as the fleets need now: an idle one counts lines and is done. Which shard a city is in follows from its
slug and from that number alone; a task asks any file for its DAG, also after the number has changed.

Airflow's commands that run or show one DAG (``airflow tasks test``, ``render``, ``list``; ``airflow dags test``) ask
every file for it, and write what they found into Airflow's database. There only the file with the city answers: a DAG
that two files hold is an import error of one of them, and that takes every city of the file out of service.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from city_fleet.config.current_form import folder_of, read_current
from city_fleet.config.parts import Part, shard_of, shards_for
from city_fleet.config.places import fleets_folder
from city_fleet.orchestration import unbuilt_dags

#: DAG files of cities: ``city_dags.py``, ``city_dags_01.py`` and so on. A power of two.
DAG_FILES = 16
# Of cities as they are counted here, about two for each city that there is.
_PER_FILE = 500
_SUFFIXES = (".yaml", ".yml")
_LISTED = re.compile(rb"""\bfrom:[ ]*["']?([^"'#,{}\r\n]+)""")


def shard_dags(index: int, only: str | None = None, *, starts: bool = False) -> dict[str, Any]:
    """Return the DAGs of the cities of one DAG file by their ids.

    :param index: which of the files, from 0.
    :param only: this DAG alone (Airflow's parsing context).
    :param starts: a task of that DAG starts, and asks this file alone: it may have been told of it when there were
        more files, or fewer.
    """
    files = files_needed(fleets_folder()) if not starts else DAG_FILES
    if only is not None and not starts and index != _file_of(only, files):
        return {}
    if index >= files:
        unbuilt_dags.report(f"cities-{index}", {})
        return {}
    # Not before: the settings take longer to import than an idle file takes in all.
    from city_fleet.orchestration.city_dags import city_dags  # noqa: PLC0415
    from city_fleet.orchestration.shared_forms import shared_form  # noqa: PLC0415

    dags = list(city_dags(fleets_folder(), only, Part(index, files), shared_form))
    return _by_id(f"cities-{index}", dags, only)


def _file_of(dag_id: str, files: int) -> int:
    """Return the number of the file in which a DAG stands, if it is of a city, of a cohort, or of a broken file."""
    slug = dag_id.partition(".")[2]
    return 0 if slug.startswith("_") and not slug.startswith("_cohort_") else shard_of(slug, files)


def fleet_wide_dags(only: str | None = None) -> dict[str, Any]:
    """Return the fleet-wide DAGs of every fleet by their ids.

    :param only: this DAG alone.
    """
    from city_fleet.orchestration.fleet_dags import fleet_dags  # noqa: PLC0415
    from city_fleet.orchestration.shared_forms import shared_form  # noqa: PLC0415

    return _by_id("fleets", list(fleet_dags(fleets_folder(), only, shared_form)), only)


def _by_id(dag_file: str, dags: list[Any], only: str | None) -> dict[str, Any]:
    from city_fleet.orchestration.broken_dags import unbuilt  # noqa: PLC0415

    if only is None:
        unbuilt_dags.report(dag_file, unbuilt(dags))
    return {dag.dag_id: dag for dag in dags}


def files_needed(folder: Path) -> int:
    """Return how many DAG files are at work, by a count of cities that is never too low."""
    return shards_for(sum(map(_most_cities, _fleet_files(folder))), _PER_FILE, DAG_FILES)


def _fleet_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES) if folder.is_dir() else []


def _most_cities(path: Path) -> int:
    """Return a number that a fleet file's cities do not exceed: of the file as it is, and of its last good form."""
    current = read_current(folder_of(path))
    # A file that was cut short goes on with all the cities that it had.
    before = current.cities if current is not None else 0
    try:
        text = path.read_bytes()
    except OSError:
        return before
    # A city in a fleet file has a colon, and one in a list a line.
    lines = sum(_lines(path.parent / name.decode(errors="replace").strip()) for name in _LISTED.findall(text))
    return max(before, text.count(b":") + lines)


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n") + 1
    except (OSError, ValueError):
        return 0
