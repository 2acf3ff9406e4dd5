"""Writes rows with their predictions as CSV, Parquet or JSON lines, as they come; a file that is there is whole."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from city_fleet.cli.output import is_terminal, say
from city_fleet.errors import DataError
from city_fleet.state.forecast_table import pyarrow

#: What stands in the output, in this order, behind the columns that are kept.
ANSWERS = {
    "row": "int",
    "city": "string",
    "prediction": "double",
    "label": "string",
    "probability": "double",
    "top_k": "string",
    "target_model": "string",
    "package_version": "int",
    "as_of": "string",
    "error": "string",
}

Row = dict[str, Any]


class RowWriter(Protocol):
    """Takes rows of an output."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows, which have all columns."""

    def close(self) -> None:
        """Write what is left."""


@contextmanager
def writing(file: str, form: str, columns: dict[str, Any]) -> Iterator[RowWriter]:
    """Write an output; to a file only when it is whole, beside which it is named ``.part`` until then.

    :param file: its path; ``-`` is standard output.
    :param form: ``csv``, ``parquet`` or ``jsonl``.
    :param columns: name → type of pyarrow, or a word of :data:`ANSWERS`.
    :raises DataError: it can't be written.
    """
    if file == "-":
        # A terminal shows what others have written as text; a pipe gets it as it is.
        writer = _TerminalWriter(columns) if is_terminal() else _made(sys.stdout.buffer, form, columns)
        try:
            yield writer
        finally:
            writer.close()
        sys.stdout.flush()
        return
    part = Path(f"{file}.part")
    try:
        with part.open("wb") as stream:
            writer = _made(stream, form, columns)
            yield writer
            writer.close()
        os.replace(part, file)
    except OSError as error:
        raise DataError(
            file=file, got=str(error.strerror or error), allowed="a file that can be written"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _made(stream: IO[bytes], form: str, columns: dict[str, Any]) -> RowWriter:
    if form == "parquet":
        return _ParquetWriter(stream, columns)
    return _CsvWriter(stream, columns) if form == "csv" else _JsonWriter(stream)


class _CsvWriter:
    def __init__(self, stream: IO[bytes], columns: dict[str, Any]) -> None:
        self._columns = list(columns)
        self._text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow(self._columns)

    def write(self, rows: Sequence[Row]) -> None:
        self._csv.writerows([_cell(row[name]) for name in self._columns] for row in rows)

    def close(self) -> None:
        self._text.detach()


class _TerminalWriter:
    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = list(columns)
        self.write([{name: name for name in self._columns}])

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow([_cell(row[name]) for name in self._columns])
            say(line.getvalue())

    def close(self) -> None:
        pass


class _JsonWriter:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, default=str)
            self._stream.write(line.encode() + b"\n")

    def close(self) -> None:
        self._stream.flush()


class _ParquetWriter:
    def __init__(self, stream: IO[bytes], columns: dict[str, Any]) -> None:
        self._arrow = pyarrow()
        words = {"int": self._arrow.int64(), "double": self._arrow.float64(), "string": self._arrow.string()}
        kinds = {name: words[kind] if isinstance(kind, str) else kind for name, kind in columns.items()}
        self._schema = self._arrow.schema(list(kinds.items()))
        self._file = pyarrow("pyarrow.parquet").ParquetWriter(stream, self._schema)

    def write(self, rows: Sequence[Row]) -> None:
        if rows:
            columns = {name: [row[name] for row in rows] for name in self._schema.names}
            self._file.write_table(self._arrow.Table.from_pydict(columns, schema=self._schema))

    def close(self) -> None:
        self._file.close()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else value
