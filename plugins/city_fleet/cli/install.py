"""Command ``install``: the files that Airflow reads, put into a folder of DAGs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from city_fleet.cli.output import AsJson, show
from city_fleet.config.places import dag_files
from city_fleet.errors import ConfigError

#: Not ``city_fleet``: Airflow puts the folder of DAGs on the module path, where that name is the library's.
SUBFOLDER = "city_fleet_dags"


def install(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Airflow's folder of DAGs, which exists.")],
    as_json: AsJson = False,
) -> None:
    """Put the DAG files into FOLDER/city_fleet_dags.

    Those of an older version are brought up to date; they only call the library. Nothing else in FOLDER is touched.
    `rm -r FOLDER/city_fleet_dags` takes them out again.

    \b
    Examples:
      ./fleet install "$AIRFLOW_HOME/dags"
    """
    if not folder.is_dir():
        raise ConfigError(
            file=str(folder),
            got="no such folder",
            allowed="the folder that Airflow reads DAGs from",
            hint="`airflow config get-value core dags_folder` names it.",
        )
    target = folder / SUBFOLDER
    target.mkdir(exist_ok=True)
    rows = []
    for source in dag_files():
        path, text = target / source.name, source.read_bytes()
        changed = not path.is_file() or path.read_bytes() != text
        if changed:
            path.write_bytes(text)
        rows.append({"file": str(path), "changed": changed})
    words = {True: "written", False: "up to date"}
    show(rows, (f"{row['file']}: {words[bool(row['changed'])]}" for row in rows), as_json)
