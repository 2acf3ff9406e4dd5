"""A fleet's raw data as a run would find them, in a folder: out of ``dataset.source``, or of the bucket."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.data.source_split import find_source, only_city, split_by_city
from city_fleet.errors import DataError, display_path
from city_fleet.jobs.fixed_run import raw_objects
from city_fleet.plan import plan_city
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: More than that is no matter of a desk.
MOST_BYTES = 2 << 30
_FROM_SOURCE = "source:/data/"
_SPLIT = "rows.csv"
_OWN_PLACE = re.compile(r"\brows\.csv:\d+\b")
_ROW = re.compile(r"\brow (\d+)\b")
_DOWNLOADS = 8


@dataclass(frozen=True)
class DataAtHand:
    """Raw data in a folder, ``city=<slug>/`` each.

    :param name: where they come from, for people.
    :param raw_uri: what job scripts call the folder.
    :param files: slug of each city that has data there → names of its files, in the order in which the run has them.
    :param places: of cities whose data lie elsewhere than the others': slug → where, for people.
    :param rows: of a source that was split: slug → number of each row in the source; empty for the bucket's.
    """

    folder: Path
    name: str
    raw_uri: str
    files: Mapping[str, tuple[str, ...]]
    places: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, array[int]] = field(default_factory=dict)

    @property
    def cities(self) -> frozenset[str]:
        """Slugs of the cities that have data there."""
        return frozenset(self.files)

    def name_of(self, city: str) -> str:
        """Return where a city's data come from, for people."""
        return self.places.get(city, self.name)

    def sentence(self, city: str, text: str) -> str:
        """Return what a job script says of a city with file and rows as they are called at the desk."""
        if city not in self.rows:
            return text
        in_source = self._lines(city)
        own = f"{_FROM_SOURCE}city={city}/"
        said = text.replace(own + _SPLIT, self.name).replace(own, f"{self.name}, city '{city}'")
        said = _OWN_PLACE.sub(lambda found: self.place(city, found[0]), said)
        return _ROW.sub(lambda found: f"row {in_source.get(int(found[1]), found[1])}", said)

    def place(self, city: str, text: str) -> str:
        """Return where a row of a table stands, as ``<file>:<line>`` with the names of the desk."""
        name, colon, line = text.rpartition(":")
        if city not in self.rows or name != _SPLIT or not colon or not line.isdecimal():
            return text
        return f"{self.name}:{self._lines(city).get(int(line), line)}"

    def own_place(self, city: str, text: str) -> str:
        """Return what a table calls a row that is named as :meth:`place` does; any other text as it is."""
        name, colon, line = text.rpartition(":")
        if city in self.rows and colon and name == self.name and line.isdecimal():
            for own, source in self._lines(city).items():
                if source == int(line):
                    return f"{_SPLIT}:{own}"
        return text

    def _lines(self, city: str) -> dict[int, int]:
        """Return line in the city's own file → line in the source; a row may go over several."""
        lines: dict[int, int] = {}
        with (self.folder / f"city={city}" / _SPLIT).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            next(reader, None)
            begins = reader.line_num + 1
            for number, _ in zip(self.rows[city], reader, strict=False):
                lines[begins] = number
                begins = reader.line_num + 1
        return lines


def from_source(fleet: Fleet, folder: Path, wanted: Collection[str], file: Path | None = None) -> DataAtHand:
    """Split ``dataset.source`` as ``./fleet ingest`` does.

    :param folder: an empty one.
    :param wanted: slugs.
    :param file: another file in its place.
    :raises CityFleetError: there is no such file, or it can't be read: see :func:`split_by_city`.
    """
    path = find_source(fleet, file)
    by_name, header = split_by_city(fleet, path, only_city(fleet, wanted))
    numbers: dict[str, array[int]] = {}
    for slug in wanted:
        city = fleet.cities[slug]
        rows = by_name.get(city.name)
        if rows is None and city.name == slug:
            rows = next((each for name, each in by_name.items() if _slug(name) == slug), None)
        if rows is None:
            continue
        place = folder / f"city={slug}"
        place.mkdir(parents=True)
        with (place / _SPLIT).open("w", encoding="utf-8", newline="") as own:
            csv.writer(own, lineterminator="\n").writerow(header)
            own.write(rows.content.decode())
        numbers[slug] = rows.numbers
    files = dict.fromkeys(numbers, (_SPLIT,))
    return DataAtHand(folder, display_path(path), _FROM_SOURCE, files, rows=numbers)


def from_bucket(fleet: Fleet, s3: S3Client, folder: Path, wanted: Collection[str]) -> DataAtHand:
    """Download the cities' files that a run would have now, wherever they lie.

    :param folder: an empty one.
    :param wanted: slugs.
    :raises DataError: they are more than a desk takes; a file's name leads out of its folder.
    """
    objects = {slug: raw_objects(s3, plan_city(fleet, slug)) for slug in wanted}
    size = sum(each.size_bytes for found in objects.values() for each in found)
    if size > MOST_BYTES:
        raise DataError(
            file=fleet.keys.uri(fleet.keys.raw_prefix()),
            got=f"{size >> 20} MiB of raw data",
            allowed=f"at most {MOST_BYTES >> 20} MiB at a desk",
            hint="Look at some cities alone.",
        )
    names = {slug: [each.name for each in found] for slug, found in objects.items()}
    jobs = []
    places: dict[str, str] = {}
    for slug, files in names.items():
        place, there = folder / f"city={slug}", fleet.raw_place(slug)
        places |= {} if there.own else {slug: there.shown}
        store = ObjectStore(s3, there.bucket)
        for name in files:
            path = (place / name).resolve()
            if not path.is_relative_to(place.resolve()):
                raise DataError(file=there.folder_uri + name, got="a name that leads out of its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            jobs.append((store, there.folder + name, path))

    def download(job: tuple[ObjectStore, str, Path]) -> None:
        store, key, path = job
        found = store.get(key)
        if found is not None:  # taken away meanwhile
            path.write_bytes(found.body)

    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        list(pool.map(download, jobs))
    with_data = {slug: tuple(files) for slug, files in names.items() if files}
    uri = fleet.keys.uri(fleet.keys.raw_prefix())
    return DataAtHand(folder, uri, uri, with_data, places)


def _slug(name: str) -> str:
    try:
        return naming.slug(name)
    except ValueError:
        return ""
