"""The scripts' folder as a whole: it is shipped flat, into an image with packages of its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

from tests.support.paths import IMAGE_PYTHON, SCRIPTS

ALLOWED = {"numpy", "pandas", "pyarrow", "sagemaker_inference", "sklearn", "threadpoolctl", "xgboost"}


def test_no_module_hides_one_of_python_or_of_the_image() -> None:
    names = {path.stem for path in SCRIPTS.glob("*.py")}
    code = (
        "import importlib.metadata, json, sys;"
        "print(json.dumps([*sys.stdlib_module_names, *importlib.metadata.packages_distributions()]))"
    )
    for python in (sys.executable, IMAGE_PYTHON):
        # In an empty folder, so that the scripts themselves do not count.
        done = subprocess.run([python, "-Ic", code], capture_output=True, text=True, timeout=60, check=True)
        assert names.isdisjoint(json.loads(done.stdout))


def test_the_scripts_import_nothing_but_themselves_python_and_the_image() -> None:
    own = {path.stem for path in SCRIPTS.glob("*.py")} | {"algorithms"}
    for path in SCRIPTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            for name in imported:
                top = name.partition(".")[0]
                assert top in own | ALLOWED | sys.stdlib_module_names, f"{path.name} imports {name}"
