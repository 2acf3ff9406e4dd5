"""Text of others on its way to people: names, notes, cells and log lines may hold what changes how they are shown.

Standard library only.
"""

from __future__ import annotations

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
    r"""Return a text that a terminal and a log show as it is: ``\x1b[2J`` stands for what would clear a screen."""
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


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
