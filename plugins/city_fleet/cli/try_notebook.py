"""What ``./fleet try --notebook`` does: a notebook of a city's steps, and a folder beside it with what they work on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from city_fleet.cli.output import show
from city_fleet.errors import DataError

if TYPE_CHECKING:
    from city_fleet.plan import CityPlan


def write_notebook(
    plan: CityPlan, path: Path, as_of: datetime | None, file: Path | None, as_json: bool
) -> None:
    """Write a notebook of a city, and say so.

    :param file: takes the place of the city's raw data.
    :raises CityFleetError: it is there already, or is called otherwise; there are no data, or they can't be read.
    """
    from city_fleet.cli.desk_inputs import (  # noqa: PLC0415 - imports botocore
        DeskInputs,
        moment_of,
        refuse_image,
    )
    from city_fleet.desk.notebook import Subject, files_of, write  # noqa: PLC0415 - for the desk alone

    refuse_image(plan)
    files = files_of(path)
    if path.suffix != ".ipynb":
        raise DataError(file=str(path), got=f"a name that ends in {path.suffix!r}", allowed="FILE.ipynb")
    for each in (path, files):
        if each.exists():
            raise DataError(
                file=str(each), got="something that is there already", allowed="a name that is free"
            )
    files.mkdir(parents=True)
    inputs = DeskInputs(plan, files)
    try:
        champion, parent = inputs.served()
        data = inputs.data(file)
        moment = plan.check_as_of(as_of) if as_of is not None else moment_of(plan, champion)
        write(path, Subject(plan, moment, data, champion, parent))
    except BaseException:
        shutil.rmtree(files)
        raise
    report = {
        "fleet": plan.fleet.fleet,
        "city": plan.city.slug,
        "notebook": str(path),
        "files": str(files),
        "data": data.name_of(plan.city.slug),
        "champion": None if champion is None else champion.target_model,
        "notes": list(inputs.notes),
    }
    show(report, _notebook_lines(report), as_json)


def _notebook_lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"note: {note}" for note in report["notes"])
    yield f"{report['notebook']}: the steps of {report['city']} on {report['data']}, with {report['files']} beside it"
    yield "Its kernel: .venv-notebook/bin/python, which `make notebook-environment` makes."
