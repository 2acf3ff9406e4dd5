"""What an artifact says of itself, read without trusting it: files of bounded size, members of their type."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from category_shares import category_count
from robust_scale import Centre
from table_schema import REGRESSION, SERIES, Feature, Schema
from target_transform import TargetTransform

FORMAT_VERSION = 2
SIDE_FOLDER = "city_fleet"
MODEL_FILE = f"{SIDE_FOLDER}/model.json"
SAMPLES_FILE = f"{SIDE_FOLDER}/samples.json"
#: What evaluate.py adds to the model of a series: what was known of its city.
KNOWN_FILE = f"{SIDE_FOLDER}/known.json"
MOST_KNOWN_BYTES = 256 * 1024
#: And how far off it was on the held-out rows.
RESIDUALS_FILE = f"{SIDE_FOLDER}/residuals.json"
#: Of a parent: who answers for each of its cities.
CHILDREN_FILE = f"{SIDE_FOLDER}/children.json"
MOST_CHILDREN_BYTES = 4 * 1024 * 1024
#: Files of one algorithm that others know of: the managed container its booster, servers its packed trees.
BOOSTER_FILE = "xgboost-model.ubj"
TREES_FILE = f"{SIDE_FOLDER}/trees.bin"

# Far above any real artifact (a kilobyte for ten features), far below what keeps a server from answering others: Python
# reads JSON without letting anybody else have the interpreter, about 50 MB a second.
MOST_SIDE_BYTES = 4 * 1024 * 1024
MOST_FEATURES = 32_767
MOST_SAMPLES = 1000
LONGEST_TEXT = 1000
MOST_FILES = 100
LARGEST_COUNT = 10**12
_SHOWN = 100
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(rf"{re.escape(BOOSTER_FILE)}|{SIDE_FOLDER}/[A-Za-z0-9_-][A-Za-z0-9_.-]{{0,99}}")
_ALGORITHM = re.compile(r"[a-z][a-z0-9_]{0,62}")


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
    """What a model needs to be understood.

    :param schema: of its rows; of an artifact of format 1 made from what that says.
    :param algorithm: name of the module in ``algorithms`` that made it, and reads its files.
    :param algorithm_digest: SHA-256 of that module; empty in format 1.
    :param rows: how many rows trained and validated.
    :param centres: feature → where most of its values lay in training; empty in artifacts of earlier versions.
    :param shares: feature → how many of the training rows had each category; see :mod:`category_shares`.
    :param describe: what the algorithm says of its training.
    :param files: path → SHA-256 of each file that the algorithm has saved.
    """

    schema: Schema
    algorithm: str
    rows: dict[str, int]
    centres: dict[str, Centre] = field(default_factory=dict)
    shares: dict[str, list[float]] = field(default_factory=dict)
    describe: dict[str, Any] = field(default_factory=dict)
    algorithm_digest: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def city(self) -> str:
        """The slug of the city that it is of."""
        return self.schema.city

    @property
    def as_of(self) -> str:
        """Up to when it saw data, as it is written in keys."""
        return self.schema.as_of

    @property
    def target(self) -> str:
        """The column that it predicts."""
        return self.schema.target

    @property
    def transform(self) -> TargetTransform:
        """What the algorithm predicts instead of the target."""
        return self.schema.transform

    @cached_property
    def features(self) -> list[str]:
        """The features' names, in the order of a row."""
        return self.schema.names


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


def read_card(folder: Path) -> ModelCard:
    """Read model.json.

    :param folder: holds what model.tar.gz held.
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
        rows = value["rows"]
        if not isinstance(rows, dict) or len(rows) > MOST_FEATURES:
            raise TypeError("rows: allowed: how many rows each part has")
        return ModelCard(
            **(_format_1(value) if version < FORMAT_VERSION else _format_2(value)),
            rows={name: _count(rows, name) for name in rows},
            centres={name: Centre.from_json(item) for name, item in value.get("centres", {}).items()},
        )
    except ArtifactError:
        raise
    except KeyError as error:
        raise ArtifactError(f"{MODEL_FILE}: field {error} is missing.") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"{MODEL_FILE}: not as train.py writes it ({_short(error)}).") from None


def _format_1(value: dict[str, Any]) -> dict[str, Any]:
    """A booster of a series; ``packed_trees_sha256`` came later, and is null where they can't be packed."""
    names = value["features"]
    if not (isinstance(names, list) and 1 <= len(names) <= MOST_FEATURES):
        raise TypeError(f"features: allowed: a list of 1 to {MOST_FEATURES} names")
    files = {BOOSTER_FILE: _text(value, "booster_sha256")}
    if value.get("packed_trees_sha256") is not None:
        files[TREES_FILE] = _text(value, "packed_trees_sha256")
    schema = Schema(
        kind=SERIES,
        task=REGRESSION,
        city=_text(value, "city"),
        as_of=_text(value, "as_of"),
        target=_text(value, "target"),
        transform=TargetTransform.from_json(value["target_transform"]),
        features=tuple(Feature(_text({"features": name}, "features")) for name in names),
    )
    describe = {"rounds": _count(value, "rounds"), "xgboost_version": _text(value, "xgboost_version")}
    return {"schema": schema, "algorithm": "xgboost", "describe": describe, "files": files}


def _format_2(value: dict[str, Any]) -> dict[str, Any]:
    schema = replace(
        Schema.from_json(value["schema"]),
        city=_text(value, "city"),
        as_of=_text(value, "as_of"),
        target=_text(value, "target"),
        transform=TargetTransform.from_json(value["target_transform"]),
    )
    if value["features"] != schema.names:
        raise ValueError("features: not those of its schema")
    baseline = schema.baseline
    if baseline is not None and (
        len(baseline.values) != (len(schema.classes) or 1) or not all(map(math.isfinite, baseline.values))
    ):
        raise ValueError("schema: baseline: allowed: a number for each class, or one for a regression")
    files, describe = value["files"], value["describe"]
    if (
        not isinstance(files, dict)
        or len(files) > MOST_FILES
        or not all(
            _FILE.fullmatch(path) and isinstance(sha256, str) and _SHA256.fullmatch(sha256)
            for path, sha256 in files.items()
        )
    ):
        raise TypeError(f"files: allowed: up to {MOST_FILES} files of {SIDE_FOLDER}, each with its SHA-256")
    if not isinstance(describe, dict):
        raise TypeError("describe: allowed: an object")
    if not _ALGORITHM.fullmatch(_text(value, "algorithm")):
        raise ValueError(f"algorithm: got {_short(value['algorithm'])}; allowed: the name of a module")
    if not _SHA256.fullmatch(_text(value, "algorithm_digest")):
        raise ValueError("algorithm_digest: allowed: the SHA-256 of a module")
    return {
        "schema": schema,
        "shares": _shares(value, schema),
        "algorithm": value["algorithm"],
        "algorithm_digest": value["algorithm_digest"],
        "describe": describe,
        "files": files,
    }


def _shares(value: dict[str, Any], schema: Schema) -> dict[str, list[float]]:
    shares = value.get("shares", {})
    wanted = {feature.name: category_count(feature) for feature in schema.features}
    if not isinstance(shares, dict) or not all(
        wanted.get(name)
        and isinstance(each, list)
        and len(each) == wanted[name]
        and all(_is_number(share) and 0 <= share <= 1 for share in each)
        for name, each in shares.items()
    ):
        raise TypeError("shares: allowed: of a category or truth value a share for each")
    return shares


def read_samples(folder: Path, schema: Schema) -> tuple[list[list[Any]], list[Any]]:
    """Read samples.json.

    :param schema: of the rows.
    :return: rows as a request has them, None where a value is missing, and their predictions: a number each, or a
        list of a probability for each class.
    :raises ArtifactError: it is missing, or not as train.py writes it.
    """
    value = read_json_member(folder, SAMPLES_FILE, "it holds rows with their predictions")
    rows = value.get("rows") if isinstance(value, dict) else None
    predictions = value.get("predictions") if isinstance(value, dict) else None
    if (
        not isinstance(rows, list)
        or not isinstance(predictions, list)
        or not 0 <= len(rows) == len(predictions) <= MOST_SAMPLES
        or not all(isinstance(row, list) and len(row) == len(schema.features) for row in rows)
        or not all(
            _is_raw(each, feature) for row in rows for each, feature in zip(row, schema.features, strict=True)
        )
        or not all(_is_prediction(each, len(schema.classes)) for each in predictions)
    ):
        raise ArtifactError(
            f"{SAMPLES_FILE}: not as train.py writes it; allowed: up to {MOST_SAMPLES} rows of {len(schema.features)} "
            "numbers or null (or what the schema says), and a number for each row (or one for each class)."
        )
    return rows, predictions


def _is_raw(value: Any, feature: Feature) -> bool:
    if feature.kind == "number":
        return value is None or _is_number(value)
    try:
        feature.encode(value)
    except ValueError:
        return False
    return True


def _is_prediction(value: Any, classes: int) -> bool:
    if not classes:
        return _is_number(value)
    return isinstance(value, list) and len(value) == classes and all(map(_is_number, value))


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
