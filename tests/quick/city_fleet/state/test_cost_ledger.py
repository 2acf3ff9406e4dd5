"""What a day's jobs were billed for is read as it was written, by any version, and nothing else is believed."""

from __future__ import annotations

import gzip
import json
from datetime import date
from typing import Any

from city_fleet.naming import Keys
from city_fleet.state import cost_ledger
from city_fleet.state.cost_ledger import PaidJob

KEYS, DAY = Keys("city-fleet", "houses", "laptop"), date(2026, 11, 1)
JOBS = tuple(
    PaidJob(city, f"{number:010x}-1", "train", "Training", "ml.m5.large", 2, 60 + number, 5,
            f"2026-11-01T00:00:{number:02}+00:00", "", "live", "a" * 10, 30)
    for number, city in enumerate(("austin", "waco", "austin"))
)  # fmt: skip
WRITTEN = cost_ledger._Day(DAY, True, frozenset(), tuple(sorted(JOBS))).to_bytes(KEYS)


def changed(**members: Any) -> bytes:
    return gzip.compress(json.dumps({**json.loads(gzip.decompress(WRITTEN)), **members}).encode())


def read(body: bytes) -> cost_ledger._Day:
    return cost_ledger._Day.from_bytes(DAY, body, KEYS)


def test_a_day_is_read_as_it_was_written_and_one_of_the_first_format_too() -> None:
    assert read(WRITTEN) == cost_ledger._Day(DAY, True, frozenset(), tuple(sorted(JOBS)))
    first = read(changed(format_version=1, jobs=[job[:12] for job in JOBS]))
    assert (first.closed, first.jobs) == (True, tuple(job._replace(volume_gb=0) for job in JOBS))
    empty = cost_ledger._Day(DAY, False, frozenset({"e"}))
    assert read(empty.to_bytes(KEYS)) == empty


def test_what_is_no_day_is_folded_anew() -> None:
    columns = json.loads(gzip.decompress(WRITTEN))["jobs"]
    wrong: dict[str, dict[str, Any]] = {
        "another format": {"format_version": 3},
        "another day": {"day": "2026-11-02"},
        "no columns": {"jobs": [1]},
        "a column less": {"jobs": {name: each for name, each in columns.items() if name != "run"}},
        "a job less in a column": {"jobs": columns | {"seconds": columns["seconds"][1:]}},
        "seconds that are none": {"jobs": columns | {"seconds": [True, 1.5, "3"]}},
        "a place without a word": {"jobs": columns | {"city": [99, 0, 0]}},
        "a place from the end": {"jobs": columns | {"city": [-1, 0, 0]}},
        "a place that is none": {"jobs": columns | {"city": ["0", 0, 0]}},
        "words that are none": {"words": [1] * 9},
    }
    for what, members in wrong.items():
        assert read(changed(**members)) == cost_ledger._Day(DAY), what
    for body in (b"", b"x", gzip.compress(b"[]"), WRITTEN[:-9]):
        assert read(body) == cost_ledger._Day(DAY)


def test_a_job_counts_once_and_is_no_waste_if_one_run_made_use_of_it() -> None:
    wasted = JOBS[0]._replace(waste="duplicated", run="b" * 10)
    for jobs in ((JOBS[0], wasted, JOBS[1]), (wasted, JOBS[1], JOBS[0])):
        assert set(cost_ledger.once(jobs)) == {JOBS[0], JOBS[1]}
    assert list(cost_ledger.once(JOBS)) == list(JOBS)
