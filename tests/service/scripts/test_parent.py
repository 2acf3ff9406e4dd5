"""A parent's jobs by the real scripts: pooled rows, one calendar, and a city's model held against its parent's."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from city_fleet.champions import gate
from city_fleet.champions.data_checks import check
from city_fleet.config import load_fleet
from city_fleet.plan import FixedChampion, FixedParent
from tests.support.parent_jobs import PlannedJobs, write_fleet, write_texas

CITIES = ("austin", "dallas", "kerrville", "waco")
#: Quick, and made of the same features.
LINEAR = ({"algorithm": "linear", "hyperparameters": {}},)


@pytest.fixture(scope="module")
def texas(tmp_path_factory: pytest.TempPathFactory) -> PlannedJobs:
    """The parent's run; waco's data end in 2011, and dallas has a row that is no number."""
    root = tmp_path_factory.mktemp("texas")
    write_texas(root / "raw", CITIES, waco=2011)
    broken = root / "raw" / "city=dallas" / "data.csv"
    broken.write_text(
        broken.read_text(encoding="utf-8").replace("2005,3,", "2005,three,", 1), encoding="utf-8"
    )
    jobs = PlannedJobs(
        root / "jobs", root / "raw", "texas", fleet=write_fleet(root, *CITIES), candidates=LINEAR
    )
    jobs.run()
    return jobs


def rows_of(jobs: PlannedJobs, part: str) -> list[dict[str, str]]:
    path = jobs.out("preprocess", part, f"city={jobs.city}", f"{part}.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_those_of_the_cities_own_jobs(texas: PlannedJobs, tmp_path: Path) -> None:
    own = PlannedJobs(tmp_path, texas.raw, "austin", fleet=texas.fleet)
    assert own.preprocess().code == 0
    pooled = {
        (row["period"], row["ahead"]): {name: value for name, value in row.items() if name != "member"}
        for part in ("train", "validation", "test")
        for row in rows_of(texas, part)
        if row["member"] == "austin"
    }
    alone = {
        (row["period"], row["ahead"]): row
        for part in ("train", "validation", "test")
        for row in rows_of(own, part)
    }
    assert len(alone) > 400
    assert pooled == alone


def test_windows_are_cut_at_the_same_period_for_all(texas: PlannedJobs) -> None:
    parts = {part: rows_of(texas, part) for part in ("train", "validation", "test")}
    assert {row["member"] for row in parts["train"]} == {"austin", "kerrville", "waco"}
    latest = max(row["period"] for row in parts["train"] + parts["validation"])
    assert all(row["period"] > latest for row in parts["test"])
    assert all(row["member"] != "waco" for row in parts["test"] if row["period"] > "2012-02-01")
    for rows in parts.values():
        order = [(row["period"], round(float(row["ahead"])), row["member"]) for row in rows]
        assert order == sorted(order)


def test_a_city_with_broken_data_is_left_out_and_named_and_stops_nobody(texas: PlannedJobs) -> None:
    status = texas.json("preprocess", "report", "status.json")
    assert (status["status"], set(status["members"])) == ("ready", {"austin", "kerrville", "waco"})
    (reason,) = status["left_out"].values()
    assert "city=dallas/data.csv" in reason
    assert "'three'" in reason
    (warning,) = [
        each
        for each in check(status, {}, load_fleet(texas.fleet, {}).cities["texas"].gate.data).warnings
        if "dallas" in each
    ]
    assert warning.startswith("dallas was left out of the pooled rows: ")
    # What the run is about are all files, and the job says that it has read them.
    inputs = {each["uri"]: each for each in texas.json("preprocess", "report", "manifest.json")["inputs"]}
    assert [uri.rsplit("/", 2)[1] for uri in sorted(inputs)] == [f"city={city}" for city in CITIES]
    left_out = next(each for uri, each in inputs.items() if "dallas" in uri)
    content = (texas.raw / "city=dallas" / "data.csv").read_bytes()
    assert (left_out["etag"], left_out["size_bytes"]) == (
        hashlib.md5(content, usedforsecurity=False).hexdigest(),
        len(content),
    )


def test_a_parent_without_any_data_fails_with_the_sentences_of_all(
    texas: PlannedJobs, tmp_path: Path
) -> None:
    (tmp_path / "raw").mkdir()
    empty = PlannedJobs(tmp_path / "jobs", tmp_path / "raw", "texas", fleet=texas.fleet)
    done = empty.preprocess()
    assert done.code == 1
    assert done.message is not None
    assert done.message.startswith(
        "texas is the parent of austin, dallas, kerrville, waco, and none has data"
    )


def test_the_evaluation_says_who_answers_for_each_city(texas: PlannedJobs) -> None:
    report = texas.json("evaluate", "evaluation", "evaluation.json")
    children = report["children"]
    assert set(children) == {"austin", "kerrville", "waco"}
    counted = Counter(row["member"] for row in rows_of(texas, "test"))
    for city, said in children.items():
        assert said["rows"] == counted[city]
        assert said["serves"] == ("model" if said["model"] < said["baseline"] else "baseline")
    assert report["backtest"]["refit"] is True
    assert {row["member"] for row in texas.json("evaluate", "evaluation", "holdout.json")["rows"]} == set(
        children
    )


def test_a_parents_champion_of_other_features_is_compared_on_the_cities_own_histories(
    texas: PlannedJobs, tmp_path: Path
) -> None:
    before = PlannedJobs(
        tmp_path / "before", texas.raw, "texas", "2014-08-01", fleet=texas.fleet, candidates=LINEAR
    )
    before.run()
    fleet = write_fleet(tmp_path / "fleet", *CITIES)
    text = fleet.read_text(encoding="utf-8").replace("lags: [1, 2, 3, 6, 12]", "lags: [1, 2, 3, 12]")
    fleet.write_text(text, encoding="utf-8")
    champion = tmp_path / "champion" / "model.tar.gz"
    champion.parent.mkdir()
    shutil.copy(before.artifact, champion)
    after = PlannedJobs(
        tmp_path / "after", texas.raw, "texas", fleet=fleet, candidates=LINEAR,
        champion=FixedChampion("texas/20140801T000000Z-0123456789ab.tar.gz", '"e"', "20140801T000000Z"),
        archives={"champion": champion},
    )  # fmt: skip
    after.run()
    said = after.json("evaluate", "evaluation", "evaluation.json")["champion"]
    assert "error" not in said
    assert said["rows"] > 0
    assert said["challenger"]["mape"] > 0


@pytest.fixture(scope="module")
def judged(texas: PlannedJobs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Austin's run, held against the parent."""
    root = tmp_path_factory.mktemp("austin")
    parent = FixedParent("texas", "texas/20150801T000000Z-0123456789ab.tar.gz", "20150801T000000Z")
    archive = root / "parent" / "model.tar.gz"
    archive.parent.mkdir()
    shutil.copy(texas.artifact, archive)
    jobs = PlannedJobs(
        root / "jobs", texas.raw, "austin", fleet=texas.fleet, candidates=LINEAR, parent=parent,
        archives={"parent": archive},
    )  # fmt: skip
    jobs.run()
    return {"jobs": jobs, "report": jobs.json("evaluate", "evaluation", "evaluation.json")}


def test_a_citys_model_is_held_against_its_parents_judged_half_on_the_same_rows(
    texas: PlannedJobs, judged: dict[str, Any]
) -> None:
    said, jobs = judged["report"]["parent"], judged["jobs"]
    rows = {
        (row["period"], round(float(row["ahead"]))): float(row["target"]) for row in rows_of(jobs, "test")
    }
    folder = texas.root / "train" / "model" / "city=texas" / "city_fleet" / "backtest.json"
    answers = {
        (period, step): value
        for member, period, step, value in json.loads(folder.read_text(encoding="utf-8"))["rows"]
        if member == "austin" and (period, step) in rows
    }
    assert said["rows"] == len(answers) > 100
    mape = sum(abs(value - rows[key]) / rows[key] for key, value in answers.items()) / len(answers)
    assert said["mape"] == pytest.approx(mape)
    assert judged["report"]["paired"]["parent"]["origins"] > 30
    rule = load_fleet(texas.fleet, {}).cities["austin"].gate
    decision = gate.decide(judged["report"], rule)
    better = said["mape"] * (1 + rule.tolerance) < said["challenger"]["mape"]
    sentences = [each for each in decision.reasons if "its parent texas" in each]
    assert len(sentences) == 1
    assert ("is worse than its parent texas" in sentences[0]) is better
    assert decision.parent_serves is better
    # The other way round the parent loses.
    turned = {**said, "mape": said["challenger"]["mape"] + 0.01}
    assert not gate.decide({**judged["report"], "parent": turned}, rule).parent_serves
    worse = {**said, "mape": said["challenger"]["mape"] / (1 + rule.tolerance) - 1e-6}
    held = gate.decide({**judged["report"], "parent": worse}, rule)
    assert (held.promote, held.parent_serves, held.unfit) == (False, True, held.unfit)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no archive", "cannot be compared"), (None, "allowed: a model of city 'texas'")],
)
def test_a_parents_broken_artifact_is_said_and_does_not_stop_the_city(
    judged: dict[str, Any], tmp_path: Path, content: bytes | None, words: str
) -> None:
    archive = tmp_path / "parent" / "model.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(judged["jobs"].artifact.read_bytes() if content is None else content)
    jobs: PlannedJobs = judged["jobs"]
    jobs.archives = {"parent": archive}
    done = jobs.evaluate()
    assert done.code == 0, done.stderr
    report = jobs.json("evaluate", "evaluation", "evaluation.json")
    assert words in report["parent"]["error"]
    rule = load_fleet(jobs.fleet, {}).cities["austin"].gate
    decision = gate.decide(report, rule)
    assert any("its parent texas could not be compared" in each for each in decision.warnings)
    assert not [each for each in decision.reasons if "parent" in each]
