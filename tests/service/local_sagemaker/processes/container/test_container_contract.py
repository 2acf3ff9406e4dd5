"""The code that runs inside the image, started as the host starts it, over HTTP and the file system alone."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

from tests.support.paths import IMAGE_PYTHON, ROOT

CONTAINER = ROOT / "local" / "sagemaker" / "processes" / "container"


def test_the_container_needs_nothing_but_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {
        "numpy",
        "xgboost",
    }  # the image has both; imported where they are used
    for path in CONTAINER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert str(node.module).split(".")[0] in allowed, path


def test_script_mode_without_its_program(tmp_path: Path) -> None:
    for folder in ("input/config", "code", "output"):
        (tmp_path / folder).mkdir(parents=True)
    parameters = {"sagemaker_program": json.dumps("train.py")}
    (tmp_path / "input/config/hyperparameters.json").write_text(json.dumps(parameters))
    (tmp_path / "code" / "other.py").touch()
    done = subprocess.run(
        [IMAGE_PYTHON, CONTAINER / "__main__.py", "train"],
        env={"SAGEMAKER_BASE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    failure = (tmp_path / "output/failure").read_text()
    assert "'train.py'" in failure
    assert "it holds ['other.py']" in failure
    assert failure in done.stderr


def test_hyperparameters_are_spelled_as_the_toolkit_spells_them(tmp_path: Path) -> None:
    for folder in ("input/config", "code", "output"):
        (tmp_path / folder).mkdir(parents=True)
    parameters = {
        "sagemaker_program": '"show.py"',
        "sagemaker_job_name": '"x"',
        "n": "3",
        "text": '"a b"',
        "plain": "word",
        "flag": "true",
        "nothing": "null",
        "mapping": '{"b": 1, "a": 2}',
        "items": "[1, 2]",
    }
    (tmp_path / "input/config/hyperparameters.json").write_text(json.dumps(parameters))
    (tmp_path / "code" / "show.py").write_text("import sys, json; print('SHOWN', json.dumps(sys.argv[1:]))")
    done = subprocess.run(
        [IMAGE_PYTHON, CONTAINER / "__main__.py", "train"],
        env={"SAGEMAKER_BASE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SHOWN ")]
    expected = "--flag True --items|[1, 2]|--mapping a=2,b=1 -n 3 --nothing||--plain word --text|a b"
    words = [
        word
        for part in expected.split("|")
        for word in ([part] if part in ("[1, 2]", "", "a b") else part.split())
    ]
    assert json.loads(line.removeprefix("SHOWN ")) == words
