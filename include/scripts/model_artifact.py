"""The artifact: what model.tar.gz holds, how it is written, and how it is read without trusting it.

The root holds nothing but the booster in XGBoost's own format: the managed container, used without our
inference.py, takes every other file there for one more model. Side files live in a folder. Nothing is ever
unpickled: an artifact comes from a bucket.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from job_failure import listed
from packed_trees import feature_count, pack_trees
from robust_scale import Centre
from target_transform import TargetTransform

FORMAT_VERSION = 1
BOOSTER_FILE = "xgboost-model.ubj"
SIDE_FOLDER = "city_fleet"
MODEL_FILE = f"{SIDE_FOLDER}/model.json"
SAMPLES_FILE = f"{SIDE_FOLDER}/samples.json"
TREES_FILE = f"{SIDE_FOLDER}/trees.bin"
_NOT_FOR_XGBOOST = re.compile(r"[\[\]<%\x00-\x1f\x7f]")

# Far above any real artifact (a few hundred kilobytes in three files), far below what hurts.
MAX_MEMBERS = 100
MAX_UNPACKED_BYTES = 1 << 30


class ArtifactError(ValueError):
    """An artifact that cannot be used: its text is a sentence that says what is wrong with it.

    :param message: the sentence; kept as ``message`` as well, where model servers look for it, and for its status.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = 500  # not the caller's fault


@dataclass(frozen=True)
class ModelCard:
    """What the booster itself does not know.

    :param as_of: as it is written in keys.
    :param transform: what the booster predicts instead of the target.
    :param features: names, in the booster's order.
    :param rows: how many rows trained and validated.
    :param rounds: rounds of boosting.
    :param xgboost_version: which XGBoost trained it.
    :param centres: feature → where most of its values lay in training; empty in artifacts of earlier versions.
    """

    city: str
    as_of: str
    target: str
    transform: TargetTransform
    features: list[str]
    rows: dict[str, int]
    rounds: int
    xgboost_version: str
    centres: dict[str, Centre] = field(default_factory=dict)


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
    card, value = _read_card(folder)
    sha256 = value.get("packed_trees_sha256")
    if sha256 is None:
        return None
    try:
        trees = (folder / TREES_FILE).read_bytes()
        samples = json.loads((folder / SAMPLES_FILE).read_bytes())
        rows, predictions = samples["rows"], samples["predictions"]
    except OSError as error:
        raise ArtifactError(f"{error.filename}: missing in the artifact ({error.strerror}).") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{SAMPLES_FILE}: not as train.py writes it ({error!r}).") from None
    if hashlib.sha256(trees).hexdigest() != sha256:
        raise ArtifactError(
            f"{TREES_FILE}: damaged; its {len(trees)} bytes do not have the sha256 of {MODEL_FILE}."
        )
    transform = card.transform
    reference = transform.reference
    if feature_count(trees) != len(card.features) or reference not in (None, *card.features):
        raise ArtifactError(
            f"{MODEL_FILE}: its features ({listed(card.features)}) are not those of {TREES_FILE} and the transform."
        )
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

    card, value = _read_card(folder)
    path = folder / BOOSTER_FILE
    if not path.is_file():
        raise ArtifactError(
            f"{BOOSTER_FILE}: missing in the artifact; it holds the booster in XGBoost's own format."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != value["booster_sha256"]:
        # XGBoost 3.2 does not survive every broken file: some end the whole process, and with it every model
        # of a server (measured: an empty file, and 2 of 30 files with three bytes changed).
        raise ArtifactError(
            f"{BOOSTER_FILE}: damaged; its {len(content)} bytes do not have the sha256 of {MODEL_FILE}."
        )
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
    except (xgboost.core.XGBoostError, ValueError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()
        raise ArtifactError(
            f"{BOOSTER_FILE}: XGBoost cannot read it ({reason[-1] if reason else 'no reason'})."
        ) from None
    # An artifact of an earlier version holds names with "%" as they are.
    if booster.feature_names not in (names_for_xgboost(card.features), card.features):
        raise ArtifactError(
            f"{MODEL_FILE}: its features ({listed(card.features)}) are not those of the booster "
            f"({listed(booster.feature_names or [])})."
        )
    # One row is too little work for threads, and a server holds many models.
    booster.set_param({"nthread": 1})
    return Model(booster, card)


def _read_card(folder: Path) -> tuple[ModelCard, dict[str, Any]]:
    """Read model.json: the card, and the whole file's content, which holds the sha256 of other files."""
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ArtifactError(
            f"{MODEL_FILE}: missing in the artifact; without it predictions cannot be turned into prices."
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        version = value["format_version"]
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ArtifactError(
                f"{MODEL_FILE}: got format_version {version!r}; allowed: up to {FORMAT_VERSION}. "
                "The artifact is newer than this inference.py: update the endpoint's code first."
            )
        card = ModelCard(
            city=value["city"],
            as_of=value["as_of"],
            target=value["target"],
            transform=TargetTransform.from_json(value["target_transform"]),
            features=list(value["features"]),
            rows=dict(value["rows"]),
            rounds=int(value["rounds"]),
            xgboost_version=value["xgboost_version"],
            centres={name: Centre.from_json(item) for name, item in value.get("centres", {}).items()},
        )
        if not isinstance(value["booster_sha256"], str):
            raise TypeError("booster_sha256 is not text")
        return card, value
    except ArtifactError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{MODEL_FILE}: not as train.py writes it ({error}).") from None
    except KeyError as error:
        raise ArtifactError(f"{MODEL_FILE}: field {error} is missing.") from None


def unpack_artifact(archive: Path, folder: Path) -> None:
    """Unpack a model.tar.gz that may be hostile.

    :raises ArtifactError: when it is not a tar.gz, holds anything but files and folders below its root, or is
        too large.
    """
    count = total = 0
    try:
        # Member by member and with our own checks: tarfile's data filter came with Python 3.11.4 only.
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                count += 1
                total += member.size
                if count > MAX_MEMBERS or total > MAX_UNPACKED_BYTES:
                    raise ArtifactError(
                        f"{archive.name}: too large; "
                        f"allowed: {MAX_MEMBERS} members of {MAX_UNPACKED_BYTES} bytes together."
                    )
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise ArtifactError(
                        f"{archive.name}: '{member.name}' leads out of the archive; nothing of it is used."
                    )
                if member.isdir():
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise ArtifactError(
                        f"{archive.name}: '{member.name}' is a link or device; allowed: files and folders."
                    )
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{archive.name}: not a readable tar.gz file ({error}).") from None


def json_rows(values: np.ndarray) -> list[list[float | None]]:
    """Make rows that JSON can hold.

    :param values: rows x features; NaN where missing.
    :return: the same with None where missing.
    """
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def one_archive(folder: Path) -> Path:
    """Find the only archive in a folder.

    :param folder: where SageMaker put it.
    :raises ArtifactError: when there is none, or more than one.
    """
    found = sorted(path for path in folder.glob("*.tar.gz") if path.is_file())
    if len(found) != 1:
        raise ArtifactError(
            f"{folder}: holds {len(found)} archives ({listed([path.name for path in found])}); "
            "allowed: exactly one tar.gz."
        )
    return found[0]
