"""Airflow's own commands do with a city what they do with any DAG, and docs/airflow-commands.md says what it costs."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.e2e.conftest import Fleet
from tests.support.airflow_commands import Said, airflow_commands, quoted

pytestmark = [pytest.mark.e2e, pytest.mark.long]

DATE = "2014-01-01"
# Nothing takes that long when all is well.
SOON = 900.0


class City:
    """A city of the shared stack that no other test runs."""

    def __init__(self, fleet: Fleet, slug: str) -> None:
        self.fleet, self.slug, self.dag_id = fleet, slug, f"texas_housing.{slug}"
        self.window = f"-s {DATE} -e {DATE} -y"
        fleet.stack.airflow.set_paused(self.dag_id, False)

    def run(self, *lines: str) -> list[Said]:
        """Run commands, in which ``DAG`` stands for the DAG's id."""
        said = airflow_commands(
            self.fleet.stack.environment, *(line.replace("DAG", self.dag_id) for line in lines)
        )
        for number, (line, each) in enumerate(zip(lines, said, strict=True)):
            if each.code and "database is locked" in each.text:  # SQLite's; nothing was written then
                (said[number],) = self.run(line)
        return said

    def does(self, *lines: str) -> str:
        """Run commands that have to go well; return what the last one has said."""
        said = self.run(*lines)
        assert [each.code for each in said] == [0] * len(said), said
        return said[-1].text

    def runs(self) -> list[dict[str, Any]]:
        return list(self.fleet.stack.airflow.request("GET", f"/dags/{self.dag_id}/dagRuns")["dag_runs"])

    def paid(self, count: int = 1) -> dict[str, list[str]]:
        """Wait until there are so many runs and none is under way; return the completed jobs by step, oldest first."""
        deadline = time.monotonic() + SOON
        while len(runs := self.runs()) < count or not all(run["end_date"] for run in runs):
            assert time.monotonic() < deadline, runs
            time.sleep(0.5)
        client, name = self.fleet.client("sagemaker"), self.slug.replace("_", "-")
        found: dict[str, list[str]] = {}
        for kind in ("Processing", "Training"):
            listed = getattr(client, f"list_{kind.lower()}_jobs")(
                NameContains=f"texas-housing--laptop--{name}-", SortBy="CreationTime", SortOrder="Ascending"
            )[f"{kind}JobSummaries"]
            for job in listed:
                assert job[f"{kind}JobStatus"] == "Completed", job
                step = job[f"{kind}JobName"].partition(f"--{name}-")[2].partition("-")[0]
                found.setdefault(step, []).append(job[f"{kind}JobName"])
        return found

    def counts(self, count: int = 1) -> tuple[int, int, int]:
        """Return how many jobs were paid for, when all runs are over: of preprocess, train and evaluate."""
        found = self.paid(count)
        return tuple(len(found.get(step, ())) for step in ("preprocess", "train", "evaluate"))  # type: ignore[return-value]

    def records(self) -> set[str]:
        prefix = f"texas_housing/laptop/state/runs/{self.slug}/"
        listed = self.fleet.client("s3").list_objects_v2(Bucket="city-fleet", Prefix=prefix)
        return {item["Key"] for item in listed.get("Contents", ())}

    def out_of_service(self) -> list[str]:
        found = self.fleet.stack.airflow.request("GET", "/dags?limit=200&exclude_stale=false")["dags"]
        return [dag["dag_id"] for dag in found if dag["is_stale"] or dag["has_import_errors"]]


def conf(**params: Any) -> str:
    return quoted("--conf", json.dumps(params))


def test_looking_costs_nothing_a_slip_is_refused_and_what_is_paid_for_is_joined(fleet: Fleet) -> None:
    city = City(fleet, "wichita_falls")
    out_before = city.out_of_service()
    rendered, listed, _, wrong, untrue, _, slip, _ = city.run(
        f"tasks render DAG train {DATE}",
        "tasks list DAG",
        f"backfill create --dag-id DAG --from-date {DATE} --to-date {DATE}",
        f"dags trigger DAG {conf(as_of='next tuesday')}",
        f"dags trigger DAG {conf(force='yes')}",
        f"dags trigger DAG {conf(as_of=DATE)} --run-id by.hand:1",
        f"dags trigger DAG {conf(as_off=DATE)} --run-id slip",
        "dags list-import-errors",
    )
    assert city.out_of_service() == out_before
    assert wrong.code
    assert "Invalid input for param as_of: 'next tuesday'" in wrong.text
    assert untrue.code
    assert "Invalid input for param force: 'yes'" in untrue.text
    assert slip.code == listed.code == 0
    paid = city.paid(3)
    # Three runs, of which one is a slip and one asks for what the first has paid for.
    assert {step: len(jobs) for step, jobs in paid.items()} == {"preprocess": 1, "train": 1, "evaluate": 1}
    assert f"'TrainingJobName': '{paid['train'][0]}'" in rendered.text
    assert sorted(run["state"] for run in city.runs()) == ["failed", *["success"] * 2]
    assert "was 'as_of' meant" in fleet.task_log(city.dag_id, "preprocess", "slip")
    assert fleet.record(city.dag_id, "by.hand:1")["outcome"] == "live"


# test_clears.py and test_fleet.py clear over the REST API, in every run of the tests.
def test_a_clear_pays_for_what_is_cleared(fleet: Fleet) -> None:
    city = City(fleet, "wichita_falls")
    city.does(f"dags trigger DAG {conf(as_of='2014-01-01T00:00:00Z')}")
    assert city.counts(4) == (1, 1, 1)
    # A piece of a task's name: Airflow 3.3.2 takes no regular expression here. Nothing has failed.
    tasks = (f"-t {task}" for task in ("evaluate", "record"))
    city.does(
        f"tasks clear DAG {city.window} --only-failed",
        *(f"tasks clear DAG {each} {city.window}" for each in tasks),
    )
    assert city.counts(4) == (1, 1, 2)
    city.does(f"tasks clear DAG {city.window}")
    assert city.counts(4) == (2, 2, 3)
    run = next(run for run in city.runs() if run["run_type"] == "backfill")
    assert run["state"] == "success"
    assert fleet.record(city.dag_id, run["dag_run_id"])["run_id"] == run["dag_run_id"]


def test_what_a_backfill_reprocesses_is_what_it_pays_for(fleet: Fleet) -> None:
    city = City(fleet, "odessa")
    backfill = f"backfill create --dag-id DAG --from-date {DATE} --to-date {DATE}"

    def again(*options: str) -> None:
        """Airflow counts a backfill as under way for up to half a minute after its last run has ended."""
        deadline = time.monotonic() + SOON
        while (said := city.run(" ".join([backfill, *options]))[0]).code:
            assert "There can be only one running backfill" in said.text, said.text
            assert time.monotonic() < deadline

    again()
    assert city.counts() == (1, 1, 1)
    for options in ((), ("--reprocess-behavior", "none"), ("--reprocess-behavior", "failed")):
        again(*options)
        assert city.counts() == (1, 1, 1), options
    again("--reprocess-behavior", "completed")
    assert city.counts() == (2, 2, 2)
    # A run that Airflow has forgotten is made anew, and takes up what its predecessor has paid for.
    city.does("dags delete DAG -y", "dags reserialize", "dags unpause DAG -y")
    again()
    assert city.counts() == (2, 2, 2)
    city.does("db clean --clean-before-timestamp 2100-01-01 -t dag_run --dag-ids DAG -y --skip-archive")
    again()
    assert city.counts() == (2, 2, 2)


def test_a_test_pays_once_and_a_task_alone_leaves_no_record(fleet: Fleet) -> None:
    city = City(fleet, "midland")
    fleet.stack.airflow.set_paused(city.dag_id, True)
    alone, later, record = city.run(
        f"tasks test DAG preprocess {DATE}",
        f"tasks test DAG train {DATE}",
        f"tasks test DAG record {DATE}",
    )
    assert (alone.code, later.code, record.code) == (0, 0, 0), (
        "Airflow 3.3.2 ends with 0 whatever came of the task"
    )
    assert "completed after" in alone.text
    assert "Name a run that has come so far" in later.text
    assert "leaves no record" in record.text
    assert city.counts(0) == (1, 0, 0)
    assert city.records() == set()
    tested = city.does(f"dags test DAG {DATE}")
    assert "state=success" in tested
    assert "this one joins it" in re.sub(r"\s+", " ", tested)
    assert city.counts() == (1, 1, 1)
    assert len(city.records()) == 1
    assert fleet.pointer("texas_housing", city.slug) is not None
    # Once more: Airflow replaces the run of that date, and nothing is paid for.
    city.does(f"dags test DAG {DATE}")
    assert city.counts() == (1, 1, 1)
