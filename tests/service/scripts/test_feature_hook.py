"""The user's own features.py: called on what was known, checked in what it returns, and caught when it looks ahead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.service.scripts.test_job_settings import TEXAS_DATASET
from tests.service.scripts.test_preprocess_table import AS_OF, DATASET, HEADER, changed, houses
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import RAW_URI, Finished, Jobs

sys.path.insert(0, str(SCRIPTS))

from table_file import read_table


def prepare(jobs: Jobs, features: str, dataset: dict[str, Any] = DATASET, as_of: str = AS_OF) -> Finished:
    """Run preprocess.py in a scripts folder that holds this features.py too."""
    scripts = jobs.root / "scripts"
    if not scripts.exists():
        shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "features.py").write_text(features, encoding="utf-8")
    city = {"city": "austin", "dataset": dataset}
    settings = {"format_version": 1, "as_of": as_of, "raw_uri": RAW_URI, "cities": [city]}
    (jobs.root / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    message = jobs.root / "message"
    message.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(IMAGE_PYTHON, str(scripts / "preprocess.py"), "--settings", str(jobs.root / "settings.json")),
            *("--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out()), "--message-file", str(message)),
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    said = message.read_text(encoding="utf-8") if message.exists() else None
    return Finished(done.returncode, done.stdout, done.stderr, said)


OWN = """
def features(frame, context):
    assert (context.city, context.kind, context.target) == ("austin", "table", "price")
    assert str(context.time.dt.tz) == "UTC" and len(context.time) == len(frame)
    frame["age"] = context.time.dt.year - frame["built"].str[:4].astype(int)
    frame["large"] = frame["sqft"] > 1500
    frame["shelf"] = frame["type"].str.upper()
    frame["before"] = frame["price"].shift(1)
    return frame.drop(columns=["garage"])
"""


def test_own_features_are_columns_like_any_other(jobs: Jobs) -> None:
    rows = houses()
    jobs.write_raw("austin", [HEADER, *rows])
    finished = prepare(jobs, OWN)
    assert finished.code == 0, finished.message
    test = read_table(jobs.out("test"), "test")
    kinds = {each.name: each.kind for each in test.schema.features}
    assert kinds == {
        "age": "number", "before": "number", "built": "date", "large": "boolean", "shelf": "category",
        "sqft": "number", "type": "category",
    }  # fmt: skip
    places = {name: at for at, name in enumerate(test.schema.names)}
    assert test.values[:, places["age"]].tolist() == [2023 - int(row[5][:4]) for row in rows[170:]]
    assert test.values[:, places["before"]].tolist() == [row[1] for row in rows[169:199]]
    np.testing.assert_array_equal(test.values[:, places["large"]], [row[2] > 1500 for row in rows[170:]])


def test_a_column_that_only_the_hook_makes_may_be_asked_for(jobs: Jobs) -> None:
    jobs.write_raw("austin", [HEADER, *houses()])
    columns = [{"column": "age", "kind": "number", "min": 0}, {"column": "sqft"}]
    assert prepare(jobs, OWN, changed(columns=columns)).code == 0
    assert read_table(jobs.out("test"), "test").schema.names == ["age", "sqft"]
    finished = prepare(jobs, OWN, changed(columns=[{"column": "agee"}]))
    assert "column agee is neither in the raw data nor among those that features.py makes" in finished.message


BODIES = [
    (
        "frame['m'] = frame['price'].mean()\n    return frame",
        "column 'm' of rows to train on is another when the",
    ),
    (
        "frame['m'] = frame['price'].shift(-1)\n    return frame",
        "column 'm' of rows to train on is another when the",
    ),
    ("return frame.iloc[1:]", "returned 199 rows with another index; allowed: the 200 rows it got"),
    ("return frame.reset_index(drop=True).sample(frac=1, random_state=1)", "with another index"),
    ("return 3", "returned a int; allowed: a pandas.DataFrame"),
    (
        "return frame.drop(columns='price')",
        "changed or dropped column 'price'; allowed: to leave it as it is",
    ),
    ("frame['price'] *= 2\n    return frame", "changed or dropped column 'price'"),
    ("return frame.rename(columns={'sqft': 3})", "allowed: up to 10000 different names"),
    ("return frame['no such']", "features.py, line 3: KeyError: 'no such'. The job's log has the traceback."),
]


@pytest.mark.parametrize(("body", "sentence"), BODIES)
def test_what_it_must_not_do_is_said_in_a_sentence(jobs: Jobs, body: str, sentence: str) -> None:
    jobs.write_raw("austin", [HEADER, *houses()])
    finished = prepare(jobs, f"def features(frame, context):\n    frame = frame.copy()\n    {body}\n")
    assert finished.code == 1
    assert sentence in (finished.message or "")


def test_a_module_without_the_function_is_named(jobs: Jobs) -> None:
    jobs.write_raw("austin", [HEADER, *houses()])
    assert "no function 'features(frame, context)'" in (
        prepare(jobs, "def feature(frame): ...").message or ""
    )
    assert "features.py, line 1: SyntaxError" in (prepare(jobs, "def features(").message or "")
    assert "features.py, line 2: ModuleNotFoundError" in (
        prepare(jobs, "\nimport nothing_such").message or ""
    )


SERIES = """
def features(frame, context):
    assert (context.kind, context.target, context.time) == ("series", "median", None)
    assert frame.index.name == "period" and str(frame.index[0].date()) == "2000-01-01"
    frame["turnover"] = frame["sales"] / frame["listings"]
    return frame
"""


def test_a_series_takes_lags_of_own_columns(jobs: Jobs, texas: dict[str, list[list[str]]]) -> None:
    header, *rows = texas["austin"]
    jobs.write_raw("austin", [header, *rows])
    own = {"column": "turnover", "lags": [1, 12], "min": 0, "max": 10}
    dataset = TEXAS_DATASET | {"features": [*TEXAS_DATASET["features"], own]}
    finished = prepare(jobs, SERIES, dataset, as_of="20150801T000000Z")
    assert finished.code == 0, finished.message
    test = read_table(jobs.out("test"), "test")
    at = test.schema.names.index("turnover_lag_1")
    sales, listings = header.index("sales"), header.index("listings")
    wanted = [float(row[sales]) / float(row[listings]) for row in rows[-13:-1]]
    assert test.values[:, at].tolist() == wanted
    history = jobs.out("test", "city=austin", "history.csv").read_text(encoding="utf-8").splitlines()
    assert "turnover" in history[0].split(",")
    for change, sentence in (
        (("* 1.0", ""), "column turnover is neither in the raw data nor among those that features.py makes"),
        (('frame["listings"]', "0.1"), "features.py: column 'turnover', month of 2000-01-01: got "),
        (
            ('frame["listings"]', 'frame["listings"].mean()'),
            "column 'turnover' of rows to train on is another",
        ),
        (('"turnover"] =', '"median"] ='), "changed or dropped column 'median'"),
    ):
        text = SERIES.replace(*change) if change[1] else SERIES.replace('"turnover"', '"another"')
        finished = prepare(jobs, text, dataset, as_of="20150801T000000Z")
        assert sentence in (finished.message or ""), finished.message
