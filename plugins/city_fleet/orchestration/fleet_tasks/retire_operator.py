"""Airflow operator of the fleet's ``_retire`` DAG: delete what nothing needs any more."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

from city_fleet.errors import Busy
from city_fleet.jobs import pacing
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator, within
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import refuse_old_layout
from city_fleet.outgoing_text import printable
from city_fleet.retiring import retire_sweep
from city_fleet.retiring.retire_inventory import InventorySource
from city_fleet.retiring.retire_report import Totals

if TYPE_CHECKING:
    from airflow.sdk import Context

RETIRE = "retire"
#: A pass ends by itself after this time; the next one begins where it has stopped.
TIME_LIMIT_SECONDS = 6 * 3600.0
_NAMED_PROBLEMS = 20


class RetireOperator(FleetOperator):
    """Mark what nothing needs, and delete what has been marked for the whole grace period.

    Returns the counts of :class:`~city_fleet.retiring.retire_report.Totals`; with the DAG's param ``dry_run`` nothing
    is changed and they say what would have been done. Fails at the end when a city could not be dealt with.
    """

    @patient
    def execute(self, context: Context) -> dict[str, int]:
        dry_run = bool(context["params"]["dry_run"])
        pace = pacing.RequestPace(retire_sweep.REGISTRY_REQUESTS_PER_SECOND)
        sagemaker = pacing.keep_pace(self.client("sagemaker", retire_sweep.CLIENT_CONFIG), pace)
        s3 = self.client("s3", retire_sweep.CLIENT_CONFIG)
        keys = self.fleet.keys
        refuse_old_layout(s3, keys)
        source = InventorySource(s3, sagemaker, keys, self.fleet.environment)
        rule = retire_sweep.rule_of(self.fleet)
        in_time = within(TIME_LIMIT_SECONDS)
        totals, problems, passing = Totals(), [], True
        for report in retire_sweep.run(source, rule, dry_run=dry_run, in_time=in_time):
            totals += report.totals()
            if report.problem:
                problems.append(report.problem)
                passing = passing and report.passes
                self.log.warning("%s", report.problem)
            elif report.plan is not None and report.plan.going:
                self.log.info("%s: %s", report.city, report.totals().sentence(dry_run=dry_run))
                for unit in sorted(report.plan.going):
                    self.log.info("  %s", unit)
        if not in_time():
            self.log.warning("Time is up; the next pass begins with the city after the last one of this pass")
        self.log.info("%d cities: %s", totals.cities, totals.sentence(dry_run=dry_run))
        if problems:
            # What passes is waited for, and then looked at again.
            kind = Busy if passing else AirflowException
            raise kind(
                f"{len(problems)} cities could not be dealt with; the others were. "
                + printable(" ".join(problems[:_NAMED_PROBLEMS]))
            )
        return asdict(totals)
