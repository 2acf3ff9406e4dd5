"""The jobs of a series with a refit: two halves in one artifact, and each comparison by the half that was judged."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from city_fleet.champions.gate import decide
from city_fleet.config import Gate
from tests.support.script_jobs import Finished, Jobs, pack, settings_of, start_job

BEFORE, NOW = "20150701T000000Z", "20150801T000000Z"
BOTH = ("--holdout-periods", "12", "--backtest-periods", "36", "--horizon", "2")
EVALUATION = "evaluate/evaluation/city=austin"


def train(jobs: Jobs, name: str, *, refit: bool) -> Finished:
    """Run train.py as a run's job does: with settings and the test part."""
    output = jobs.root / name / "output"
    (output / "data").mkdir(parents=True)
    (jobs.root / name / "model").mkdir()
    given = {"eta": 0.1, "max_depth": 3, "num_boost_round": 60}
    city = {
        "city": "austin",
        "dataset": {"kind": "series"},
        "candidates": [{"algorithm": "xgboost", "hyperparameters": given}],
        "seed": 0,
        "refit": refit,
        "champion": None,
    }
    return start_job(
        "train.py",
        [],
        output / "failure",
        **settings_of(jobs, name, city),
        SM_CHANNEL_TRAIN=str(jobs.out("train")),
        SM_CHANNEL_VALIDATION=str(jobs.out("validation")),
        SM_CHANNEL_TEST=str(jobs.out("test")),
        SM_MODEL_DIR=str(jobs.root / name / "model"),
        SM_OUTPUT_DIR=str(output),
        SM_OUTPUT_DATA_DIR=str(output / "data"),
        SM_NUM_CPUS="1",
    )


def evaluated(jobs: Jobs, name: str, champion: Path | None = None, as_of: str = BEFORE) -> dict[str, Any]:
    """Pack a model, and run evaluate.py with a champion."""
    model = jobs.root / name / "model"
    pack(model, jobs.root / name / "packed" / "model.tar.gz")
    more: list[str] = []
    if champion is not None:
        more = ["--champion-dir", str(champion), "--champion-target-model", "austin/champion.tar.gz"]
        more += ["--champion-etag", '"e"', "--champion-as-of", as_of]
    finished = jobs.evaluate("austin", as_of=NOW if champion else BEFORE, name=name, more=more)
    assert finished.code == 0, finished.stderr
    report: dict[str, Any] = jobs.read_json(f"{EVALUATION}/evaluation.json")
    return report


@pytest.fixture(scope="module")
def two_months(tmp_path_factory: pytest.TempPathFactory, austin: Jobs) -> Jobs:
    """Austin a month ago, refit and published as ``champion``; and today, refit as ``challenger``."""
    jobs = Jobs(tmp_path_factory.mktemp("backtest"))
    shutil.copytree(austin.raw, jobs.raw)
    assert jobs.preprocess("austin", as_of=BEFORE, more=BOTH).code == 0
    finished = train(jobs, "champion", refit=True)
    assert finished.code == 0, finished.stderr
    evaluated(jobs, "champion")
    shutil.copytree(jobs.root / EVALUATION, jobs.root / "published")
    assert jobs.preprocess("austin", as_of=NOW, more=BOTH).code == 0
    assert train(jobs, "challenger", refit=True).code == 0
    return jobs


def test_a_refit_champion_is_compared_by_its_judged_half(two_months: Jobs) -> None:
    """The trap: it has learned the months that judge the challenger, and by them no challenger would ever pass."""
    jobs = two_months
    archive = jobs.root / "champion_dir" / "model.tar.gz"
    archive.parent.mkdir(exist_ok=True)
    shutil.copy(jobs.root / "published" / "model.tar.gz", archive)
    report = evaluated(jobs, "challenger", archive.parent)
    mine, theirs = report["champion"]["challenger"], report["champion"]
    # Forecasts made in 36 months, two steps each, but for August. July's of step 2 was made in June: it judged nobody a
    # month ago, and the champion that serves has learned June.
    assert (report["rows"], report["champion"]["rows"]) == (71, 70)
    before = json.loads((jobs.root / "published" / "evaluation.json").read_text(encoding="utf-8"))
    assert theirs["mape"] == pytest.approx(before["challenger"]["mape"], rel=0.1)
    assert mine["mape"] == pytest.approx(report["challenger"]["mape"], rel=0.05)
    assert mine["mape"] != report["challenger"]["mape"]
    decision = decide(report, Gate(must_beat_naive=False, must_beat_all_baselines=False, tolerance=0.1))
    assert decision.promote, decision.reasons
    assert (decision.refit, decision.known_until) == (True, "2015-07-01")
    assert report["paired"]["champion"]["origins"] == 36
    # The same artifact without its judged half is asked for the newest year, which it has learned.
    folder = jobs.root / "stripped"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (folder / "city_fleet" / "backtest.json").unlink()
    archive.unlink()
    pack(folder, archive)
    trapped = evaluated(jobs, "challenger", archive.parent)
    assert trapped["champion"]["rows"] == 23
    assert trapped["champion"]["mape"] < 0.6 * theirs["mape"]
    held = decide(trapped, Gate(must_beat_naive=False, must_beat_all_baselines=False, tolerance=0.1))
    assert not held.promote
    assert "is worse than the champion's" in held.reasons[0]


def test_the_artifact_holds_two_halves_and_the_report_says_which_serves(two_months: Jobs) -> None:
    jobs = two_months
    report = evaluated(jobs, "challenger")
    assert report["backtest"]["refit"] is True
    assert report["backtest"]["known_until"] == "2015-07-01"
    assert 0 < report["backtest"]["distance"] < 1.5
    rows = jobs.read_json(f"{EVALUATION}/holdout.json")["rows"]
    judged = {
        (period, step): predicted
        for _, period, step, predicted in jobs.read_json(
            "challenger/model/city=austin/city_fleet/backtest.json"
        )["rows"]
    }
    assert {(row["period"], row["step"]): row["predicted"] for row in rows} == judged
    errors = [abs(row["predicted"] / row["actual"] - 1) for row in rows]
    assert report["challenger"]["mape"] == pytest.approx(float(np.mean(errors)))
    served = [abs(row["served"] / row["actual"] - 1) for row in rows]
    assert float(np.mean(served)) < 0.7 * float(np.mean(errors))  # it has learned them
    assert {row["block"] for row in rows} == {0, 1, 2}
    assert all(row["known_until"] < row["period"] for row in rows)
    trained = json.loads((jobs.root / "challenger/output/data/city=austin/training.json").read_text("utf-8"))
    assert trained["backtest"]["blocks"] == 3
    assert sum(trained["rows"].values()) == report["challenger"]["rows_trained"]
    # The intervals are of the judged errors: of all origins, by step.
    widths = report["intervals"]["widths"]["1"]
    logs = sorted(abs(np.log(row["actual"] / row["predicted"])) for row in rows if row["step"] == 1)
    assert widths["80"] == pytest.approx(logs[int(np.ceil(37 * 0.8)) - 1])
    # And without a refit the newest judged model serves.
    assert train(jobs, "held", refit=False).code == 0
    other = evaluated(jobs, "held")
    assert other["backtest"] == {
        "refit": False,
        "known_until": "2014-07-01",
        "distance": pytest.approx(0.4, abs=0.4),
    }
    assert other["challenger"]["mape"] == report["challenger"]["mape"]
    newest = [row for row in jobs.read_json(f"{EVALUATION}/holdout.json")["rows"] if row["block"] == 2]
    assert [row["served"] for row in newest] == pytest.approx([row["predicted"] for row in newest], rel=1e-9)


def test_a_half_that_is_not_as_it_was_written_is_refused(two_months: Jobs, tmp_path: Path) -> None:
    jobs = two_months
    evaluated(jobs, "challenger")
    actual = {
        (row["period"], row["step"]): row["actual"]
        for row in jobs.read_json(f"{EVALUATION}/holdout.json")["rows"]
    }
    good = jobs.read_json("challenger/model/city=austin/city_fleet/backtest.json")
    perfect = [[*row[:3], 1.0001 * actual[row[1], row[2]]] for row in good["rows"]]
    changes = {
        "1 of 71 judged rows are not in it": {"rows": good["rows"][:-1]},
        "backtest.json: refit: allowed: true or false": {"refit": "yes"},
        # Nobody who trains a model can have it judged by answers that its serving half would never give.
        "It is not the model that was judged: train it again": {"rows": perfect},
    }
    model = tmp_path / "model"
    shutil.copytree(jobs.root / "challenger" / "model", model)
    for number, (sentence, change) in enumerate(changes.items()):
        (model / "city=austin" / "city_fleet" / "backtest.json").write_text(
            json.dumps(good | change), encoding="utf-8"
        )
        pack(model, jobs.root / f"changed_{number}" / "packed" / "model.tar.gz")
        finished = jobs.evaluate("austin", as_of=NOW, name=f"changed_{number}")
        assert finished.code != 0
        assert sentence in (finished.message or "")
