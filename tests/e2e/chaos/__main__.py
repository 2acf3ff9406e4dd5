"""`make chaos`: seeded nights of blows. A JSON summary on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from local.stack.errors import StackError
from tests.e2e.chaos import blows, judgement, settings
from tests.e2e.chaos.runner import ChaosRun, Result, chaos_stack
from tests.e2e.chaos.undisturbed import Undisturbed

MEAN_PAUSE_SECONDS = 8.0
TIMEOUT_SECONDS = 900.0
START_DELAY_SECONDS = 12.0
_LARGEST_SEED = 2**31


def main() -> int:
    """Run the nights, print the summary, and keep the folders where something was wrong."""
    parsed = _arguments()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    seeds = [parsed.seed] if parsed.seed is not None else []
    seeds += [random.randrange(_LARGEST_SEED) for _ in range(parsed.nights - len(seeds))]
    nights = []
    undisturbed = None if parsed.no_compare else Undisturbed(say)
    for number, seed in enumerate(seeds, 1):
        say(f"night {number} of {len(seeds)}: seed {seed}")
        nights.append(_night_or_error(seed, parsed, undisturbed, say))
        say(
            f"night {number} of {len(seeds)}: {'as it should be' if nights[-1]['ok'] else nights[-1]['wrong']}"
        )
    counts = {about: sum(night.get(about, 0) for night in nights) for about in judgement.KINDS}
    summary = {"ok": all(night["ok"] for night in nights), "seeds": seeds, **counts, "nights": nights}
    print(json.dumps(nights[0] if len(nights) == 1 else summary, indent=2))
    return 0 if summary["ok"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description=__doc__)
    parser.add_argument("--n", type=int, default=50, help="how many blows a night (default: %(default)s)")
    parser.add_argument(
        "--nights", type=int, default=1, help="each in a stack of its own (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=None,
        help="of blows, faults and clock of the first night; drawn, and printed, where none is given",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=MEAN_PAUSE_SECONDS,
        help="mean seconds between blows (default: %(default)s)",
    )
    parser.add_argument("--cities", type=int, default=5, choices=range(1, len(settings.CITIES) + 1))
    parser.add_argument(
        "--no-compare",
        action="store_true",
        help="do not run the same nights undisturbed, to compare how they end",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the stack's folder, logs and all, also when all is well"
    )
    return parser.parse_args()


def _seed(text: str) -> int | None:
    """Read a seed; an empty one, as of `make chaos SEED=`, is none."""
    return int(text) if text else None


def _night_or_error(
    seed: int, parsed: argparse.Namespace, undisturbed: Undisturbed | None, say: Any
) -> dict[str, Any]:
    """Run one night; one whose stack does not come up, or does not come to rest, takes no other's result with it."""
    try:
        return _night(seed, parsed, undisturbed, say)
    except StackError as error:
        return {"seed": seed, "ok": False, "wrong": [f"the night broke off: {error}"]}


def _night(
    seed: int, parsed: argparse.Namespace, undisturbed: Undisturbed | None, say: Any
) -> dict[str, Any]:
    """Run one night, and return its summary."""
    folder = Path(tempfile.mkdtemp(prefix="city-fleet-chaos-"))
    cities = settings.CITIES[: parsed.cities]
    offset = settings.clock_offset_seconds(seed)
    with chaos_stack(
        folder, cities, say, start_delay_seconds=START_DELAY_SECONDS, clock_offset_seconds=offset
    ) as stack:
        run = ChaosRun(
            stack,
            cities,
            blows.plan(seed, parsed.n, mean_pause_seconds=parsed.pause),
            seed=seed,
            timeout_seconds=TIMEOUT_SECONDS,
            clock_offset_seconds=offset,
            long=True,
            say=say,
        )
        result: Result = run.run()
    if undisturbed is not None and result.started:
        try:
            result.findings = judgement.judge(result.evidence, undisturbed.ends(result.started))
        except StackError as error:
            result.findings[judgement.KINDS[-1]].append(f"how it ends undisturbed is not known: {error}")
    if not result.wrong and not parsed.keep:
        shutil.rmtree(folder, ignore_errors=True)
        result.logs = ""
    return result.to_dict()


if __name__ == "__main__":
    sys.exit(main())
