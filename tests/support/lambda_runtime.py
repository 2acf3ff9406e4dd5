"""A function's zip as AWS Lambda runs it: an interpreter with boto3, and nothing else that is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.paths import ROOT

#: What Lambda's Python runtime brings besides the standard library: boto3 and what it needs.
PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
CODE = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import handler
assert handler.__file__.startswith(sys.argv[1]), handler.__file__
for line in sys.stdin:
    try:
        print(json.dumps(handler.handler(json.loads(line), None)), flush=True)
    except Exception as error:
        print(json.dumps({"raised": type(error).__name__, "said": str(error)}), flush=True)
loaded = {name.partition(".")[0] for name in sys.modules}
foreign = loaded & {"airflow", "httpx", "pydantic", "yaml", "pandas", "numpy", "typer"}
print(json.dumps({"foreign": sorted(foreign), "site": "site" in sys.modules}))
"""


def pack(folder: Path, function: str, **environment: str) -> str:
    """Write a function's zip; return what was printed."""
    done = subprocess.run(
        [sys.executable, "include/lambda/bundle.py", function, "--output-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def load_handler(function: str, environment: Mapping[str, str]) -> ModuleType:
    """Load a function's handler once more in this process, as Lambda starts a container with these variables."""
    path = ROOT / "include" / "lambda" / function / "handler.py"
    spec = importlib.util.spec_from_file_location(f"{function}_handler", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    sys.modules[spec.name] = module  # where its dataclasses look for their annotations
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
        os.environ.clear()
        os.environ.update(before)
    return module


class LambdaRuntime:
    """An interpreter that a container of Lambda would start.

    :param folder: empty; gets boto3 and what it needs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in PACKAGES:
            source = Path(str(importlib.import_module(name).__file__))
            source = source.parent if source.name == "__init__.py" else source
            (folder / source.name).symlink_to(source)

    def start(
        self, package: Path, environment: Mapping[str, str], events: Sequence[object], seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Call the function with one event after the other."""
        # Isolated and without site-packages: what is not in the zip, the folder or the standard library is not there.
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", CODE, str(package), str(self.folder)],
            input="".join(f"{json.dumps(event)}\n" for event in events),
            env={"PATH": os.environ["PATH"], **environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def answers(
        self, package: Path, environment: Mapping[str, str], events: Sequence[object], seconds: float = 60
    ) -> list[Any]:
        """Return the answer to each event; of a call that has raised ``raised`` and ``said``."""
        done = self.start(package, environment, events, seconds)
        assert done.returncode == 0, done.stderr
        *answers, imported = [json.loads(line) for line in done.stdout.splitlines()]
        assert imported == {"foreign": [], "site": False}
        return answers
