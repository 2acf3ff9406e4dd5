"""Fits models as people elsewhere do, imports each, and says what came of it: ``python foreign_models.py <folder>``.

Runs in the importer's Python, with the scripts, the importer and this folder on its path. Standard output is one JSON
object: name of the case → the importer's report, or ``{"refused": sentence}``.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
import xgboost
from foreign_tables import CLASSES, NAMES, city_table, write_city
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import comparison
import conversion
from conversion import Asked, convert
from job_failure import JobFailure
from model_artifact import load_artifact, load_packed_artifact
from table_schema import BINARY, MULTICLASS, REGRESSION

FOLDER = Path(sys.argv[1])
REPORTS: dict[str, Any] = {}
#: The library of the model that was compared last.
LAST: dict[str, Callable[[np.ndarray], np.ndarray]] = {}


def remembered(schema: Any, rows: np.ndarray, own: int, ours: Any, theirs: Any) -> comparison.Comparison:
    """Compare, and keep the library."""
    LAST["answer"] = theirs
    return comparison.compare(schema, rows, own, ours, theirs)


conversion.compare = remembered


def data(task: str, missing: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows and targets of a city's training part."""
    table = city_table(task, "train", missing=missing)
    return table.values, table.target


def tables(missing: bool) -> Path:
    """Where the cities' tables are; those of the second kind have missing values."""
    folder = FOLDER / ("tables_missing" if missing else "tables")
    if not folder.exists():
        for task in CLASSES:
            write_city(folder, task, missing=missing)
    return folder


def take(name: str, content: bytes, task: str = REGRESSION, *, missing: bool = False, **more: Any) -> None:
    """Import a file, load what was written as servers do, and keep what came of it."""
    file, out = FOLDER / "model", FOLDER / "out"
    file.write_bytes(content)
    shutil.rmtree(out, ignore_errors=True)
    asked = {"kind": None, "features": None, "keeps_transform": False, **more}
    try:
        convert(Asked(file=file, name=name, city=task, tables=tables(missing), output=out, **asked))
    except JobFailure as refusal:
        REPORTS[name] = {"refused": str(refusal)}
        return
    report = json.loads((out / "training.json").read_text(encoding="utf-8"))
    model = load_artifact(out / "artifact")
    packed = load_packed_artifact(out / "artifact")
    samples = json.loads((out / "artifact" / "city_fleet" / "samples.json").read_text(encoding="utf-8"))
    rows = np.array([[np.nan if cell is None else cell for cell in row] for row in samples["rows"]])
    report["loaded"] = bool(np.array_equal(model.predict(rows), np.array(samples["predictions"])))
    report["packed"] = packed is not None
    kept = FOLDER / "kept" / f"model{len(REPORTS)}"
    shutil.copytree(out / "artifact", kept)
    report["artifact"], report["rows"] = kept.name, samples["rows"]
    # What the model's own library says of these rows, for whoever asks a server.
    report["answers"] = LAST["answer"](rows).tolist()
    REPORTS[name] = report


def estimators() -> None:
    """Every kind of estimator, in the tasks that it has."""
    regressors = [
        *(LinearRegression(), Ridge(), Lasso(), ElasticNet(), DecisionTreeRegressor(random_state=0)),
        RandomForestRegressor(20, random_state=0),
        ExtraTreesRegressor(10, random_state=0),
        GradientBoostingRegressor(n_estimators=30, loss="huber", random_state=0),
        *(
            HistGradientBoostingRegressor(max_iter=30),
            HistGradientBoostingRegressor(max_iter=20, loss="poisson"),
        ),
        make_pipeline(StandardScaler(), MLPRegressor(max_iter=30, random_state=0)),
        make_pipeline(
            MinMaxScaler(),
            MLPRegressor(hidden_layer_sizes=(9, 5), activation="logistic", max_iter=30, random_state=0),
        ),
        make_pipeline(
            StandardScaler(),
            MLPRegressor(hidden_layer_sizes=(9, 5), activation="identity", max_iter=30, random_state=0),
        ),
        KNeighborsRegressor(),
        make_pipeline(StandardScaler(), KNeighborsRegressor(7, weights="distance")),
    ]
    classifiers = [
        LogisticRegression(max_iter=2000),
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(20, random_state=0),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        HistGradientBoostingClassifier(max_iter=20),
        make_pipeline(StandardScaler(), MLPClassifier(max_iter=30, random_state=0)),
        make_pipeline(StandardScaler(), KNeighborsClassifier(9)),
    ]
    for task, models in ((REGRESSION, regressors), (BINARY, classifiers), (MULTICLASS, classifiers)):
        rows, target = data(task)
        for number, model in enumerate(models):
            take(f"{task} {number} {model}", skops.io.dumps(model.fit(rows, np.abs(target))), task)
    rows, target = data(BINARY)
    turned = np.array(["yes", "no"])[target.astype(int)]
    for model in (RandomForestClassifier(5, random_state=0), LogisticRegression(max_iter=2000)):
        # Of classes by name the second in alphabetical order may be the city's first.
        take(f"names {type(model).__name__}", skops.io.dumps(model.fit(rows, turned)), BINARY)
    rows, target = data(REGRESSION, missing=True)
    for model in (
        make_pipeline(SimpleImputer(), StandardScaler(), Ridge()),
        make_pipeline(SimpleImputer(strategy="median"), GradientBoostingRegressor(n_estimators=10)),
        RandomForestRegressor(5, random_state=0),
        HistGradientBoostingRegressor(max_iter=10),
    ):
        take(f"missing {model}", skops.io.dumps(model.fit(rows, target)), missing=True)
    frame = pd.DataFrame(data(REGRESSION)[0], columns=list(NAMES))[["age", "rooms"]]
    take("frame", skops.io.dumps(Ridge().fit(frame, data(REGRESSION)[1])))


def boosters() -> None:
    """XGBoost's own files, and an artifact that was made of one."""
    cases: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("gbtree", REGRESSION, {}),
        ("dart", REGRESSION, {"booster": "dart", "rate_drop": 0.3}),
        ("poisson", REGRESSION, {"objective": "count:poisson"}),
        ("logistic", BINARY, {"objective": "binary:logistic"}),
        ("softprob", MULTICLASS, {"objective": "multi:softprob", "num_class": 3}),
        ("softmax", MULTICLASS, {"objective": "multi:softmax", "num_class": 3}),
        ("gblinear", REGRESSION, {"booster": "gblinear"}),
        ("quantile", REGRESSION, {"objective": "reg:quantileerror", "quantile_alpha": 0.5}),
    )
    for name, task, parameters in cases:
        rows, target = data(task)
        matrix = xgboost.DMatrix(rows, label=np.abs(target))
        booster = xgboost.train({"nthread": 1, "verbosity": 0, **parameters}, matrix, 12)
        take(f"xgboost {name} json", bytes(booster.save_raw("json")), task)
        take(f"xgboost {name} ubj", bytes(booster.save_raw("ubj")), task)
    rows, target = data(REGRESSION)
    two = xgboost.DMatrix(rows[:, [2, 0]], label=target, feature_names=["age", "rooms"])
    booster = xgboost.train({"nthread": 1}, two, 60)
    booster.set_attr(best_iteration="9")
    content = bytes(booster.save_raw("json"))
    take("xgboost named", content)
    shutil.copy(FOLDER / "out" / "model.tar.gz", FOLDER / "own.tar.gz")
    take("xgboost renamed", content, features=["floor", "distance"])
    take("xgboost misspelled", content, features=["floor", "distnce"])
    take("xgboost three names", content, features=["floor", "distance", "age"])
    take("xgboost for classes", content, BINARY)
    take("artifact", (FOLDER / "own.tar.gz").read_bytes())
    take("artifact elsewhere", (FOLDER / "own.tar.gz").read_bytes(), BINARY)


def network(weights: Sequence[np.ndarray], activation: str, last: str | None = None) -> Any:
    """A network as PyTorch exports it: Gemm with transposed weights, and activations."""
    nodes, initializers, before = [], [], "x"
    for number, each in enumerate(weights):
        names = f"w{number}", f"b{number}"
        bias = np.linspace(-1, 1, len(each)).astype(np.float32)
        initializers += [
            numpy_helper.from_array(each.astype(np.float32), names[0]),
            numpy_helper.from_array(bias, names[1]),
        ]
        nodes.append(helper.make_node("Gemm", [before, *names], [f"g{number}"], transB=1))
        before = f"g{number}"
        kind = activation if number < len(weights) - 1 else last
        if kind:
            nodes.append(helper.make_node(kind, [before], [f"a{number}"]))
            before = f"a{number}"
    return onnx_model(nodes, before, initializers, weights[0].shape[1])


def onnx_model(nodes: list[Any], output: str, initializers: Sequence[Any] = (), width: int = 5) -> Any:
    """A model of one input of rows and one output."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def ensemble(mode: str, tracks: int) -> Any:
    """Two trees whose thresholds are met exactly by the city's whole numbers."""
    attributes = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2, 0, 1, 2],
        "nodes_featureids": [0, 0, 0, 4, 0, 0],
        "nodes_values": [4.0, 0.0, 0.0, 2.0, 0.0, 0.0],
        "nodes_modes": [mode, "LEAF", "LEAF"] * 2,
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "nodes_missing_value_tracks_true": [tracks, 0, 0] * 2,
        "target_treeids": [0, 0, 1, 1],
        "target_nodeids": [1, 2, 1, 2],
        "target_ids": [0, 0, 0, 0],
        "target_weights": [1.5, -2.0, 10.0, 20.0],
        "n_targets": 1,
        "base_values": [100.0],
    }
    return onnx_model(
        [helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **attributes)], "y"
    )


def graphs() -> None:
    """ONNX, as exporters write it."""
    random = np.random.default_rng(0)

    def weights(*sizes: int) -> list[np.ndarray]:
        return [random.normal(size=(after, before)) / 20 for before, after in pairwise(sizes)]

    for activation in ("Relu", "Tanh", "Sigmoid"):
        take(f"onnx {activation}", network(weights(5, 8, 4, 1), activation).SerializeToString())
    take("onnx linear", network(weights(5, 1), "Relu").SerializeToString())
    take("onnx logistic", network(weights(5, 6, 1), "Relu", "Sigmoid").SerializeToString(), BINARY)
    take("onnx softmax of two", network(weights(5, 6, 2), "Relu", "Softmax").SerializeToString(), BINARY)
    take("onnx softmax", network(weights(5, 6, 3), "Tanh", "Softmax").SerializeToString(), MULTICLASS)
    for mode in ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"):
        for tracks in (0, 1):
            content = ensemble(mode, tracks).SerializeToString()
            take(f"onnx {mode} {tracks}", content, missing=True)
    take(
        "onnx three inputs",
        network(weights(3, 1), "Relu").SerializeToString(),
        features=["age", "floor", "rooms"],
    )
    take("onnx three inputs without names", network(weights(3, 1), "Relu").SerializeToString())


def hostile() -> None:
    """Files that must not be taken, each with a sentence."""
    random = np.random.default_rng(0)
    take("pickle", b"\x80\x04\x95cos\nsystem\n")
    take("pickle of old", b"cos\nsystem\n(S'true'\ntR.")
    take("joblib", b"\x78\x9c" + bytes(50))
    take("program", b"\x7fELF" + bytes(50))
    take("nothing", b"")
    take("junk", bytes(range(48, 90)))
    take("wrong format", b'{"learner": {}}', kind="onnx")
    take("deep json", b'{"learner":' + b"[" * 1_000_000)
    take("json", b'{"learner": {}}')
    rows, target = data(REGRESSION)
    booster = xgboost.train({"nthread": 1, "max_depth": 2}, xgboost.DMatrix(rows, label=target), 2)
    document = json.loads(bytes(booster.save_raw("json")))
    trees = document["learner"]["gradient_booster"]["model"]["trees"]

    def changed(name: str, change: Callable[[dict[str, Any]], None]) -> None:
        kept = json.dumps(document)
        change(trees[0])
        take(name, json.dumps(document).encode())
        document.clear()
        document.update(json.loads(kept))
        trees[:] = document["learner"]["gradient_booster"]["model"]["trees"]
        document["learner"]["gradient_booster"]["model"]["trees"] = trees

    changed("tree in a circle", lambda tree: tree["left_children"].__setitem__(1, 0))
    changed("no such feature", lambda tree: tree["split_indices"].__setitem__(0, 99))
    changed("leaf without a number", lambda tree: tree["split_conditions"].__setitem__(3, float("1e999")))
    external = network([random.normal(size=(1, 5))], "Relu")
    external.graph.initializer[0].data_location = TensorProto.EXTERNAL
    external.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    take("onnx external", external.SerializeToString())
    large = network([random.normal(size=(1, 5))], "Relu")
    large.graph.initializer[0].dims[:] = [1 << 40, 5]
    take("onnx large", large.SerializeToString())
    foreign = helper.make_node("Gift", ["x"], ["y"], domain="com.example")
    take("onnx custom", onnx_model([foreign], "y").SerializeToString())
    inside = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "inside", [], [])
    loop = helper.make_node("If", ["x"], ["y"], then_branch=inside, else_branch=inside)
    take("onnx control flow", onnx_model([loop], "y").SerializeToString())
    take("onnx erf", onnx_model([helper.make_node("Erf", ["x"], ["y"])], "y").SerializeToString())
    circle = ensemble("BRANCH_LEQ", 0)
    next(each for each in circle.graph.node[0].attribute if each.name == "nodes_truenodeids").ints[0] = 0
    take("onnx circle", circle.SerializeToString())
    mixed = network([random.normal(size=size) for size in ((4, 5), (3, 4), (1, 3))], "Relu")
    take("onnx mixed", mixed.SerializeToString().replace(b"Relu", b"Tanh", 1))
    take("onnx not", b"\x08\x09" + bytes(30))
    foreign_types = make_pipeline(FunctionTransformer(np.log1p), Ridge()).fit(np.abs(rows), target)
    take("skops function", skops.io.dumps(foreign_types))
    wrapped = TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1).fit(rows, target)
    take("skops transformed", skops.io.dumps(wrapped))
    good = skops.io.dumps(DecisionTreeRegressor(max_depth=2, random_state=0).fit(rows, target))
    take("skops os", renamed(good, '"__module__": "sklearn.tree._classes"', '"__module__": "os"'))
    take("skops method", renamed(good, '"__loader__": "ObjectNode"', '"__loader__": "MethodNode"'))
    take("skops empty", b"PK\x05\x06" + bytes(18))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("schema.json", "{}")
        file.writestr("0.npy", bytes(600 << 20))
    take("skops bomb", bomb.getvalue())
    scaled = make_pipeline(StandardScaler(), RandomForestRegressor(3)).fit(rows, target)
    take("scaled trees", skops.io.dumps(scaled))
    take("missing values", skops.io.dumps(Ridge().fit(rows, target)), missing=True)
    take("artifact bomb", b"\x1f\x8b" + bytes(40))


def renamed(content: bytes, old: str, new: str) -> bytes:
    """A skops file whose schema says something else in one place."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.infolist():
            body = source.read(member)
            if member.filename == "schema.json":
                text = json.dumps(json.loads(body))
                if old not in text:
                    raise AssertionError(old)
                body = text.replace(old, new, 1).encode()
            target.writestr(member.filename, body)
    return made.getvalue()


warnings.simplefilter("ignore")
for each in (estimators, boosters, graphs, hostile):
    each()
print(json.dumps(REPORTS))
