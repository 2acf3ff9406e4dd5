"""Tables on their way from preprocess.py to the next steps: exact, and believed only as far as they fit."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

from job_failure import JobFailure
from table_file import read_table, write_table
from table_schema import Baseline, Feature, Schema, Table
from target_transform import TargetTransform

SCHEMA = Schema(
    kind="table",
    task="multiclass",
    city="austin",
    as_of="20150801T000000Z",
    target="restaurant",
    transform=TargetTransform("none"),
    features=(Feature("target"), Feature("a \"b\",\nc", "category", ("007", "7", "")), Feature("new", "boolean")),
    classes=("Franklin", "Uchi"),
    baseline=Baseline("class frequencies", (0.7, 0.3)),
)  # fmt: skip
TABLE = Table(
    SCHEMA,
    rows=["007", 'a "quoted",\nname', "", "NA"],
    target=np.array([0.0, 1.0, -1.0, 0.0]),
    label=np.array([0.0, 1.0, -1.0, 0.0]),
    weight=np.array([1.0, 0.1, 2.0, 1e-9]),
    values=np.array(
        [[0.1 + 0.2, 1, math.nan], [5e-324, 3, 1], [1.7976931348623157e308, 0, 0], [math.nan] * 3]
    ),
)


def test_a_table_reads_back_to_the_last_bit(tmp_path: Path) -> None:
    write_table(tmp_path / "city=austin", "test", TABLE)
    back = read_table(tmp_path, "test", "austin")
    assert back.schema == SCHEMA
    assert back.rows == TABLE.rows
    for name in ("target", "label", "weight", "values"):
        np.testing.assert_array_equal(getattr(back, name), getattr(TABLE, name))


def test_a_series_brings_its_baselines(tmp_path: Path) -> None:
    schema = replace(SCHEMA, kind="series", task="regression", classes=(), baseline=None)
    baselines = {
        "naive": np.array([1.0] * 4),
        "seasonal": np.array([math.nan, 1, 2, 3]),
        "drift": np.array([math.nan, math.nan, 1, 2]),
        "lead": np.array([1.0] * 4),
        "ahead": np.array([1.0] * 4),
    }
    write_table(tmp_path / "city=austin", "train", replace(TABLE, schema=schema, baselines=baselines))
    back = read_table(tmp_path, "train")
    assert list(back.baselines) == ["naive", "seasonal", "drift", "lead", "ahead"]
    np.testing.assert_array_equal(back.baselines["seasonal"], baselines["seasonal"])
    np.testing.assert_array_equal(back.values, TABLE.values)
    assert back.weight.tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: "", "row 1: got columns none; allowed: example, target, label, weight, then the features"),
        (lambda text: text.replace("weight", "wait", 1), "row 1: got columns example, target, label, wait"),
        (lambda text: text[: text.index("007")], "holds no rows; at least 1 is needed"),
        (lambda text: text.rsplit(",", 1)[0], "row 5: got 6 values; allowed: 7, one per column"),
        (lambda text: text.rstrip() + ",1\n", "row 5: got 8 values; allowed: 7, one per column"),
        (lambda text: text.replace("5e-324", "many"), "many"),
        (lambda text: text.replace("-1.0,-1.0,2.0", "-1.0,,2.0"), "target, label and weight must be there in every"),
        (lambda text: text.replace("-1.0,-1.0,2.0", "-1.0,-1.0,-2.0"), "a weight must be above 0"),
        (lambda text: text.replace("-1.0,-1.0,2.0", "7.0,-1.0,2.0"), "got class 7; allowed: 0 to 1, or -1"),
    ],
)  # fmt: skip
def test_what_is_not_as_preprocess_writes_it_is_refused(tmp_path: Path, change, sentence: str) -> None:
    write_table(tmp_path / "city=austin", "test", TABLE)
    path = tmp_path / "city=austin" / "test.csv"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(JobFailure) as failure:
        read_table(tmp_path, "test")
    assert str(path) in str(failure.value)
    assert sentence in str(failure.value)


def test_a_schema_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "city=austin", "test", TABLE)
    path = tmp_path / "city=austin" / "schema.json"
    path.write_text(json.dumps(SCHEMA.to_json() | {"task": "poetry"}), encoding="utf-8")
    with pytest.raises(JobFailure, match=r"schema\.json: task: got .*poetry.*; allowed: regression"):
        read_table(tmp_path, "test")
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(JobFailure, match="allowed: what preprocess"):
        read_table(tmp_path, "test")
    path.unlink()
    with pytest.raises(JobFailure, match="missing; preprocess"):
        read_table(tmp_path, "test")
    with pytest.raises(JobFailure, match="no city 'waco'; cities there: austin"):
        read_table(tmp_path, "test", "waco")
