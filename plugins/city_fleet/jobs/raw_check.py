"""What a listing of raw data says before a job is paid for that would refuse them. Pure.

Airflow's role may list raw data and not read them, so only names and sizes count here; ``./fleet lint --data`` looks
inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from city_fleet.errors import list_names
from city_fleet.jobs.fixed_run import RawObject
from city_fleet.plan import CityPlan

#: What the project's own preprocess.py reads (``include/scripts/raw_records.py``).
READ = (".csv", ".csv.gz", ".parquet")
_OWN_SCRIPTS = "include/scripts"


def refusal(plan: CityPlan, raw: Sequence[RawObject]) -> str | None:
    """Return why the preprocess job would fail on these files; None where the listing says nothing of it.

    A city with a ``preprocess.py`` of its own may read anything. Of a parent nothing is said: its job leaves out a city
    whose data it can't use, and that city's own run says why.
    """
    if plan.children:
        return None
    own = plan.city.scripts != _OWN_SCRIPTS or plan.city.own_scripts.preprocess is not None
    uri = plan.raw.folder_uri
    unread = [] if own else [each.name for each in raw if not each.name.lower().endswith(READ)]
    if unread:
        return (
            f"{uri}: got {list_names(sorted(unread))}; allowed: {', '.join(READ)} files. Convert them, or move them "
            "elsewhere"
        )
    empty = [] if own else [each.name for each in raw if not each.size_bytes]
    if empty:
        return (
            f"{uri}: got {list_names(sorted(empty))} of 0 bytes; allowed: files with a header and rows. Export them "
            "again, or take them away"
        )
    return None
