"""The peers of bench/live_errors.py: ``python drift_peers.py <series.json>``, in an environment with river.

For each detector, by its defaults and by other settings, it prints JSON: at which places of each series it alarms. It
begins anew after an alarm, as river's detectors do. Page-Hinkley and ADWIN are given the errors in standard deviations,
and KSWIN too; none of them knows that these were 1 on the held-out rows, which is what ours has beside them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from river import drift

#: Name → settings → a new detector. The first one of each is by its defaults.
DETECTORS: dict[str, dict[str, Callable[[], Any]]] = {
    "PageHinkley": {
        "defaults": drift.PageHinkley,
        **{
            f"min_instances=2, delta=1, threshold={limit}": lambda limit=limit: drift.PageHinkley(
                min_instances=2, delta=1.0, threshold=limit
            )
            for limit in (2.0, 2.2, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
        },
    },
    "ADWIN": {
        "defaults": drift.ADWIN,
        **{
            f"clock=1, min_window_length=2, grace_period=4, delta={delta}": lambda delta=delta: drift.ADWIN(
                delta=delta, clock=1, min_window_length=2, grace_period=4
            )
            for delta in (0.5, 0.2, 0.05, 0.002)
        },
    },
    "KSWIN": {
        "defaults": lambda: drift.KSWIN(seed=0),
        **{
            f"window_size=12, stat_size=3, alpha={alpha}": lambda alpha=alpha: drift.KSWIN(
                alpha=alpha, window_size=12, stat_size=3, seed=0
            )
            for alpha in (0.02, 0.005)
        },
    },
}


def alarms(detector: Any, series: list[float]) -> list[int]:
    """Return the places at which a detector alarms."""
    found = []
    for at, error in enumerate(series):
        detector.update(error)
        if detector.drift_detected:
            found.append(at)
    return found


def main() -> None:
    """Let each detector look at every series."""
    series = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {
        name: {
            settings: {kind: [alarms(make(), each) for each in many] for kind, many in series.items()}
            for settings, make in ways.items()
        }
        for name, ways in DETECTORS.items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
