"""./fleet cost of real jobs and real records, against a reckoning by hand."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet import clock
from city_fleet.jobs import job_bills
from city_fleet.jobs.sagemaker_jobs import PROCESSING
from city_fleet.naming import Keys
from city_fleet.state import run_records
from tests.support.command_line import Done
from tests.support.command_line import fleet as run_fleet
from tests.support.idle_jobs import REQUEST
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.states import record
from tests.support.waiting import wait_until

FLEET = """
fleet: {name}
bucket: {name}
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2010-01-01
schedule: "@monthly"
dataset:
  city_column: city
  time: {{columns: [day]}}
  frequency: month
  available_after: P1M
  target: {{column: value, lags: [1]}}
cities:
  austin: {{owner: south}}
  waco:
"""
NOW = datetime.now(UTC).replace(microsecond=0)


class CostFleet:
    """A fleet of its own in a bucket of its own, its records, and the command line about it."""

    def __init__(self, aws: LocalSageMaker, folder: Path) -> None:
        self.name, self.aws, self.folder = f"f{uuid.uuid4().hex[:12]}", aws, folder
        self.keys = Keys(self.name, self.name, "laptop")
        (folder / f"{self.name}.yaml").write_text(FLEET.format(name=self.name), encoding="utf-8")
        self.s3 = aws.client("s3")
        self.s3.create_bucket(Bucket=self.name)

    def run(self, city: str, key: str, *jobs: dict[str, Any], outcome: str = "live", **more: Any) -> None:
        """Leave the record of a run that has just ended."""
        stamp = f"{NOW:%Y%m%d}T000000Z"
        written = record(
            city=city,
            as_of=stamp,
            run_key=key,
            outcome=outcome,
            jobs=list(jobs),
            finished_at=clock.iso(NOW),
            **more,
        )
        run_records.write(self.s3, self.keys, written, as_of=clock.parse(stamp), key_of_run=key)

    def __call__(self, *arguments: str, **environ: str) -> Done:
        own = {
            "CITY_FLEET_FLEETS": str(self.folder),
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        return run_fleet("cost", *arguments, **own | environ)

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)
        return found


@pytest.fixture
def fleet(aws: LocalSageMaker, tmp_path: Path) -> CostFleet:
    return CostFleet(aws, tmp_path)


def bill(job: str, step: str, seconds: int, kind: str = "ml.m5.large", **more: Any) -> dict[str, Any]:
    status = {"status": "Completed", "kind": "Training" if step == "train" else "Processing"}
    ended = clock.iso(NOW - timedelta(seconds=1))
    return {
        **status,
        "step": step,
        "job": job,
        "instance_type": kind,
        "instance_count": 1,
        "billable_seconds": seconds,
        "volume_gb": 5,
        "ended_at": ended,
        **more,
    }


def real_bill(aws: LocalSageMaker, fleet: CostFleet) -> tuple[dict[str, Any], Callable[[], float]]:
    """The bill of a job that has run, and its seconds by hand: from start to end, as SageMaker bills them."""
    sagemaker, name = aws.client("sagemaker"), f"{fleet.name}--laptop--austin-evaluate-0123456789-1"
    sagemaker.create_processing_job(ProcessingJobName=name, **REQUEST)

    def over() -> Any:
        found = PROCESSING.describe(sagemaker, name)
        return found if found and PROCESSING.is_over(found) else None

    done = wait_until(over, 120, f"{name} is over")
    seconds = (done["ProcessingEndTime"] - done["ProcessingStartTime"]).total_seconds()
    return job_bills.bill_of(PROCESSING, done, "evaluate"), lambda: seconds


def test_a_night_costs_what_a_reckoning_by_hand_says(aws: LocalSageMaker, fleet: CostFleet) -> None:
    evaluated, seconds = real_bill(aws, fleet)
    spot = bill("t-0123456789-2", "train", 100, training_seconds=400, spot=True, instance_count=2)
    failed = bill("t-0123456789-1", "train", 50, status="Failed", waste="failed")
    fleet.run("austin", "a" * 10, failed, spot, evaluated)
    fleet.run("waco", "b" * 10, bill("t-9876543210-1", "train", 36), outcome="held")
    # A second record of the same run, and a later run that names what it was given: nothing is counted twice.
    fleet.run("austin", "c" * 10, {**spot, "waste": "duplicated"}, run_id="r2")
    by_hand = (50 + 2 * 100 + 36) * 0.115 / 3600
    of_real = -(-seconds() // 1) * 0.05 / 3600
    found = fleet.json()
    night, month = found["windows"]
    of_volumes = 5 * (50 + 2 * 100 + 36) + REQUEST["ProcessingResources"]["ClusterConfig"][
        "VolumeSizeInGB"
    ] * -(-seconds() // 1)
    assert night["jobs"]["volume_gb_months"] == pytest.approx(of_volumes / 3600 / 730, abs=1e-6)
    assert night["not_counted"][0].startswith("volumes of jobs (0.0")
    assert night["jobs"]["dollars"] == pytest.approx(by_hand + of_real, abs=1e-6)
    assert month["jobs"]["dollars"] == night["jobs"]["dollars"]
    assert night["jobs"]["jobs"] == 4
    assert night["jobs"]["in_vain"] == {"failed": pytest.approx(50 * 0.115 / 3600, abs=1e-6)}
    assert night["jobs"]["saved_by_spot"] == pytest.approx(2 * 300 * 0.115 / 3600, abs=1e-6)
    assert night["jobs"]["of_held_models"] == pytest.approx(36 * 0.115 / 3600, abs=1e-6)
    assert (night["estimated"]["endpoints"], night["lacking"]) == (0, [])
    groups = fleet.json("--by", "owner")["groups"]
    assert groups["airflow"]["dollars"] == pytest.approx(36 * 0.115 / 3600, abs=1e-6)
    assert set(groups) == {"airflow", "south"}
    shown = fleet()
    assert shown.returncode == 0, shown.stderr
    assert "last night" in shown.stdout
    assert "of the jobs: in vain" in shown.stdout
    assert re.search(
        r"Not counted: volumes of jobs \(0\.\d{4} GB-months\), volumes of endpoints, idle time of",
        shown.stdout,
    )
    # A record that comes later is found, although the day is folded already.
    fleet.run("waco", "d" * 10, bill("t-1111111111-1", "train", 3600))
    assert fleet.json()["windows"][0]["jobs"]["dollars"] == pytest.approx(by_hand + of_real + 0.115, abs=1e-6)


def test_what_has_no_price_is_named_and_never_nothing(fleet: CostFleet) -> None:
    fleet.run("austin", "a" * 10, bill("t-0123456789-1", "train", 120, "ml.p5.48xlarge"))
    (night, _) = fleet.json()["windows"]
    assert night["jobs"]["seconds_without_price"] == {"Training ml.p5.48xlarge": 120}
    assert night["lacking"] == ["120 seconds of Training ml.p5.48xlarge"]
    text = fleet().stdout
    assert "warning: last night lacks 120 seconds of Training ml.p5.48xlarge" in text
    assert "not known" in text
    # The installation's own table goes before the library's, which knows no other region.
    uses = {"Training": {"ml.p5.48xlarge": 60.0}}
    table = {
        "format_version": 1,
        "regions": {"us-east-1": {"as_of": "2026-11-27", "source": "x", "uses": uses}},
    }
    own = fleet.folder / "prices.json"
    own.write_text(json.dumps(table), encoding="utf-8")
    assert fleet.json()["windows"][0]["jobs"]["dollars"] == pytest.approx(2.0)
    own.write_text('{"format_version": 1, "regions": {"us-east-1": []}}', encoding="utf-8")
    refused = fleet()
    assert refused.returncode == 1
    assert "prices.json" in refused.stderr


def test_a_window_and_wrong_words(fleet: CostFleet) -> None:
    fleet.run("austin", "a" * 10, bill("t-0123456789-1", "train", 36))
    (window,) = fleet.json("--since", "2020-01-01", "--until", "2020-02-01")["windows"]
    assert (window["jobs"]["jobs"], window["dollars"]) == (0, 0)
    found = fleet.json("--since", clock.iso(NOW - timedelta(hours=1)), "--cities", "3000")
    (window,) = found["windows"]
    assert window["jobs"]["jobs"] == 1
    assert found["imagined"]["dollars_a_night"] == pytest.approx(3000 * 36 * 0.115 / 3600)
    assert (
        "A night of 3,000 cities: not known, since no run has ended"
        in fleet("--cities", "3000", "--since", "2020-01-01", "--until", "2020-02-01").stdout
    )
    for arguments, said in (
        (("--by", "colour"), "night, month, city, step, owner"),
        (("--since", "yesterday"), "yesterday"),
        (("--since", "2030-01-01"), "before now"),
    ):
        refused = fleet(*arguments)
        assert refused.returncode == 2, arguments
        assert said in " ".join(refused.stderr.split())


def test_a_night_beyond_the_budget_is_said_and_allowed_by_a_person(fleet: CostFleet) -> None:
    fleet.run("austin", "a" * 10, bill("t-0123456789-1", "train", 3600))
    assert fleet.json()["budget"] is None
    path = fleet.folder / f"{fleet.name}.yaml"
    plain = path.read_text(encoding="utf-8")
    path.write_text(f"{plain}budget: {{month: 100}}\n", encoding="utf-8")
    assert "within budget.month, 100.00" in fleet().stdout
    refused = fleet("--allow-night", "--json")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    path.write_text(f"{plain}budget: {{night: 0.05}}\n", encoding="utf-8")
    shown = fleet.json()["budget"]
    assert (shown["verdict"], shown["asks"], shown["figures"]["spent"]) == ("over", True, 0.115)
    assert f"./fleet cost --allow-night --fleet {fleet.name} lets them begin" in fleet().stdout
    assert fleet.s3.list_objects_v2(Bucket=fleet.name, Prefix=fleet.keys.budget())["KeyCount"] == 0
    # Nobody answers: standard input is empty.
    assert fleet("--allow-night").returncode == 1
    allowed = fleet("--allow-night", "--yes", "--who", "ann", "--reason", "new cities")
    assert (allowed.returncode, allowed.stdout.splitlines()[-1]) == (
        0,
        "Allowed by ann. Waiting runs begin within about two minutes.",
    )
    assert "allowed by ann: new cities" in fleet().stdout
    again = json.loads(fleet("--allow-night", "--yes", "--json").stdout)
    assert again["changed"] is False
    path.write_text(plain, encoding="utf-8")
    assert fleet("--allow-night", "--yes").returncode == 2, "no budget"
    assert fleet("--yes").returncode == 2
