"""What counts in a model, what each feature adds to an answer, and how it has learned: on rows with a known rule."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import algorithms
from contributions import contributions
from hyperparameters import checked
from importances import MOST_ANSWERS, importances
from learning_curve import MOST_POINTS, Curve
from model_artifact import Model
from table_parts import rows_of
from table_schema import Feature, Schema, Table
from target_transform import TargetTransform
from train import centres, shares

FEATURES = (Feature("much"), Feature("little"), Feature("nothing"), Feature("kind", "category", ("a", "b")))


def table(task: str = "regression", rows: int = 240) -> Table:
    """4 × much + little, and 3 more for kind b."""
    draws = np.random.default_rng(1)
    values = np.column_stack([draws.normal(size=(rows, 3)), draws.integers(0, 2, rows)])
    score = 4 * values[:, 0] + values[:, 1] + 3 * values[:, 3]
    classes = () if task == "regression" else ("low", "high")
    label = score if task == "regression" else (score > np.median(score)).astype(float)
    schema = Schema(
        "table", task, "austin", "20150801T000000Z", "y", TargetTransform("none"), FEATURES, classes
    )
    return Table(schema, [str(at) for at in range(rows)], label, label, np.ones(rows), values)


def fitted(name: str, task: str = "regression", **given: Any) -> tuple[Model, Table, Any]:
    whole, module = table(task), algorithms.algorithm(name)
    train, validation, test = (rows_of(whole, slice(*ends)) for ends in ((0, 120), (120, 180), (180, 240)))
    found = module.fit(train, validation, checked(module.SPEC, task, given), seed=0, threads=1)
    card: Any = SimpleNamespace(
        schema=whole.schema,
        features=whole.schema.names,
        transform=whole.schema.transform,
        centres=centres(train),
        shares=shares(train),
        describe=found.describe(),
        algorithm=name,
        as_of=whole.schema.as_of,
    )
    return Model(found, card), test, found


@pytest.mark.parametrize(
    ("name", "task", "kind"),
    [
        ("xgboost", "regression", "gain"),
        ("xgboost", "binary", "gain"),
        ("linear", "regression", "coefficient"),
        ("knn", "regression", "permutation"),
        ("knn", "binary", "permutation"),
    ],
)
def test_what_the_target_hangs_on_counts_the_most(name: str, task: str, kind: str) -> None:
    model, test, _ = fitted(name, task, **({"num_boost_round": 40} if name == "xgboost" else {}))
    found = importances(model, test.values, test.target)
    assert found == importances(model, test.values, test.target)
    assert found["kind"] == kind
    assert next(iter(found["features"])) == "much"
    assert found["features"].get("nothing", 0) < 0.15
    assert sum(found["features"].values()) == pytest.approx(1, abs=1e-4)


def test_a_linear_models_shares_are_its_rule() -> None:
    model, test, _ = fitted("linear", alpha=1e-9)
    found = importances(model, test.values, test.target)["features"]
    # Deviations in training: about 1, 1, and of a category that half the rows have 1/2.
    assert found["much"] == pytest.approx(4 / 6.5, abs=0.06)
    assert found["kind"] == pytest.approx(1.5 / 6.5, abs=0.03)


@pytest.mark.parametrize(
    ("name", "task"), [("xgboost", "regression"), ("xgboost", "binary"), ("linear", "regression")]
)
def test_contributions_add_up_to_the_score(name: str, task: str) -> None:
    model, test, found = fitted(name, task, **({"num_boost_round": 20} if name == "xgboost" else {}))
    added = found.contributions(test.values, test.values)
    assert added.shape == (len(test), 5, 1)
    scores, answers = added.sum(axis=1)[:, 0], model.predict(test.values)
    expected = scores if task == "regression" else 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(expected, answers if task == "regression" else answers[:, 1], atol=1e-4)
    assert found.link == ("identity" if task == "regression" else "logit")


@pytest.mark.parametrize(
    ("name", "method"), [("xgboost", "tree_shap"), ("linear", "linear"), ("knn", "sampled")]
)
@pytest.mark.parametrize("logarithm", [False, True])
def test_an_answer_is_taken_apart_without_a_rest(name: str, method: str, logarithm: bool) -> None:
    given = {"num_boost_round": 40} if name == "xgboost" else {}
    model, test, _ = fitted(name, **given)
    if logarithm:  # of the ratio to a feature, as series have it
        transform = TargetTransform("log_ratio_to_mean", 12, "little")
        model.card.schema = replace(model.card.schema, transform=transform)
        model.card.transform = transform
    test.values[:, 1] = np.abs(test.values[:, 1]) + 0.1
    at = int(np.argmax(test.values[:, 0]))
    said = contributions(model, test.values[at], test.values)
    assert said["method"] == method
    assert said["scale"] == ("log of the target" if logarithm else "target")
    assert said["rest"] == pytest.approx(0, abs=1e-4)
    assert said["features"][0]["name"] == "much"
    amounts = [each["amount"] for each in said["features"]]
    assert said["base_prediction"] + sum(amounts) == pytest.approx(said["prediction"], rel=1e-4)
    if logarithm:
        factors = [each["factor"] for each in said["features"]]
        assert said["base_prediction"] * np.prod(factors) == pytest.approx(said["prediction"], rel=1e-4)


@pytest.mark.parametrize(("name", "scale"), [("xgboost", "log odds"), ("knn", "probability")])
def test_of_classes_the_positive_one_is_taken_apart(name: str, scale: str) -> None:
    model, test, _ = fitted(name, "binary", **({"num_boost_round": 40} if name == "xgboost" else {}))
    said = contributions(model, test.values[0], test.values)
    assert (said["class"], said["scale"]) == ("high", scale)
    assert said["prediction"] == pytest.approx(model.predict(test.values[:1])[0, 1])
    assert said["rest"] == pytest.approx(0, abs=1e-3)
    assert "amount" not in said["features"][0]
    assert next(each for each in said["features"] if each["name"] == "kind")["value"] in ("a", "b")


def test_of_a_wide_table_no_more_is_answered_than_was_promised() -> None:
    asked = []

    class Many:
        def predict(self, values: np.ndarray) -> np.ndarray:
            asked.append(len(values))
            return values[:, 0]

    features = tuple(Feature(f"f{at}") for at in range(300))
    schema = Schema("table", "regression", "austin", "x", "y", TargetTransform("none"), features)
    card: Any = SimpleNamespace(schema=schema, features=schema.names, describe={}, shares={})
    values = np.random.default_rng(0).normal(size=(5000, 300))
    found = importances(Model(Many(), card), values, values[:, 0])
    assert list(found["features"]) == ["f0"]
    assert found["left_out"] == 100
    assert sum(asked) <= MOST_ANSWERS + found["rows"]


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_the_best() -> None:
    losses = [1 / (at + 1) for at in range(1000)]
    said = Curve(
        "rmse", "round", {"train": losses, "validation": [*losses[:-1], float("nan")]}, 701
    ).to_json()
    assert len(said["rounds"]) <= MOST_POINTS
    assert {1, 702, 1000} <= set(said["rounds"])
    assert said["best"] == 702
    assert said["train"][said["rounds"].index(702)] == losses[701]
    assert said["validation"][-1] is None


def test_xgboost_says_how_it_has_learned() -> None:
    _, _, found = fitted("xgboost", num_boost_round=50)
    said = found.curve.to_json()
    assert len(said["train"]) == len(said["validation"]) == len(said["rounds"]) == said["of_rounds"]
    assert said["validation"][said["best"] - 1] == min(said["validation"])
    assert said["validation"][0] > 2 * said["validation"][-1]
