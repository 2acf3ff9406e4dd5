"""Every algorithm for every task: what it saves is what it was, by numpy alone, equal to the libraries' own answers."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from typing import Any

import numpy as np
import pytest

import algorithms
from candidates import _best
from hyperparameters import checked
from job_failure import JobFailure
from tests.support.paths import IMAGE_PYTHON, ROOT, SCRIPTS

TASKS = ("regression", "binary", "multiclass")


def found(case: str) -> Any:
    """Run a case of algorithm_cases.py."""
    done = subprocess.run(
        [str(IMAGE_PYTHON), str(ROOT / "tests" / "support" / "algorithm_cases.py"), str(SCRIPTS), case],
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_loaded_artifact_answers_as_the_fitted_model_and_equal_inputs_give_equal_bytes() -> None:
    cases = found("round_trips")
    assert {(name, task) for name, task, *_ in cases} == {
        (name, task)
        for name in ("baseline", "knn", "linear", "mlp", "xgboost")
        for task in (*TASKS, "two classes")
    }
    for name, task, off, same_bytes, gain, sums_to_one, samples_agree in cases:
        assert (off, same_bytes, sums_to_one, samples_agree) == (0, True, True, True), (name, task)
        if name != "baseline":
            assert gain > 1.5, (name, task)


def test_what_each_feature_adds_sums_up_to_the_answer_and_what_counts_to_one() -> None:
    cases = found("explained")
    assert len(cases) == 20
    for name, task, off, whole, learned, best in cases:
        assert (off is not None) == (name in ("xgboost", "linear")), (name, task)
        assert off is None or off < 1e-4, (name, task, off)
        assert whole == (name != "baseline"), (name, task)
        assert learned == (name in ("xgboost", "mlp")), (name, task)
        assert best, (name, task)


def test_numpy_answers_what_scikit_learn_does() -> None:
    differences = found("twins")
    assert len(differences) == 18
    assert max(differences.values()) < 1e-9, differences


def test_of_equally_far_neighbours_the_first_count() -> None:
    knn: Any = algorithms.algorithm("knn")
    far = np.random.default_rng(0).integers(0, 9, (50, 400)).astype(float)
    for count in (1, 7, 400):
        sorted_all = np.argsort(far, axis=1, kind="stable")[:, :count]
        assert (knn._nearest(far, count) == sorted_all).all()


def test_packed_trees_answer_what_xgboost_does() -> None:
    differences = found("packed")
    # Trees with categories are not packed; sums of the others are the same to the last bit, exponentials nearly.
    assert differences.pop("categories") == -1
    assert max(value for name, value in differences.items() if "regression" in name) == 0
    assert max(differences.values()) < 1e-6, differences


def test_answers_need_no_scikit_learn() -> None:
    assert found("lean") == [
        f"{name} {task}: " for task in TASKS for name in ("baseline", "knn", "linear", "mlp")
    ]


def test_an_image_without_a_models_package_is_named() -> None:
    assert "It needs xgboost, which this image lacks: take an image that has it" in found("lacking")


def test_where_nothing_can_be_learned_no_more_than_half_the_models_beat_the_baseline() -> None:
    """Targets shuffled, the best of three candidates, 20 seeds."""
    shares = found("shuffled")
    assert shares.keys() == {"regression", "multiclass"}
    assert max(shares.values()) <= 0.5, shares


@pytest.mark.parametrize("name", algorithms.names())
def test_a_spec_can_be_read_without_importing_the_module(name: str) -> None:
    tree = ast.parse((SCRIPTS / "algorithms" / f"{name}.py").read_text(encoding="utf-8"))
    (spec,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SPEC"
    )
    assert spec == algorithms.algorithm(name).SPEC
    for task in spec["tasks"]:
        defaults = checked(spec, task, {})
        # Defaults are allowed values.
        assert checked(spec, task, defaults) == defaults


@pytest.mark.parametrize(
    ("name", "task", "given", "sentence"),
    [
        ("xgboost", "binary", {"objective": "reg:gamma"}, "got 'reg:gamma'; allowed: binary:logistic."),
        ("xgboost", "regression", {"objective": "multi:softprob"}, "allowed: reg:squarederror, "),
        ("linear", "regression", {"alpah": 1}, "hyperparameter 'alpah': unknown. Did you mean 'alpha'?"),
        ("linear", "regression", {"alpha": True}, "got 'True'; allowed: a number above 0."),
        ("knn", "binary", {"n_neighbors": 0}, "got '0'; allowed: a whole number from 1 to 1000."),
        ("mlp", "binary", {"activation": "tan"}, "allowed: relu, tanh. Did you mean 'tanh'?"),
        ("theta", "regression", {"alpha": 1}, "hyperparameter 'alpha': unknown. Allowed: seed."),
        ("ets", "binary", {}, "task: got 'binary'; allowed: regression"),
        ("mlp", "ranking", {}, "task: got 'ranking'; allowed: regression, binary, multiclass"),
    ],
)
def test_a_wrong_hyperparameter_of_any_algorithm_is_named(
    name: str, task: str, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(JobFailure) as refused:
        checked(algorithms.algorithm(name).SPEC, task, given)
    assert sentence in str(refused.value)


def test_a_value_is_read_whether_it_is_a_number_or_spells_one() -> None:
    spec = algorithms.algorithm("knn").SPEC
    assert checked(spec, "binary", {"n_neighbors": "7", "seed": 3})["n_neighbors"] == 7
    assert checked(spec, "binary", {"n_neighbors": 7.0})["n_neighbors"] == 7


def test_where_validation_is_short_candidates_are_judged_on_more_rows_than_it_has() -> None:
    facts = found("folds")
    # 12 rows of validation and 100 to be judged by: nine parts, none known to the model that is judged by it.
    assert facts["short"] == [[188, 12], *([176 - 12 * number, 12] for number in range(9))]
    assert facts["in order"]
    # Rows in no order: each is judged once.
    assert facts["unordered"] == [[188, 12], *[[170, 10]] * 10]
    assert facts["judged once"]
    # By what the gate compares.
    for name, metric in (("short", "mae"), ("rmse", "rmse"), ("mape", "mape")):
        assert facts[f"{name} loss"] == {
            "metric": metric, "value": pytest.approx(facts["by hand"][name], rel=1e-12), "rows": 108
        }  # fmt: skip
    # Enough rows: one fit for the model, and nothing to compare where there is one candidate alone.
    assert (facts["long"], facts["alone"]) == ([[188, 100]], [[188, 12]])


def test_on_few_rows_the_baseline_is_kept_unless_another_is_clearly_better() -> None:
    floor = np.array([1.0, 2.0, 3.0, 4.0] * 5)
    noise = np.array([0.9, -0.7, 0.5, -0.5] * 5)
    names = ["linear", "baseline", "knn"]

    def best(gain: float, rows: int = 20) -> str:
        better = (floor - gain + noise, None), (floor, None), (floor + 1 + noise, None)
        found = {number: (losses[:rows], fitted) for number, (losses, fitted) in enumerate(better)}
        return names[_best(found, names)]  # type: ignore[arg-type] # no model is asked anything

    error = noise.std(ddof=1) / np.sqrt(20)
    assert best(noise.mean() + 0.9 * error) == "baseline"
    assert best(noise.mean() + 1.1 * error) == "linear"
    floor, noise = np.tile(floor, 2), np.tile(noise, 2)
    assert best(noise.mean() + 1e-6, rows=40) == "linear", "with more rows the smallest loss decides"
    # Smoothing is kept against two standard errors, on more rows too, and the first that there is.
    names = ["linear", "theta", "baseline", "ets"]
    for rows in (20, 40):
        error = noise[:rows].std(ddof=1) / np.sqrt(rows)
        for gain, first, chosen in (
            (1.9, 3, "ets"),
            (2.1, 3, "linear"),
            (1.9, 1, "theta"),
            (2.1, 1, "linear"),
        ):
            linear = floor[:rows] - noise[:rows].mean() - gain * error + noise[:rows]
            losses = {
                0: (linear, None),
                first: (floor[:rows], None),
                2: (floor[:rows] - gain * error / 4, None),
            }
            assert names[_best(losses, names)] == chosen, (rows, gain)  # type: ignore[arg-type]
