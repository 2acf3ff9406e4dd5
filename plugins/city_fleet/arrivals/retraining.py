"""Arrivals become DAG runs, by Airflow's REST API: one run covers what has arrived until it starts.

The function of AWS Lambda is an edge of this; it needs nothing but the API, and keeps nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from city_fleet import naming, outgoing_text
from city_fleet.airflow_rest.airflow_client import AirflowRest, Dag, DagRun
from city_fleet.arrivals.bursts import WINDOW_SECONDS, WantedRun, wanted_run
from city_fleet.arrivals.messages import EVERY_CITY, Arrival
from city_fleet.errors import AirflowError, raised_in

log = outgoing_text.logger("retrain")

#: One city after the other: an Airflow on SQLite that is to create two runs at once waits for itself, for minutes.
AT_ONCE = 1
# Stands in the id of a cohort's run for an arrival before the city that it is about.
_CITY = "__city_"
# Of a city's runs for arrivals the newest are looked at.
_NEWEST = 25
# Airflow away, too busy, or not for us: what else is to be asked will not be answered either.
_AWAY = frozenset({None, 401, 429, 502, 503, 504})
# One city's odd answer, for example of a proxy, is not to take the others with it.
_FAILURES = (AirflowError, LookupError, TypeError, ValueError, AttributeError)


class Came(StrEnum):
    """What has come of an arrival."""

    STARTED = "started"
    COVERED = "covered"
    UNKNOWN = "unknown"
    FAILED = "failed"


@dataclass(frozen=True)
class CityOutcome:
    """What has come of a city's arrival.

    :param run_id: of the run that covers it; None where there is none.
    :param said: why there is none.
    """

    city: str
    came: Came
    run_id: str | None = None
    said: str | None = None


@dataclass(frozen=True)
class _Single:
    """An arrival of one city.

    :param whole: the arrival that it is, or that means every city.
    :param dag: the city's DAG, :param runs: its runs for arrivals; None where they are not known yet.
    :param dag_id: of a whole cohort's DAG; None for that of the city.
    """

    whole: Arrival
    arrival: Arrival
    dag: Dag | None = None
    runs: list[DagRun] | None = None
    dag_id: str | None = None


@dataclass
class Retrainer:
    """Starts the runs of one installation's cities.

    :param burst_seconds: arrivals of a window of so many seconds become one run.
    :param at_once: so many cities are asked for at the same time.
    """

    airflow: AirflowRest
    fleet: str
    environment: str
    burst_seconds: float = WINDOW_SECONDS
    at_once: int = AT_ONCE
    _away: AirflowError | None = field(default=None, init=False)

    def start_all(
        self, arrivals: Sequence[Arrival], now: datetime, seconds: float
    ) -> dict[Arrival, list[CityOutcome]]:
        """Make sure that a run covers each arrival.

        :param now: UTC.
        :param seconds: what has not begun by then, or has no answer, counts as failed: asked again it does no harm.
        :return: of every arrival what came of each of its cities; several of those that mean every city.
        """
        until = time.monotonic() + seconds
        self._away = None
        found: dict[Arrival, list[CityOutcome]] = {arrival: [] for arrival in arrivals}
        single: list[_Single] = []
        for arrival, outcomes in found.items():
            if arrival.city != EVERY_CITY:
                single.append(_Single(arrival, arrival))
                continue
            try:
                single += self._of_every_city(arrival)
            except _FAILURES as error:
                outcomes.append(self._failed(EVERY_CITY, error))
        for each, outcome in zip(single, self._at_once(single, now, until), strict=True):
            found[each.whole].append(outcome)
        return found

    def _of_every_city(self, arrival: Arrival) -> list[_Single]:
        """Return an arrival of each city, with what is known of it: requests for all of them, not two for each."""
        dags = self._fleets_dags()
        prefix = naming.city_dag_id(self.fleet, "")
        runs: dict[str, list[DagRun]] = {}
        if arrival.as_of is None:
            for wanted in ({"run_after_gt": arrival.at.isoformat()}, {"state": "queued"}):
                for dag_id, run in self.airflow.runs_of_dags(prefix, naming.ARRIVAL_RUN, wanted):
                    runs.setdefault(dag_id, []).append(run)
        found = []
        for dag_id, dag in dags.items():
            city = dag_id.removeprefix(prefix)
            cohort = naming.is_of_cohort(dag_id, self.fleet)
            if dag_id.startswith(prefix) and (naming.is_slug(city) or cohort):  # "_endpoint" is none
                alone = Arrival(city.lstrip("_"), None, arrival.at, arrival.as_of)
                # Of a cohort's runs for arrivals those of single cities cover no other one.
                mine = [run for run in runs.get(dag_id, []) if not cohort or _CITY not in run.id]
                found.append(_Single(arrival, alone, dag, mine, dag_id if cohort else None))
        return found

    def _at_once(self, single: list[_Single], now: datetime, until: float) -> Iterable[CityOutcome]:
        if not single:
            return []
        stop = threading.Event()
        pool = ThreadPoolExecutor(max_workers=min(self.at_once, len(single)))
        asked = [pool.submit(self._outcome, each, now, stop) for each in single]
        wait(asked, timeout=max(0.0, until - time.monotonic()))
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        late = "there was no time left"
        return [
            future.result()
            if future.done() and not future.cancelled()
            else CityOutcome(each.arrival.city, Came.FAILED, said=late)
            for future, each in zip(asked, single, strict=True)
        ]

    def _outcome(self, single: _Single, now: datetime, stop: threading.Event) -> CityOutcome:
        arrival = single.arrival
        if self._away is not None or stop.is_set():
            return CityOutcome(arrival.city, Came.FAILED, said=str(self._away or "there was no time left"))
        try:
            return self.start(arrival, now, single.dag, single.runs, single.dag_id)
        except _FAILURES as error:
            return self._failed(arrival.city, error)

    def _failed(self, city: str, error: Exception) -> CityOutcome:
        if not isinstance(error, AirflowError):
            error = AirflowError(
                f"{self.airflow.place} answers what Airflow 3 does not: {error!r} {raised_in(error)}",
                status=0,
            )
        if error.status in _AWAY:
            self._away = error
        return CityOutcome(city, Came.FAILED, said=str(error))

    def start(
        self,
        arrival: Arrival,
        now: datetime,
        dag: Dag | None = None,
        runs: list[DagRun] | None = None,
        dag_id: str | None = None,
    ) -> CityOutcome:
        """Make sure that a run covers the arrival of one city.

        :param dag: what Airflow says of the city's DAG; None where that is not known.
        :param runs: of its runs for arrivals those that wait, and those that start after this one; None as well.
        :param dag_id: of the DAG of a whole cohort, which the arrival is about.
        :raises AirflowError: Airflow does not answer, refuses, is of another environment, or has lost the DAG's file.
        """
        alone: str | None = None
        if dag_id is None:
            dag_id = naming.city_dag_id(self.fleet, arrival.city)
            dag = dag or self.airflow.dag(dag_id)
            if dag is None or dag.stale:
                cohort = self._cohort_of(arrival.city)
                if cohort is not None:
                    (dag_id, dag), alone = cohort, arrival.city
        if dag is None:
            return self._unknown(arrival)
        self.airflow.refuse_dag_of_other_environment(dag_id, dag, self.environment)
        if dag.stale:
            raise AirflowError(
                f"{self.airflow.place} has no DAG file with {dag_id} any more: mend the fleet file, or delete the "
                "DAG if the city has left the fleet",
                status=200,
            )
        wanted = wanted_run(arrival, now, self.burst_seconds)
        if alone is not None:
            # A run of the cohort's DAG, about this city alone.
            conf: dict[str, Any] = {**wanted.conf, "cities": [alone]}
            wanted = replace(wanted, run_id=f"{wanted.run_id}{_CITY}{alone}", conf=conf)
        if arrival.as_of is not None:
            return self._started(arrival, dag_id, wanted)
        if runs is None:
            runs = self.airflow.newest_runs(dag_id, naming.ARRIVAL_RUN, _NEWEST)
            if alone is not None:
                runs = [run for run in runs if run.id.endswith(f"{_CITY}{alone}")]
        # It starts after the arrival, whether it waits, runs or is over: it reads, or has read, what has arrived.
        covering = next((run for run in runs if run.run_after > arrival.at), None)
        if covering is None:
            outcome = self._started(arrival, dag_id, wanted)
            newest = wanted.run_after
        else:
            outcome, newest = CityOutcome(arrival.city, Came.COVERED, covering.id), covering.run_after
        older = sorted({run.id for run in runs if run.state == "queued" and run.run_after < newest})
        if older:
            self._take_back(dag_id, older)
        return outcome

    def _started(self, arrival: Arrival, dag_id: str, wanted: WantedRun) -> CityOutcome:
        created = self.airflow.start_run(dag_id, wanted.run_id, wanted.run_after, wanted.conf)
        return CityOutcome(arrival.city, Came.STARTED if created else Came.COVERED, wanted.run_id)

    def _take_back(self, dag_id: str, run_ids: list[str]) -> None:
        """Delete runs that wait and never began: a newer one covers them. That it fails costs a run more, at most."""
        try:
            begun = self.airflow.begun_runs(dag_id, run_ids)
            mine = [run_id for run_id in run_ids if run_id not in begun]
            said = self.airflow.delete_runs(dag_id, mine) if mine else []
        except AirflowError as error:
            said = [str(error)]
        for each in said:
            log.warning("%s: a run of an earlier window stays: %s", dag_id, each)

    def _unknown(self, arrival: Arrival) -> CityOutcome:
        """Tell a city that the fleet does not have from an Airflow that has not read the DAG files yet.

        :raises AirflowError: it knows no DAG of the fleet.
        """
        if not self._fleets_dags():
            raise AirflowError(
                f"{self.airflow.place} knows no DAG of fleet {self.fleet!r}, environment {self.environment!r}. Does it "
                "read this fleet's DAG files?",
                status=200,
            )
        return CityOutcome(
            arrival.city, Came.UNKNOWN, said=f"fleet {self.fleet!r} has no city {arrival.city!r}"
        )

    def _cohort_of(self, city: str) -> tuple[str, Dag] | None:
        """Return the DAG of the cohort that a city is in; None where it is in none.

        Nobody here reads the fleet file: by the hash of its name a city is in one cohort of those that Airflow knows,
        whose DAG says which cities it has.
        """
        dags = self._fleets_dags()
        numbers = [int(each.rpartition("_")[2]) for each in dags if naming.is_of_cohort(each, self.fleet)]
        for count in (max(numbers), max(numbers) + 1) if numbers else ():  # the last one may have no city
            name = naming.cohort_name(naming.cohort_number(city, count))
            dag_id = naming.cohort_dag_id(self.fleet, name)
            if dag_id in dags and city in self.airflow.param_examples(dag_id, "cities"):
                return dag_id, dags[dag_id]
        return None

    def _fleets_dags(self) -> dict[str, Dag]:
        """Return the fleet's DAGs of this environment.

        :raises AirflowError: Airflow runs another environment of the fleet, or does not answer.
        """
        found = self.airflow.fleets_dags(naming.fleet_tag(self.fleet))
        mine = {dag_id: dag for dag_id, dag in found.items() if dag.environment == self.environment}
        if found and not mine:
            dag_id = next(iter(found))
            self.airflow.refuse_dag_of_other_environment(dag_id, found[dag_id], self.environment)
        return mine
