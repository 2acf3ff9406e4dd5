"""Pulls a fleet's list of cities from S3 into the CSV that its fleet file names.

The CSV is what counts: Airflow and the commands read it and nothing else, and it can be reviewed and committed. So a
list in S3 that is gone, late or broken changes nothing, and one that lost many cities is refused.
"""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from city_fleet.config import Fleet
from city_fleet.config.city_list import MAX_LIST_BYTES
from city_fleet.config.fleet_file import read_with_list
from city_fleet.config.yaml_reader import read_as_written
from city_fleet.data.source_rows import source_rows
from city_fleet.errors import ConfigError, DataError, PlatformError, display_path, list_names, screenful
from city_fleet.state.objects import read_uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: Settings that say whose code runs: whoever writes the list in S3 may not say that.
CODE = ("scripts", "own_scripts", "entry", "algorithm.image")
_WHOLE = re.compile(r"-?[0-9]+\.0")


@dataclass(frozen=True)
class Pulled:
    """A list from S3 beside the one that a fleet has.

    :param path: the CSV that the fleet file names.
    :param text: what it would hold.
    :param added: cities that it has not now.
    :param removed: cities that it would have no more, or with a mistake where they have none now.
    :param mistakes: of the new list, by city.
    :param unchanged: it holds the same already.
    :param before: how many cities it has now.
    """

    path: Path
    text: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    mistakes: Mapping[str, list[ConfigError]]
    unchanged: bool
    before: int

    @property
    def sentence(self) -> str:
        """What the new list changes."""
        file = display_path(self.path)
        if self.unchanged:
            return f"{file} is what the source says already."
        wrong = f", {len(self.mistakes):,} with a mistake" if self.mistakes else ""
        gone = (
            f" ({list_names(self.removed[:5])}{', …' if len(self.removed) > 5 else ''})"
            if self.removed
            else ""
        )
        return f"{file}: {len(self.added):,} cities more, {len(self.removed):,} of {self.before:,} fewer{gone}{wrong}."

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON-ready data."""
        return {
            "file": display_path(self.path),
            "unchanged": self.unchanged,
            "before": self.before,
            "added": list(self.added),
            "removed": list(self.removed),
            "mistakes": [each.to_dict() for of_city in self.mistakes.values() for each in of_city],
        }

    def write(self) -> None:
        """Replace the CSV, as a whole.

        :raises OSError: it can't be written here.
        """
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(self.text)
            Path(name).chmod(self.path.stat().st_mode & 0o777 if self.path.exists() else 0o644)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def pull(fleet: Fleet, s3: S3Client, environ: Mapping[str, str], *, even_so: bool = False) -> Pulled:
    """Read a fleet's list from S3 and compare it with the one it has; nothing is written.

    :param even_so: take a list that lacks more cities than ``city_list.most_removed``.
    :raises ConfigError: the fleet file names no source, or no CSV to copy it to; or the list is none of cities, says
        whose code runs, or lacks too many cities.
    :raises DataError: what is there is neither CSV nor Parquet.
    :raises PlatformError: there is no such object.
    """
    file = display_path(fleet.path)
    named = read_as_written(fleet.path, file).data.get("cities")
    listed = named.get("from") if isinstance(named, dict) else None
    if fleet.city_list.source is None:
        raise ConfigError(
            file=file, field="city_list.source", got="null", allowed="an object in S3 to pull the list from"
        )
    if not isinstance(listed, str):
        raise ConfigError(
            file=file,
            field="cities",
            got="no list that can be written",
            allowed="{from: cities.csv}, a list that what is in S3 can be copied to",
        )
    path, source = (fleet.path.parent / listed).resolve(), fleet.city_list.source
    text = _as_csv(_rows(s3, source), source)
    cities, mistakes = read_with_list(fleet.path, environ, text, f"{source}, sorted by city")
    before = set(fleet.cities)
    found = Pulled(
        path=path,
        text=text,
        added=tuple(sorted(set(cities) - before - set(fleet.broken))),
        removed=tuple(sorted(before - set(cities))),
        mistakes=mistakes,
        unchanged=path.is_file() and path.read_bytes() == text.encode(),
        before=len(before),
    )
    if not even_so and len(found.removed) > fleet.city_list.most_removed * len(before):
        told = "\n".join(screenful([each for of_city in mistakes.values() for each in of_city]))
        raise ConfigError(
            file=source,
            got=f"a list without {len(found.removed):,} of the {len(before):,} cities",
            allowed=f"at most {fleet.city_list.most_removed:.0%} fewer (city_list.most_removed)",
            hint=f"{display_path(path)} stays as it is. If that is meant, `./fleet cities --pull --yes` takes it."
            + (f"\n{told}" if told else ""),
        )
    return found


def _rows(s3: S3Client, source: str) -> Iterator[list[str]]:
    """Yield the rows of the list in S3, the header first."""
    body = read_uri(s3, source, MAX_LIST_BYTES + 1)
    if body is None:
        raise PlatformError(f"{source}: there is no such object, or no such bucket; the list of cities stays")
    if len(body) > MAX_LIST_BYTES:
        raise DataError(file=source, got="a larger list", allowed=f"at most {MAX_LIST_BYTES // 1024**2} MiB")
    with tempfile.TemporaryDirectory(prefix="city-fleet-list-") as folder:
        copy = Path(folder) / f"list{''.join(Path(source.lower()).suffixes[-2:])}"
        copy.write_bytes(body)
        yield from (row for _, row in source_rows(copy, source, {"city"}))


def _as_csv(rows: Iterable[list[str]], source: str) -> str:
    """Return a list as CSV, sorted by city, so that only what has changed differs from the one before.

    :raises ConfigError: it has no header of a list of cities, or says whose code runs.
    """
    every = iter(rows)
    header = [column.strip() for column in next(every, [])]
    for column in header:
        if any(column == code or column.startswith(f"{code}.") for code in CODE):
            raise ConfigError(
                file=source,
                line=1,
                field=column,
                got="a column that says whose code runs",
                allowed=f"any settings but {list_names(CODE)}, which stand in the reviewed fleet file alone",
            )
    settings = [column not in ("city", "name") for column in header]
    key = header.index("city") if "city" in header else 0
    body = [
        [_cell(cell) if setting else cell for cell, setting in zip(row, settings, strict=True)]
        if len(row) == len(header)
        else row
        for row in every
    ]
    body.sort(key=lambda row: row[key] if len(row) > key else "")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *body])
    return text.getvalue()


def _cell(text: str) -> str:
    """Return a setting as the fleet file writes it: Parquet has True, and whole numbers beside empty cells as 2.0."""
    if text in ("True", "False"):
        return text.lower()
    return text[:-2] if _WHOLE.fullmatch(text) else text
