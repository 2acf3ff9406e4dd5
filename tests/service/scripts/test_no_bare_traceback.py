"""Whatever settings and data are, a job script ends well or with a foreseen sentence in the failure file."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, seed, settings
from hypothesis import strategies as some

from tests.support.script_jobs import RAW_URI, ScriptServer, pack

#: Each takes a second; ``SCRIPT_EXAMPLES=300`` is for whoever changes how scripts end.
EXAMPLES = int(os.environ.get("SCRIPT_EXAMPLES", "20"))
ODD_CELLS = some.sampled_from(
    [
        "",
        "0",
        "-1",
        "1e300",
        "1e17",
        "1e-300",
        "nan",
        "inf",
        "x",
        "1_000",
        "9" * 400,
        "\u0000",
        "٣",
        '"',
        "-0.0",
        "true",
    ]
)
ODD_DATES = some.sampled_from(
    [
        *(
            "9999-12-31",
            "0000-00-00",
            "0001-01-01",
            "10000-01-01",
            "1717200000000",
            "20240101",
            "",
            "2024-W01-1",
        ),
        *("2024-02-30", "2262-04-12", "1677-09-20", "2024-01-01T24:00:00", "2024-01-01T00:00:00.123456789Z"),
    ]
)
NAMES = some.sampled_from(
    ["warmth", "warmth [C]", "a<b", "50%", "null", "12e4", '"x"', "trend", "day_lag_1", "é"]
)
DATASETS = some.fixed_dictionaries(
    {
        "city": some.sampled_from(["pier", "12e4", "true", "null", "007"]),
        "as_of": some.sampled_from(["20230901T000000Z", "99991231T235959Z", "20230301T000000Z"]),
        "available": some.sampled_from(["P1D", "P0D", "P9999Y", "P1M"]),
        "frequency": some.sampled_from(["day", "week", "month"]),
        "transform": some.sampled_from(["none", "log", "log_ratio_to_mean:5"]),
        "target": some.sampled_from(["cups", "NaN", "cups [1]"]),
        "lags": some.lists(some.sampled_from([1, 7, 1000]), unique=True, max_size=2),
        "feature": NAMES,
        "calendar": some.lists(some.sampled_from(["trend", "day_of_week", "week_of_year"]), unique=True),
        "scale": some.sampled_from([1.0, 0.0, 1e-300, 1e15]),
        "cells": some.lists(some.tuples(some.integers(0, 239), some.integers(1, 2), ODD_CELLS), max_size=2),
        "dates": some.lists(some.tuples(some.integers(0, 239), ODD_DATES), max_size=1),
        "objective": some.sampled_from(
            ["reg:squarederror", "count:poisson", "reg:gamma", "reg:squaredlogerror"]
        ),
        "rounds": some.sampled_from(["3", "1", "0"]),
    }
)


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., dict[str, Any]]]:
    """Run a script by name, arguments and environment in a fork of one process that has imported what takes long."""
    server = ScriptServer()

    def ask(script: str, arguments: list[str], **environment: str) -> dict[str, Any]:
        code, _, stderr = server.run(script, arguments, environment)
        return {"code": code, "stderr": stderr}

    yield ask
    server.close()


def ended(script: str, answer: dict[str, Any], message: Path) -> bool:
    """Tell whether a script ended well, after making sure that it has said why not."""
    assert answer["code"] in (0, 1), answer
    assert "Traceback" not in answer["stderr"], answer["stderr"]
    event(f"{script} ends with {answer['code']}")
    if answer["code"] == 1:
        assert message.read_text(encoding="utf-8").strip(), "no sentence"
        return False
    return True


def write_raw(root: Path, drawn: dict[str, Any]) -> None:
    rows: list[list[str]] = [["day", drawn["target"], drawn["feature"]]]
    step = {"day": 1, "week": 7, "month": 31}[drawn["frequency"]]
    for number in range(240):
        value = (20 + number % 7) * drawn["scale"]
        rows.append(
            [str(date(2023, 8, 1) - timedelta(days=step * (239 - number))), repr(value), str(number % 5)]
        )
    for number, column, text in drawn["cells"]:
        rows[number + 1][column] = text
    for number, text in drawn["dates"]:
        rows[number + 1][0] = text
    folder = root / "raw" / f"city={drawn['city']}"
    folder.mkdir(parents=True)
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def preprocess_arguments(root: Path, drawn: dict[str, Any]) -> list[str]:
    return [
        *(
            "--city",
            drawn["city"],
            "--as-of",
            drawn["as_of"],
            "--raw-dir",
            str(root / "raw"),
            "--raw-uri",
            RAW_URI,
        ),
        *("--output-dir", str(root / "pre"), "--message-file", str(root / "message"), "--time-column", "day"),
        *(
            "--frequency",
            drawn["frequency"],
            "--available-after",
            drawn["available"],
            "--target",
            drawn["target"],
        ),
        *("--target-transform", drawn["transform"], *(f"--target-lag={lag}" for lag in drawn["lags"])),
        *("--feature", json.dumps({"column": drawn["feature"], "lags": [1, 2]})),
        *(part for name in drawn["calendar"] for part in ("--calendar", name)),
    ]


@seed(12)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(drawn=DATASETS)
def test_no_run_of_the_three_scripts_ends_in_a_bare_traceback(
    run: Callable[..., dict[str, Any]], drawn: dict[str, Any]
) -> None:
    root = Path(tempfile.mkdtemp(prefix="city-fleet-property-"))
    try:
        write_raw(root, drawn)
        if not ended(
            "preprocess.py", run("preprocess.py", preprocess_arguments(root, drawn)), root / "message"
        ):
            return
        status = json.loads((root / "pre/report" / f"city={drawn['city']}" / "status.json").read_text())
        if status["status"] != "ready":
            return
        given_parameters = {
            **{name: drawn[name] for name in ("city", "as_of", "target", "objective")},
            **{"target_transform": drawn["transform"], "num_boost_round": drawn["rounds"]},
        }
        (root / "model").mkdir()
        trained = run(
            "train.py",
            [part for name, value in given_parameters.items() for part in (f"--{name}", value)],
            **{f"SM_CHANNEL_{part.upper()}": str(root / "pre" / part) for part in ("train", "validation")},
            SM_MODEL_DIR=str(root / "model"),
            SM_OUTPUT_DIR=str(root / "output"),
            SM_OUTPUT_DATA_DIR=str(root / "data"),
            SM_NUM_CPUS="1",
        )
        if not ended("train.py", trained, root / "output" / "failure"):
            return
        pack(root / "model", root / "packed" / "model.tar.gz")
        arguments = [
            "--city",
            drawn["city"],
            "--as-of",
            drawn["as_of"],
            "--test-dir",
            str(root / "pre" / "test"),
        ]
        arguments += ["--model-dir", str(root / "packed"), "--champion-dir", str(root / "packed")]
        arguments += ["--champion-as-of", drawn["as_of"], "--output-dir", str(root / "evaluate")]
        ended(
            "evaluate.py",
            run("evaluate.py", [*arguments, "--message-file", str(root / "message")]),
            root / "message",
        )
    finally:
        shutil.rmtree(root)
