"""The note of a run in Airflow: what came of it, where that is not what one expects of a run that has succeeded.

A run whose model is held or superseded succeeds as one does whose model serves. The grid marks a run with a note, so
only what is not live has one, and of what a newer model has superseded the last task has it as well. Standard library
only: the scheduler imports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from city_fleet.outgoing_text import markdown, markdown_code
from city_fleet.state.outcomes import Outcome

#: Name of the XCom with which a task says the note of its run; empty for none.
NOTE = "run_note"
#: Airflow's limit (3.3.2).
LONGEST = 1000
_WORDS = {
    Outcome.HELD: "Held",
    Outcome.ON_TRIAL: "On trial",
    Outcome.SUPERSEDED: "Superseded",
    Outcome.PENDING: "Awaits a decision",
    Outcome.TOO_LITTLE_DATA: "Too little data",
    Outcome.REJECTED: "Rejected",
    Outcome.EXPIRED: "Not approved in time",
    Outcome.FAILED: "Failed",
}
_OF_COHORT = "Cohort"
#: So many cities that have failed are named in the note of a cohort's run.
_NAMED = 10
_PARAGRAPH = rf"\*\*(?:{'|'.join((*_WORDS.values(), _OF_COHORT))})\.\*\* [^\n]*"
# Of a note the paragraph that is ours: the first one; earlier versions wrote it behind a person's words.
_OURS = re.compile(rf"\A{_PARAGRAPH}(?:\n\n|\Z)|\n\n{_PARAGRAPH}\Z")


def note_of(outcome: str, reasons: Iterable[str], city: str) -> str:
    """Return the note of a run, as Markdown; empty for one whose model serves.

    :param outcome: as it stands in the run's record.
    :param city: slug.
    """
    word = _WORDS.get(Outcome(outcome))
    if word is None:
        return ""
    said = "; ".join(map(markdown, reasons))
    if outcome in (Outcome.PENDING, Outcome.ON_TRIAL):
        # What comes of it is no longer the run's: the note stays as it is.
        said += f"; what has become of it: {markdown_code(f'./fleet status {city}')}"
    return _shortened(f"**{word}.** {said}", LONGEST)


def note_of_cohort(counts: Mapping[str, int], failed: Sequence[str]) -> str:
    """Return the note of a cohort's run, as Markdown; empty for one whose cities are all live.

    :param counts: outcome → how many cities.
    :param failed: slugs of those that have failed.
    """
    if set(counts) <= {Outcome.LIVE.value}:
        return ""
    order = [each.value for each in Outcome]
    parts = [f"{counts[name]} {name.replace('_', ' ')}" for name in order if counts.get(name)]
    said = f"**{_OF_COHORT}.** {', '.join(parts)}"
    if failed:
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        said += f"; failed: {', '.join(map(markdown, failed[:_NAMED]))}{more}"
    return _shortened(said, LONGEST)


def is_superseded(ours: str) -> bool:
    """Tell whether a note is of a run that a newer model has made needless: the task that says so has a mark, too."""
    return ours.startswith(f"**{_WORDS[Outcome.SUPERSEDED]}.**")


def changed(note: str, ours: str) -> str:
    """Return a run's note with another paragraph of ours before what a person has written, which stays.

    Airflow (3.3.2) shows the first paragraph of a note above a run, and the others to whoever opens it: a person who
    has started the run knows why, and wants to see what came of it.

    :param note: as it is.
    :param ours: empty for none.
    """
    theirs = _OURS.sub("", note)
    if not theirs or not ours:
        return theirs or ours
    room = LONGEST - len(theirs) - 2
    return f"{_shortened(ours, room)}\n\n{theirs}" if room > len("**Not approved in time.** …") else theirs


def _shortened(text: str, length: int) -> str:
    # An escape is two characters: half of one would escape what comes after it.
    return text if len(text) <= length else text[: length - 2].rstrip("\\") + " …"
