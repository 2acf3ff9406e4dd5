"""train.py in script mode: the artifact it leaves, that it is repeatable, and what it refuses."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from algorithms.xgboost import names_for_xgboost
from hyperparameters import parse_hyperparameters
from job_failure import JobFailure
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import TEXAS_HYPERPARAMETERS, Jobs, digests, settings_city, train_with


def test_the_artifact_holds_one_booster_at_its_root_and_side_files_in_a_folder(austin: Jobs) -> None:
    with tarfile.open(austin.pack()) as tar:
        names = sorted(member.name for member in tar.getmembers() if member.isfile())
    assert names == [
        "city_fleet/model.json",
        "city_fleet/samples.json",
        "city_fleet/trees.bin",
        "xgboost-model.ubj",
    ]
    card = austin.read_json("model/model/city_fleet/model.json")
    assert (card["format_version"], card["algorithm"], card["task"]) == (2, "xgboost", "regression")
    scripts = digests(SCRIPTS)
    assert card["algorithm_digest"] == scripts["algorithms/xgboost.py"]
    model = digests(austin.root / "model" / "model")
    assert card["files"] == {name: model[name] for name in ("xgboost-model.ubj", "city_fleet/trees.bin")}
    assert (card["city"], card["as_of"], card["target"]) == ("austin", "20150801T000000Z", "median")
    assert card["target_transform"] == {
        "kind": "log_ratio_to_mean",
        "window": 12,
        "reference": "median_mean_12",
    }
    assert card["features"] == austin.read_json("preprocess/report/city=austin/status.json")["features"]
    assert card["rows"] == {"train": 157, "validation": 12}
    assert card["describe"]["xgboost_version"] == "3.2.0"
    # What the calendar will say is known for ever; where all else lay is kept, to measure drift by.
    assert list(card["centres"]) == [n for n in card["features"] if n != "trend" and "month_of_year" not in n]
    assert 100_000 < card["centres"]["median_mean_12"]["median"] < 300_000
    assert all(centre["scale"] > 0 for centre in card["centres"].values())
    training = austin.read_json("model/output/data/training.json")
    assert training["rounds"] == card["describe"]["rounds"] == training["best_iteration"] + 1 < 400
    assert training["rounds_tried"] == training["best_iteration"] + 31  # early_stopping_rounds 30
    assert training["validation"]["metric"] == "rmse"
    assert set(training["importance_gain"]) <= set(card["features"])
    assert training["seconds"] < 30
    samples = austin.read_json("model/model/city_fleet/samples.json")
    assert len(samples["rows"]) == len(samples["predictions"]) == 8
    assert all(100_000 < price < 400_000 for price in samples["predictions"])


MANAGED_CONTAINER = """
# What the managed container does with a model folder in algorithm mode: every visible file at the root is a
# model, tried with pickle first; a booster predicts on a DMatrix without feature names.
import os, pickle, sys
import numpy, xgboost
folder = sys.argv[1]
for name in os.listdir(folder):
    path = os.path.join(folder, name)
    if os.path.isfile(path) and not name.startswith("."):
        try:
            pickle.load(open(path, "rb"))
            raise SystemExit(f"{name} is a pickle")
        except Exception:
            booster = xgboost.Booster()
            booster.load_model(path)
        rows = xgboost.DMatrix(numpy.ones((1, booster.num_features())))
        print(name, booster.num_features(), float(booster.predict(rows, validate_features=False)[0]))
"""


def test_the_managed_container_can_load_the_artifact_without_our_code(austin: Jobs) -> None:
    done = subprocess.run(
        [IMAGE_PYTHON, "-c", MANAGED_CONTAINER, str(austin.root / "model" / "model")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("xgboost-model.ubj 16 ")


def test_the_same_inputs_give_the_same_bytes(austin: Jobs) -> None:
    assert austin.train("austin", name="again").code == 0
    assert digests(austin.root / "again" / "model") == digests(austin.root / "model" / "model")
    assert austin.train("austin", name="other_seed", seed="1").code == 0
    assert digests(austin.root / "other_seed" / "model") != digests(austin.root / "model" / "model")


def test_without_early_stopping_all_rounds_are_kept(austin: Jobs) -> None:
    assert (
        austin.train("austin", name="all_rounds", num_boost_round="20", early_stopping_rounds="0").code == 0
    )
    assert austin.read_json("all_rounds/model/city_fleet/model.json")["describe"]["rounds"] == 20


WRONG = [
    (
        {"max_deph": "4"},
        "hyperparameter 'max_deph': unknown. Did you mean 'max_depth'? Allowed: city, as_of,",
    ),
    ({"eta": "fast"}, "hyperparameter 'eta': got 'fast'; allowed: a number above 0 to 1."),
    ({"eta": "2"}, "hyperparameter 'eta': got '2'; allowed: a number above 0 to 1."),
    ({"eta": "nan"}, "hyperparameter 'eta': got 'nan'; allowed: a number above 0 to 1."),
    ({"max_depth": "3.5"}, "hyperparameter 'max_depth': got '3.5'; allowed: a whole number from 0 to 64."),
    ({"num_boost_round": "0"}, "got '0'; allowed: a whole number from 1 to 100000."),
    ({"seed": "-1"}, "hyperparameter 'seed': got '-1'"),
    ({"learning_rate": "0.1"}, "hyperparameters 'eta' and 'learning_rate' are the same; give one of them."),
    ({"objective": "reg:squarederor"}, "got 'reg:squarederor'; allowed: reg:squarederror, "),
    (
        {"target_transform": "log_ratio_to_mean"},
        "'target_transform': got 'log_ratio_to_mean'; allowed: none,",
    ),
    ({"as_of": "now"}, "hyperparameter 'as_of': got 'now'; allowed: a UTC time"),
    ({"target": ""}, "hyperparameter 'target': missing; it is needed."),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG)
def test_a_wrong_hyperparameter_is_named_with_what_is_allowed(wrong: dict[str, str], sentence: str) -> None:
    given = {"city": "austin", "as_of": "20150801T000000Z", **TEXAS_HYPERPARAMETERS, **wrong}
    with pytest.raises(JobFailure, match=re.escape(sentence)):
        parse_hyperparameters([part for name, value in given.items() for part in (f"--{name}", value)])


def test_both_ways_to_write_a_hyperparameter_are_read() -> None:
    needed = ["--city=austin", "--as_of", "20150801T000000Z", "--target", "median"]
    asked = parse_hyperparameters([*needed, "--lambda=2", "--base_score", "-0.5", "--seed", "7"])
    assert (asked.city, asked.seed, asked.num_boost_round) == ("austin", 7, 400)
    assert asked.xgboost == {"lambda": 2.0, "base_score": -0.5}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_deph": "4"}, "hyperparameter 'max_deph': unknown."),
        ({"objective": "reg:gamma"}, "XGBoost refused the hyperparameters or the data: "),
        (
            {"target_transform": "log_ratio_to_mean:6"},
            "needs feature 'median_mean_6', which the training set lacks",
        ),
        ({"city": "waco"}, "hyperparameter 'city': got 'waco'; the channels hold 'austin'."),
    ],
)
def test_a_refusal_leaves_a_sentence_where_sagemaker_looks_and_no_model(
    austin: Jobs, wrong: dict[str, str], sentence: str
) -> None:
    name = "wrong_" + next(iter(wrong))
    finished = austin.train(name=name, **{"city": "austin", **wrong})
    assert finished.code == 1
    assert sentence in (finished.message or "")
    assert (finished.message or "") in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list((austin.root / name / "model").iterdir()) == []


ODD_COLUMNS = ("warmth [C]", "a<b", "c]", "50%", "50%5B")


def test_columns_that_xgboost_refuses_train_and_serve_under_their_own_names(
    jobs: Jobs, ask: Callable[..., dict[str, Any]]
) -> None:
    start, source = date(2023, 1, 1), random.Random(3)
    rows: list[list[Any]] = [["day", "sold [€]", *ODD_COLUMNS]]
    for day in range(300):
        values = [round(source.uniform(1, 9), 2) for _ in ODD_COLUMNS]
        rows.append([start + timedelta(day), 20 + 5 * (day % 7) + values[0], *values])
    jobs.write_raw("12e4", rows)
    features = [json.dumps({"column": name, "lags": [1]}) for name in ODD_COLUMNS]
    arguments = (
        *("--time-column", "day", "--frequency", "day", "--available-after", "P1D", "--target", "sold [€]"),
        *("--target-lag", "7", *(part for feature in features for part in ("--feature", feature))),
    )
    assert jobs.preprocess("12e4", as_of="20231001T000000Z", arguments=arguments).code == 0
    plain = {"target": "sold [€]", "target_transform": "none"}
    finished = jobs.train("12e4", as_of="20231001T000000Z", **plain)
    assert finished.code == 0, finished.stderr
    model = jobs.root / "model" / "model"
    names = ["sold [€]_lag_7", *(f"{name}_lag_1" for name in ODD_COLUMNS)]
    assert jobs.read_json("model/model/city_fleet/model.json")["features"] == names
    assert set(jobs.read_json("model/output/data/training.json")["importance_gain"]) <= set(names)
    row = dict.fromkeys(names, 3.0)
    answer = ask(model, json.dumps({"instances": [row]}), "application/json", accept="application/json")
    assert len(json.loads(answer["text"])["predictions"]) == 1, answer
    jobs.pack()
    assert jobs.evaluate("12e4", as_of="20231001T000000Z").code == 0


def test_a_name_that_comes_as_the_number_it_looks_like_is_still_its_own(jobs: Jobs, austin: Jobs) -> None:
    shutil.copytree(austin.root / "preprocess", jobs.root / "preprocess")
    for part in ("train", "validation"):
        schema = jobs.out(part, "city=austin", "schema.json")
        schema.write_text(schema.read_text(encoding="utf-8").replace('"austin"', '"12e4"'), encoding="utf-8")
        jobs.out(part, "city=austin").rename(jobs.out(part, "city=12e4"))
    assert jobs.train("120000.0").code == 0


def test_names_for_xgboost_never_meet() -> None:
    names = ["a[", "a%5B", "a%255B", "a]", "a<", "a", "a%"]
    spelled = names_for_xgboost(names)
    assert [unquote(name) for name in spelled] == names
    assert not set("[]<") & set("".join(spelled))


def test_exactly_one_city_is_trained(jobs: Jobs, austin: Jobs) -> None:
    header = (austin.out("train", "city=austin", "train.csv")).read_text(encoding="utf-8").splitlines()[0]
    for city in ("austin", "waco"):
        path = jobs.out("train", f"city={city}", "train.csv")
        path.parent.mkdir(parents=True)
        path.write_text(header + "\n", encoding="utf-8")
    message = jobs.train("austin").message or ""
    assert "holds 2 cities (austin, waco); one model is of exactly one city." in message


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda text: "",
            "row 1: got columns none; allowed: period, target, label, naive, seasonal, drift, lead, ahead, then the ",
        ),
        (lambda text: text.splitlines()[0] + "\n", "holds no rows; at least 1 is needed."),
        (lambda text: text[: text.rindex(",")], "row 158: got 23 values; allowed: 24, one per column."),
        (lambda text: text.replace("2005-01-01,", "2005-01-01,x"), "could not convert string to float"),
    ],
)
def test_a_broken_training_set_is_refused(jobs: Jobs, austin: Jobs, change: object, sentence: str) -> None:
    text = austin.out("train", "city=austin", "train.csv").read_text(encoding="utf-8")
    path = jobs.out("train", "city=austin", "train.csv")
    shutil.copytree(austin.out("train"), jobs.out("train"))
    path.write_text(change(text), encoding="utf-8")  # type: ignore[operator]
    finished = jobs.train("austin")
    assert finished.code == 1
    assert sentence in (finished.message or "")


def test_xgboost_is_imported_without_scikit_learn_and_scikit_learn_still_works_after() -> None:
    """scikit-learn costs four times as long to import as all the rest; see lean_xgboost.py."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import train, json;"
        "lean = 'sklearn' not in sys.modules and 'pandas' not in sys.modules;"
        "import sklearn.metrics, xgboost;"
        "print(json.dumps([lean, xgboost.__version__, sklearn.metrics.r2_score([1, 2], [1, 2])]))"
    )
    scripts = str(Path(__file__).parents[3] / "include" / "scripts")
    done = subprocess.run(
        [IMAGE_PYTHON, "-c", code, scripts], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [True, "3.2.0", 1.0]


def test_of_all_candidates_the_best_on_validation_is_kept(austin: Jobs) -> None:
    wrong = {"algorithm": "xgboost", "hyperparameters": {"objective": "reg:gamma"}}
    finished = train_with(
        austin, "candidates", settings_city("austin", "baseline", "xgboost", "linear", wrong, "forest")
    )
    assert finished.code == 0, finished.stderr
    report = austin.read_json("candidates/output/data/city=austin/training.json")
    by_name = {each["algorithm"]: each for each in report["candidates"] if "loss" in each}
    assert list(by_name) == ["baseline", "xgboost", "linear"]
    best = min(by_name.values(), key=lambda each: each["loss"]["value"])
    assert report["algorithm"] == best["algorithm"] != "baseline"
    assert report["loss"] == best["loss"]
    assert [each for each in report["candidates"] if each.get("chosen")] == [best]
    errors = [each["error"] for each in report["candidates"] if "error" in each]
    assert errors[0].startswith("XGBoost refused the hyperparameters or the data: ")
    assert errors[1].startswith(
        "algorithm: got 'forest'; allowed: baseline, ets, knn, linear, mlp, theta, xgboost"
    )
    card = austin.read_json("candidates/model/city=austin/city_fleet/model.json")
    assert (card["algorithm"], card["describe"]) == (best["algorithm"], best["describe"])
    (line,) = (line for line in finished.stdout.splitlines() if line.startswith("austin: trained"))
    assert f"{best['algorithm']}, validation mae {best['loss']['value']:.6g}, beside baseline +" in line
    assert "xgboost failed, forest failed" in line


def test_one_citys_failure_keeps_no_other_from_being_trained(austin: Jobs) -> None:
    cities = settings_city("waco", "linear"), settings_city("austin", "linear")
    finished = train_with(austin, "two_cities", *cities)
    assert finished.code == 0, finished.stderr
    assert "no city 'waco'" in austin.read_json("two_cities/output/data/city=waco/training.json")["error"]
    models = austin.root / "two_cities" / "model"
    assert [path.name for path in models.iterdir()] == ["city=austin"]
    # Alone, a city that can't be trained fails the job: its sentence goes where SageMaker looks.
    alone = train_with(austin, "one_city", cities[0])
    assert (alone.code, "no city 'waco'" in (alone.message or "")) == (1, True)


def test_a_job_of_one_city_gives_the_bytes_of_a_job_of_many_and_of_hyperparameters(austin: Jobs) -> None:
    own = {name: value for name, value in TEXAS_HYPERPARAMETERS.items() if not name.startswith("target")}
    city = settings_city("austin", {"algorithm": "xgboost", "hyperparameters": own})
    assert train_with(austin, "same", city).code == 0
    alone = digests(austin.root / "model" / "model")
    assert digests(austin.root / "same" / "model" / "city=austin") == alone
