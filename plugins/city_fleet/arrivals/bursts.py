"""Which run covers an arrival: many of one moment mean one run. Pure.

Time is cut into windows. A run of a window is named by its end and starts no earlier, so that all that arrives within
it is there when the run reads; whoever wants a run for a second arrival of the window finds it, and needs no memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from city_fleet import clock, naming
from city_fleet.arrivals.messages import Arrival

WINDOW_SECONDS = 60.0


@dataclass(frozen=True)
class WantedRun:
    """The DAG run that an arrival asks for.

    :param run_id: the same for all arrivals of a window.
    :param run_after: the moment at which it starts, and so up to which it sees data.
    :param conf: values of the DAG's params.
    """

    run_id: str
    run_after: datetime
    conf: dict[str, Any]


def window_end(at: datetime, seconds: float = WINDOW_SECONDS) -> datetime:
    """Return the end of the window that an instant falls into; never the instant itself."""
    # A run's id says it to the second.
    return datetime.fromtimestamp(math.ceil((math.floor(at.timestamp() / seconds) + 1) * seconds), UTC)


def wanted_run(arrival: Arrival, now: datetime, seconds: float = WINDOW_SECONDS) -> WantedRun:
    """Return the run that covers an arrival.

    :param now: UTC. One of a window that is over long since starts now: its ``as_of`` is the moment of the run.
    """
    end = window_end(arrival.at, seconds)
    conf: dict[str, str] = {}
    run_id = f"{naming.ARRIVAL_RUN}{clock.stamp(end)}"
    if arrival.as_of is not None:
        # Neither covers it what arrives, nor is it covered by what arrives.
        conf = {"as_of": clock.iso(arrival.as_of)}
        run_id = f"{naming.AS_OF_RUN}{clock.stamp(arrival.as_of)}__{clock.stamp(end)}"
    return WantedRun(run_id, max(end, now), conf)
