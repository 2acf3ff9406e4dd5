"""A run's first step at the desk: the fleet's own ``preprocess.py`` on raw data in a folder, as its job would run it.

What it refuses a night would refuse, and what it counts a night would count; nothing is reckoned a second way. It gets
an environment of its own without credentials, since scripts may be anybody's.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from city_fleet.errors import PlatformError

_PARTS = ("train", "validation", "test")
_TIMEOUT_SECONDS = 1800
_MOST_SAID = 2000


@dataclass(frozen=True)
class Prepared:
    """What the step would come to for a city.

    :param status: ``status.json``.
    :param rows: usable rows of all parts, :param zeros: how many of them have the target 0.
    :param planned: column → in how many periods behind the newest known one it has a value.
    """

    status: Mapping[str, Any]
    rows: int = 0
    zeros: int = 0
    planned: Mapping[str, int] = field(default_factory=dict)


def prepare(
    scripts: Iterable[tuple[str, bytes]], settings: Mapping[str, Any], raw: Path, work: Path
) -> dict[str, Prepared]:
    """Run the step for all cities of a settings file.

    :param scripts: path below the folder of scripts → content.
    :param settings: what ``settings.json`` says.
    :param raw: holds ``city=<slug>/`` folders.
    :param work: an empty folder.
    :return: by city; those that failed have a status ``failed``, with its sentence as ``reason``.
    :raises PlatformError: the script could not run here at all, with its last words.
    """
    code, out = work / "code", work / "out"
    code.mkdir(parents=True)
    for name, content in scripts:
        path = code / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (work / "settings.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    command = [
        *(sys.executable, "-B", str(code / "preprocess.py"), "--settings", str(work / "settings.json")),
        *("--raw-dir", str(raw), "--output-dir", str(out), "--message-file", str(work / "message")),
    ]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PlatformError(
            f"preprocess.py was not done after {_TIMEOUT_SECONDS} s at this desk; look at fewer cities with --city"
        ) from None
    cities = [each["city"] for each in settings["cities"]]
    found = {city: _prepared(out, city) for city in cities}
    if any(each is None for each in found.values()):
        said = (work / "message").read_text(encoding="utf-8") if (work / "message").is_file() else done.stderr
        last = said.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise PlatformError(
            f"preprocess.py could not run here: {last[0][:_MOST_SAID]}. It runs in this command's own Python "
            f"({sys.executable}), which needs what the job's image has: numpy, pandas, pyarrow"
        )
    return {city: each for city, each in found.items() if each is not None}


def _prepared(out: Path, city: str) -> Prepared | None:
    path = out / "report" / f"city={city}" / "status.json"
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(status, dict) or not isinstance(status.get("reason"), str):
        return None
    rows = zeros = 0
    for part in _PARTS:
        for target in _targets(out / part / f"city={city}" / f"{part}.csv"):
            rows += 1
            zeros += target == 0
    return Prepared(status, rows, zeros, _planned(out / "report" / f"city={city}" / "known.json"))


def _planned(path: Path) -> dict[str, int]:
    """Count what known.json holds of periods to come; nothing of a table, or of scripts of before."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        columns, rows = known["columns"], known["rows"]
        last = max((at for at, row in enumerate(rows) if row[0] is not None), default=-1)
        return {
            name: sum(row[at] is not None for row in rows[last + 1 :])
            for at, name in enumerate(columns)
            if at
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return {}


def _targets(path: Path) -> Iterable[float]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        if "target" in header:
            at = header.index("target")
            for line in lines:
                try:
                    yield float(line[at])
                except (ValueError, IndexError):
                    continue
