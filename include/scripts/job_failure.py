"""How a job script fails: with one sentence for the person who has to act.

SageMaker shows the first kilobyte of a processing job's message file beside the failed job. That of a training job's
failure file it shows where the image's toolkit leaves the file alone: the XGBoost image's writes over it which
command failed, and the last line of the log has to tell why. A failure of the user's data or settings is a
:class:`JobFailure`: its sentence goes to that file and, as the last line, to stderr, and the script exits 1. So does
what nobody foresaw, a library's error or a bug: its traceback stays in the log, and the sentence names the error and
points there.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

# SageMaker cuts ExitMessage and FailureReason at 1,024 characters; cutting here keeps the cut visible.
MESSAGE_LIMIT_CHARACTERS = 1000
QUOTED_CHARACTERS = 60


class JobFailure(Exception):
    """A failure that the user can put right: its text says what is wrong and what is allowed."""


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose errors are a :class:`JobFailure`, so that they reach the message file too."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting.

        :param message: what argparse has to say.
        :raises JobFailure: always.
        """
        raise JobFailure(f"{self.prog}: {message}. Run it with --help to see the arguments.")


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Name the allowed word that is closest to a wrong one.

    :param allowed: what would have been right.
    :return: ``" Did you mean 'x'?"``, or an empty string when nothing is close.
    """
    lowered = {item.lower(): item for item in allowed}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean '{lowered[close[0]]}'?" if close else ""


def listed(words: Sequence[str], limit: int = 20) -> str:
    """Join words for a sentence, cutting a long list.

    :return: ``"a, b, c"``, or ``"none"`` for an empty list.
    """
    if not words:
        return "none"
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more


def quoted(text: str) -> str:
    """Spell what data hold as a sentence can quote it: not at length, and without characters that nobody sees.

    :return: for example ``2014\\x00`` for a text that ends with a NUL.
    """
    short = text if len(text) <= QUOTED_CHARACTERS else f"{text[:QUOTED_CHARACTERS]}…"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in short)


def option_value(arguments: Sequence[str], option: str) -> str | None:
    """Find an option's value without parsing the rest, which may be what is wrong.

    :param option: the option, with its dashes.
    :return: the value, or None when it is not there.
    """
    for position, argument in enumerate(arguments):
        if argument == option and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(option + "="):
            return argument.removeprefix(option + "=")
    return None


def sentence_of(error: Exception) -> str:
    """Return the sentence for an error, and leave the traceback of one that nobody foresaw in the log.

    :param error: while it is handled.
    """
    if isinstance(error, JobFailure):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split()) or "no more is said"
    return (
        f"Not foreseen: {type(error).__name__} in {Path(where.filename).name}, line {where.lineno}: {said}. "
        "The job's log has the traceback. Look at the data and the settings of this run; if both are right, it is a "
        "mistake in the scripts."
    )


def run(script: Callable[[], None], message_file: str | Path | None) -> int:
    """Run a script's body and turn its failure into a message and an exit code.

    :param script: the body; raises :class:`JobFailure` for a failure the user can put right.
    :param message_file: where the sentence goes as well as to stderr; None for stderr only.
    :return: the exit code: 0, or 1 after a failure.
    """
    try:
        script()
    except Exception as error:
        sentence = sentence_of(error)
        if len(sentence) > MESSAGE_LIMIT_CHARACTERS:
            sentence = sentence[: MESSAGE_LIMIT_CHARACTERS - 4] + " ..."
        # A sentence may quote what is no character at all, as half of a pair is.
        content = sentence.encode("utf-8", "backslashreplace")
        print(content.decode("utf-8"), file=sys.stderr, flush=True)
        if message_file is not None:
            path = Path(message_file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return 1
    return 0
