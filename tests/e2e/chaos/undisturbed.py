"""The same night without a blow: how each run ends when nothing happens.

That hangs on a city's data and on its runs before, and on no seed: nights that had the same runs are told from one
undisturbed night.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from city_fleet.plan import plan_city
from local.stack.database import Say
from local.stack.runs import start_run, wait_for_run
from tests.e2e.chaos import evidence
from tests.e2e.chaos.runner import chaos_stack, fleet_of

# The machine may be busy: what is asked is how runs end, not when.
TIMEOUT_SECONDS = 900.0
#: (city, stamp of its as_of) → the outcome.
Ends = dict[tuple[str, str], str]


class Undisturbed:
    """Knows how runs end undisturbed, and tries it out, in a stack of its own, when it does not."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._known: Ends = {}

    def ends(self, started: Mapping[tuple[str, str], str]) -> Ends:
        """Return how the runs of a night end when nothing happens.

        :param started: (city, run id) → the stamp of its as_of, as the chaos run has started them.
        """
        if not {(city, as_of) for (city, _), as_of in started.items()} <= set(self._known):
            folder = Path(tempfile.mkdtemp(prefix="city-fleet-undisturbed-"))
            self._known |= ends(folder, started, self._say)
            shutil.rmtree(folder, ignore_errors=True)
        return self._known


def ends(folder: Path, started: Mapping[tuple[str, str], str], say: Say) -> Ends:
    """Return how the runs end in a stack of their own, without faults and blows.

    :param started: (city, run id) → the stamp of its as_of, as the chaos run has started them.
    """
    cities = tuple(dict.fromkeys(city for city, _ in started))
    with chaos_stack(folder, cities, say, start_delay_seconds=0.0, notices_soon=False) as stack:
        plans = [plan_city(fleet_of(stack), city) for city in cities]
        rounds = [[key for key in started if key[0] == city] for city in cities]
        for number in range(max(map(len, rounds))):
            now = [of_city[number] for of_city in rounds if number < len(of_city)]
            dags = {plan.city.slug: plan.dag_id for plan in plans}
            for city, run_id in now:
                start_run(stack, dags[city], run_id, {"as_of": started[city, run_id]})
            for city, run_id in now:
                wait_for_run(stack, dags[city], run_id, TIMEOUT_SECONDS)
            say(f"undisturbed: round {number + 1} of {max(map(len, rounds))} has ended")
        found = evidence.collect(stack, plans, dict(started))
    return {(run.city, run.as_of): str(run.outcome) for run in found.runs}
