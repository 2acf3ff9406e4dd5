"""Real Texas data, a trained Austin, and a process that serves models, for the tests of the job scripts."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import IMAGE_PYTHON, ROOT, SCRIPTS
from tests.support.script_jobs import DATA, Jobs

# The pure modules are tested in this process as well; the scripts' folder is flat, as it is in the image.
sys.path.insert(0, str(SCRIPTS))


@pytest.fixture(scope="session")
def texas() -> dict[str, list[list[str]]]:
    """The Texas data by city slug; the first row is the header."""
    with DATA.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    cities: dict[str, list[list[str]]] = {}
    for row in rows:
        slug = re.sub("[^a-z0-9]+", "_", row[0].lower()).strip("_")
        cities.setdefault(slug, [header]).append(row)
    return cities


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    """An empty place to run jobs in."""
    return Jobs(tmp_path)


@pytest.fixture(scope="session")
def austin(tmp_path_factory: pytest.TempPathFactory, texas: dict[str, list[list[str]]]) -> Jobs:
    """Austin, prepared and trained as of August 2015; tests must not change it."""
    # Interpreters of their own: what tests compare with them comes from forks of another one.
    jobs = Jobs(tmp_path_factory.mktemp("austin"), fresh=True)
    jobs.write_raw("austin", texas["austin"])
    for finished in (jobs.preprocess("austin"), jobs.train("austin")):
        assert finished.code == 0, finished.stderr
    jobs.pack()
    return Jobs(jobs.root)


@pytest.fixture(scope="session")
def ask() -> Iterator[Callable[..., dict[str, Any]]]:
    """Ask inference.py, in a process of its own, through its four functions as the toolkit calls them."""
    server = subprocess.Popen(
        [IMAGE_PYTHON, str(ROOT / "tests" / "support" / "toolkit.py"), str(SCRIPTS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    stdin, stdout = server.stdin, server.stdout

    def ask(model_dir: Path, body: str, content_type: str | None = "text/csv", **more: Any) -> dict[str, Any]:
        question = {"model_dir": str(model_dir), "body": body, "content_type": content_type, **more}
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    yield ask
    stdin.close()
    server.wait(timeout=30)
