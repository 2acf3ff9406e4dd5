"""What an artifact says of itself, read without trusting it: files of bounded size, members of their type."""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from robust_scale import Centre
from target_transform import TargetTransform

FORMAT_VERSION = 1
SIDE_FOLDER = "city_fleet"
MODEL_FILE = f"{SIDE_FOLDER}/model.json"
SAMPLES_FILE = f"{SIDE_FOLDER}/samples.json"

# Far above any real artifact (a kilobyte for ten features), far below what keeps a server from answering others: Python
# reads JSON without letting anybody else have the interpreter, about 50 MB a second.
MOST_SIDE_BYTES = 4 * 1024 * 1024
MOST_FEATURES = 32_767
MOST_SAMPLES = 1000
LONGEST_TEXT = 1000
LARGEST_COUNT = 10**12
_SHOWN = 100


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


def read_member(folder: Path, name: str, most_bytes: int, purpose: str) -> bytes:
    """Read a file of an artifact that is a file, and not larger than it may be.

    :param folder: holds what model.tar.gz held.
    :param name: the file's path in it.
    :param purpose: what it is for, to be said when it is not there.
    :raises ArtifactError: it is missing, a link, a device or too large.
    """
    try:
        # A link leads out of the artifact, and a pipe would never come to an end.
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ArtifactError(f"{name}: missing in the artifact; {purpose}.") from None
    except OSError as error:
        raise ArtifactError(f"{name}: can't be read as a file of the artifact ({error.strerror}).") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ArtifactError(f"{name}: got something that is no file; allowed: files and folders.")
        content = b""
        if found.st_size <= most_bytes:
            with os.fdopen(handle, "rb", closefd=False) as file:
                content = file.read(most_bytes + 1)
        size = max(found.st_size, len(content))
        if size > most_bytes:
            raise ArtifactError(f"{name}: got {size} bytes; allowed: {most_bytes}. Training writes far less.")
    finally:
        os.close(handle)
    return content


def read_json_member(folder: Path, name: str, purpose: str) -> Any:
    """Read a JSON file of an artifact.

    :raises ArtifactError: it is missing, too large, or no JSON.
    """
    content = read_member(folder, name, MOST_SIDE_BYTES, purpose)
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise ArtifactError(f"{name}: not as train.py writes it (lists in lists without end).") from None
    except ValueError as error:
        raise ArtifactError(f"{name}: not as train.py writes it ({_short(error)}).") from None


def read_card(folder: Path) -> tuple[ModelCard, dict[str, Any]]:
    """Read model.json.

    :param folder: holds what model.tar.gz held.
    :return: the card, and the whole file's content, which holds the sha256 of other files.
    :raises ArtifactError: it is missing, too new, or a member of it is not as train.py writes it.
    """
    value = read_json_member(folder, MODEL_FILE, "without it predictions cannot be turned into prices")
    try:
        version = value["format_version"]
        if not _is_whole(version) or version > FORMAT_VERSION:
            raise ArtifactError(
                f"{MODEL_FILE}: got format_version {_short(repr(version))}; allowed: up to {FORMAT_VERSION}. "
                "The artifact is newer than this inference.py: update the endpoint's code first."
            )
        features = value["features"]
        if not (isinstance(features, list) and 1 <= len(features) <= MOST_FEATURES):
            raise TypeError(f"features: allowed: a list of 1 to {MOST_FEATURES} names")
        names = [_text({"features": name}, "features") for name in features]
        rows = value["rows"]
        if not isinstance(rows, dict) or len(rows) > MOST_FEATURES:
            raise TypeError("rows: allowed: how many rows each part has")
        card = ModelCard(
            city=_text(value, "city"),
            as_of=_text(value, "as_of"),
            target=_text(value, "target"),
            transform=TargetTransform.from_json(value["target_transform"]),
            features=names,
            rows={name: _count(rows, name) for name in rows},
            rounds=_count(value, "rounds"),
            xgboost_version=_text(value, "xgboost_version"),
            centres={name: Centre.from_json(item) for name, item in value.get("centres", {}).items()},
        )
        _text(value, "booster_sha256")
        if value.get("packed_trees_sha256") is not None:
            _text(value, "packed_trees_sha256")
        return card, value
    except ArtifactError:
        raise
    except KeyError as error:
        raise ArtifactError(f"{MODEL_FILE}: field {error} is missing.") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"{MODEL_FILE}: not as train.py writes it ({_short(error)}).") from None


def read_samples(folder: Path, features: int) -> tuple[list[list[float | None]], list[float]]:
    """Read samples.json.

    :param features: how many values a row has.
    :return: rows, None where a value is missing, and their predictions.
    :raises ArtifactError: it is missing, or not as train.py writes it.
    """
    value = read_json_member(folder, SAMPLES_FILE, "it holds rows with their predictions")
    rows = value.get("rows") if isinstance(value, dict) else None
    predictions = value.get("predictions") if isinstance(value, dict) else None
    if (
        not isinstance(rows, list)
        or not isinstance(predictions, list)
        or not 0 <= len(rows) == len(predictions) <= MOST_SAMPLES
        or not all(isinstance(row, list) and len(row) == features for row in rows)
        or not all(each is None or _is_number(each) for row in rows for each in row)
        or not all(map(_is_number, predictions))
    ):
        raise ArtifactError(
            f"{SAMPLES_FILE}: not as train.py writes it; allowed: up to {MOST_SAMPLES} rows of {features} numbers or "
            "null, and a number for each row."
        )
    return rows, predictions


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"got {text}; allowed: numbers, or null where missing")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_COUNT


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 if isinstance(value, int) else math.isfinite(value)


def _text(value: dict[str, Any], name: str) -> str:
    text = value[name]
    if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_TEXT:
        raise TypeError(f"{name}: got {_short(repr(text))}; allowed: text of up to {LONGEST_TEXT} characters")
    return text


def _count(value: dict[str, Any], name: str) -> int:
    number = value[name]
    if not _is_whole(number) or number < 0:
        raise TypeError(f"{_short(name)}: got {_short(repr(number))}; allowed: a whole number from 0")
    return int(number)


def _short(text: Any) -> str:
    text = str(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
