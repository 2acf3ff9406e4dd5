"""What an engineer sees of a city's DAG in Airflow: links of its tasks, notes of its runs, its name, its form.

Database, scheduler's code and API server are Airflow's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.cohort_tasks.cohort_city_operator import CohortCityOperator
from city_fleet.orchestration.cohort_tasks.cohort_train_operator import TrainCohortOperator
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.run_notes import LONGEST, NOTE, changed, note_of
from city_fleet.orchestration.task_links import LINKS
from city_fleet_plugin import CityFleetPlugin
from tests.support.airflow_database import lay_down
from tests.support.fleets import SMALL
from tests.support.paths import ROOT

CITY = "cities:\n  a: {name: Alpha Beach, approval: manual}\n"
JOB = {"job": "https://console.aws.amazon.com/j", "log": "http://127.0.0.1:1/l", "output": "https://x/s3"}
HELD = note_of("held", ["its MAPE of 7.1% is above the limit of 5%"], "a")
SUPERSEDED = note_of("superseded", ["the model that serves was made as of 20150801T000000Z"], "a")
PENDING = note_of("pending", ["the night awaits approval"], "a")
FAILED = note_of("failed", ["task train failed: no <b>rows</b>"], "a")
RUNS: dict[str, dict[str, Any]] = {
    "held": {"xcoms": {"record": {NOTE: HELD}, "preprocess": {LINKS: JOB}, "register": {LINKS: {"package": "https://p"}}}},
    "superseded": {"xcoms": {"record": {NOTE: SUPERSEDED}}},
    "pending": {"xcoms": {"record": {NOTE: PENDING}}},
    "failed": {"xcoms": {"record": {NOTE: FAILED}}, "failed": "train"},
    # A person who has started it has said why; and what she has said stays, below what Airflow shows at once.
    "with_a_note": {"note": "once more\n\nwith new data", "xcoms": {"record": {NOTE: HELD}}},
    "live": {"xcoms": {"record": {NOTE: ""}}},
    # The record was written first; then publish has run again, and has told it.
    "live_in_the_end": {"xcoms": {"record": {NOTE: FAILED}, "publish": {NOTE: ""}}},
    "hostile": {"xcoms": {"train": {LINKS: {"job": "javascript:alert(1)", "log": 7}}, "evaluate": {LINKS: "text"}}},
    "of_before": {"note": "ann's own", "xcoms": {}},
}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("shown")
    lay_down(folder)
    (folder / "fleets").mkdir()
    (folder / "fleets" / "small.yaml").write_text(SMALL + CITY)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "CITY_FLEET"))
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "airflow" / "shown_run.py"), json.dumps(RUNS)],
        env={
            **inherited,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
            "CITY_FLEET_FLEETS": str(folder / "fleets"),
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
            "AIRFLOW__API__BASE_URL": "http://airflow.example/af/",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-5000:]
    return json.loads(output.split("REPORT ")[1].splitlines()[0])


def test_a_task_leads_to_what_it_has_made(report: Any) -> None:
    held = report["links"]["held"]
    # Each of a city's tasks also leads to the page about the city.
    pages = {task: links.pop("City", None) for task, links in held.items()}
    without = {task for task, page in pages.items() if page is None}
    assert without == {"gate", "recorded"}
    assert set(pages.values()) == {None, "http://airflow.example/af/dags/small.a/plugin/city"}
    assert held["preprocess"] == {
        "SageMaker job": JOB["job"], "Job log": JOB["log"], "S3 output": JOB["output"],
    }  # fmt: skip
    assert held["register"] == {"Model package": "https://p"}
    # One that has not come so far has no link, and breaks no page.
    assert held["train"] == {"SageMaker job": None, "Job log": None, "S3 output": None}
    assert held["decide"] == {"S3 output": None}
    assert held["approve"] == {"Model package": None}
    assert held["publish"] == held["keep_champion"] == {"Model package": None, "S3 output": None}
    assert held["record"] == {"S3 output": None}
    assert held["gate"] == held["recorded"] == {}


def test_what_is_no_address_is_no_link(report: Any) -> None:
    hostile = report["links"]["hostile"]
    for links in hostile.values():
        links.pop("City", None)
    assert set(hostile["train"].values()) == set(hostile["evaluate"].values()) == {None}


def test_only_what_is_not_live_has_a_note(report: Any) -> None:
    assert report["notes"] == {
        "held": HELD,
        "superseded": SUPERSEDED,
        "pending": PENDING,
        "failed": FAILED,
        "with_a_note": f"{HELD}\n\nonce more\n\nwith new data",
        "live": None,
        "live_in_the_end": None,
        "hostile": None,
        "of_before": "ann's own",
    }
    assert report["states"] == {run: "failed" if run == "failed" else "success" for run in RUNS}
    # A corner of a run's bar in the grid.
    assert report["marked"] == {run: note is not None for run, note in report["notes"].items()}


def test_what_is_superseded_is_told_from_what_is_held(report: Any) -> None:
    """A corner of a task's cell in the grid."""
    assert {run: marked for run, marked in report["marked_tasks"].items() if marked} == {
        "superseded": {"keep_champion": SUPERSEDED}
    }
    assert report["marked_after"] == []


def test_a_run_that_begins_anew_keeps_what_a_person_has_written(report: Any) -> None:
    of_people = {"with_a_note": "once more\n\nwith new data", "of_before": "ann's own"}
    assert report["cleared"] == dict.fromkeys(RUNS) | of_people


def test_lists_and_form(report: Any) -> None:
    assert report["listed"] == [["small.a", "Alpha Beach (small)"]]
    status, said = report["refused"]
    assert status == 400
    assert "next tuesday" in said
    assert report["taken"] == 200
    assert sorted(len(links) for links in report["plugins"])[-1] == 6  # their list can be looked at


def test_notes_are_sentences_for_people() -> None:
    assert HELD == "**Held.** its MAPE of 7\\.1\\% is above the limit of 5\\%"
    assert FAILED == "**Failed.** task train failed\\: no &lt;b&gt;rows&lt;\\/b&gt;"
    assert PENDING == (
        "**Awaits a decision.** the night awaits approval; what has become of it: `./fleet status a`"
    )
    assert note_of("live", ["better than the champion"], "a") == ""
    long = note_of("held", ["no % " * 1000], "a")
    assert len(long) <= LONGEST
    assert changed("x" * (LONGEST - 5), HELD) == "x" * (LONGEST - 5)
    assert len(changed("x" * 500, long)) <= LONGEST
    assert changed(changed("x" * 500, long), "") == "x" * 500
    assert changed(changed("theirs", HELD), FAILED) == f"{FAILED}\n\ntheirs"
    assert changed(HELD, FAILED) == FAILED
    # Of a version that wrote it last.
    assert changed(f"theirs\n\n{HELD}", FAILED) == f"{FAILED}\n\ntheirs"


def test_links_are_registered_by_the_names_that_the_operators_have(tmp_path: Path) -> None:
    """And by no class of theirs: that would have every process that loads the plugin import the Amazon provider."""
    (tmp_path / "small.yaml").write_text(SMALL + CITY)
    (dag,) = city_dags(tmp_path)
    of_fleet = [task for each in fleet_dags(tmp_path) for task in each.tasks if task.task_id == "endpoint"]
    ours = {(type(task).__module__, type(task).__name__) for task in (*dag.tasks, *of_fleet)}
    assert len(of_fleet) == 1
    named = {
        (each.__module__, each.__name__)
        for link in CityFleetPlugin.operator_extra_links
        for each in link.operators
    }
    of_cohorts = {(each.__module__, each.__name__) for each in (CohortCityOperator, TrainCohortOperator)}
    assert named == {each for each in ours if each[0].startswith("city_fleet.")} | of_cohorts
    assert all(not task.operator_extra_links for task in dag.tasks)  # nothing of links stands in a stored DAG
    code = (
        "import sys, city_fleet_plugin\n"
        "heavy = ('airflow.providers.amazon.aws', 'city_fleet.config')\n"
        "found = [each for each in sys.modules if each.startswith(heavy)]\n"
        "assert not found, found"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins"), "AIRFLOW_HOME": str(tmp_path)},
        check=True,
        capture_output=True,
    )
