"""What the jobs of cohorts have left: each city's task has copied its own part, so that after a while all of it may go.

Until then a retry of a task reads it, and whoever runs the same night again takes up the job that left it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors
from city_fleet.errors import CityFleetError
from city_fleet.retiring.retire import UNFINISHED, Deletion
from city_fleet.retiring.retire_facts import Rule
from city_fleet.retiring.retire_inventory import InventorySource
from city_fleet.retiring.retire_report import CityReport

#: What a job writes last.
_OUTCOME = "/outcome.json"
_FOLDER = re.compile(r"(?P<cohort>_cohort_\d{3,})/(?P<key>[0-9a-f]{10})/")


def retire_cohorts(
    source: InventorySource, rule: Rule, *, dry_run: bool, clock: Callable[[], datetime]
) -> Iterator[CityReport]:
    """Delete the folders of cohorts' runs that nothing was written to for the grace period, cohort by cohort.

    Of a run whose job has left nothing yet the folder stays as long as a city's would.

    :return: a report for each cohort of which something goes.
    """
    prefix, now = source.keys.runs_prefix(), clock()

    def folder(key: str) -> str:
        match = _FOLDER.match(key.removeprefix(prefix))
        return match[0] if match else ""

    listed = source.objects.items(f"{prefix}_cohort_")
    going: dict[str, Deletion] = {}
    for name, found in itertools.groupby(listed, key=lambda item: folder(item.key)):
        items = list(found)
        ended = any(item.key.endswith(_OUTCOME) for item in items)
        age = now - max(item.modified for item in items)
        if not name or age < (rule.grace if ended else UNFINISHED):
            continue
        cohort = name.partition("/")[0]
        before = going.get(cohort, Deletion())
        going[cohort] = Deletion(
            run_keys=(*before.run_keys, *(item.key for item in items)),
            runs=before.runs + 1,
            size_bytes=before.size_bytes + sum(item.size_bytes for item in items),
        )
    for cohort, deletion in going.items():
        try:
            if not dry_run:
                source.objects.delete_all(list(deletion.run_keys))
            yield CityReport(cohort, deletion=deletion)
        except (CityFleetError, ClientError, BotoCoreError) as error:
            yield CityReport(
                cohort,
                problem=f"cohort {cohort!r}: AWS failed: {error}",
                passes=aws_errors.is_passing(error),
            )
