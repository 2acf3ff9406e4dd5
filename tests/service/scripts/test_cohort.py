"""cohort.py: the three steps of many cities in one job, beside the three jobs of each."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from city_fleet.plan import EVALUATE, PREPROCESS, FixedChampion, FixedParent
from tests.support.cohort_jobs import PARTS, CohortJob, united
from tests.support.parent_jobs import PlannedJobs, write_texas
from tests.support.paths import ROOT, SCRIPTS

QUICK = ({"algorithm": "xgboost", "hyperparameters": {"max_depth": 2, "num_boost_round": 20}},)
GOOD, LITTLE, BROKEN = "austin", "abilene", "amarillo"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data of three cities: one has too little, and of one the file is garbage."""
    folder = tmp_path_factory.mktemp("raw")
    write_texas(folder, (GOOD, LITTLE, BROKEN), **{LITTLE: 2001})
    path = folder / f"city={BROKEN}" / "data.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",", ";,", 40), encoding="utf-8")
    return folder


def planned(root: Path, raw: Path, city: str, **more: Any) -> PlannedJobs:
    return PlannedJobs(root / city, raw, city, candidates=QUICK, **more)


def test_a_cohort_leaves_the_bytes_of_three_jobs_of_each_city(raw: Path, tmp_path: Path) -> None:
    earlier = planned(tmp_path / "earlier", raw, GOOD, as_of="2014-08-01")
    earlier.run()
    name = "20140801T000000Z-0123456789ab.tar.gz"
    served = {"champions": f"{GOOD}/{name}", "parents": f"texas/{name}"}
    channels = {channel: tmp_path / channel for channel in served}
    archives = {channel: channels[channel] / target for channel, target in served.items()}
    for archive in archives.values():
        archive.parent.mkdir(parents=True)
        shutil.copy(earlier.artifact, archive)
    of_good = {
        "champion": FixedChampion(served["champions"], '"e"', "20140801T000000Z"),
        # No model of texas: the sentence that says so is the same.
        "parent": FixedParent("texas", served["parents"], "20140801T000000Z"),
        "archives": {"champion": archives["champions"], "parent": archives["parents"]},
    }
    jobs = {
        city: planned(tmp_path, raw, city, **of_good if city == GOOD else {})
        for city in (BROKEN, LITTLE, GOOD)
    }
    # Sentences about raw data have their URIs.
    top = json.loads((jobs[GOOD].settings(PREPROCESS) / "settings.json").read_text(encoding="utf-8"))
    together = CohortJob(
        tmp_path / "cohort",
        raw,
        [united(each) for each in jobs.values()],
        top={"raw_uri": top["raw_uri"]},
        channels=channels,
    )
    done = together.run()
    assert done.code == 0, done.stderr
    assert [jobs[city].preprocess().code for city in (GOOD, LITTLE, BROKEN)] == [0, 0, 1]
    jobs[GOOD].run()

    for city, own in jobs.items():
        status = own.out(PREPROCESS, "report", f"city={city}", "status.json")
        assert together.file("report", city, "status.json").read_bytes() == status.read_bytes()
    files = [(EVALUATE, "evaluation", name) for name in ("model.tar.gz", "evaluation.json", "holdout.json")]
    files += [(PREPROCESS, part, f"{part}.csv") for part in PARTS]
    for step, part, file in files:
        alone = jobs[GOOD].out(step, part, f"city={GOOD}", file)
        assert together.file(part, GOOD, file).read_bytes() == alone.read_bytes(), file
    evaluation = json.loads(together.file("evaluation", GOOD, "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["champion"]["mape"] > 0
    assert "'texas'" in evaluation["parent"]["error"]
    assert together.file("training", GOOD, "training.json").is_file()
    assert together.file("report", GOOD, "known.json").is_file()

    outcomes = together.outcomes
    assert {city: (each["status"], each["step"]) for city, each in outcomes.items()} == {
        BROKEN: ("failed", "preprocess"),
        LITTLE: ("skipped", "preprocess"),
        GOOD: ("evaluated", "evaluate"),
    }
    assert list(outcomes) == [*jobs]
    assert "are needed" in outcomes[LITTLE]["reason"]
    assert f"city={BROKEN}/data.csv" in outcomes[BROKEN]["reason"]
    assert all(line.partition(": ")[0] in (*jobs, "3 cities") for line in done.stdout.splitlines())


def test_a_city_of_a_table_too(tmp_path: Path) -> None:
    with (ROOT / "include" / "data" / "restaurants.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    path = tmp_path / "raw" / "city=berlin" / "data.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[1] == "Berlin")])
    fleet = ROOT / "include" / "fleets" / "restaurants.yaml"
    candidates = (*QUICK, {"algorithm": "linear", "hyperparameters": {}})
    as_of = "2025-07-01"
    alone = PlannedJobs(tmp_path, tmp_path / "raw", "berlin", as_of=as_of, fleet=fleet, candidates=candidates)
    together = CohortJob(
        tmp_path / "cohort", tmp_path / "raw", [united(alone)], as_of=f"{as_of.replace('-', '')}T000000Z"
    )
    done = together.run()
    assert done.code == 0, done.message
    alone.run()
    for name in ("model.tar.gz", "evaluation.json"):
        ours = together.file("evaluation", "berlin", name).read_bytes()
        assert ours == alone.out(EVALUATE, "evaluation", "city=berlin", name).read_bytes()


def test_what_ends_the_process_of_one_city_is_no_other_citys(tmp_path: Path) -> None:
    cities = killed, exits, damaged, _ = ("austin", "dallas", "houston", "el_paso")
    write_texas(tmp_path / "raw", cities)
    scripts = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "features.py").write_text(
        "import os, signal\n"
        "def features(frame, context):\n"
        f"    if context.city == '{killed}':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    if context.city == '{exits}':\n"
        "        os._exit(0)\n"
        "    return frame\n",
        encoding="utf-8",
    )
    target = f"{damaged}/20140801T000000Z-0123456789ab.tar.gz"
    archive = tmp_path / "champions" / target
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"\x1f\x8b and then garbage")
    champion = FixedChampion(target, '"e"', "20140801T000000Z")
    items = [
        united(planned(tmp_path, tmp_path / "raw", city, champion=champion if city == damaged else None))
        for city in cities
    ]
    job = CohortJob(
        tmp_path / "cohort",
        tmp_path / "raw",
        items,
        top={"keep_tables": False},
        channels={"champions": tmp_path / "champions"},
        script=scripts / "cohort.py",
    )
    done = job.run()
    assert done.code == 0, done.stderr
    outcomes = job.outcomes
    assert [outcomes[city]["status"] for city in cities] == ["failed", "failed", "evaluated", "evaluated"]
    assert "SIGKILL" in outcomes[killed]["reason"]
    assert "exit code 0" in outcomes[exits]["reason"]
    report = json.loads(job.file("evaluation", damaged, "evaluation.json").read_text(encoding="utf-8"))
    assert "not a readable tar.gz" in report["champion"]["error"]
    files = {path.relative_to(job.results).parts[0] for path in job.results.rglob("*") if path.is_file()}
    assert files == {"report", "training", "evaluation", "outcome.json"}

    # A job whose every city fails is one that has failed.
    job.items = items[:2]
    job.root = tmp_path / "again"
    done = job.run()
    assert done.code == 1
    assert (done.message or "").startswith(f"{killed}: Its process was ended by SIGKILL")
    assert f"{exits}: Its process has ended by itself" in (done.message or "")
    job.items = items[:1]
    job.top = {"max_runtime_seconds": 0}
    job.root = tmp_path / "unread"
    assert "max_runtime_seconds: got 0; allowed" in (job.run().message or "")


def test_a_city_that_never_ends_costs_no_other_its_turn(tmp_path: Path) -> None:
    hangs, good = cities = ("austin", "dallas")
    write_texas(tmp_path / "raw", cities)
    scripts = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "features.py").write_text(
        "import time\n"
        "def features(frame, context):\n"
        f"    if context.city == '{hangs}':\n"
        "        time.sleep(600)\n"
        "    return frame\n",
        encoding="utf-8",
    )
    items = [united(planned(tmp_path, tmp_path / "raw", city)) for city in cities]
    raw, script = tmp_path / "raw", scripts / "cohort.py"
    job = CohortJob(tmp_path / "cohort", raw, items, top={"max_runtime_seconds": 80}, script=script)
    done = job.run()
    assert done.code == 0, done.stderr
    outcomes = job.outcomes
    assert {city: each["status"] for city, each in outcomes.items()} == {hangs: "failed", good: "evaluated"}
    assert "more than 20 seconds" in outcomes[hangs]["reason"]
    assert "may run for 80 seconds" in outcomes[hangs]["reason"]

    # Where no time is left, the rest says so: a job that is stopped would leave nothing of any.
    job = CohortJob(tmp_path / "short", raw, items, top={"max_runtime_seconds": 1e-6}, script=script)
    done = job.run()
    assert done.code == 1
    assert "before its turn" in (done.message or "")
