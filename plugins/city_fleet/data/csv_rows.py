"""Reads the rows of a CSV file as the job scripts read them: none without end, each with its number in the file.

Ingest, lint and ``./fleet data`` meet the same files as a run does, and say the same of them: a quote that is never
closed, a line without end and bytes that are no text are named with file and row.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterator
from itertools import chain
from typing import IO

from city_fleet.errors import DataError

#: Of a row, over all its lines. Python's csv itself refuses a cell of more than 131,072.
MOST_ROW_CHARACTERS = 1_000_000
_CHUNK_BYTES = 1 << 20
_CLOSE = "A quote is often opened and never closed. Correct the row, or export the file again."


#: What may stand between cells, as the job scripts know it (``include/scripts/csv_dialect.py``).
DELIMITERS = (",", ";", "\t")


def delimiter_of(header: str, needed: Collection[str]) -> str:
    """Return what stands between the cells: the first of the three that makes the columns of the header, or a comma.

    :param header: the file's first line.
    :param needed: columns that must be there.
    """
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            continue
        if {name.strip() for name in names}.issuperset(needed):
            return delimiter
    return DELIMITERS[0]


def csv_rows(
    file: IO[bytes], name: str, needed: Collection[str] = frozenset()
) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line, as an editor counts them.

    :param file: from its beginning, seekable, and closed with the last row; UTF-8, with or without a byte order mark.
    :param name: what it is called in messages.
    :param needed: columns that tell what stands between the cells.
    :raises DataError: a row is not CSV, not UTF-8, or too large.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    lines = _Lines(text, name)
    try:
        first = next(lines, "")
        whole = chain([first], lines) if first else lines
        reader = csv.reader(whole, strict=True, delimiter=delimiter_of(first, needed))
        for row in reader:
            yield lines.row, row
            lines.begin_row(reader.line_num)
    except csv.Error as error:
        got = f"a line that is not CSV ({error})"
        raise DataError(file=name, row=lines.row, got=got, hint=_CLOSE) from None
    except UnicodeDecodeError as error:
        file.seek(0)
        got = f"bytes that are not UTF-8 ({error.reason})"
        hint = "Save the file as UTF-8, all of it."
        raise DataError(file=name, row=_bad_row(file), got=got, hint=hint) from None


class _Lines:
    """The lines of a text, for a csv.reader; a row may go over several, but not without end."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self._text = text
        self._name = name
        self._left = MOST_ROW_CHARACTERS
        #: Number of the row that is being read.
        self.row = 1

    def begin_row(self, lines: int) -> None:
        """Note that a row has been read.

        :param lines: how many lines there have been.
        """
        self._left = MOST_ROW_CHARACTERS
        self.row = lines + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._left + 1)
        if not line:
            raise StopIteration
        self._left -= len(line)
        if self._left < 0:
            got = f"more than {MOST_ROW_CHARACTERS} characters in one row"
            allowed = f"at most {MOST_ROW_CHARACTERS}"
            raise DataError(file=self._name, row=self.row, got=got, allowed=allowed, hint=_CLOSE)
        return line


def _bad_row(file: IO[bytes]) -> int:
    """Find the row of the first byte that is no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    row, ended_cr = 1, False
    while True:
        content = file.read(_CHUNK_BYTES)
        held = len(decoder.getstate()[0])  # bytes of a character that has begun
        try:
            decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            return row + _ends(content[: max(0, error.start - held)], ended_cr)
        if not content:
            return row
        row += _ends(content, ended_cr)
        ended_cr = content.endswith(b"\r")


def _ends(content: bytes, ended_cr: bool) -> int:
    """Count the ends of lines: CR, LF, or both together.

    :param ended_cr: whether what came before ended with a CR.
    """
    both = content.count(b"\r\n") + (ended_cr and content.startswith(b"\n"))
    return content.count(b"\n") + content.count(b"\r") - both
