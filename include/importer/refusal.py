"""How a model that can't be taken is refused: with one sentence, and nothing is written."""

from __future__ import annotations

#: Of a name in a file, so that a sentence stays one.
_SHOWN = 80


class Refused(ValueError):
    """A model that is not taken: its text says what was got, what is allowed, and what to do."""


def shown(text: object) -> str:
    """Spell what a file holds as a sentence can quote it: not at length, and without characters that nobody sees."""
    said = str(text)
    short = said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in short)
