"""Text of others on its way to people: names, notes, cells and log lines may hold what changes how they are shown.

Standard library only.
"""

from __future__ import annotations

import logging
import re

# What moves a terminal's cursor, reverses or hides text, ends lines, or is half a character. Line feed and tab stay:
# text of our own is made of lines. So do the joiners that some scripts and emoji are written with.
_UNSEEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def printable(text: str) -> str:
    r"""Return a text that a terminal and a log show as it is: ``\u001b[2J`` stands for what would clear a screen.

    Of JSON it is JSON with the same meaning.
    """
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return a text as :func:`printable` does, in which nothing begins a new line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def markdown(text: str) -> str:
    """Return Markdown that shows a text as it is: without markup, HTML or links of its own."""
    return _PUNCTUATION.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), one_line(text))


def markdown_code(text: str) -> str:
    """Return Markdown that shows a text as code, within its line."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def logger(name: str) -> logging.Logger:
    """Return a logger of the library, whose records a terminal shows as they are.

    :param name: of the module that logs.
    """
    found = logging.getLogger(name)
    if not any(isinstance(each, _Printable) for each in found.filters):
        found.addFilter(_Printable())
    return found


class _Printable(logging.Filter):
    """Makes a record's text printable, before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        if record.exc_info:
            # A formatter takes this text instead of making its own.
            record.exc_text = printable(_FORMATTER.formatException(record.exc_info))
        return True


_FORMATTER = logging.Formatter()


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
