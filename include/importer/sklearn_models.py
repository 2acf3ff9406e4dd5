"""Scikit-learn's estimators as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import plain_layers as layers
from city import City
from city_inputs import class_order, columns_of, refuse_categories, refuse_other_task
from converted import Converted, Savable, probabilities
from plain_layers import Inputs, Prepared
from plain_trees import IDENTITY, Forest
from refusal import Refused
from sklearn_trees import FORESTS, prepared_forest
from table_schema import BINARY, REGRESSION, Schema
from tree_model import booster_model

_LINEAR = {
    *(
        "LinearRegression",
        "Ridge",
        "RidgeCV",
        "Lasso",
        "LassoCV",
        "ElasticNet",
        "ElasticNetCV",
        "HuberRegressor",
    ),
    *(
        "BayesianRidge",
        "ARDRegression",
        "Lars",
        "LarsCV",
        "LassoLars",
        "LassoLarsCV",
        "LassoLarsIC",
        "SGDRegressor",
    ),
    *("TheilSenRegressor", "LinearSVR"),
}
_LOGISTIC = {"LogisticRegression", "LogisticRegressionCV", "SGDClassifier"}
_NETWORKS, _NEIGHBOURS = {"MLPRegressor", "MLPClassifier"}, {"KNeighborsRegressor", "KNeighborsClassifier"}
_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid", "identity": "identity"}


def convert_estimator(model: Any, city: City, libraries: Mapping[str, str]) -> Converted:
    """Convert a fitted estimator, or a Pipeline that ends in one.

    :raises Refused: it is of no kind that can be plain arrays, or of another task.
    """
    *steps, last = _flat(model)
    name = type(last).__name__
    schema = city.schema
    refuse_other_task(schema, hasattr(last, "classes_"), f"{name} of scikit-learn")
    columns = columns_of(schema, _names(model), int(model.n_features_in_), city.features)
    order = None if schema.task == REGRESSION else class_order(schema, np.asarray(last.classes_).tolist())
    prepared = _prepared(steps, len(columns))
    takes_missing = prepared.takes_missing
    predictor: Savable
    if name in FORESTS:
        forest, missing = FORESTS[name](last)
        takes_missing = takes_missing or missing
        if schema.task != REGRESSION:
            forest = _of_classes(forest, schema, order)
        predictor, algorithm = booster_model(prepared_forest(forest, prepared), schema, columns), "xgboost"
    else:
        refuse_categories(schema, columns, f"{name} of scikit-learn")
        predictor, algorithm = _layered(name, last, Inputs(schema, columns, prepared, city.usual), order)
    ask: Callable[[np.ndarray], Any] = model.predict
    if schema.task != REGRESSION:
        ask = model.predict_proba
    names = getattr(model, "feature_names_in_", None)
    return Converted(
        algorithm,
        predictor,
        lambda values: probabilities(schema, ask(_rows(values[:, columns], names)), order),
        takes_missing=takes_missing,
        model=" → ".join(type(step).__name__ for step in (*steps, last)),
        libraries=libraries,
    )


def _flat(model: Any) -> list[Any]:
    """The steps of a pipeline, of pipelines in it as well; an estimator alone is one."""
    if type(model).__name__ != "Pipeline":
        return [model]
    return [
        part
        for _, step in model.steps
        if step is not None and not isinstance(step, str)
        for part in _flat(step)
    ]


def _names(model: Any) -> list[str] | None:
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _rows(values: np.ndarray, names: Any) -> Any:
    """Rows as the estimator saw them in training: it warns, and some refuse, where names are not what they were."""
    if names is None:
        return values
    import pandas as pd  # noqa: PLC0415

    return pd.DataFrame(values, columns=list(names))


def _prepared(steps: list[Any], inputs: int) -> Prepared:
    found = Prepared.nothing(inputs)
    for step in steps:
        name = type(step).__name__
        if getattr(step, "clip", False):
            raise Refused(f"its {name} clips values, which plain arrays can't; fit it with clip=False")
        if name == "StandardScaler":
            found = _scaled(found, step.mean_ if step.with_mean else None, step.scale_)
        elif name == "RobustScaler":
            found = _scaled(found, step.center_, step.scale_)
        elif name == "MaxAbsScaler":
            found = _scaled(found, None, step.scale_)
        elif name == "MinMaxScaler":
            found = found.then(np.asarray(step.scale_, np.float64), np.asarray(step.min_, np.float64))
        elif name == "SimpleImputer":
            if step.add_indicator or not _is_nan(step.missing_values):
                raise Refused(
                    "its SimpleImputer adds indicators or fills other values than NaN; allowed: neither"
                )
            found = found.filled(np.asarray(step.statistics_, np.float64))
        else:
            raise Refused(
                f"its Pipeline has a {name}; allowed: StandardScaler, MinMaxScaler, MaxAbsScaler, "
                "RobustScaler, SimpleImputer, "
                "and a model at the end"
            )
    return found


def _scaled(found: Prepared, mean: Any, scale: Any) -> Prepared:
    if mean is not None:
        found = found.then(1.0, -np.asarray(mean, np.float64))
    return found if scale is None else found.then(1 / np.asarray(scale, np.float64), 0.0)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


def _of_classes(forest: Forest, schema: Schema, order: list[int] | None) -> Forest:
    """Bring a classifier's trees to the city's classes: one output, the positive class's, of a binary task."""
    if schema.task != BINARY:
        return forest if order is None else forest.with_outputs(order)
    if forest.outputs == 1:  # the second class's logit
        return forest if order is None else forest.scaled(-1.0)
    if forest.link != IDENTITY:
        raise AssertionError(forest.link)
    return forest.with_outputs([1 if order is None else order[1]])


def _layered(name: str, model: Any, inputs: Inputs, order: list[int] | None) -> tuple[Savable, str]:
    schema = inputs.schema
    if name in _LINEAR or name in _LOGISTIC:
        weights = np.atleast_2d(np.asarray(model.coef_, np.float64))
        intercepts = np.broadcast_to(np.asarray(model.intercept_, np.float64), len(weights)).copy()
        if name in _LOGISTIC:
            several = schema.task != BINARY
            if name == "SGDClassifier" and (model.loss != "log_loss" or several):
                raise Refused("an SGDClassifier is taken with loss='log_loss' and two classes alone")
            if several and (
                getattr(model, "solver", "") == "liblinear" or len(weights) != len(schema.classes)
            ):
                raise Refused("it reckons one class against the others; fit it without solver 'liblinear'")
            weights, intercepts = _in_order(weights, intercepts, schema, order)
        return layers.linear_model(inputs, weights, intercepts), "linear"
    if name in _NETWORKS:
        if model.out_activation_ not in ("identity", "logistic", "softmax"):
            raise Refused(
                f"its output has activation {model.out_activation_}; allowed: none, logistic and softmax"
            )
        weights_of = [np.asarray(each, np.float64) for each in model.coefs_]
        biases_of = [np.asarray(each, np.float64) for each in model.intercepts_]
        if schema.task != REGRESSION:
            weights, biases_of[-1] = _in_order(weights_of[-1].T, biases_of[-1], schema, order)
            weights_of[-1] = weights.T
        activations = [_ACTIVATIONS[model.activation]] * (len(weights_of) - 1)
        return layers.layered_model(inputs, list(zip(weights_of, biases_of, strict=True)), activations)
    if name in _NEIGHBOURS:
        return _neighbours(model, inputs, order), "knn"
    raise Refused(f"{name} of scikit-learn can't be turned into plain arrays here")


def _in_order(
    weights: np.ndarray, intercepts: np.ndarray, schema: Schema, order: list[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    if order is None:
        return weights, intercepts
    if schema.task == BINARY:  # one output, the second class's logit
        return -weights, -intercepts
    return weights[order], intercepts[order]


def _neighbours(model: Any, inputs: Inputs, order: list[int] | None) -> Savable:
    if model.effective_metric_ != "euclidean" or model.weights not in ("uniform", "distance"):
        raise Refused(
            f"its neighbours have metric {model.effective_metric_} and weights {model.weights}; "
            "allowed: euclidean distances, "
            "and uniform or distance"
        )
    # Its own tree is whatever the file says; a comparison with every row needs none.
    model._fit_method, model._tree = "brute", None
    rows, label = np.asarray(model._fit_X, np.float64), np.asarray(model._y)
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if order is not None:
        label = np.argsort(order)[label.astype(np.int64)]
    how = int(model.n_neighbors), model.weights == "distance"
    return layers.neighbours_model(inputs, rows, label.astype(np.float64), how)
