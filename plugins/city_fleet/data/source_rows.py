"""Reads the rows of a file to ingest, whatever it is: CSV, CSV that gzip has packed, or Parquet."""

from __future__ import annotations

import gzip
import importlib
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, cast

from city_fleet.data.csv_rows import csv_rows
from city_fleet.errors import DataError

SUFFIXES = (".csv", ".txt", ".csv.gz", ".parquet")
ALLOWED = "a CSV file (.csv, .txt, .csv.gz) or a .parquet file"
_BATCH_ROWS = 1000


def is_source(path: Path) -> bool:
    """Tell whether a file is of a kind that can be ingested, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """Return a file's name without what says its kind."""
    name = path.name
    ends = [end for end in (".csv.gz", path.suffix) if end and name.lower().endswith(end.lower())]
    return name[: -len(ends[0])] if ends else name


def source_rows(
    path: Path, name: str, needed: Collection[str] = frozenset()
) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and each row, as :func:`csv_rows` does; a batch of them is in memory, not the file.

    :param name: what the file is called in messages.
    :param needed: columns that tell what stands between the cells of a CSV file.
    :raises DataError: it can't be read, or a row is none.
    """
    lowered = path.name.lower()
    if lowered.endswith(".parquet"):
        yield from _parquet(path, name)
    elif lowered.endswith(".gz"):
        try:
            with gzip.open(path, "rb") as packed:
                yield from csv_rows(cast("IO[bytes]", packed), name, needed)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            got = f"a gzip file that can't be read ({error})"
            raise DataError(file=name, got=got, hint="Pack it again, all of it.") from None
    else:
        with path.open("rb") as file:
            yield from csv_rows(file, name, needed)


def _parquet(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        hint = "Install pyarrow beside the project (pip install pyarrow), or export the data as CSV."
        raise DataError(file=name, got="a Parquet file, which only pyarrow reads", hint=hint) from None
    try:
        with parquet.ParquetFile(path) as file:
            number = 1
            yield number, list(file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH_ROWS):
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield number, ["" if cell is None else str(cell) for cell in cells]
    except (OSError, ValueError, OverflowError, NotImplementedError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            file=name, got=f"a Parquet file that can't be read ({said})", allowed=ALLOWED
        ) from None
