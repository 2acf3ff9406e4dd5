"""An artifact's side files: what its model needs, and rows with the answers that it gave when it was trained.

``model.tar.gz`` holds them in the folder ``city_fleet``. They are as old as the model and live exactly as long, so
a model can be checked whenever it could serve; the evaluation's held-out rows belong to a run and may be gone.
Nothing is unpacked to disk, and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from city_fleet.errors import ArtifactError
from city_fleet.periods import begin_text
from city_fleet.state import pointer_checks
from city_fleet.state.objects import ObjectStore, read_uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: The newest format of an artifact that this version knows.
FORMAT_VERSION = 2
MODEL_FILE = "city_fleet/model.json"
SAMPLES_FILE = "city_fleet/samples.json"
BACKTEST_FILE = "city_fleet/backtest.json"
# Far above any real artifact (some hundred kilobytes in three files), far below what hurts.
_MAX_MEMBERS = 100
_MAX_BYTES = _MAX_UNPACKED_BYTES = 256 << 20
_MAX_SIDE_FILE_BYTES = 10 << 20
_MAX_BACKTEST_BYTES = 16 << 20
_LONGEST_TEXT = 100_000

#: A value of a row as a request has it, and a prediction: a number, or the probability of each class by its name.
Value: TypeAlias = float | str | bool | None
Known: TypeAlias = float | Mapping[str, float]


@dataclass(frozen=True)
class Artifact:
    """The side files of an artifact.

    :param city: the slug of the city it was trained for.
    :param as_of: stamp of the moment up to which it may have seen data.
    :param features: feature names in the order of a request row.
    :param rows: sample rows x features; None where a value is missing.
    :param predictions: one per sample row, in the target's unit, or by class.
    :param kind: ``series`` or ``table``.
    :param task: ``regression``, ``binary`` or ``multiclass``.
    :param inputs: of a table: ``{"name", "kind"}`` of each feature.
    :param classes: of a classification.
    :param algorithm: name of the module that the serving code needs, with the digest of the one it was trained by;
        empty in artifacts of format 1, which every serving code answers with.
    :param forecast: of a series that can be asked by its city's name, as the live pointer says it; empty for others.
    :param periods: of a series: the period of each sample row, an ISO date; empty where the artifact does not say.
    """

    city: str
    as_of: str
    features: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    predictions: tuple[Known, ...]
    kind: str = pointer_checks.SERIES
    task: str = pointer_checks.REGRESSION
    inputs: tuple[dict[str, str], ...] = ()
    classes: tuple[str, ...] = ()
    algorithm: str = ""
    algorithm_digest: str = ""
    forecast: Mapping[str, Any] = field(default_factory=dict)
    periods: tuple[str, ...] = ()

    @property
    def is_table(self) -> bool:
        """Tell whether its rows hold raw values, which not only numbers are."""
        return self.kind == pointer_checks.TABLE

    @property
    def says(self) -> dict[str, Any]:
        """Return what the live pointer says of the model beside its names, as fields of it."""
        return {
            "kind": self.kind,
            "task": self.task,
            "inputs": self.inputs,
            "forecast": dict(self.forecast),
        }


def fetch(s3: S3Client, bucket: str, key: str, sha256: str) -> Artifact:
    """Read an artifact from S3.

    :param sha256: what its bytes must have.
    :raises ArtifactError: it is not there, has other bytes, or can't be read.
    """
    where = f"s3://{bucket}/{key}"
    return parse(fetch_bytes(s3, where, sha256), where)


def fetch_bytes(s3: S3Client, where: str, sha256: str) -> bytes:
    """Read an artifact's bytes from S3.

    :param where: its URI.
    :param sha256: what its bytes must have.
    :raises ArtifactError: it is not there, or has other bytes.
    """
    body = read_uri(s3, where, _MAX_BYTES)
    if body is None:
        raise ArtifactError(f"{where}: there is no such artifact")
    if len(body) > _MAX_BYTES:
        raise ArtifactError(f"{where}: is larger than any model")
    found = hashlib.sha256(body).hexdigest()
    if found != sha256:
        raise ArtifactError(f"{where}: has SHA-256 {found}; it was registered with {sha256}")
    return body


def card_of(body: bytes, where: str) -> dict[str, Any]:
    """Return what an artifact says of itself, ``model.json``, as JSON: whoever reads it checks it.

    :param body: its bytes.
    :param where: URI for the error message.
    :raises ArtifactError: it does not say so, or in a format that is newer than this version of City Fleet.
    """
    said = _side_files(body, where, {MODEL_FILE: _MAX_SIDE_FILE_BYTES}).get(MODEL_FILE)
    if not isinstance(said, dict):
        raise ArtifactError(f"{where}: holds no {MODEL_FILE}; nobody can say what it predicts")
    version = said.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version > FORMAT_VERSION:
        raise ArtifactError(
            f"{where}: {MODEL_FILE} has format_version {str(version)[:50]!r}; allowed: up to {FORMAT_VERSION}. "
            "It was made by a newer City Fleet: upgrade this one, and run the endpoint's DAG"
        )
    return said


def wrong_bytes(store: ObjectStore, key: str, sha256: str) -> str | None:
    """Return what is wrong with an artifact's bytes, which are not kept; None where they are the registered ones.

    :param sha256: what they must have.
    """
    found = store.sha256(key)
    if found is None:
        return f"{store.uri(key)} does not exist"
    return (
        None if found == sha256 else f"{store.uri(key)} has SHA-256 {found}; it was registered with {sha256}"
    )


def parse(body: bytes, where: str) -> Artifact:
    """Read an artifact's bytes.

    :param where: URI for the error message.
    :raises ArtifactError: they are not an artifact, or one without samples.
    """
    files = _side_files(body, where)
    try:
        card, samples = files[MODEL_FILE], files[SAMPLES_FILE]
        said = _said_by_schema(card)
        table, classes = said.get("kind") == pointer_checks.TABLE, said.get("classes", ())
        rows = tuple(
            tuple(_raw(value) if table else _number(value) for value in row) for row in samples["rows"]
        )
        predictions = tuple(_prediction(value, classes) for value in samples["predictions"])
        features = tuple(str(name) for name in card["features"])
        if not rows or len(rows) != len(predictions) or any(len(row) != len(features) for row in rows):
            raise ValueError(f"{len(rows)} rows, {len(predictions)} predictions, {len(features)} features")
        if table and [each["name"] for each in said["inputs"]] != list(features):
            raise ValueError("the features of its schema are others")
        days = tuple(begin_text(each) for each in samples.get("periods") or ())
        if days and len(days) != len(rows):
            raise ValueError(f"{len(rows)} rows, {len(days)} periods")
        return Artifact(
            str(card["city"]), str(card["as_of"]), features, rows, predictions, periods=days, **said
        )
    except KeyError as error:
        raise ArtifactError(f"{where}: holds no {error}; it can't be checked") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"{where}: its side files are not as train.py writes them ({error})") from None


def _said_by_schema(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what format 2 says of its data and its algorithm, as fields of :class:`Artifact`; nothing of format 1."""
    schema = card.get("schema")
    if schema is None:
        return {}
    kind, task = schema["kind"], schema["task"]
    if kind not in pointer_checks.KINDS or task not in pointer_checks.TASKS:
        raise ValueError(f"kind {str(kind)[:50]!r}, task {str(task)[:50]!r}")
    classes = tuple(schema.get("classes") or ())
    if (task == pointer_checks.REGRESSION) != (not classes) or not all(
        isinstance(name, str) for name in classes
    ):
        raise ValueError(f"{len(classes)} classes of a {task}")
    inputs = tuple({"name": str(each["name"]), "kind": str(each["kind"])} for each in schema["features"])
    if not all(each["kind"] in pointer_checks.INPUT_KINDS for each in inputs):
        raise ValueError("a feature of a kind that this version of City Fleet does not know")
    return {
        "kind": kind,
        "task": task,
        "inputs": inputs if kind == pointer_checks.TABLE else (),
        "classes": classes,
        "algorithm": str(card.get("algorithm") or ""),
        "algorithm_digest": str(card.get("algorithm_digest") or ""),
        "forecast": _forecast(schema),
    }


def _forecast(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a forecast by the city's name is made of; nothing of a table, or of an artifact of before."""
    layout = schema.get("layout")
    if layout is None:
        return {}
    columns = [schema["target"], *(each["column"] for each in layout["columns"])]
    ahead = [each["column"] for each in layout["columns"] if each.get("known_ahead")]
    said = {
        "frequency": layout["frequency"],
        "horizon": layout["horizon"],
        "unit": layout["unit"],
        "columns": list(dict.fromkeys(columns)),
        **({"known_ahead": ahead} if ahead else {}),
    }
    pointer_checks.check_forecast(said)
    return said


def backtest(s3: S3Client, bucket: str, key: str) -> Any:
    """Read how the model of an artifact in S3 was judged, as JSON: whoever reads it checks it.

    :return: None where the artifact does not say so: of a table, or of an earlier version.
    :raises ArtifactError: it is not there, or no artifact.
    """
    where = f"s3://{bucket}/{key}"
    body = read_uri(s3, where, _MAX_BYTES)
    if body is None or len(body) > _MAX_BYTES:
        raise ArtifactError(f"{where}: there is no such artifact")
    return _side_files(body, where, {BACKTEST_FILE: _MAX_BACKTEST_BYTES}).get(BACKTEST_FILE)


def card(s3: S3Client, bucket: str, key: str, limit: int) -> Any:
    """Read what an artifact in S3 says of itself, ``model.json``, as JSON: whoever reads it checks it.

    :param limit: in bytes: a larger artifact is not read to its end.
    :return: None where there is no such artifact.
    :raises ArtifactError: it is no artifact, or larger.
    """
    where = f"s3://{bucket}/{key}"
    body = read_uri(s3, where, limit)
    if body is None:
        return None
    if len(body) > limit:
        raise ArtifactError(
            f"{where}: is larger than {limit:,} bytes; what it says of itself is not looked at"
        )
    return _side_files(body, where, {MODEL_FILE: _MAX_SIDE_FILE_BYTES}).get(MODEL_FILE)


_SIDE_FILES = {MODEL_FILE: _MAX_SIDE_FILE_BYTES, SAMPLES_FILE: _MAX_SIDE_FILE_BYTES}


def _side_files(body: bytes, where: str, wanted: Mapping[str, int] = _SIDE_FILES) -> dict[str, Any]:
    """Return side files by name, as JSON.

    :param wanted: name → how many bytes it may have.
    """
    found: dict[str, Any] = {}
    count = total = 0
    try:
        with (
            gzip.open(io.BytesIO(body)) as stream,
            tarfile.open(fileobj=_Bounded(stream, where), mode="r|") as tar,
        ):
            for member in tar:
                count += 1
                total += member.size
                if count > _MAX_MEMBERS or total > _MAX_UNPACKED_BYTES:
                    raise ArtifactError(f"{where}: is larger than any model")
                name = str(PurePosixPath(member.name))  # without the leading "./" that some packers write
                content = tar.extractfile(member) if member.isreg() else None
                if name in wanted and content is not None:
                    if member.size > wanted[name]:
                        raise ArtifactError(f"{where}: {name} is larger than any side file")
                    found[name] = json.loads(content.read())
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{where}: is not a readable tar.gz ({error})") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: a side file is not JSON ({error})") from None
    return found


class _Bounded(io.RawIOBase):
    """A stream that comes to an end: also what tarfile reads on its own account, as names and attributes of members."""

    def __init__(self, stream: gzip.GzipFile, where: str) -> None:
        self._stream = stream
        self._where = where
        self._left = _MAX_UNPACKED_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= self._left:
            raise ArtifactError(f"{self._where}: is larger than any model")
        content = self._stream.read(size)
        self._left -= len(content)
        return content


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise ValueError(f"{value!r} is not a number")


def _raw(value: Any) -> Value:
    if isinstance(value, bool) or (isinstance(value, str) and len(value) <= _LONGEST_TEXT):
        return value
    return _number(value)


def _prediction(value: Any, classes: tuple[str, ...]) -> Known:
    """Return a number, or the probabilities by class: they stand in the classes' order, or by name."""
    if not classes:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("a prediction is not a number")
        return number
    named = dict(zip(classes, value, strict=True)) if isinstance(value, list) else dict(value)
    if set(named) != set(classes) or not all(_is_probability(each) for each in named.values()):
        raise ValueError("a prediction is not the probabilities of its classes")
    return named


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
