"""An artifact of this project, of the same city at another time, of another city, or of another installation."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from algorithms.xgboost import Booster, FittedBooster
from backtest import read_backtest
from city import City
from converted import Converted
from job_failure import listed
from lean_xgboost import xgboost
from model_archive import unpack_artifact
from model_artifact import Model, load_artifact
from model_card import BOOSTER_FILE
from refusal import Refused, shown
from table_schema import REGRESSION, Schema

_NAMED = 12


def convert_artifact(content: bytes, city: City) -> Converted:
    """Take an artifact: its arrays stay, its card becomes the city's.

    :raises ArtifactError: it is broken or hostile.
    :raises Refused: its rows are not the city's.
    """
    with tempfile.TemporaryDirectory(prefix="city-fleet-import-") as work:
        archive, folder = Path(work) / "model.tar.gz", Path(work) / "artifact"
        archive.write_bytes(content)
        folder.mkdir()
        unpack_artifact(archive, folder)
        model, judged = load_artifact(folder), read_backtest(folder)
        kept = (folder / BOOSTER_FILE).read_bytes() if (folder / BOOSTER_FILE).is_file() else b""
    if city.features is not None:
        raise Refused("--features: an artifact says itself what its inputs are; leave it out")
    schema = _schema(model.card.schema, city.schema)
    predictor = model.predictor
    if isinstance(predictor, Booster):
        predictor = FittedBooster(predictor.booster, schema, dict(model.card.describe))
    if not hasattr(predictor, "save"):
        raise Refused(f"its algorithm {shown(model.card.algorithm)} can't be written anew")
    return Converted(
        model.card.algorithm,
        predictor,  # type: ignore[arg-type] # a Fitted one, as save says
        lambda values: _labels(Model(model.predictor, replace(model.card, schema=schema)), values, kept),
        takes_missing=True,
        model=f"algorithm {model.card.algorithm} of {shown(model.card.city)}, {shown(model.card.as_of)}",
        libraries={"xgboost": xgboost.__version__} if kept else {},
        schema=schema,
        backtest=b"" if judged is None else judged.to_bytes(),
    )


def _labels(model: Model, values: np.ndarray, booster: bytes) -> np.ndarray:
    """What the artifact's own file answers: a booster's is read once more, by XGBoost itself."""
    if not booster:
        return model.predictor.predict(values)
    own = xgboost.Booster({"nthread": 1})
    own.load_model(bytearray(booster))
    return Booster(own, model.card.schema).predict(values)


def _schema(own: Schema, wanted: Schema) -> Schema:
    """Take the artifact's own encodings and transform, under the city's name."""
    if own.task != wanted.task or own.kind != wanted.kind:
        raise Refused(
            f"it is of task {own.task} on a {own.kind}; allowed: {wanted.task} on a {wanted.kind}, as the city has"
        )
    if [(each.name, each.kind) for each in own.features] != [
        (each.name, each.kind) for each in wanted.features
    ]:
        raise Refused(
            f"its features are {listed([shown(name) for name in own.names], _NAMED)}; allowed: the "
            "city's, in their order: "
            f"{listed(wanted.names, _NAMED)}"
        )
    if own.features != wanted.features:
        raise Refused("its categories are numbered otherwise than the city's; train it here instead")
    if own.classes != wanted.classes:
        raise Refused(
            f"its classes are {listed([shown(name) for name in own.classes], _NAMED)}; allowed: the "
            "city's, in their order: "
            f"{listed(wanted.classes, _NAMED)}"
        )
    transform = own.transform if own.task == REGRESSION else wanted.transform
    if transform.reference not in (None, *wanted.names):
        raise Refused("its target_transform needs a feature that the city's rows lack")
    return replace(wanted, transform=transform)
