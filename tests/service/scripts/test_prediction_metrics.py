"""The metrics of the evaluation job, those of the library, and scikit-learn's own: one set of numbers."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import pytest

from city_fleet import metrics
from tests.support.paths import IMAGE_PYTHON, SCRIPTS

_MEASURE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import prediction_metrics as ours
found = []
for task, actual, predicted, classes in json.load(sys.stdin):
    if task == "regression":
        found.append(ours.regression_metrics(np.array(actual, dtype=float), np.array(predicted, dtype=float)))
    else:
        found.append(ours.class_metrics(task, actual, classes, np.array(predicted), classes[-1]))
print(json.dumps(found))
"""
_SCIKIT_LEARN = """
import json, sys
import numpy as np
from sklearn import metrics
found = []
for task, actual, predicted, classes in json.load(sys.stdin):
    p = np.array(predicted)
    y = np.array([classes.index(name) for name in actual])
    numbers = range(len(classes))
    area = {"y_score": p[:, 1]} if task == "binary" else {"y_score": p, "multi_class": "ovr", "labels": numbers}
    each = {
        "accuracy": metrics.accuracy_score(y, p.argmax(axis=1)),
        "log_loss": metrics.log_loss(y, p, labels=numbers),
        "macro_f1": metrics.f1_score(y, p.argmax(axis=1), average="macro"),
        "roc_auc": metrics.roc_auc_score(y, **area),
    }
    if len(classes) > 3:
        each["top_k_accuracy"] = metrics.top_k_accuracy_score(y, p, k=min(3, len(classes)), labels=numbers)
    found.append(each)
print(json.dumps(found))
"""
#: task, actual, predicted, classes
Case = tuple[str, list[Any], list[Any], list[str]]


def in_the_image(code: str, cases: list[Case]) -> list[dict[str, float | None]]:
    done = subprocess.run(
        [IMAGE_PYTHON, "-W", "error", "-c", code, str(SCRIPTS)],
        input=json.dumps(cases), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_the_library(case: Case) -> dict[str, float | None]:
    task, actual, predicted, classes = case
    if task == "regression":
        return metrics.regression_metrics(actual, predicted)
    named = [dict(zip(classes, row, strict=True)) for row in predicted]
    return metrics.class_metrics(task, actual, named, classes[-1])


def probabilities(chance: random.Random, rows: int, classes: list[str]) -> list[list[float]]:
    """Some rows have classes that are equally probable."""
    drawn = [[chance.choice((0.1, 0.2, chance.random())) for _ in classes] for _ in range(rows)]
    return [[value / sum(row) for value in row] for row in drawn]


def ordinary(chance: random.Random, task: str, classes: list[str], rows: int = 40) -> Case:
    actual = [*classes, *chance.choices(classes, k=rows - len(classes))]
    return (task, actual, probabilities(chance, rows, classes), classes)


def same(mine: dict[str, float | None], theirs: dict[str, float | None]) -> bool:
    assert list(mine) == list(theirs)
    pairs = [(mine[name], theirs[name]) for name in theirs]
    return all(a == (None if b is None else pytest.approx(b, rel=1e-12, abs=1e-15)) for a, b in pairs)


def classification_cases() -> list[Case]:
    chance = random.Random(7)
    many = [f"class {number:02}" for number in range(12)]
    cases = [ordinary(chance, "binary", ["no", "yes"]), ordinary(chance, "multiclass", many)]
    cases += [ordinary(chance, "multiclass", ["b", "a", "c"]) for _ in range(5)]
    return cases


def edge_cases() -> list[Case]:
    chance = random.Random(8)
    three, two = ["b", "a", "c"], ["no", "yes"]
    return [
        ("multiclass", ["b"] * 5, probabilities(chance, 5, three), three),  # one class only
        ("multiclass", ["b", "a"] * 5, probabilities(chance, 10, three), three),  # one that does not occur
        ("multiclass", ["b", "new", "newer", "a"] * 3, probabilities(chance, 12, three), three),
        ("multiclass", ["b", None, "a"] * 3, probabilities(chance, 9, three), three),  # its name is not known
        ("multiclass", ["new"] * 4, probabilities(chance, 4, three), three),
        ("multiclass", ["b"], [[0.0, 1.0, 0.0]], three),
        ("binary", ["no"] * 5, probabilities(chance, 5, two), two),
        ("binary", ["yes"] * 5, probabilities(chance, 5, two), two),
        ("binary", ["yes", "no", "new"] * 3, probabilities(chance, 9, two), two),
        ("binary", ["yes", "no"], [[1.0, 0.0], [0.0, 1.0]], two),
        ("regression", [0.0, 100.0], [5.0, 110.0], []),
        ("regression", [0.0, 0.0], [5.0, -1.0], []),
        ("regression", [1.0], [3.0], []),
        ("regression", [0.5, 0.5], [0.1, 0.9], []),
        ("regression", [-3.0, 4.0, 2.0], [3.0, 5.0, 2.5], []),
        ("regression", [0.1, 0.2], [0.11, 0.18], []),
    ]


def test_the_job_the_library_and_scikit_learn_measure_the_same() -> None:
    cases = classification_cases()
    ours = in_the_image(_MEASURE, cases)
    assert [list(each) for each in ours] == [list(metrics.METRICS_OF[case[0]]) for case in cases]
    for case, mine, theirs in zip(cases, ours, in_the_image(_SCIKIT_LEARN, cases), strict=True):
        # Where classes are equally probable, scikit-learn lets the last of them into the best k, and we the first.
        theirs.pop("top_k_accuracy", None)
        assert same({name: mine[name] for name in theirs}, theirs)
        assert same(in_the_library(case), mine)


def test_the_best_three_are_those_of_scikit_learn_where_no_classes_are_equally_probable() -> None:
    chance = random.Random(9)
    classes = [f"class {number}" for number in range(6)]
    drawn = [[chance.random() for _ in classes] for _ in range(40)]
    rows = [[value / sum(row) for value in row] for row in drawn]
    case = ("multiclass", [*classes, *chance.choices(classes, k=34)], rows, classes)
    ((mine,), (theirs,)) = in_the_image(_MEASURE, [case]), in_the_image(_SCIKIT_LEARN, [case])
    assert 0.3 < mine["top_k_accuracy"] == theirs["top_k_accuracy"] < 0.8
    assert in_the_library(case) == pytest.approx(mine)


def test_metrics_at_the_edge_are_the_same_in_job_and_library() -> None:
    cases = edge_cases()
    found = in_the_image(_MEASURE, cases)
    for case, mine in zip(cases, found, strict=True):
        assert same(in_the_library(case), mine), case
    one_class, lacking, unseen, nameless, only_unseen, never, no, yes, three, wrong = found[:10]
    assert one_class["roc_auc"] is no["roc_auc"] is yes["roc_auc"] is never["roc_auc"] is None
    assert only_unseen["roc_auc"] is None
    assert lacking["roc_auc"] is not None
    assert only_unseen["accuracy"] == only_unseen["top_k_accuracy"] == only_unseen["macro_f1"] == 0
    assert only_unseen["log_loss"] == pytest.approx(34.538776, rel=1e-6), "the logarithm of 1e-15"
    assert never["log_loss"] == wrong["log_loss"] == pytest.approx(34.538776, rel=1e-6), (
        "known, and called impossible"
    )
    assert wrong == {"accuracy": 0, "log_loss": wrong["log_loss"], "macro_f1": 0, "roc_auc": 0}
    assert unseen["accuracy"] <= 0.5
    assert nameless["top_k_accuracy"] == pytest.approx(2 / 3), "all three classes are among the best three"
    assert three["roc_auc"] is not None
    zeros = found[10:12]
    assert (zeros[0]["mape"], zeros[0]["wape"]) == (pytest.approx(0.1), pytest.approx(0.15))
    assert zeros[1]["mape"] is zeros[1]["wape"] is None
    assert found[12]["r2"] is found[13]["r2"] is None
    assert found[14]["wape"] == pytest.approx(7.5 / 9), "targets below 0 count by their size"
