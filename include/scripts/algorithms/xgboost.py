"""Gradient-boosted trees by XGBoost: early stopping on the validation part, then a refit on both parts.

The same inputs give the same bytes of the booster. Categories are split as such; nothing is imputed or scaled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from booster_check import MOST_BYTES, BoosterRefused, checked
from job_failure import JobFailure, listed
from lean_xgboost import xgboost
from learning_curve import Curve
from model_card import BOOSTER_FILE, MODEL_FILE, TREES_FILE, ArtifactError, read_member
from packed_trees import pack_trees
from probabilities import in_classes
from table_schema import BINARY, MULTICLASS, REGRESSION, Schema, Table

# nthread and device are left out: they follow from the machine, and the same inputs must give the same model.
SPEC = {
    "tasks": ["regression", "binary", "multiclass"],
    "needs": ["xgboost"],
    "hyperparameters": {
        "num_boost_round": {"low": 1, "high": 100000, "whole": True, "default": 400},
        "early_stopping_rounds": {"low": 0, "whole": True, "default": 30},
        "eta": {"low": 0, "high": 1, "above": True},
        "learning_rate": {"low": 0, "high": 1, "above": True},
        "gamma": {"low": 0},
        "min_split_loss": {"low": 0},
        "max_depth": {"low": 0, "high": 64, "whole": True},
        "min_child_weight": {"low": 0},
        "max_delta_step": {"low": 0},
        "subsample": {"low": 0, "high": 1, "above": True},
        "colsample_bytree": {"low": 0, "high": 1, "above": True},
        "colsample_bylevel": {"low": 0, "high": 1, "above": True},
        "colsample_bynode": {"low": 0, "high": 1, "above": True},
        "lambda": {"low": 0},
        "reg_lambda": {"low": 0},
        "alpha": {"low": 0},
        "reg_alpha": {"low": 0},
        "max_leaves": {"low": 0, "whole": True},
        "max_bin": {"low": 2, "whole": True},
        "num_parallel_tree": {"low": 1, "whole": True},
        "base_score": {},
        "tweedie_variance_power": {"low": 1, "high": 2, "above": True},
        "huber_slope": {"low": 0, "above": True},
        "scale_pos_weight": {"low": 0, "above": True},
        "rate_drop": {"low": 0, "high": 1},
        "skip_drop": {"low": 0, "high": 1},
        "one_drop": {"low": 0, "high": 1, "whole": True},
        "verbosity": {"low": 0, "high": 3, "whole": True},
        "objective": {
            "choices": [
                "reg:squarederror",
                "reg:absoluteerror",
                "reg:pseudohubererror",
                "reg:squaredlogerror",
                "reg:gamma",
                "reg:tweedie",
                "count:poisson",
                "binary:logistic",
                "multi:softprob",
            ],
            "only": {"binary": ["binary:logistic"], "multiclass": ["multi:softprob"]},
        },
        "eval_metric": {
            "choices": [
                "rmse",
                "mae",
                "mape",
                "rmsle",
                "mphe",
                "logloss",
                "error",
                "auc",
                "mlogloss",
                "merror",
            ],
            "only": {"binary": ["logloss", "error", "auc"], "multiclass": ["mlogloss", "merror"]},
        },
        "booster": {"choices": ["gbtree", "dart"]},
        "tree_method": {"choices": ["auto", "exact", "approx", "hist"]},
        "grow_policy": {"choices": ["depthwise", "lossguide"]},
        "sampling_method": {"choices": ["uniform"]},
        "sample_type": {"choices": ["uniform", "weighted"]},
        "normalize_type": {"choices": ["tree", "forest"]},
        "monotone_constraints": {"text": True},
        "interaction_constraints": {"text": True},
    },
    "same": [
        ["eta", "learning_rate"],
        ["gamma", "min_split_loss"],
        ["lambda", "reg_lambda"],
        ["alpha", "reg_alpha"],
    ],
}
_OBJECTIVES = {BINARY: "binary:logistic", MULTICLASS: "multi:softprob"}
_LOG_LINKS = ("reg:gamma", "reg:tweedie", "count:poisson")
_NOT_FOR_XGBOOST = re.compile(r"[\[\]<%\x00-\x1f\x7f]")


class Booster:
    """A booster that answers in a schema's terms.

    :param booster: XGBoost's.
    """

    def __init__(self, booster: Any, schema: Schema) -> None:
        self.booster = booster
        self._schema = schema

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows) or probabilities (rows × classes)."""
        raw = np.asarray(self.booster.inplace_predict(values), dtype=np.float64)
        return in_classes(raw, self._schema.task)

    def contributions(self, values: np.ndarray, background: np.ndarray) -> np.ndarray:
        """Say what each feature adds to the margin of some rows: TreeSHAP, as XGBoost computes it.

        :param values: rows × features.
        :param background: not needed: a booster knows how many rows of training went which way.
        :return: rows × (features + 1) × outputs; last what an average row has. Each row's sum is its margin.
        """
        del background
        matrix = _data(self._schema, values)
        found = np.asarray(self.booster.predict(matrix, pred_contribs=True, strict_shape=True), np.float64)
        return found.transpose(0, 2, 1)

    @property
    def link(self) -> str:
        """What makes a label of a margin: ``identity``, ``log``; ``logit`` or ``softmax`` of a classification."""
        if self._schema.task != REGRESSION:
            return "logit" if self._schema.task == BINARY else "softmax"
        objective = json.loads(self.booster.save_config())["learner"]["objective"]["name"]
        return "log" if objective in _LOG_LINKS else "identity"


class FittedBooster(Booster):
    """A booster, and what is worth knowing about its training.

    :param judged: predictions for the validation part by a booster that has not seen it.
    :param curve: how it learned, round by round.
    """

    def __init__(
        self,
        booster: Any,
        schema: Schema,
        report: dict[str, Any],
        judged: np.ndarray | None = None,
        curve: Curve | None = None,
    ) -> None:
        super().__init__(booster, schema)
        self._report = report
        self.judged = judged
        self.curve = curve

    def describe(self) -> dict[str, Any]:
        """Rounds, the early stopping's own score, and the gain of each feature."""
        return self._report

    def save(self, folder: Path) -> None:
        """Write the booster where the managed container looks for it, the artifact's root, and its packed trees."""
        (folder.parent / BOOSTER_FILE).write_bytes(bytes(self.booster.save_raw("ubj")))
        trees = pack_trees(self.booster)
        if trees is not None:
            (folder.parent / TREES_FILE).write_bytes(trees)


def fit(
    train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
) -> FittedBooster:
    """Find the number of rounds on the validation part, then fit both.

    :raises JobFailure: XGBoost refuses the hyperparameters or the data.
    """
    schema = train.schema
    given = dict(hyperparameters)
    rounds, patience = given.pop("num_boost_round"), given.pop("early_stopping_rounds")
    parameters = {"verbosity": 1, **given, "seed": seed, "nthread": threads}
    if schema.task != REGRESSION:
        parameters.setdefault("objective", _OBJECTIVES[schema.task])
    if schema.task == MULTICLASS:
        parameters["num_class"] = len(schema.classes)
    history: dict[str, Any] = {}
    try:
        held, learned = _matrix(schema, [validation], threads), _matrix(schema, [train], threads)
        trial = xgboost.train(
            parameters,
            learned,
            num_boost_round=rounds,
            evals=[(learned, "train"), (held, "validation")],  # the last one stops it
            early_stopping_rounds=patience or None,
            evals_result=history,
            verbose_eval=50,
        )
        metric, scores = next(iter(history["validation"].items()))
        best = trial.best_iteration if patience else len(scores) - 1
        trial.set_param({"nthread": 1})
        judged = Booster(trial[: best + 1], schema).predict(validation.values)
        booster = xgboost.train(
            parameters, _matrix(schema, [train, validation], threads), num_boost_round=best + 1
        )
    except xgboost.core.XGBoostError as error:
        # XGBoost prints a C++ stack trace after the one line that says what is wrong.
        raise JobFailure(
            f"XGBoost refused the hyperparameters or the data: {str(error).splitlines()[0]}"
        ) from None
    gains = booster.get_score(importance_type="gain")
    report = {
        "best_iteration": best,
        "rounds": best + 1,
        "rounds_tried": len(scores),
        "validation": {"metric": metric, "value": float(scores[best])},
        "importance_gain": {
            name: gains[spelled]
            for name, spelled in zip(schema.names, names_for_xgboost(schema.names), strict=True)
            if spelled in gains
        },
        "xgboost_version": xgboost.__version__,
    }
    curve = Curve(metric, "round", {part: history[part][metric] for part in ("train", "validation")}, best)
    return FittedBooster(booster, schema, report, judged, curve)


def load(folder: Path, schema: Schema) -> Booster:
    """Load a booster; it predicts on one thread, for one row is too little work for more.

    :raises ArtifactError: it is broken, hostile, or not of the schema.
    """
    content = read_member(
        folder.parent, BOOSTER_FILE, MOST_BYTES, "it holds the booster in XGBoost's own format"
    )
    booster = xgboost.Booster({"nthread": 1})
    try:
        # A sha256 is the archive's own, so it proves nothing: the file is opened elsewhere first.
        booster.load_model(bytearray(checked(content)))
    except BoosterRefused as error:
        raise ArtifactError(f"{BOOSTER_FILE}: {error}. Train the model again.") from None
    # An artifact of an earlier version holds names with "%" as they are.
    if booster.feature_names not in (names_for_xgboost(schema.names), schema.names) or (
        booster.num_features() != len(schema.features)
    ):
        raise ArtifactError(
            f"{MODEL_FILE}: its features ({_named(schema.names)}) are not those of the booster "
            f"({_named(booster.feature_names or [])})."
        )
    model = Booster(booster, schema)
    shape = booster.inplace_predict(np.full((1, len(schema.features)), np.nan)).shape
    wanted = (1, len(schema.classes)) if schema.task == MULTICLASS else (1,)
    if shape != wanted:
        raise ArtifactError(f"{BOOSTER_FILE}: it is not of the task that {MODEL_FILE} says ({schema.task}).")
    return model


def names_for_xgboost(features: Sequence[str]) -> list[str]:
    """Spell features as XGBoost takes them: it refuses names with ``[``, ``]`` or ``<``.

    Those and ``%`` are percent-encoded, so that two names never meet. Everybody else sees the names as they are.
    """
    return [_NOT_FOR_XGBOOST.sub(lambda found: f"%{ord(found[0]):02X}", name) for name in features]


def _matrix(schema: Schema, parts: Sequence[Table], threads: int) -> Any:
    weight = np.concatenate([part.weight for part in parts])
    return _data(
        schema,
        np.concatenate([part.values for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        weight=None if bool((weight == 1).all()) else weight,
        nthread=threads,
    )


def _data(schema: Schema, values: np.ndarray, **given: Any) -> Any:
    categories = [feature.kind == "category" for feature in schema.features]
    return xgboost.DMatrix(
        values,
        feature_names=names_for_xgboost(schema.names),
        feature_types=["c" if each else "q" for each in categories] if any(categories) else None,
        enable_categorical=any(categories),
        **given,
    )


def _named(features: Sequence[str]) -> str:
    """Features as a refusal lists them: not at length."""
    return listed([name[:50] for name in features], 10)
