"""The artifact: what model.tar.gz holds, how it is written, and how it is read without trusting it.

The root holds nothing but the booster in XGBoost's own format: the managed container, used without our
inference.py, takes every other file there for one more model. Side files live in a folder. Nothing is ever
unpickled: an artifact comes from a bucket.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from booster_check import MOST_BYTES as MOST_BOOSTER_BYTES
from booster_check import BoosterRefused, checked
from job_failure import listed
from model_card import (
    FORMAT_VERSION,
    MODEL_FILE,
    SAMPLES_FILE,
    SIDE_FOLDER,
    ArtifactError,
    ModelCard,
    read_card,
    read_member,
    read_samples,
)
from packed_trees import MOST_BYTES as MOST_TREES_BYTES
from packed_trees import feature_count, pack_trees

BOOSTER_FILE = "xgboost-model.ubj"
TREES_FILE = f"{SIDE_FOLDER}/trees.bin"
_NOT_FOR_XGBOOST = re.compile(r"[\[\]<%\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Model:
    """A loaded artifact.

    :param card: what it needs to be understood.
    """

    booster: Any
    card: ModelCard

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict targets in their own unit.

        :param values: rows x features, in the model's order; NaN where missing. A row whose reference is not
            above 0 has no prediction (NaN).
        """
        raw = np.asarray(self.booster.inplace_predict(values), dtype=np.float64)
        transform = self.card.transform
        if transform.kind == "none":
            return raw
        if transform.reference is None:
            return np.exp(raw)
        reference = values[:, self.card.features.index(transform.reference)]
        return np.exp(raw) * np.where(reference > 0, reference, np.nan)


def names_for_xgboost(features: Sequence[str]) -> list[str]:
    """Spell features as XGBoost takes them: it refuses names with ``[``, ``]`` or ``<``.

    Those and ``%`` are percent-encoded, so that two names never meet. Everybody else sees the names as they are.
    """
    return [_NOT_FOR_XGBOOST.sub(lambda found: f"%{ord(found[0]):02X}", name) for name in features]


def save_artifact(folder: Path, model: Model, samples: np.ndarray) -> None:
    """Write what SageMaker will pack as model.tar.gz.

    :param folder: SM_MODEL_DIR.
    :param samples: rows x features; kept with their predictions, so that a server that loads it can
        check its answers.
    """
    card = model.card
    trees = pack_trees(model.booster)
    (folder / SIDE_FOLDER).mkdir(parents=True, exist_ok=True)
    booster = bytes(model.booster.save_raw("ubj"))
    (folder / BOOSTER_FILE).write_bytes(booster)
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
            "rounds": card.rounds,
            "booster_sha256": hashlib.sha256(booster).hexdigest(),
            "xgboost_version": card.xgboost_version,
            "centres": {name: centre.to_json() for name, centre in card.centres.items()},
            "packed_trees_sha256": None if trees is None else hashlib.sha256(trees).hexdigest(),
        },
    )
    if trees is not None:
        (folder / TREES_FILE).write_bytes(trees)
    _write_json(
        folder / SAMPLES_FILE,
        {"rows": json_rows(samples), "predictions": [float(value) for value in model.predict(samples)]},
    )


@dataclass(frozen=True)
class PackedArtifact:
    """An artifact without its booster, for a server that evaluates packed trees by itself.

    :param exponential: whether what they predict is a logarithm.
    :param factor: number of the feature that the prediction is a ratio to, None when it is none.
    :param samples: rows with their predictions; None where a value is missing.
    :param sample_predictions: one for each of them.
    :param model: makes the model from a function that evaluates rows as the trees do.
    """

    trees: bytes
    exponential: bool
    factor: int | None
    samples: list[list[float | None]]
    sample_predictions: list[float]
    model: Callable[[Callable[[np.ndarray], np.ndarray]], Model]


@dataclass(frozen=True)
class PackedBooster:
    """Stands where a model's booster does.

    :param inplace_predict: evaluates rows, as XGBoost's method of that name.
    """

    inplace_predict: Callable[[np.ndarray], np.ndarray]


def load_packed_artifact(folder: Path) -> PackedArtifact | None:
    """Load what a server needs that evaluates packed trees: a fiftieth of the time and a fifth of the memory.

    :param folder: holds what model.tar.gz held.
    :return: None for an artifact without packed trees, as older ones are.
    :raises ArtifactError: naming the file that is missing, too new or broken.
    """
    card, value = read_card(folder)
    sha256 = value.get("packed_trees_sha256")
    if sha256 is None:
        return None
    trees = read_member(folder, TREES_FILE, MOST_TREES_BYTES, f"{MODEL_FILE} names its sha256")
    if hashlib.sha256(trees).hexdigest() != sha256:
        raise ArtifactError(
            f"{TREES_FILE}: damaged; its {len(trees)} bytes do not have the sha256 of {MODEL_FILE}."
        )
    transform = card.transform
    reference = transform.reference
    if feature_count(trees) != len(card.features):
        raise ArtifactError(
            f"{MODEL_FILE}: its features ({_named(card.features)}) are not those of {TREES_FILE}."
        )
    _check_reference(card)
    rows, predictions = read_samples(folder, len(card.features))
    lean = replace(card, centres={})  # a server of thousands holds what answers need, no more
    return PackedArtifact(
        trees,
        exponential=transform.kind != "none",
        factor=None if reference is None else card.features.index(reference),
        samples=rows,
        sample_predictions=predictions,
        model=lambda evaluate: Model(PackedBooster(evaluate), lean),
    )


def load_artifact(folder: Path) -> Model:
    """Load an unpacked artifact.

    :param folder: holds what model.tar.gz held.
    :return: the model; it predicts on one thread.
    :raises ArtifactError: naming the file that is missing, too new or broken.
    """
    # Not before a booster is needed: it takes a second, and most of the memory of a server that needs none.
    from lean_xgboost import xgboost  # noqa: PLC0415

    card, value = read_card(folder)
    content = read_member(
        folder, BOOSTER_FILE, MOST_BOOSTER_BYTES, "it holds the booster in XGBoost's own format"
    )
    if hashlib.sha256(content).hexdigest() != value["booster_sha256"]:
        raise ArtifactError(
            f"{BOOSTER_FILE}: damaged; its {len(content)} bytes do not have the sha256 of {MODEL_FILE}."
        )
    # One row is too little work for threads, and a server holds many models.
    booster = xgboost.Booster({"nthread": 1})
    try:
        # The sha256 is the archive's own, so it proves nothing: the file is opened elsewhere first.
        booster.load_model(bytearray(checked(content)))
    except BoosterRefused as error:
        raise ArtifactError(f"{BOOSTER_FILE}: {error}. Train the model again.") from None
    # An artifact of an earlier version holds names with "%" as they are.
    if booster.feature_names not in (
        names_for_xgboost(card.features),
        card.features,
    ) or booster.num_features() != len(card.features):
        raise ArtifactError(
            f"{MODEL_FILE}: its features ({_named(card.features)}) are not those of the booster "
            f"({_named(booster.feature_names or [])})."
        )
    _check_reference(card)
    return Model(booster, card)


def json_rows(values: np.ndarray) -> list[list[float | None]]:
    """Make rows that JSON can hold.

    :param values: rows x features; NaN where missing.
    :return: the same with None where missing.
    """
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def _check_reference(card: ModelCard) -> None:
    reference = card.transform.reference
    if reference not in (None, *card.features):
        raise ArtifactError(
            f"{MODEL_FILE}: target_transform: got reference '{str(reference)[:50]}'; allowed: one of the features."
        )


def _named(features: Sequence[str]) -> str:
    """Features as a refusal lists them: not at length."""
    return listed([name[:50] for name in features], 10)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
