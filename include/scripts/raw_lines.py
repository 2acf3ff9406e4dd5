"""The lines of a file of raw data: none without end, numbered as an editor does, and the first byte that is no text."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO

from job_failure import JobFailure

#: Of a row, over all its lines. Python's csv itself refuses a cell of more than 131,072.
MOST_ROW_CHARACTERS = 1_000_000
CHUNK_BYTES = 1 << 20


class Lines:
    """The lines of a text, for a csv.reader; a row may go over several, but not without end.

    :param text: open, with its ends of lines as they are.
    :param uri: what the file is called in messages.
    """

    def __init__(self, text: io.TextIOWrapper, uri: str) -> None:
        self._text = text
        self._uri = uri
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
            raise JobFailure(
                f"{self._uri}, row {self.row}: more than {MOST_ROW_CHARACTERS} characters in one row; often a quote "
                "that is never closed, or a file without ends of lines. Correct the row, or export the file again."
            )
        return line


def bad_byte(file: IO[bytes]) -> tuple[int, int]:
    """Find the first byte of a file that is no UTF-8, and the row that it is in."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    before, row, ended_cr = 0, 1, False
    while True:
        content = file.read(CHUNK_BYTES)
        held = len(decoder.getstate()[0])  # bytes of a character that has begun
        try:
            decoder.decode(content, final=not content)
            end = len(content)
        except UnicodeDecodeError as error:
            end = error.start - held
            row += _ends(content[: max(0, end)], ended_cr)
            return before + end, row
        row += _ends(content, ended_cr)
        ended_cr = content.endswith(b"\r")
        before += end
        if not content:
            return before, row


def _ends(content: bytes, ended_cr: bool) -> int:
    """Count the ends of lines: CR, LF, or both together.

    :param ended_cr: whether what came before ended with a CR.
    """
    both = content.count(b"\r\n") + (ended_cr and content.startswith(b"\n"))
    return content.count(b"\n") + content.count(b"\r") - both
