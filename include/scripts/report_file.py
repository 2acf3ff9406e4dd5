"""Writes what a job leaves beside its tables: JSON and CSV, the same bytes for the same content."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a city's raw data are, and where goes what is made of them.

    :param raw: folder of the raw data.
    :param uri: where they came from; ends in a slash.
    :param output: gets ``<part>/city=<slug>/`` and ``report/city=<slug>/``.
    :param asked: what the manifest says of the job's arguments.
    """

    city: str
    raw: Path
    uri: str
    output: Path
    asked: Mapping[str, Any]

    @property
    def report(self) -> Path:
        """The folder of the reports."""
        return self.output / "report" / f"city={self.city}"

    def part(self, name: str) -> Path:
        """Return the folder of a part."""
        return self.output / name / f"city={self.city}"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file; floats so that they read back exactly, None as an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
