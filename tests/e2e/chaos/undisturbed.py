"""The same night without a blow: how each run ends when nothing happens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from city_fleet.plan import plan_city
from local.stack.database import Say
from local.stack.runs import start_run, wait_for_run
from tests.e2e.chaos import evidence
from tests.e2e.chaos.runner import chaos_stack, fleet_of

#: (city, stamp of its as_of) → the outcome.
Ends = dict[tuple[str, str], str]


def ends(folder: Path, started: Mapping[tuple[str, str], str], say: Say) -> Ends:
    """Return how the runs end in a stack of their own, without faults and blows.

    :param started: (city, run id) → the stamp of its as_of, as the chaos run has started them.
    """
    cities = tuple(dict.fromkeys(city for city, _ in started))
    with chaos_stack(folder, cities, say, start_delay_seconds=0.0) as stack:
        plans = [plan_city(fleet_of(stack), city) for city in cities]
        rounds = [[key for key in started if key[0] == city] for city in cities]
        for number in range(max(map(len, rounds))):
            now = [of_city[number] for of_city in rounds if number < len(of_city)]
            dags = {plan.city.slug: plan.dag_id for plan in plans}
            for city, run_id in now:
                start_run(stack, dags[city], run_id, {"as_of": started[city, run_id]})
            for city, run_id in now:
                wait_for_run(stack, dags[city], run_id)
            say(f"undisturbed: round {number + 1} of {max(map(len, rounds))} has ended")
        found = evidence.collect(stack, plans, dict(started))
    return {(run.city, run.as_of): str(run.outcome) for run in found.runs}
