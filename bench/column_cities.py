"""What preprocessing says of broken columns: ``python column_cities.py <scripts> <folder> <scenario>…``.

In the image's Python it prints JSON: scenario → city → whether the data were refused (``failed``), the status that the
data checks of the gate are made of, and what a run would keep as known of the city.
"""

from __future__ import annotations

import contextlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

from job_settings import read_job_settings
from newest_values import FILE as KNOWN_FILE
from preprocess import FAILED, Folders, prepare_city
from table_file import PARTS


def prepare(folder: Path, scenario: str) -> dict[str, Any]:
    """Prepare a scenario's cities as a run does, one after the other."""
    settings = read_job_settings(folder / f"settings-{scenario}.json")
    folders = Folders(folder / f"raw-{scenario}", folder / scenario, {})
    for name in (*PARTS, "report"):
        (folders.output / name).mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    with contextlib.redirect_stdout(sys.stderr):
        for slug, city in sorted(settings.cities.items()):
            status = prepare_city(settings, city, folders)
            known = folders.output / "report" / f"city={slug}" / KNOWN_FILE
            found[slug] = {
                "failed": status["status"] == FAILED,
                "status": status,
                "known": known.read_text(encoding="utf-8") if known.is_file() else None,
            }
    return found


def main() -> None:
    """Prepare all scenarios, two at a time."""
    folder, scenarios = Path(sys.argv[2]), sys.argv[3:]
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(scenarios, pool.map(prepare, [folder] * len(scenarios), scenarios), strict=True))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
