"""A booster in XGBoost's own formats, JSON and UBJSON: its trees stay as they are, its features become the city's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from algorithms.xgboost import names_for_xgboost
from booster_shape import WrongShape, check_shape
from city import City
from city_inputs import columns_of, refuse_other_task
from converted import Converted, probabilities
from job_failure import listed
from lean_xgboost import xgboost
from packed_trees import CLASS_LINKS, LINKS
from probabilities import softmax
from refusal import Refused, shown
from table_schema import BINARY, REGRESSION, Schema
from tree_model import loaded_booster

_SOFTMAX, _SOFTPROB = "multi:softmax", "multi:softprob"
_MOST_DEPTH = 100


def convert_xgboost(content: bytes, city: City) -> Converted:
    """Take a booster.

    :param content: the file's bytes.
    :raises Refused: XGBoost can't read it, or servers would not take it.
    """
    schema, booster = city.schema, _read(content)
    notes = []
    best = booster.attr("best_iteration")
    if best is not None and best.isdigit() and 0 <= int(best) < booster.num_boosted_rounds() - 1:
        notes.append(
            f"Of its {booster.num_boosted_rounds()} rounds the first {int(best) + 1} count, up to "
            "best_iteration, as in "
            "XGBoost's scikit-learn wrapper."
        )
        booster = booster[: int(best) + 1]
    document = json.loads(bytes(booster.save_raw("json")))
    learner = document["learner"]
    objective = _refuse_kind(learner, schema)
    if learner["learner_model_param"]["num_target"] != "1":
        raise Refused("it predicts several targets for a row; allowed: one")
    # A booster of this project, and whoever follows it, spells the names that XGBoost refuses.
    spelled = dict(zip(names_for_xgboost(schema.names), schema.names, strict=True))
    names = booster.feature_names and [spelled.get(name, name) for name in booster.feature_names]
    columns = columns_of(schema, names or None, booster.num_features(), city.features)
    model = learner["gradient_booster"]
    model = model["model"] if "model" in model else model["gbtree"]["model"]
    _refuse_categories(model, schema, columns)
    if objective == _SOFTMAX:
        learner["objective"]["name"] = _SOFTPROB
    try:
        check_shape(json.dumps(document).encode())
    except WrongShape as error:
        raise Refused(f"{error}") from None
    _refuse_classes(learner, schema)
    _renamed(learner, model, schema, columns)
    fitted = loaded_booster(json.dumps(document).encode(), schema)

    def answer(values: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(values[:, columns])
        if objective == _SOFTMAX:
            return softmax(np.asarray(booster.inplace_predict(rows, predict_type="margin"), np.float64))
        return probabilities(schema, booster.inplace_predict(rows))

    return Converted(
        "xgboost",
        fitted,
        answer,
        takes_missing=True,
        model=f"{learner['gradient_booster']['name']}, {objective}",
        libraries={"xgboost": xgboost.__version__},
        notes=notes,
    )


def _read(content: bytes) -> Any:
    if not content[:2].startswith(b"{") or content[1:2] not in b'LlIiUmDCHS[$#"' + b" \t\r\n}":
        raise Refused("it is no booster of XGBoost; allowed: what Booster.save_model writes as .json or .ubj")
    if content[1:2] in b'" \t\r\n}':  # the text form: XGBoost's parser follows any depth, and dies of it
        _refuse_depth(content)
        try:
            json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Refused(
                f"it is no JSON ({shown(error)}); allowed: what Booster.save_model writes"
            ) from None
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError as error:
        line = (str(error).strip().splitlines() or ["no more is said"])[0]
        raise Refused(
            f"XGBoost {xgboost.__version__} can't read it ({shown(line.rpartition(': ')[2])}); allowed: what "
            "Booster.save_model writes as .json or .ubj"
        ) from None
    return booster


def _refuse_depth(content: bytes) -> None:
    marks = np.frombuffer(content, np.uint8)
    steps = np.isin(marks, np.frombuffer(b"[{", np.uint8)).astype(np.int32)
    steps -= np.isin(marks, np.frombuffer(b"]}", np.uint8))
    deepest = int(np.cumsum(steps, dtype=np.int64).max(initial=0))
    if deepest > _MOST_DEPTH:
        raise Refused(
            f"it holds lists in lists {deepest} deep; allowed: {_MOST_DEPTH}, far more than a booster has"
        )


def _refuse_kind(learner: dict[str, Any], schema: Schema) -> str:
    kind, objective = learner["gradient_booster"]["name"], str(learner["objective"]["name"])
    if kind == "gblinear":
        raise Refused(
            "it is a linear booster (gblinear), which no server here takes; allowed: gbtree and "
            "dart. Import a linear "
            "model of scikit-learn, or train algorithm linear"
        )
    known = {**LINKS, **CLASS_LINKS, _SOFTMAX: 0}
    if objective not in known:
        raise Refused(f"got objective '{shown(objective)}'; allowed: {listed(sorted(known))}")
    classifies = objective in (*CLASS_LINKS, _SOFTMAX)
    refuse_other_task(schema, classifies, f"objective {objective}")
    if classifies and (objective == "binary:logistic") != (schema.task == BINARY):
        raise Refused(
            f"got objective {objective} with task {schema.task} (classes {listed(schema.classes, 10)}); "
            "allowed: binary:logistic for two classes, multi:softprob or multi:softmax for more"
        )
    return objective


def _refuse_classes(learner: dict[str, Any], schema: Schema) -> None:
    count = int(learner["learner_model_param"]["num_class"])
    if schema.task not in (REGRESSION, BINARY) and count != len(schema.classes):
        raise Refused(
            f"it knows {count} classes; allowed: {len(schema.classes)}, the city's, numbered as in "
            "column target of its "
            f"tables: {listed(schema.classes, 10)}"
        )


def _refuse_categories(model: dict[str, Any], schema: Schema, columns: Sequence[int]) -> None:
    if any(model.get("cats", {}).values()):
        raise Refused(
            "it was trained on a data frame's categories, whose numbers it keeps to itself; allowed: "
            "categories as the "
            "numbers of the city's tables (feature_types 'c' on an array)"
        )
    for tree in model["trees"]:
        for kind, feature in zip(tree["split_type"], tree["split_indices"], strict=False):
            if kind and 0 <= feature < len(columns) and schema.features[columns[feature]].kind != "category":
                raise Refused(
                    f"it splits '{schema.names[columns[feature]]}' by category, which is a number in the city's rows"
                )


def _renamed(learner: dict[str, Any], model: dict[str, Any], schema: Schema, columns: Sequence[int]) -> None:
    """Give the booster the city's features, in their order."""
    count = str(len(schema.features))
    for tree in model["trees"]:
        tree["split_indices"] = [
            columns[feature] if left != -1 else 0
            for feature, left in zip(tree["split_indices"], tree["left_children"], strict=True)
        ]
        tree["tree_param"]["num_feature"] = count
    learner["learner_model_param"]["num_feature"] = count
    learner["feature_names"] = names_for_xgboost(schema.names)
    kinds = ["c" if feature.kind == "category" else "q" for feature in schema.features]
    learner["feature_types"] = kinds if "c" in kinds else []
    learner["attributes"] = {}
