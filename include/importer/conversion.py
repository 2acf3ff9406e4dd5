"""The way of a model from its file to the artifact of a city: told by its content, converted, compared, written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backtest import BACKTEST_FILE
from canonical_archive import write_archive
from city import City
from comparison import compare, rows_to_compare
from converted import Converted
from file_kinds import ARTIFACT, ONNX, SKOPS, XGBOOST, kind_of
from job_failure import JobFailure
from model_artifact import Model, save_artifact, untransformed
from model_card import ArtifactError, ModelCard
from refusal import Refused
from table_file import read_table
from table_parts import joined, seen_by
from table_schema import REGRESSION, SERIES, Schema, Table
from target_transform import TargetTransform
from train import SAMPLE_ROWS, centres, shares

MOST_FILE_BYTES = 256 << 20
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Asked:
    """What is to be imported, and for whom.

    :param name: what people call the file.
    :param kind: one of ``file_kinds``; None for what the file is.
    :param tables: holds ``train/``, ``validation/`` and ``test/``, each with ``city=<slug>/``.
    :param features: what the model's inputs are, in its order; None where it says so itself.
    :param keeps_transform: whether it predicts the city's transformed target instead of the target.
    :param output: gets the artifact, ``model.tar.gz``, and ``import.json``.
    """

    file: Path
    name: str
    kind: str | None
    city: str
    tables: Path
    features: Sequence[str] | None
    keeps_transform: bool
    output: Path


def convert(asked: Asked) -> None:
    """Convert a model.

    :raises JobFailure: it is refused, with the sentence why.
    """
    try:
        _convert(asked)
    except (Refused, ArtifactError) as error:
        text = str(error)
        raise JobFailure(f"{asked.name}: {text}{'' if text.endswith('.') else '.'}") from None
    except MemoryError:
        raise JobFailure(f"{asked.name}: it takes more memory than an import may.") from None
    except RecursionError:
        raise JobFailure(f"{asked.name}: it is nested deeper than any model.") from None


def _convert(asked: Asked) -> None:
    size = asked.file.stat().st_size
    if not 1 <= size <= MOST_FILE_BYTES:
        raise Refused(f"got {size} bytes; allowed: 1 to {MOST_FILE_BYTES}")
    content = asked.file.read_bytes()
    kind = kind_of(content, asked.kind)
    parts = {
        part: read_table(asked.tables / part, part, asked.city) for part in ("train", "validation", "test")
    }
    schema = _schema(parts["train"].schema, asked)
    seen = {part: seen_by("xgboost", table) for part, table in parts.items()}
    converted = _by_kind(kind)(content, City(schema, asked.features, _usual(seen["train"].values)))
    schema = converted.schema or schema
    parts = {part: seen_by(converted.algorithm, table) for part, table in parts.items()}
    values = np.concatenate([table.values for table in parts.values()])
    rows, own = rows_to_compare(values, schema, missing=converted.takes_missing)
    same = compare(schema, rows, own, converted.predictor.predict, converted.answer)
    origin = {
        "kind": kind,
        "model": converted.model,
        "file": asked.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "libraries": dict(converted.libraries),
        "compared": same.to_json(),
    }
    folder = asked.output / "artifact"
    folder.mkdir(parents=True)
    counts = _write(folder, converted, schema, parts, origin)
    notes = list(converted.notes)
    if converted.backtest:
        # Its serving half may have learned the held-out rows; the answers of the half that judged it are inside.
        (folder / BACKTEST_FILE).write_bytes(converted.backtest)
    else:
        notes.append(_seen(parts["test"]))
    report = {
        "format_version": FORMAT_VERSION,
        "city": schema.city,
        "as_of": schema.as_of,
        "task": schema.task,
        "algorithm": converted.algorithm,
        "rows": counts,
        "candidates": [],
        "loss": None,
        "origin": origin,
        "notes": notes,
        "artifact_sha256": write_archive(folder, asked.output / "model.tar.gz"),
    }
    text = json.dumps(report, indent=2, allow_nan=False)
    (asked.output / "training.json").write_text(text + "\n", encoding="utf-8")


def _write(
    folder: Path, converted: Converted, schema: Schema, parts: dict[str, Table], origin: Mapping[str, object]
) -> dict[str, int]:
    before = joined(*(replace(parts[part], schema=schema) for part in ("train", "validation")))
    rows = {part: len(parts[part]) for part in ("train", "validation")}
    card = ModelCard(
        schema,
        converted.algorithm,
        rows,
        centres=centres(before),
        shares=shares(before),
        describe={**converted.predictor.describe(), "origin": origin},
    )
    newest = parts["validation"]
    usable = np.flatnonzero(_answered(schema, newest.values))[-SAMPLE_ROWS:]
    periods = [newest.rows[at] for at in usable] if schema.kind == SERIES else []
    save_artifact(folder, Model(converted.predictor, card), newest.values[usable], periods)
    return rows


def _seen(test: Table) -> str:
    which = f" ({test.rows[0]} to {test.rows[-1]})" if test.schema.kind == SERIES else ""
    return (
        f"Whether it has learned from the city's {len(test)} held-out rows{which} nobody can see: if it has, it looks "
        "better here than it is."
    )


def _usual(values: np.ndarray) -> np.ndarray:
    """The median of each column, 0 where it has no value."""
    known = ~np.isnan(values).all(axis=0)
    usual = np.zeros(values.shape[1])
    usual[known] = np.nanmedian(values[:, known], axis=0)
    return usual


def _answered(schema: Schema, values: np.ndarray) -> np.ndarray:
    """Rows that have a prediction: of a transform with a reference those where that is above 0."""
    if schema.task != REGRESSION:
        return np.ones(len(values), bool)
    return np.isfinite(untransformed(schema, np.zeros(len(values)), values))


def _schema(schema: Schema, asked: Asked) -> Schema:
    """The city's schema: by default the model answers the target itself, whatever a city's own models learn."""
    schema = replace(
        schema,
        layout=None if schema.layout is None else schema.layout.seen_by("xgboost"),
    )
    if schema.layout is not None:
        kept = set(schema.layout.features)
        schema = replace(schema, features=tuple(each for each in schema.features if each.name in kept))
    if schema.task != REGRESSION or asked.keeps_transform:
        return schema
    return replace(schema, transform=TargetTransform("none"))


def _by_kind(kind: str) -> Callable[[bytes, City], Converted]:
    """Import what reads a kind, and its libraries no sooner."""
    try:
        if kind == XGBOOST:
            from xgboost_file import convert_xgboost  # noqa: PLC0415

            return convert_xgboost
        if kind == ONNX:
            from onnx_file import convert_onnx  # noqa: PLC0415

            return convert_onnx
        if kind == SKOPS:
            from skops_file import convert_skops  # noqa: PLC0415

            return convert_skops
    except ModuleNotFoundError as error:
        raise Refused(
            f"reading {kind} needs the package {error.name}, which this Python "
            f"({__import__('sys').executable}) lacks: "
            "`make environments` makes .venv-import, or name a Python with requirements/import.lock in "
            "CITY_FLEET_IMPORT_PYTHON"
        ) from None
    if kind == ARTIFACT:
        from own_artifact import convert_artifact  # noqa: PLC0415

        return convert_artifact
    raise AssertionError(kind)
