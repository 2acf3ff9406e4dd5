"""How long a trial at the desk takes, beside the three scripts in interpreters of their own: ``make bench-try``. JSON.

A trial is ``./fleet try CITY`` as a person waits for it: the command starts, gets the data, runs the three scripts in
forks of one interpreter and asks the gate. Its peer are the same scripts, settings and rows with an interpreter each,
as one would run them by hand; that needs no command and no data, so it has less to do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGE = REPOSITORY / ".venv-image" / "bin" / "python"
#: Nobody answers there, so that the data are those of the fleet file.
ENVIRONMENT = {
    **os.environ,
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "CITY_FLEET_STATE_DIR": "/nonexistent",
}


def main() -> int:
    """Take turns, and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--city", default="austin")
    parser.add_argument("--fleet", default="texas_housing")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    seconds: dict[str, list[float]] = {"try": [], "three interpreters": []}
    with tempfile.TemporaryDirectory(prefix="city-fleet-bench-try-") as folder:
        kept = Path(folder) / "kept"
        trial = _try(chosen, "--keep", str(kept))
        for _ in range(chosen.rounds):
            seconds["try"].append(_timed(lambda: _try(chosen)))
            seconds["three interpreters"].append(_timed(lambda: _scripts(kept, Path(folder) / "again")))
    medians = {side: round(statistics.median(each), 3) for side, each in seconds.items()}
    report = {
        "city": chosen.city,
        "rounds": chosen.rounds,
        "seconds": medians,
        "try_beside_three_interpreters": round(medians["try"] / medians["three interpreters"], 3),
        "of_that_in_scripts": trial["seconds"],
        "load_afterwards": os.getloadavg()[0],
    }
    json.dump(report, sys.stdout, indent=2)
    print()
    return 0


def _timed(work: Any) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _try(chosen: argparse.Namespace, *more: str) -> Any:
    command = [REPOSITORY / "fleet", "try", chosen.city, "--fleet", chosen.fleet, "--json", *more]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=REPOSITORY, capture_output=True, check=True)
    return json.loads(done.stdout)


def _scripts(kept: Path, out: Path) -> None:
    """Run what a trial has run, by its settings files."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "model").mkdir(parents=True)

    def script(name: str, *arguments: str | Path, **environment: str) -> None:
        command = [IMAGE, "-B", kept / "code" / f"{name}.py", *arguments]
        clean = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment}
        subprocess.run(command, env=clean, check=True, stdout=subprocess.DEVNULL)

    def settings(step: str) -> Path:
        return kept / "settings" / step / "settings.json"

    script("preprocess", "--settings", settings("preprocess"), "--raw-dir", kept / "raw", "--output-dir", out)
    script(
        "train",
        **{f"SM_CHANNEL_{part.upper()}": str(out / part) for part in ("train", "validation", "test")},
        SM_CHANNEL_SETTINGS=str(settings("train").parent),
        SM_MODEL_DIR=str(out / "model"),
        SM_OUTPUT_DATA_DIR=str(out / "training"),
        SM_OUTPUT_DIR=str(out),
        SM_NUM_CPUS="1",
    )
    shutil.make_archive(str(out / "packed" / "model"), "gztar", out / "model")
    tests = ("--test-dir", out / "test", "--model-dir", out / "packed")
    script("evaluate", "--settings", settings("evaluate"), *tests, "--output-dir", out)


if __name__ == "__main__":
    sys.exit(main())
