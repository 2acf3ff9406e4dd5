"""Splits the rows of a table into training, validation and holdout.

With a time the newest rows are held out and those before them validate, as a model will be asked about rows that come
later. Without one a digest of the key, or of the whole row, decides: the same row is in the same part tonight as last
night, wherever it stands in which file, so nothing that a model was trained on comes into a later holdout.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from table_rows import TableRows
from table_settings import TableSettings

_SEPARATOR = "\x1f"


def split(rows: TableRows, usable: np.ndarray, settings: TableSettings) -> dict[str, np.ndarray]:
    """Split the usable rows.

    :param usable: rows; whether the target is known.
    :return: part → places of its rows: by moment, or in the files' order.
    """
    places = np.flatnonzero(usable)
    if rows.moment is not None:
        places = places[np.argsort(rows.moment[places], kind="stable")]
        test_from = _boundary(rows.moment[places], settings.holdout_share, len(places))
        before = rows.moment[places[:test_from]]
        validation_from = _boundary(before, settings.validation_share, len(places))
        return {
            "train": places[:validation_from],
            "validation": places[validation_from:test_from],
            "test": places[test_from:],
        }
    drawn = _draws(rows, settings)[places]
    held, kept = settings.holdout_share, settings.holdout_share + settings.validation_share
    return {
        "train": places[drawn >= kept],
        "validation": places[(drawn >= held) & (drawn < kept)],
        "test": places[drawn < held],
    }


def _boundary(moments: np.ndarray, share: float, of: int) -> int:
    """Return where the last rows begin: a share of all, and never a part of those of one moment.

    :param moments: sorted.
    """
    at = max(0, len(moments) - max(1, round(of * share)))
    return int(np.searchsorted(moments, moments[at], side="left")) if at < len(moments) else len(moments)


def _draws(rows: TableRows, settings: TableSettings) -> np.ndarray:
    """Draw a number from 0 to 1 for each row, the same for the same row."""
    if settings.key is not None:
        texts = pc.utf8_trim_whitespace(rows.texts[settings.key])
    else:
        # By name, so that the order of the columns does not matter.
        texts = pc.binary_join_element_wise(
            *(pc.utf8_trim_whitespace(rows.texts[name]) for name in sorted(rows.texts)),
            pa.scalar(_SEPARATOR, pa.large_string()),
        )
    digest = hashlib.sha256
    first = b"".join(digest(text.encode()).digest()[:8] for text in texts.to_pylist())
    return np.frombuffer(first, dtype=">u8").astype(np.float64) / 2.0**64
