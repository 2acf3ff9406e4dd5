"""Makes train, validation and test sets of what was known of each city at as_of.

Runs as a SageMaker processing job, on the cities of the settings file (docs/steps.md). Every folder ``city=<slug>/``
below --raw-dir is a city; one city's bad data does not keep the others from being done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
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


def prepare_city(
    settings: JobSettings, city: CitySettings, arguments: argparse.Namespace
) -> Mapping[str, Any]:
    """Write one city's tables and report.

    :return: the content of status.json.
    :raises JobFailure: for bad data or settings.
    """
    kind = city.dataset_section().choice("kind", DATA_KINDS, SERIES)
    given = vars(arguments).items()
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in given}
    if "settings" in asked:
        asked |= {"as_of": settings.as_of, "dataset": city.dataset}
    uri = f"{settings.raw_uri}city={city.city}/"
    if kind == TABLE:
        # Here and not above: a series needs no pyarrow.
        from table_city import prepare_table  # noqa: PLC0415

        table = read_table_settings(city, settings.moment)
        folder = find_city(arguments.raw_dir, settings.raw_uri, city.city)
        return prepare_table(Place(city.city, folder, uri, arguments.output_dir, asked), table)
    series = read_settings(city, settings.moment)
    folder = find_city(arguments.raw_dir, settings.raw_uri, city.city)
    return prepare_series(Place(city.city, folder, uri, arguments.output_dir, asked), series)


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
    failures = []
    for slug, city in sorted(settings.cities.items()):
        try:
            status = prepare_city(settings, city, arguments)
        except Exception as error:  # one city's data do not keep the others from being done
            failures.append(sentence_of(error))
            status = {
                "format_version": FORMAT_VERSION,
                "city": slug,
                "as_of": settings.as_of,
                "status": "failed",
                "reason": failures[-1],
            }
            write_json(arguments.output_dir / "report" / f"city={slug}" / "status.json", status)
        rows = status.get("rows", {})
        print(f"{slug}: {status['status']} {json.dumps(rows)} {status['reason']}".rstrip(), flush=True)
    if failures:
        raise JobFailure(" ".join(dict.fromkeys(failures)))


if __name__ == "__main__":
    sys.exit(
        run(lambda: preprocess(parse_arguments(sys.argv[1:])), option_value(sys.argv[1:], "--message-file"))
    )
