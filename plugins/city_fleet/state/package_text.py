"""Texts as SageMaker takes them with a model package. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LONGEST_METADATA = 256
_LONGEST_REASON = 1024


def metadata_value(text: str) -> str:
    """Return a text as metadata allow it: at most 256 letters, digits, spaces and ``_.:/=+-@``."""
    return re.sub(r"[^\w .:/=+@-]", "_", text)[:_LONGEST_METADATA]


def fitting(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries that fit: a URI that is cut off leads nowhere, and an empty value is refused."""
    return {name: value for name, value in metadata.items() if 0 < len(value) <= _LONGEST_METADATA}


def one_line(text: str) -> str:
    """Return a text as an approval description takes it."""
    return " ".join(text.split())[:_LONGEST_REASON]
