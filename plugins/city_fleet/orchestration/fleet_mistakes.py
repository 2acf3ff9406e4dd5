"""Makes mistakes in fleet files red on Airflow's home.

A city whose settings are wrong has a DAG that says so, but that DAG has no schedule and never fails by itself: all of
Airflow's home would stay green. A DAG file that raises is an import error there, and takes the DAGs of its own file out
of the schedule. So the file that calls this one builds none.
"""

from __future__ import annotations

from pathlib import Path

from city_fleet.config import Fleet
from city_fleet.config.usable_fleets import usable_fleets
from city_fleet.errors import CityFleetError
from city_fleet.orchestration.broken_dags import storable
from city_fleet.orchestration.mistake_alert import forget, mistakes_of

_SHOWN = 20


def raise_on_mistakes(folder: Path) -> None:
    """Raise when the fleet files of a folder hold mistakes.

    :param folder: of the fleet files.
    :raises CityFleetError: names each mistake with file, line, city and field.
    """
    if not folder.is_dir():
        raise CityFleetError(
            f"There is no folder of fleet files: {storable(str(folder))}. No city has a DAG. Set CITY_FLEET_FLEETS to "
            "the folder for all of Airflow's processes, or unset it for include/fleets."
        )
    found = [(loaded, mistakes_of(loaded)) for loaded in usable_fleets(folder)]
    for loaded, mistakes in found:
        if isinstance(loaded, Fleet) and not mistakes:
            forget(loaded.path)
    if everything := [mistake for _, mistakes in found for mistake in mistakes]:
        raise CityFleetError(_text(everything))


def _text(mistakes: list[str]) -> str:
    number = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    lines = [
        f"{number} in the fleet files. A city with one does not run; a file with one outside its cities stays as it "
        "was when it was last right, or has no DAGs if it never was:"
    ]
    lines += mistakes[:_SHOWN]
    if len(mistakes) > _SHOWN:
        lines.append(f"… and {len(mistakes) - _SHOWN} more.")
    lines.append(
        "Mend them and save: this error goes with the last one. `./fleet lint` shows the same at your desk."
    )
    return "\n".join(lines)
