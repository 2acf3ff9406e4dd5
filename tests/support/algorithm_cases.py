"""Trains every algorithm for every task on drawn tables.

``python algorithm_cases.py <scripts> <case>``, in the image's Python, prints one JSON line: what the case has found
out. The cases are the functions below whose names have no underscore.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, sys.argv[1])

import algorithms
from candidates import choose
from hyperparameters import checked
from importances import importances
from job_settings import Candidate
from learning_curve import history_of
from model_artifact import Model, load_artifact, save_artifact
from model_card import ArtifactError, ModelCard
from table_parts import joined, rows_of
from table_schema import Baseline, Feature, Schema, Table
from target_transform import TargetTransform
from train import shares
from validation_loss import loss

TASKS = ("regression", "binary", "multiclass")
ROWS, HELD = 300, 100
NUMBERS = (Feature("a"), Feature("b"), Feature("c"), Feature("d"), Feature("e"))
MIXED = (
    Feature("size"),
    Feature("garden", "boolean"),
    Feature("built", "date"),
    Feature("kind", "category", ("Condo", "House", "Loft")),
)
SMALL = {
    "xgboost": {"num_boost_round": 30},
    "mlp": {"max_iter": 15},
    "linear": {},
    "knn": {},
    "baseline": {},
}


def _table(task: str, features: tuple[Feature, ...], seed: int = 0, rows: int = ROWS) -> Table:
    """A table whose target hangs on all features; some values are missing, weights differ."""
    draws = np.random.default_rng(seed)
    columns = {
        "number": lambda: draws.normal(size=rows),
        "boolean": lambda: draws.integers(0, 2, rows).astype(float),
        "date": lambda: draws.integers(9000, 16000, rows).astype(float),
        "category": lambda: draws.integers(0, 4, rows).astype(float),
    }
    values = np.column_stack([columns[feature.kind]() for feature in features])
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    score = scaled @ np.arange(1, len(features) + 1) + 0.3 * draws.normal(size=rows)
    values[draws.random(values.shape) < 0.05] = np.nan
    known = {
        "regression": (),
        "binary": ("no", "yes"),
        "multiclass": ("x", "y", "z"),
        "two classes": ("x", "y"),
    }
    classes = known[task]
    label = score if not classes else np.digitize(score, np.quantile(score, [0.4, 0.7][: len(classes) - 1]))
    baseline = (
        Baseline("median", (0.0,)) if not classes else Baseline("shares", (1 / len(classes),) * len(classes))
    )
    none = TargetTransform("none")
    task = "multiclass" if task == "two classes" else task
    schema = Schema("table", task, "austin", "20150801T000000Z", "price", none, features, classes, baseline)
    names = [str(number) for number in range(rows)]
    weight = draws.uniform(0.5, 2, rows)
    return Table(schema, names, label.astype(float), label.astype(float), weight, values)


def _general() -> list[str]:
    """The algorithms that are for any table."""
    return [name for name in algorithms.names() if "kinds" not in algorithms.algorithm(name).SPEC]


def _parts(table: Table) -> tuple[Table, Table, Table]:
    held = HELD // 2
    return (
        rows_of(table, slice(0, -2 * held)),
        rows_of(table, slice(-2 * held, -held)),
        rows_of(table, slice(-held, None)),
    )


def _fit(name: str, train: Table, validation: Table, **given: Any) -> Any:
    module = algorithms.algorithm(name)
    hyperparameters = checked(module.SPEC, train.schema.task, SMALL.get(name, {}) | given)
    return module.fit(train, validation, hyperparameters, seed=0, threads=1)


def round_trips() -> list[Any]:
    """Per algorithm and task: how far a loaded artifact is from the fitted one, whether twice gives the same bytes, and
    how much better than the baseline it is on rows that it has not seen."""
    found = []
    for task in (*TASKS, "two classes"):
        train, validation, test = _parts(_table(task, MIXED))
        floor = loss(test, _fit("baseline", train, validation).predict(test.values))
        other = _fit("xgboost", train, validation)
        for name in _general():
            digests = []
            for again in range(2):
                fitted = _fit(name, train, validation)
                card = ModelCard(train.schema, name, {"train": 1}, describe=fitted.describe())
                with tempfile.TemporaryDirectory() as folder:
                    if again:  # nothing stays of another artifact where this one is written
                        before = ModelCard(train.schema, "xgboost", {"train": 2})
                        save_artifact(Path(folder), Model(other, before), test.values[:9])
                    save_artifact(Path(folder), Model(fitted, card), test.values[:5])
                    digests.append(
                        {
                            str(path): path.read_bytes()
                            for path in sorted(Path(folder).rglob("*"))
                            if path.is_file()
                        }
                    )
                    model = load_artifact(Path(folder))
                    off = float(np.abs(model.predict(test.values) - fitted.predict(test.values)).max())
                    samples = json.loads(Path(folder, "city_fleet/samples.json").read_text(encoding="utf-8"))
                    rows = [
                        [feature.encode(cell) for feature, cell in zip(MIXED, row, strict=True)]
                        for row in samples["rows"]
                    ]
                    answers = model.predict(np.array(rows, float)).tolist()
            same = list(digests[0].values()) == list(digests[1].values())
            gain = floor / loss(test, fitted.predict(test.values))
            whole = task == "regression" or np.allclose(fitted.predict(test.values).sum(axis=1), 1, atol=1e-6)
            found.append([name, task, off, same, gain, bool(whole), answers == samples["predictions"]])
    return found


def explained() -> list[Any]:
    """Per algorithm and task: how far the sums of contributions are from the answers (None where it says none), whether
    its importances add up to 1, and whether its curve's best round is the one with the smallest loss."""
    found = []
    for task in (*TASKS, "two classes"):
        train, validation, test = _parts(_table(task, MIXED))
        for name in _general():
            fitted = _fit(name, train, validation)
            parts = {"shares": shares(train), "describe": fitted.describe()}
            model = Model(fitted, ModelCard(train.schema, name, {}, **parts))
            off = None
            if hasattr(fitted, "contributions"):
                scores = fitted.contributions(test.values, test.values).sum(axis=1)
                answers = fitted.predict(test.values)
                if task == "regression":
                    off = np.abs(scores[:, 0] - answers).max()
                elif fitted.link == "logit":
                    off = np.abs(1 / (1 + np.exp(-scores[:, 0])) - answers[:, 1]).max()
                else:
                    off = np.abs(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) - answers).max()
            said = importances(model, test.values, test.target)["features"]
            curve = history_of(fitted) or {}
            best = not curve or min(curve["validation"]) == curve["validation"][curve["best"] - 1]
            whole = abs(sum(said.values()) - 1) < 1e-4
            found.append([name, task, off if off is None else float(off), whole, bool(curve), best])
    return found


def twins() -> dict[str, float]:
    """How far our predictions by numpy are from scikit-learn's own, at most, relative to the largest."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    found = {}
    for task in TASKS:
        train, validation, test = _parts(_table(task, NUMBERS))
        both = joined(train, validation)
        label = both.label if task == "regression" else both.label.astype(int)

        def off(mine: np.ndarray, theirs: np.ndarray, name: str, task: str = task) -> None:
            found[f"{name} {task}"] = float(np.abs(mine - theirs).max() / np.abs(theirs).max())

        for alpha in (0.01, 10.0):
            fitted = _fit("linear", train, validation, alpha=alpha)
            matrix, asked = fitted._design.matrix(both.values), fitted._design.matrix(test.values)
            if task == "regression":
                other = Ridge(alpha=alpha).fit(matrix, label, sample_weight=both.weight)
                off(fitted.predict(test.values), other.predict(asked), f"linear {alpha}")
            else:
                other = LogisticRegression(C=1 / alpha, max_iter=1000)
                other.fit(matrix, label, sample_weight=both.weight)
                off(fitted.predict(test.values), other.predict_proba(asked), f"linear {alpha}")
        level = [replace(part, weight=np.ones(len(part))) for part in (train, validation)]
        for weights in ("uniform", "distance"):
            fitted = _fit("knn", *level, n_neighbors=7, weights=weights, smoothing=0)
            if task == "regression":
                other = KNeighborsRegressor(7, weights=weights).fit(matrix, label)
                off(fitted.predict(test.values), other.predict(asked), f"knn {weights}")
            else:
                other = KNeighborsClassifier(7, weights=weights).fit(matrix, label)
                off(fitted.predict(test.values), other.predict_proba(asked), f"knn {weights}")
        for activation in ("relu", "tanh"):
            training = algorithms.algorithm("mlp")._Training(
                both,
                checked(algorithms.algorithm("mlp").SPEC, task, {"activation": activation, "layers": 2}),
                0,
            )
            training.step()
            fitted, network = training.network(), training._network
            if task == "regression":
                theirs = network.predict(asked) * fitted._unit[1] + fitted._unit[0]
            else:
                theirs = network.predict_proba(asked)
            off(fitted.predict(test.values), theirs, f"mlp {activation}")
    return found


def lean() -> list[str]:
    """Which libraries a process holds that answers with each of the algorithms."""
    import subprocess

    found = []
    for task in TASKS:
        train, validation, test = _parts(_table(task, MIXED))
        for name in ("baseline", "knn", "linear", "mlp"):
            fitted = _fit(name, train, validation)
            with tempfile.TemporaryDirectory() as folder:
                save_artifact(Path(folder), Model(fitted, ModelCard(train.schema, name, {})), test.values[:5])
                code = (
                    "import sys; sys.path.insert(0, sys.argv[1]);"
                    "from pathlib import Path; from model_artifact import load_artifact; import numpy as np;"
                    "load_artifact(Path(sys.argv[2])).predict(np.full((2, 4), np.nan));"
                    "print(*{'sklearn', 'xgboost', 'pandas', 'scipy'} & sys.modules.keys())"
                )
                done = subprocess.run(
                    [sys.executable, "-c", code, sys.argv[1], folder],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                found.append(f"{name} {task}: {done.stdout.strip()}")
    return found


def packed() -> dict[str, float]:
    """How far packed trees, read as their docstring says, are from XGBoost; -1 where there are none."""
    found = {}
    for task in TASKS:
        for what, given in {
            "trees": {},
            "forest": {"num_parallel_tree": 3, "subsample": 0.5, "num_boost_round": 4},
            "base score": {"base_score": 0.3},
            "pruned": {"gamma": 5},
        }.items():
            train, validation, test = _parts(_table(task, NUMBERS, seed=len(what)))
            fitted = _fit("xgboost", train, validation, **given)
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "city_fleet").mkdir()
                fitted.save(Path(folder, "city_fleet"))
                content = Path(folder, "city_fleet/trees.bin").read_bytes()
            predicted = _evaluate(content, test.values)
            theirs = fitted.booster.inplace_predict(test.values)
            found[f"{what} {task}"] = float(np.abs(predicted - theirs).max() / np.abs(theirs).max())
    train, validation, _ = _parts(_table("multiclass", MIXED))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "city_fleet").mkdir()
        _fit("xgboost", train, validation).save(Path(folder, "city_fleet"))
        found["categories"] = 0.0 if Path(folder, "city_fleet/trees.bin").exists() else -1.0
    return found


def _evaluate(content: bytes, values: np.ndarray) -> np.ndarray:
    """Read the file by nothing but what packed_trees.py says of it."""
    one = np.float32(1)
    trees, count, _, depth = np.frombuffer(content, "<u4", 4, 8).tolist()
    if content.startswith(b"CFTREES1"):
        margins, (link,) = np.frombuffer(content, "<f4", 1, 24), np.frombuffer(content, "<u4", 1, 28).tolist()
        sizes, at = [trees], 32
    else:
        groups, link = np.frombuffer(content, "<u4", 2, 24).tolist()
        margins = np.frombuffer(content, "<f4", groups, 32)
        sizes, at = np.frombuffer(content, "<u4", groups, 32 + 4 * groups).tolist(), 32 + 8 * groups
    roots = np.frombuffer(content, "<u4", trees, at).tolist()
    at += 4 * (trees + trees % 2)
    nodes = np.frombuffer(content, [("value", "<f4"), ("feature", "<u2"), ("left", "<u2")], count, at)
    assert len(content) == at + 8 * count
    out = np.empty((len(values), len(margins)), np.float32)
    for number, row in enumerate(values.astype(np.float32)):
        waiting = iter(roots)
        for group, margin in enumerate(margins):
            total = margin
            for _ in range(sizes[group]):
                node = next(waiting)
                for _ in range(depth + 1):
                    value, feature, left = nodes[node].item()
                    if not left:
                        break
                    cell = row[feature & 0x7FFF]
                    goes_left = bool(feature & 0x8000) if np.isnan(cell) else cell < np.float32(value)
                    node += left + (not goes_left)
                total = np.float32(total + np.float32(value))
            out[number, group] = total
    if link == 3:
        powers = np.exp(out - out.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, dtype=np.float64).astype(np.float32)[:, np.newaxis]
    out = out[:, 0]
    return {
        0: out,
        1: np.exp(out),
        2: one / (one + np.exp(np.minimum(-out, np.float32(88.7))) + np.float32(1e-16)),
    }[link]


def folds() -> dict[str, Any]:
    """Which rows candidates are fitted to before they are judged, by how long validation is."""
    seen: list[list[int]] = []
    known: list[set[str]] = []
    module = algorithms.algorithm("linear")
    original = module.fit

    def fit(
        train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
    ) -> Any:
        seen.append([len(train), len(validation)])
        known.append({*train.rows, *validation.rows})
        assert not {*train.rows} & {*validation.rows}
        return original(train, validation, hyperparameters, seed=seed, threads=threads)

    found: dict[str, Any] = {}
    table = _table("regression", NUMBERS)
    linear, baseline = Candidate("linear", {"alpha": 1}), Candidate("baseline", {})
    module.fit = fit
    for name, held, candidates, how in (
        ("long", 100, (linear, baseline), {}),
        ("alone", 12, (linear,), {}),
        ("unordered", 12, (linear, baseline), {"ordered": False}),
        ("rmse", 12, (linear, baseline), {"metric": "r2"}),
        ("mape", 12, (linear, baseline), {"metric": "mape"}),
        ("short", 12, (linear, baseline), {}),
    ):
        seen.clear()
        known.clear()
        parts = rows_of(table, slice(0, 188)), rows_of(table, slice(188, 188 + held))
        chosen = choose(*parts, candidates, seed=0, threads=1, **how)
        found[name] = list(seen)
        found[f"{name} loss"] = chosen.reports[0]["loss"]
        if name == "unordered":
            rows = {str(number) for number in range(200)}
            judged = [row for fitted in known[1:] for row in rows - fitted]
            found["judged once"] = len(judged) == len(set(judged)) == 200
    module.fit = original
    # In order nothing is known of what is judged, nor of anything behind it.
    found["in order"] = all(fitted == {str(number) for number in range(len(fitted))} for fitted in known[1:])
    off, targets = [], []
    for first in range(92, 200, 12):
        train, validation = rows_of(table, slice(0, first - 12)), rows_of(table, slice(first - 12, first))
        fold = rows_of(table, slice(first, first + 12))
        model = _fit("linear", train, validation, alpha=1)
        off.append(np.abs(model.predict(fold.values) - fold.target))
        targets.append(np.abs(fold.target))
    errors, sizes = np.concatenate(off), np.concatenate(targets)
    found["by hand"] = {
        "short": float(errors.mean()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "mape": float((errors / sizes).mean()),
    }
    return found


def lacking() -> str:
    """What is said of an artifact whose algorithm needs a package that is not here."""
    train, validation, test = _parts(_table("regression", NUMBERS))
    fitted = _fit("xgboost", train, validation)
    with tempfile.TemporaryDirectory() as folder:
        save_artifact(Path(folder), Model(fitted, ModelCard(train.schema, "xgboost", {})), test.values[:5])
        for name in [name for name in sys.modules if "xgboost" in name]:
            del sys.modules[name]
        sys.modules["xgboost"] = None  # type: ignore[assignment] # as Python marks what can't be imported
        try:
            load_artifact(Path(folder))
        except ArtifactError as error:
            return str(error)
    return "it was loaded"


def shuffled() -> dict[str, float]:
    """Share of 20 seeds in which the best candidate beats the baseline, though nothing can be learned."""
    found = {}
    for task in ("regression", "multiclass"):
        wins = 0
        for seed in range(20):
            draws = np.random.default_rng(1000 + seed)
            table = _table(task, NUMBERS, seed, rows=400)
            order = draws.permutation(len(table))
            table = replace(
                table, target=table.target[order], label=table.label[order], weight=np.ones(len(table))
            )
            train, validation, test = _parts(table)
            candidates = [Candidate(name, SMALL[name]) for name in ("xgboost", "linear", "knn")]
            chosen = choose(train, validation, candidates, seed=seed, threads=1)
            floor = _fit("baseline", train, validation).predict(test.values)
            wins += loss(test, chosen.fitted.predict(test.values)) < loss(test, floor)
        found[task] = wins / 20
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[2]]()))
