"""The artifact: what model.tar.gz holds, how it is written, and how it is read without trusting it.

The root holds nothing but a booster in XGBoost's own format: the managed container, used without our inference.py,
takes every other file there for one more model. Side files live in a folder. Nothing is ever unpickled: an artifact
comes from a bucket.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import algorithms
from algorithms import Predictor
from class_answers import csv_cell
from job_failure import listed
from model_card import (
    BOOSTER_FILE,
    CHILDREN_FILE,
    FORMAT_VERSION,
    KNOWN_FILE,
    MODEL_FILE,
    MOST_CHILDREN_BYTES,
    MOST_KNOWN_BYTES,
    MOST_SIDE_BYTES,
    RESIDUALS_FILE,
    SAMPLES_FILE,
    SIDE_FOLDER,
    TREES_FILE,
    ArtifactError,
    ModelCard,
    read_card,
    read_member,
    read_samples,
)
from packed_trees import MOST_BYTES as MOST_TREES_BYTES
from packed_trees import class_count, feature_count
from probabilities import in_classes
from table_schema import MULTICLASS, REGRESSION, Schema

MOST_FILE_BYTES = 64 * 1024 * 1024
_PURPOSES = {
    BOOSTER_FILE: "it holds the booster in XGBoost's own format",
    TREES_FILE: f"{MODEL_FILE} names its sha256",
}


@dataclass(frozen=True)
class Model:
    """A loaded artifact.

    :param predictor: what the algorithm has read.
    :param card: what it needs to be understood.
    :param known: of a series: known.json, not looked at so far; empty where the artifact has none.
    :param residuals: the same of residuals.json.
    :param children: of a parent: the same of children.json.
    """

    predictor: Predictor
    card: ModelCard
    known: bytes = b""
    residuals: bytes = b""
    children: bytes = b""

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict.

        :param values: rows × features, in the model's order; NaN where missing. A row whose reference is not above 0
            has no prediction (NaN).
        :return: targets in their own unit (rows), or probabilities (rows × classes), float64.
        :raises ArtifactError: the algorithm answers something of another shape.
        """
        raw = np.asarray(self.predictor.predict(values), dtype=np.float64)
        schema = self.card.schema
        wanted = (len(values),) if schema.task == REGRESSION else (len(values), len(schema.classes))
        if raw.shape != wanted:
            raise ArtifactError(
                f"{MODEL_FILE}: algorithm '{self.card.algorithm}' answers an array of {raw.shape}; "
                f"allowed: {wanted}, rows (and classes)."
            )
        return raw if schema.task != REGRESSION else untransformed(schema, raw, values)


def untransformed(schema: Schema, labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Turn labels of a regression into targets in their own unit.

    :param labels: rows.
    :param values: rows × features, which hold the transform's reference; where that is not above 0 there is NaN.
    """
    transform = schema.transform
    if transform.kind == "none":
        return labels
    if transform.reference is None:
        return np.exp(labels)
    reference = values[:, schema.names.index(transform.reference)]
    return np.exp(labels) * np.where(reference > 0, reference, np.nan)


def save_artifact(folder: Path, model: Model, samples: np.ndarray, periods: Sequence[str] = ()) -> None:
    """Write what SageMaker will pack as model.tar.gz.

    :param folder: where the artifact's root is: SM_MODEL_DIR, or a city's folder in it. An artifact that is there
        already goes.
    :param model: its predictor is what an algorithm's ``fit`` has answered.
    :param samples: rows × features; kept with their predictions, so that a server that loads it can check its answers.
    :param periods: of a series: the first day of the period of each of those rows, for people who look at one.
    :raises ArtifactError: a file is larger than whoever reads it takes.
    """
    card, side = model.card, folder / SIDE_FOLDER
    # What an earlier save has left would be listed as files of this model, and the booster served as one.
    if side.exists():
        shutil.rmtree(side)
    (folder / BOOSTER_FILE).unlink(missing_ok=True)
    side.mkdir(parents=True)
    model.predictor.save(side)  # type: ignore[attr-defined] # a Fitted one
    rows = [
        [feature.decode(value) for feature, value in zip(card.schema.features, row, strict=True)]
        for row in samples.tolist()
    ]
    found = [path for path in (folder / BOOSTER_FILE, *sorted(side.iterdir())) if path.is_file()]
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found
    }
    for path in found:
        most = MOST_SIDE_BYTES if path.suffix == ".json" else MOST_FILE_BYTES
        if path.stat().st_size > most:
            raise ArtifactError(
                f"{path.name}: got {path.stat().st_size} bytes; allowed: {most}, what a server reads. "
                "Train with fewer rounds, rows or categories."
            )
    said = {"rows": rows, "predictions": model.predict(samples).tolist()}
    _write_json(folder / SAMPLES_FILE, said | ({"periods": list(periods)} if periods else {}))
    _write_json(
        folder / MODEL_FILE,
        {
            "format_version": FORMAT_VERSION,
            "city": card.city,
            "as_of": card.as_of,
            "target": card.target,
            "target_transform": card.transform.to_json(),
            "features": card.features,
            "rows": card.rows,
            "task": card.schema.task,
            "algorithm": card.algorithm,
            "algorithm_digest": algorithms.digest(card.algorithm),
            "files": files,
            "describe": card.describe,
            "centres": {name: centre.to_json() for name, centre in card.centres.items()},
            "shares": card.shares,
            "schema": card.schema.to_json(),
        },
    )


@dataclass(frozen=True)
class PackedArtifact:
    """An artifact without its booster, for a server that evaluates packed trees by itself.

    :param exponential: whether what they predict is a logarithm.
    :param factor: number of the feature that the prediction is a ratio to, None when it is none.
    :param samples: rows as the trees take them, whose predictions are known; None where a value is missing.
    :param sample_predictions: one for each of them: a number, or a list of probabilities.
    :param schema: of the rows.
    :param model: makes the model from a function that evaluates rows as the trees do: an array of float32 of the shape
        (rows,), or (rows, classes) for packed trees of more than one class.
    """

    trees: bytes
    exponential: bool
    factor: int | None
    samples: list[list[float | None]]
    sample_predictions: list[Any]
    schema: Schema
    model: Callable[[Callable[[np.ndarray], np.ndarray]], Model]

    @property
    def takes_numbers(self) -> bool:
        """Whether a row of a request holds the very numbers that the trees take."""
        return all(feature.kind == "number" for feature in self.schema.features)

    @property
    def labels(self) -> list[str] | None:
        """The classes as text/csv names them; None of a regression."""
        return [csv_cell(name) for name in self.schema.classes] or None


@dataclass(frozen=True)
class PackedPredictor:
    """Stands where a booster does.

    :param evaluate: evaluates rows; a binary task's answer is the probability of the positive class.
    """

    evaluate: Callable[[np.ndarray], np.ndarray]
    task: str

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows) or probabilities (rows × classes)."""
        return in_classes(np.asarray(self.evaluate(values), dtype=np.float64), self.task)


def load_packed_artifact(folder: Path) -> PackedArtifact | None:
    """Load what a server needs that evaluates packed trees: a fiftieth of the time and a fifth of the memory.

    :param folder: holds what model.tar.gz held.
    :return: None for an artifact without packed trees, as older ones are.
    :raises ArtifactError: naming the file that is missing, too new or broken.
    """
    card = read_card(folder)
    if TREES_FILE not in card.files:
        return None
    trees = _checked_file(folder, card, TREES_FILE, MOST_TREES_BYTES)
    schema = card.schema
    if feature_count(trees) != len(card.features):
        raise ArtifactError(
            f"{MODEL_FILE}: its features ({_named(card.features)}) are not those of {TREES_FILE}."
        )
    if class_count(trees) != (len(schema.classes) if schema.task == MULTICLASS else 1):
        raise ArtifactError(f"{MODEL_FILE}: its classes are not those of {TREES_FILE}.")
    _check_reference(card)
    rows, predictions = read_samples(folder, schema)
    pairs = [list(zip(schema.features, row, strict=True)) for row in rows]
    encoded = np.array([[feature.encode(value) for feature, value in row] for row in pairs], dtype=np.float64)
    reference = schema.transform.reference
    lean = replace(
        card, centres={}, shares={}, describe={}
    )  # a server of thousands holds what answers need, no more
    state = read_state(folder)
    return PackedArtifact(
        trees,
        exponential=schema.transform.kind != "none",
        factor=None if reference is None else card.features.index(reference),
        samples=json_rows(encoded),
        sample_predictions=predictions,
        schema=schema,
        model=lambda evaluate: Model(PackedPredictor(evaluate, schema.task), lean, *state),
    )


def load_artifact(folder: Path) -> Model:
    """Load an unpacked artifact.

    :param folder: holds what model.tar.gz held.
    :raises ArtifactError: naming the file that is missing, too new or broken, or the algorithm that this code lacks.
    """
    card = read_card(folder)
    for path in card.files:
        _checked_file(folder, card, path, MOST_FILE_BYTES)
    _check_reference(card)
    try:
        # Not before it is needed: XGBoost alone takes a second, and most of the memory of a server that needs none.
        module = algorithms.algorithm(card.algorithm)
    except KeyError:
        raise ArtifactError(
            f"{MODEL_FILE}: got algorithm '{card.algorithm}'; allowed: {listed(algorithms.names())}. "
            "The artifact is of code that this endpoint lacks: update the endpoint's code first."
        ) from None
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"{MODEL_FILE}: got algorithm '{card.algorithm}'; allowed: one whose packages are here. It needs "
            f"{error.name}, which this image lacks: take an image that has it, or bring it by own_scripts.requirements."
        ) from None
    try:
        return Model(module.load(folder / SIDE_FOLDER, card.schema), card, *read_state(folder))
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ArtifactError(
            f"{SIDE_FOLDER}: not as algorithm '{card.algorithm}' saves it ({str(error)[:100]})."
        ) from None


def json_rows(values: np.ndarray) -> list[list[float | None]]:
    """Make rows that JSON can hold.

    :param values: rows × features; NaN where missing.
    :return: the same with None where missing.
    """
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def read_state(folder: Path) -> tuple[bytes, bytes, bytes]:
    """Read what evaluate.py has added to the model of a series: known.json, residuals.json and children.json.

    :return: empty ones where they are not there, as of a table or an earlier version.
    :raises ArtifactError: one is no file, or too large.
    """
    purposes = {
        KNOWN_FILE: (MOST_KNOWN_BYTES, "it holds what is known of the city"),
        RESIDUALS_FILE: (MOST_KNOWN_BYTES, "it holds its model's errors"),
        CHILDREN_FILE: (MOST_CHILDREN_BYTES, "it says who answers for each city"),
    }
    known, residuals, children = (
        read_member(folder, name, most, purpose) if (folder / name).exists() else b""
        for name, (most, purpose) in purposes.items()
    )
    return known, residuals, children


def _checked_file(folder: Path, card: ModelCard, path: str, most_bytes: int) -> bytes:
    content = read_member(folder, path, most_bytes, _PURPOSES.get(path, f"{MODEL_FILE} names its sha256"))
    if hashlib.sha256(content).hexdigest() != card.files[path]:
        raise ArtifactError(
            f"{path}: damaged; its {len(content)} bytes do not have the sha256 of {MODEL_FILE}."
        )
    return content


def _check_reference(card: ModelCard) -> None:
    reference = card.transform.reference
    if reference not in (None, *card.features):
        raise ArtifactError(
            f"{MODEL_FILE}: target_transform: got reference '{str(reference)[:50]}'; allowed: one of the features."
        )


def _named(features: list[str]) -> str:
    """Features as a refusal lists them: not at length."""
    return listed([name[:50] for name in features], 10)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
