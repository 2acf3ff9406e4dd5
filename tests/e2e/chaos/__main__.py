"""`make chaos`: a long chaos run. A JSON summary on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.chaos import blows, settings
from tests.e2e.chaos.runner import ChaosRun, chaos_stack

MEAN_PAUSE_SECONDS = 8.0
TIMEOUT_SECONDS = 600.0
START_DELAY_SECONDS = 12.0


def main() -> int:
    """Run, print the summary, and keep the folder where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description=__doc__)
    parser.add_argument("--n", type=int, default=50, help="how many blows (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of blows and faults (default: %(default)s)")
    parser.add_argument(
        "--pause",
        type=float,
        default=MEAN_PAUSE_SECONDS,
        help="mean seconds between blows (default: %(default)s)",
    )
    parser.add_argument("--cities", type=int, default=5, choices=range(1, len(settings.CITIES) + 1))
    parser.add_argument(
        "--keep", action="store_true", help="keep the stack's folder, logs and all, also when all is well"
    )
    parsed = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    folder = Path(tempfile.mkdtemp(prefix="city-fleet-chaos-"))
    cities = settings.CITIES[: parsed.cities]
    with chaos_stack(folder, cities, say, start_delay_seconds=START_DELAY_SECONDS) as stack:
        plan = blows.plan(parsed.seed, parsed.n, mean_pause_seconds=parsed.pause)
        run = ChaosRun(
            stack, cities, plan, seed=parsed.seed, timeout_seconds=TIMEOUT_SECONDS, long=True, say=say
        )
        result = run.run()
    if not result.wrong and not parsed.keep:
        shutil.rmtree(folder, ignore_errors=True)
        result.logs = ""
    print(json.dumps(result.to_dict(), indent=2))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
