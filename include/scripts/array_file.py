"""Arrays of float64 in an artifact: numpy's own ``.npz``, written always the same, and read without trusting it."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_card import SIDE_FOLDER, ArtifactError, read_member

MOST_BYTES = 64 * 1024 * 1024
MOST_ARRAYS = 1000


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays; equal ones give equal bytes."""
    plain: dict[str, Any] = {name: np.ascontiguousarray(each, np.float64) for name, each in arrays.items()}
    np.savez(path, **plain)


def load_arrays(
    folder: Path, name: str, shapes: Mapping[str, tuple[int | None, ...]]
) -> dict[str, np.ndarray]:
    """Read arrays.

    :param folder: the artifact's ``city_fleet``.
    :param name: the file's name in it.
    :param shapes: which arrays there must be, and of which shape; None for a number that only the file knows.
    :raises ArtifactError: it is missing, or an array is of another type or shape, or holds what is no number.
    """
    shown = f"{SIDE_FOLDER}/{name}"
    content = read_member(folder.parent, shown, MOST_BYTES, "its algorithm needs it")
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = {info.filename: info for info in file.infolist()[:MOST_ARRAYS]}
            for array, wanted in shapes.items():
                # One that is packed might swell when it is unpacked; numpy writes none such.
                info = members[f"{array}.npy"]
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content):
                    raise ValueError(f"'{array}' is compressed")
                arrays[array] = _read(file.read(info), array, wanted)
    except KeyError as error:
        raise ArtifactError(f"{shown}: array {error} is missing.") from None
    except (
        ValueError,
        TypeError,
        EOFError,
        OSError,
        SyntaxError,
        RecursionError,
        zipfile.BadZipFile,
    ) as error:
        raise ArtifactError(f"{shown}: not as train.py writes it ({str(error)[:100]}).") from None
    return arrays


def _read(content: bytes, name: str, wanted: tuple[int | None, ...]) -> np.ndarray:
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"'{name}' is of another version of numpy's format")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
    if kind != np.float64 or fortran:
        raise ValueError(f"'{name}' is no array of float64")
    fits = len(shape) == len(wanted) and all(
        most in (None, got) for got, most in zip(shape, wanted, strict=True)
    )
    if not fits or len(content) - file.tell() != 8 * math.prod(shape):
        raise ValueError(f"'{name}' is of shape {shape}; allowed: {wanted}")
    array = np.frombuffer(content, np.float64, offset=file.tell()).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError(f"'{name}' holds what is no number")
    return array
