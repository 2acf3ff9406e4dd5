"""Fits models on a city's tables, as somebody elsewhere would: ``python fit_texas.py <tables> <city> <folder>``."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import onnx
import pandas as pd
import skops.io
import xgboost
from onnx import TensorProto, helper
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

tables, city, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
places = [tables / part / f"city={city}" for part in ("train", "validation")]
rows = pd.concat(
    pd.read_csv(place / f"{part}.csv") for place, part in zip(places, ("train", "validation"), strict=True)
)
leading = json.loads((places[0] / "schema.json").read_text(encoding="utf-8"))["leading"]
values, target, label = rows.drop(columns=leading), rows["target"], rows["label"]
ridge = make_pipeline(SimpleImputer(), StandardScaler(), Ridge())
skops.io.dump(ridge.fit(values, target), folder / "ridge.skops")
imputer, scaler, last = (step for _, step in ridge.steps)
nodes = [
    helper.make_node(
        "Imputer",
        ["x"],
        ["filled"],
        domain="ai.onnx.ml",
        imputed_value_floats=imputer.statistics_.tolist(),
        replaced_value_float=math.nan,
    ),
    helper.make_node(
        "Scaler",
        ["filled"],
        ["scaled"],
        domain="ai.onnx.ml",
        offset=scaler.mean_.tolist(),
        scale=(1 / scaler.scale_).tolist(),
    ),
    helper.make_node(
        "LinearRegressor",
        ["scaled"],
        ["y"],
        domain="ai.onnx.ml",
        coefficients=last.coef_.tolist(),
        intercepts=[float(last.intercept_)],
    ),
]
graph = helper.make_graph(
    nodes,
    "ridge",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, values.shape[1]])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
)
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "ridge.onnx")
matrix = xgboost.DMatrix(values, label=label)
parameters = {
    "eta": 0.05,
    "max_depth": 4,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "min_child_weight": 3,
    "nthread": 1,
}
xgboost.train(parameters, matrix, 120).save_model(folder / "label.ubj")
