"""Reads files of raw data row by row: a file is never in memory as a whole, and no row without end is.

What a file says of itself bounds nothing: a row, over all its lines, and a cell have a largest size. A larger row,
bytes that are no text, and a quote that is never closed are named with file and row.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from csv_dialect import delimiter_of
from job_failure import JobFailure, listed, nearest, quoted
from raw_lines import CHUNK_BYTES, MOST_ROW_CHARACTERS, Lines, bad_byte

MOST_COLUMNS = 10_000
#: Of a .gz file.
MOST_UNPACKED_BYTES = 8 << 30
_BATCH_ROWS = 1000
_COMPARED_COLUMNS = 500

#: Number of a row in the file (1 is the header), the texts of its needed columns, and of the others in order.
Record = tuple[int, dict[str, str], list[str]]


class _Digested(io.RawIOBase):
    """A file whose digests are taken while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size_bytes = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on, as io.RawIOBase wants it."""
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self.size_bytes += len(content)
        self.md5.update(content)
        self.sha256.update(content)
        return len(content)


class _Bounded(io.RawIOBase):
    """What a packed file holds, of which nobody knows the size before."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, uri: str) -> None:
        self._file = file
        self._uri = uri
        self._left = MOST_UNPACKED_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on, as io.RawIOBase wants it."""
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self._left -= len(content)
        if self._left < 0:
            raise JobFailure(f"{self._uri}: allowed: at most {MOST_UNPACKED_BYTES} bytes when unpacked.")
        return len(content)


class DataFile:
    """A file of raw data.

    :param path: where it lies.
    :param uri: what it is called in messages.
    :param needed: columns that it must have, each once.
    :param optional: those of them that may be missing, as columns that the user's own code makes; their cells are
        empty then.
    :param folders: columns that the names of its folders bring along, each with its text; they take the place of
        needed ones that the file lacks.
    """

    def __init__(
        self,
        path: Path,
        uri: str,
        needed: Sequence[str],
        optional: frozenset[str] = frozenset(),
        folders: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self.uri = uri
        self._needed = needed
        self._optional = optional
        self._folders = folders or {}
        self._constant: dict[str, str] = {}
        #: Columns of the needed ones that are not there; known with the first row.
        self.lacking: frozenset[str] = frozenset()
        #: Names of the other columns that are there once; known with the first row.
        self.others: tuple[str, ...] = ()
        #: Of the file, once its last row has been read.
        self.size_bytes = 0
        self.md5 = self.sha256 = ""

    def records(self) -> Iterator[Record]:
        """Read the rows, empty ones left out.

        :raises JobFailure: the file can't be read, or lacks a column.
        """
        needed = len(self._needed)
        for number, cells in self.rows():
            yield number, dict(zip(self._needed, cells, strict=False)), cells[needed:]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Read the rows, empty ones left out: each one's number in the file, and the cells of the needed columns and
        of the others.

        :raises JobFailure: the file can't be read, or lacks a column.
        """
        name = self._path.name.lower()
        if not name.endswith((".csv", ".csv.gz", ".parquet")):
            raise JobFailure(
                f"{self.uri}: raw data must be .csv, .csv.gz or .parquet files. Convert the file, or move it elsewhere."
            )
        with self._path.open("rb", buffering=0) as file:
            source = _Digested(file)
            if name.endswith(".csv"):
                yield from self._csv(io.BufferedReader(source, CHUNK_BYTES))
            elif name.endswith(".csv.gz"):
                yield from self._gzip(source)
            else:
                yield from self._parquet()
            self._digest(source)

    def skip(self) -> None:
        """Take the digests without looking at the rows."""
        with self._path.open("rb", buffering=0) as file:
            self._digest(_Digested(file))

    def _digest(self, source: _Digested) -> None:
        while source.read(CHUNK_BYTES):
            pass
        self.size_bytes = source.size_bytes
        self.md5, self.sha256 = source.md5.hexdigest(), source.sha256.hexdigest()

    def _gzip(self, source: _Digested) -> Iterator[tuple[int, list[str]]]:
        try:
            with gzip.GzipFile(fileobj=io.BufferedReader(source, CHUNK_BYTES), mode="rb") as unpacked:
                bounded = _Bounded(unpacked, self.uri)
                yield from self._csv(io.BufferedReader(bounded, CHUNK_BYTES))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise JobFailure(
                f"{self.uri}: not a readable gzip file ({error}). Pack it again, all of it."
            ) from None

    def _open(self) -> IO[bytes]:
        """Open the text's bytes once more."""
        if self._path.name.lower().endswith(".gz"):
            return cast("IO[bytes]", gzip.open(self._path, "rb"))
        return self._path.open("rb")

    def _csv(self, source: io.BufferedReader) -> Iterator[tuple[int, list[str]]]:
        text = io.TextIOWrapper(source, encoding="utf-8-sig", newline="")
        lines = Lines(text, self.uri)
        try:
            first = next(lines, "")
            wanted = {*self._needed} - self._optional - self._folders.keys()
            whole = chain([first], lines) if first else lines
            # Without strict a quote that is never closed swallows all rows behind it, and nobody is told.
            reader = csv.reader(whole, strict=True, delimiter=delimiter_of(first, wanted))
            header = [name.strip() for name in next(reader, [])]
            if not any(header):
                raise JobFailure(
                    f"{self.uri}: no header; row 1 must name the columns {listed(self._needed)}."
                )
            self._set_columns(header)
            width, constants = len(header), list(self._constant.values())
            header += self._constant
            positions = {column: at for at, column in enumerate(header)}  # those that are used are there once
            # A column that may be missing, and is, stands behind the last one.
            places = [positions.get(column, len(header)) for column in (*self._needed, *self.others)]
            widest = max(places) + 1
            lines.begin_row(reader.line_num)
            for found in reader:
                cells = found
                if any(cell.strip() for cell in cells):
                    if constants:
                        cells = [*found[:width], *[""] * (width - len(found)), *constants]
                    if self.lacking:
                        cells = cells[: len(header)]
                    if len(cells) < widest:
                        # A short row has missing cells; what they mean is judged per column.
                        cells = [*cells, *[""] * (widest - len(cells))]
                    yield lines.row, [cells[at] for at in places]
                lines.begin_row(reader.line_num)
        except csv.Error as error:
            raise JobFailure(
                f"{self.uri}, row {lines.row}: not CSV ({error}); often a quote that is never closed. "
                "Correct the row, or export the file again."
            ) from None
        except UnicodeDecodeError:
            with self._open() as again:
                byte, row = bad_byte(again)
            raise JobFailure(
                f"{self.uri}, row {row}: not UTF-8 text (byte {byte}). Save the file as UTF-8, all of it."
            ) from None

    def _parquet(self) -> Iterator[tuple[int, list[str]]]:
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise JobFailure(
                f"{self.uri}: reading Parquet needs pyarrow, which is not installed here. Use CSV instead."
            ) from None
        number = 1
        try:
            with parquet.ParquetFile(self._path) as file:
                # Lists and the like are no cells.
                fields = [field for field in file.schema_arrow if not field.type.num_fields]
            names = [field.name for field in fields]
            # Text stays as it is kept, each value once: a file of kilobytes may stand for gigabytes.
            texts_once = [field.name for field in fields if _is_text(field.type)]
            with parquet.ParquetFile(self._path, read_dictionary=texts_once) as file:
                self._set_columns(names)
                names = [*self._needed, *self.others]
                there = [name for name in names if name not in self.lacking and name not in self._constant]
                for batch in file.iter_batches(_BATCH_ROWS, columns=there):
                    columns = [
                        [self._constant.get(name, "")] * len(batch)
                        if name in self.lacking or name in self._constant
                        else self._texts(name, batch.column(name), number + 1)
                        for name in names
                    ]
                    for texts in zip(*columns, strict=True):
                        number += 1
                        yield number, list(texts)
        except JobFailure:
            raise
        except Exception as error:  # pyarrow's own kinds, of which not all are an OSError or a ValueError
            said = " ".join(str(error).split())[:200]
            raise JobFailure(f"{self.uri}: not a readable Parquet file ({said}).") from None

    def _texts(self, name: str, column: Any, row: int) -> list[str]:
        """Return a column's cells as text; of a moment that no calendar holds, the number it is stored as."""
        dictionary = getattr(column, "dictionary", None)
        values = column if dictionary is None else dictionary
        if values.nbytes > MOST_ROW_CHARACTERS and _longest(values) > csv.field_size_limit():
            raise JobFailure(
                f"{self.uri}, after row {row - 1}, column '{name}': got a cell of {_longest(values)} bytes; "
                f"allowed: at most {csv.field_size_limit()}."
            )
        if dictionary is None:
            return _parquet_texts(values)
        used = column.indices.unique().drop_null()
        texts = dict(zip(used.to_pylist(), _parquet_texts(dictionary.take(used)), strict=True))
        return ["" if at is None else texts[at] for at in column.indices.to_pylist()]

    def _set_columns(self, header: Sequence[str]) -> None:
        if len(header) > MOST_COLUMNS:
            raise JobFailure(
                f"{self.uri}, row 1: got {len(header)} columns; allowed: at most {MOST_COLUMNS}."
            )
        counts = dict.fromkeys(header, 0)
        for name in header:
            counts[name] += 1
        for column in self._needed:
            if counts.get(column, 0) > 1:
                raise JobFailure(
                    f"{self.uri}, row 1: column '{column}' is there {counts[column]} times; allowed: once."
                )
            if column not in counts and column in self._folders:
                self._constant[column] = self._folders[column]
            elif column not in counts and column not in self._optional:
                found = [quoted(name) for name in header[:_COMPARED_COLUMNS]]
                more = f" (of {len(header)})" if len(header) > _COMPARED_COLUMNS else ""
                raise JobFailure(
                    f"{self.uri}: column '{column}' is missing; columns found: {listed(found)}{more}."
                    f"{nearest(column, found)}"
                )
        needed = set(self._needed)
        self.lacking = frozenset(needed - counts.keys() - self._constant.keys())
        self.others = tuple(
            name for name, count in counts.items() if name and count == 1 and name not in needed
        )


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "binary", "large_binary") or "dictionary" in str(kind)


def _longest(values: Any) -> int:
    """Return how many bytes the longest text has; 0 of another type."""
    if not _is_text(values.type):
        return 0
    pc = importlib.import_module("pyarrow.compute")
    return pc.max(pc.binary_length(values)).as_py() or 0


def _parquet_texts(column: Any) -> list[str]:
    """Return a column's cells as text; of a moment that no calendar holds, the number it is stored as."""
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_parquet_value(cell) for cell in column]
    return ["" if value is None else str(value) for value in values]


def _parquet_value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        return f"{cell.value} ({cell.type})"
