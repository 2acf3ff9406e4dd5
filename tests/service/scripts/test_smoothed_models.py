"""theta and ets through the job scripts: the tables, the choice, the artifact, and the forecast by the city's name."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from smoothing import forecast
from tests.service.scripts.test_forecasts import ask
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import (
    AS_OF,
    DATA,
    RAW_URI,
    Finished,
    Jobs,
    pack,
    settings_city,
    settings_of,
    start_job,
    train_with,
)

HORIZON = 3
DATASET = {
    "kind": "series",
    "time": {"columns": ["year", "month"]},
    "frequency": "month",
    "available_after": "P1M",
    "target": {
        "column": "median",
        "min": 1,
        "transform": "log_ratio_to_mean",
        "window": 12,
        "lags": [1, 2, 12],
    },
    "features": [{"column": "sales", "lags": [1]}],
    "calendar": ["trend"],
    "horizon": HORIZON,
}


def city_of(*candidates: str) -> dict[str, Any]:
    return settings_city("austin", *candidates) | {"dataset": DATASET}


def prepare(jobs: Jobs, *candidates: str) -> Finished:
    settings = jobs.root / "settings.json"
    content = {"format_version": 1, "as_of": AS_OF, "raw_uri": RAW_URI, "cities": [city_of(*candidates)]}
    settings.write_text(json.dumps(content), encoding="utf-8")
    message = jobs.root / "message"
    folders = ("--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out()), "--message-file", str(message))
    return start_job("preprocess.py", ["--settings", str(settings), *folders], message)


def train_and_judge(jobs: Jobs, name: str) -> Path:
    """Train theta with the held-out rows at hand, so that it is judged from rolling origins; where its model is."""
    output, model = jobs.root / name / "output", jobs.root / name / "model"
    (output / "data").mkdir(parents=True)
    model.mkdir()
    channels = {f"SM_CHANNEL_{part.upper()}": str(jobs.out(part)) for part in ("train", "validation", "test")}
    folders = {"SM_MODEL_DIR": str(model), "SM_OUTPUT_DIR": str(output), "SM_NUM_CPUS": "1"}
    settings = settings_of(jobs, name, city_of("theta"))
    more = {"SM_OUTPUT_DATA_DIR": str(output / "data"), **channels, **folders, **settings}
    finished = start_job("train.py", [], output / "failure", **more)
    assert finished.code == 0, finished.stderr
    return model / "city=austin"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """Austin, prepared for four candidates."""
    made = Jobs(tmp_path_factory.mktemp("smoothed"))
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    made.write_raw("austin", [rows[0], *(row for row in rows if row[0] == "Austin")])
    finished = prepare(made, "linear", "theta", "ets", "baseline")
    assert finished.code == 0, finished.stderr
    return made


def medians() -> list[float]:
    with DATA.open(encoding="utf-8", newline="") as file:
        return [float(row["median"]) for row in csv.DictReader(file) if row["city"] == "Austin"]


def test_a_model_of_nothing_but_its_column_is_judged_and_asked_by_name(jobs: Jobs, tmp_path: Path) -> None:
    pack(train_and_judge(jobs, "theta"), jobs.root / "theta" / "packed" / "model.tar.gz")
    finished = jobs.evaluate("austin", name="theta")
    assert finished.code == 0, finished.stderr
    made = jobs.root / "evaluate" / "evaluation" / "city=austin"
    subprocess.run(["tar", "-xzf", str(made / "model.tar.gz"), "-C", str(tmp_path)], check=True)
    report = json.loads((made / "evaluation.json").read_text(encoding="utf-8"))
    assert (report["algorithm"], report["features"]) == (
        "theta",
        ["step", "median_mean_12", "median_theta_ratio"],
    )
    assert report["challenger"]["mape"] < report["naive"]["mape"]

    # What is known travels in the artifact, as many months as are smoothed.
    known = json.loads((tmp_path / "city_fleet" / "known.json").read_text(encoding="utf-8"))
    assert len(known["rows"]) == 120
    newer = {"period": "2015-08-01", "median": 262000.0}
    by_name, with_newer = ask(tmp_path, {"forecast": {}}, {"forecast": {"horizon": 1, "history": [newer]}})
    wanted = [forecast("theta", medians()[-120:], 12, step) for step in (1, 2, 3)]
    assert [each["prediction"] for each in by_name["forecasts"]] == pytest.approx(wanted, rel=1e-9)
    assert by_name == report["forecast"]
    later = forecast("theta", [*medians()[-119:], 262000.0], 12, 1)
    assert with_newer["forecasts"][0]["prediction"] == pytest.approx(later, rel=1e-9)

    # The held-out forecasts, from each origin anew.
    held_out = json.loads((made / "holdout.json").read_text(encoding="utf-8"))["rows"]
    for row in held_out[:: len(held_out) // 7]:
        year, month = map(int, row["period"].split("-")[:2])
        known_then = medians()[: 12 * (year - 2000) + month - row["step"]]
        assert row["predicted"] == pytest.approx(
            forecast("theta", known_then[-120:], 12, row["step"]), rel=1e-9
        )


def test_candidates_choose_among_them_and_others_see_none_of_it(jobs: Jobs) -> None:
    finished = train_with(jobs, "chosen", city_of("linear", "theta", "ets", "baseline"))
    assert finished.code == 0, finished.stderr
    report = jobs.read_json("chosen/output/data/city=austin/training.json")
    losses = {each["algorithm"]: each["loss"]["value"] for each in report["candidates"]}
    assert report["algorithm"] == min(losses, key=losses.__getitem__)
    assert min(losses["theta"], losses["ets"]) < losses["baseline"]
    alone = train_with(jobs, "alone", city_of("linear"))
    assert alone.code == 0, alone.stderr
    card = jobs.read_json("alone/model/city=austin/city_fleet/model.json")
    assert not [name for name in card["features"] if "theta" in name or "ets" in name]
    # Its table has no such column either where nobody asks for one, and the model is the same.
    plain = Jobs(jobs.root / "plain")
    plain.write_raw(
        "austin", list(csv.reader((jobs.raw / "city=austin" / "data.csv").open(encoding="utf-8")))
    )
    assert prepare(plain, "linear").code == 0
    schema = plain.read_json("preprocess/train/city=austin/schema.json")
    assert "smoothed" not in schema["layout"]
    assert train_with(plain, "alone", city_of("linear")).code == 0
    files = [jobs.root / "alone", plain.root / "alone"]
    bodies = [(each / "model/city=austin/city_fleet/linear.npz").read_bytes() for each in files]
    assert bodies[0] == bodies[1]


def test_without_its_column_an_algorithm_says_what_to_do(jobs: Jobs) -> None:
    plain = Jobs(jobs.root / "lacking")
    plain.write_raw(
        "austin", list(csv.reader((jobs.raw / "city=austin" / "data.csv").open(encoding="utf-8")))
    )
    assert prepare(plain, "linear").code == 0
    finished = train_with(plain, "theta", city_of("theta"))
    assert finished.code != 0
    assert "got 'theta' for rows without its forecasts" in (finished.message or "")


def test_an_artifact_whose_column_is_missing_is_refused(jobs: Jobs, tmp_path: Path) -> None:
    card = tmp_path / "city_fleet" / "model.json"
    source = jobs.root / "theta" / "model" / "city=austin"
    if not source.is_dir():
        train_and_judge(jobs, "theta")
    subprocess.run(["cp", "-r", f"{source}/.", str(tmp_path)], check=True)
    renamed = card.read_text(encoding="utf-8").replace("median_theta_ratio", "median_theta")
    card.write_text(renamed, encoding="utf-8")
    lean = "; print(*{'scipy', 'sklearn', 'pandas', 'xgboost'} & sys.modules.keys())"
    code = "import sys; import inference; inference.model_fn(sys.argv[1])"
    good = [IMAGE_PYTHON, "-c", code + lean, str(source)]
    assert subprocess.run(good, capture_output=True, text=True, cwd=SCRIPTS, check=True).stdout == "\n"
    done = subprocess.run(
        [IMAGE_PYTHON, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=SCRIPTS, check=False
    )
    assert done.returncode != 0
    assert "not as algorithm 'theta' saves it" in done.stderr
