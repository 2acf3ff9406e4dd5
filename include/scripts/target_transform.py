"""What the model learns instead of the target itself, and the way back.

Trees cannot extrapolate: where a series grows, a model of the value itself stays below it. The logarithm of
the value's ratio to the mean of the last periods has no trend, and the way back needs nothing but the row,
since that mean is one of the row's features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

KINDS = ("none", "log", "log_ratio_to_mean")
LONGEST_WINDOW = 1_000_000


@dataclass(frozen=True)
class TargetTransform:
    """A transform of the target.

    :param kind: one of :data:`KINDS`.
    :param window: number of periods of the mean, for log_ratio_to_mean.
    :param reference: name of the feature that holds the mean, for log_ratio_to_mean.
    """

    kind: str
    window: int | None = None
    reference: str | None = None

    @classmethod
    def parse(cls, text: str, target: str) -> TargetTransform:
        """Read a transform as the scripts' arguments spell it.

        :param text: ``none``, ``log`` or ``log_ratio_to_mean:<window>``.
        :raises ValueError: for anything else.
        """
        kind, colon, window = text.partition(":")
        if kind in ("none", "log") and not colon:
            return cls(kind)
        if kind == "log_ratio_to_mean" and window.isascii() and window.isdigit() and int(window) >= 1:
            return cls(kind, int(window), f"{target}_mean_{int(window)}")
        raise ValueError(
            f"got '{text}'; allowed: none, log, or log_ratio_to_mean:<periods>, as in log_ratio_to_mean:12"
        )

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TargetTransform:
        """Read a transform from an artifact's side file.

        :param value: the ``target_transform`` of model.json.
        :raises ValueError: for a kind this code does not know, or one without what it needs.
        """
        kind, window, reference = value.get("kind"), value.get("window"), value.get("reference")
        if kind in ("none", "log") and window is None and reference is None:
            return cls(kind)
        if (
            kind == "log_ratio_to_mean"
            and isinstance(window, int)
            and not isinstance(window, bool)
            and 1 <= window <= LONGEST_WINDOW
            and isinstance(reference, str)
        ):
            return cls(kind, window, reference)
        raise ValueError(
            f"target_transform: got {value}; allowed kinds: {', '.join(KINDS)}, the last with window and reference"
        )

    def to_json(self) -> dict[str, Any]:
        """Write the transform for an artifact's side file."""
        return {"kind": self.kind, "window": self.window, "reference": self.reference}

    @property
    def needs_positive_target(self) -> bool:
        """Say whether the target must be above 0, as a logarithm needs."""
        return self.kind != "none"

    def apply(self, value: float, reference: float | None) -> float:
        """Turn a target into the label that the model learns.

        :param value: the target, in its own unit.
        :param reference: the row's reference; None unless the transform has one.
        """
        if self.kind == "none":
            return value
        return math.log(value if reference is None else value / reference)
