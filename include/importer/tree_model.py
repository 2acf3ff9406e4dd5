"""Makes the project's XGBoost model of plain trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from algorithms.xgboost import FittedBooster, names_for_xgboost
from booster_shape import WrongShape, check_shape
from lean_xgboost import xgboost
from plain_trees import EXPONENTIAL, IDENTITY, SIGMOID, SOFTMAX, Forest, booster_json, check_forest
from refusal import Refused
from table_schema import BINARY, MULTICLASS, Schema

MOST_BOOSTER_BYTES = 64 * 1024 * 1024


def booster_model(forest: Forest, schema: Schema, columns: Sequence[int]) -> FittedBooster:
    """Make the model.

    :param forest: of a binary task with one output, for the positive class.
    :param columns: for each input of the trees the feature's number in the city's rows.
    :raises Refused: the trees are too many, or lead astray.
    """
    check_forest(forest, len(columns))
    places = np.asarray(columns, np.int64)
    forest = replace(
        forest,
        trees=[
            replace(tree, feature=places[np.where(tree.left >= 0, tree.feature, 0)]) for tree in forest.trees
        ],
    )
    wanted = len(schema.classes) if schema.task == MULTICLASS else 1
    if forest.outputs != wanted or forest.link not in _links(schema):
        raise AssertionError(f"{forest.outputs} outputs with link {forest.link} for task {schema.task}")
    return loaded_booster(booster_json(forest, names_for_xgboost(schema.names)), schema)


def loaded_booster(content: bytes, schema: Schema) -> FittedBooster:
    """Load a booster whose features are the city's.

    :param content: as XGBoost writes it in JSON.
    :raises Refused: it is more than servers take.
    """
    try:
        check_shape(content)
    except WrongShape as error:
        raise Refused(str(error)) from None
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(content))
    size = len(bytes(booster.save_raw("ubj")))
    if size > MOST_BOOSTER_BYTES:
        raise Refused(
            f"as a booster it has {size} bytes; allowed: {MOST_BOOSTER_BYTES}, what servers take. "
            "Train with fewer or "
            "smaller trees"
        )
    report = {"rounds": booster.num_boosted_rounds(), "xgboost_version": xgboost.__version__}
    return FittedBooster(booster, schema, report)


def _links(schema: Schema) -> tuple[str, ...]:
    if schema.task == BINARY:
        return (SIGMOID, IDENTITY)
    return (SOFTMAX, IDENTITY) if schema.task == MULTICLASS else (IDENTITY, EXPONENTIAL)
