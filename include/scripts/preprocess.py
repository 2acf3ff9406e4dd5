"""Makes train, validation and test sets of what was known of each city at as_of.

Runs as a SageMaker processing job, on the cities of the settings file (docs/steps.md). Every folder ``city=<slug>/``
below --raw-dir is a city; one city's bad data does not keep the others from being done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job_failure import JobFailure, listed, nearest, option_value, run, sentence_of
from job_settings import CitySettings, JobSettings, read_job_settings
from preprocess_settings import parse_arguments, read_settings, settings_by_hand
from report_file import Place, write_json
from series_city import prepare_series
from table_file import PARTS
from table_schema import DATA_KINDS, SERIES, TABLE
from table_settings import read_table_settings

FORMAT_VERSION = 1
READY, FAILED = "ready", "failed"


def find_city(raw_dir: Path, raw_uri: str, city: str) -> Path:
    """Find the folder of a city.

    :param raw_dir: holds ``city=<slug>/`` folders.
    :param raw_uri: where they came from, for the message.
    :raises JobFailure: when it has none.
    """
    found = {path.name.removeprefix("city="): path for path in raw_dir.glob("city=*") if path.is_dir()}
    if city not in found:
        raise JobFailure(
            f"{raw_uri}city={city}/: no raw data for city '{city}'; "
            f"cities there: {listed(sorted(found))}.{nearest(city, found)}"
        )
    return found[city]


@dataclass(frozen=True)
class Folders:
    """Where raw data are, and where goes what is made of them.

    :param raw: holds ``city=<slug>/`` folders.
    :param output: gets ``<part>/city=<slug>/`` and ``report/city=<slug>/``.
    :param asked: what a manifest says of the job's arguments.
    """

    raw: Path
    output: Path
    asked: Mapping[str, Any]


def prepare_city(settings: JobSettings, city: CitySettings, folders: Folders) -> Mapping[str, Any]:
    """Write one city's tables and report; what goes wrong is said in its status.json, whatever it is.

    :return: the content of status.json; its status is ``ready``, ``too_little_data`` or ``failed``.
    """
    try:
        status = _prepare(settings, city, folders)
    except Exception as error:  # one city's data do not keep the others from being done
        status = {
            "format_version": FORMAT_VERSION,
            "city": city.city,
            "as_of": settings.as_of,
            "status": FAILED,
            "reason": sentence_of(error),
        }
        write_json(folders.output / "report" / f"city={city.city}" / "status.json", status)
    rows = json.dumps(status.get("rows", {}))
    print(f"{city.city}: {status['status']} {rows} {status['reason']}".rstrip(), flush=True)
    return status


def _prepare(settings: JobSettings, city: CitySettings, folders: Folders) -> Mapping[str, Any]:
    kind = city.dataset_section().choice("kind", DATA_KINDS, SERIES)
    asked = dict(folders.asked)
    if "settings" in asked:
        asked |= {"as_of": settings.as_of, "dataset": city.dataset}
    uri = city.raw_uri or f"{settings.raw_uri}city={city.city}/"
    if kind == TABLE:
        # Here and not above: a series needs no pyarrow.
        from table_city import prepare_table  # noqa: PLC0415

        table = read_table_settings(city, settings.moment)
        folder = find_city(folders.raw, settings.raw_uri, city.city)
        return prepare_table(Place(city.city, folder, uri, folders.output, asked), table)
    series = read_settings(city, settings.moment)
    if city.children:
        # Here and not above: most cities are nobody's parent.
        from parent_city import prepare_parent  # noqa: PLC0415

        pool = Place(city.city, folders.raw, settings.raw_uri, folders.output, asked)
        return prepare_parent(pool, series, city.children)
    folder = find_city(folders.raw, settings.raw_uri, city.city)
    return prepare_series(Place(city.city, folder, uri, folders.output, asked), series)


def preprocess(arguments: argparse.Namespace) -> None:
    """Prepare every city; finish the good ones before failing for the bad ones.

    :raises JobFailure: with the sentences of all cities that failed.
    """
    by_file = getattr(arguments, "settings", None)
    settings = read_job_settings(by_file) if by_file is not None else settings_by_hand(arguments)
    # SageMaker uploads each of these as one output, and wants it to exist even for a city with too little
    # data.
    for name in (*PARTS, "report"):
        (arguments.output_dir / name).mkdir(parents=True, exist_ok=True)
    given = vars(arguments).items()
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in given}
    folders = Folders(arguments.raw_dir, arguments.output_dir, asked)
    found = [prepare_city(settings, city, folders) for _, city in sorted(settings.cities.items())]
    failures = [status["reason"] for status in found if status["status"] == FAILED]
    if failures:
        raise JobFailure(" ".join(dict.fromkeys(failures)))


if __name__ == "__main__":
    sys.exit(
        run(lambda: preprocess(parse_arguments(sys.argv[1:])), option_value(sys.argv[1:], "--message-file"))
    )
