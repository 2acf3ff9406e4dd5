"""How challengers on trial have done in this process, and when one is asked no more. Safe to use from many threads.

A challenger that fails costs nobody an answer, as the champion answers in its place, but it costs time. So it falls
back here at once; the fleet's nightly look ends its trial for all processes. Standard library only.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from city_fleet.state.challengers import Challenger

#: So many of the last calls count.
LAST_CALLS = 50
#: It falls back when so many of them failed, and more than this share of them.
LEAST_FAILED = 3
MOST_FAILED_SHARE = 0.1


@dataclass
class Tally:
    """What a process knows of one trial.

    :param calls: in all, of which ``failed`` the champion had to answer, and ``skipped`` were not made because enough
        others were under way.
    :param fallen: whether it is asked no more.
    """

    calls: int = 0
    failed: int = 0
    skipped: int = 0
    fallen: bool = False
    _last: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST_CALLS))

    def count(self, failed: bool) -> None:
        self.calls += 1
        self.failed += failed
        self._last.append(failed)
        bad = sum(self._last)
        self.fallen = self.fallen or (bad >= LEAST_FAILED and bad > MOST_FAILED_SHARE * len(self._last))


class Tallies:
    """The tallies of all trials that this process has seen and that may still run: one a city."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[tuple[str, str], Tally]] = {}

    def of(self, trial: Challenger) -> Tally:
        """Return a trial's tally; another trial of the same city begins anew."""
        with self._lock:
            return self._of(trial)

    def count(self, trial: Challenger, *, failed: bool) -> bool:
        """Count a call.

        :return: whether it was this one that has made the challenger fall back.
        """
        with self._lock:
            tally = self._of(trial)
            before = tally.fallen
            tally.count(failed)
            return tally.fallen and not before

    def skip(self, trial: Challenger) -> None:
        """Count a call that was not made."""
        with self._lock:
            self._of(trial).skipped += 1

    def _of(self, trial: Challenger) -> Tally:
        which = (trial.model.target_model, trial.since)
        known = self._found.get(trial.city)
        if known is None or known[0] != which:
            known = self._found[trial.city] = (which, Tally())
        return known[1]
