"""The model server is a package of its own: it runs alone, from the standard library, without a compiler if need be."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_servers import ModelServer
from tests.support.paths import IMAGE_PYTHON, ROOT, SCRIPTS

PACKAGE = ROOT / "include" / "model_server"
#: Each is imported where it is used, and what works without it is written there.
OPTIONAL = {"boto3", "numpy", "uvloop", "xgboost"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level names of the modules a file imports, and whether the import is at the file's own level."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node in tree.body
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0], node in tree.body


def test_it_needs_nothing_but_the_standard_library() -> None:
    for path in PACKAGE.glob("*.py"):
        for name, outermost in imports(path):
            if outermost:
                assert name in sys.stdlib_module_names | {"model_server"}, path
            else:
                assert name in sys.stdlib_module_names | {"model_server"} | OPTIONAL, path


def test_what_the_image_installs_is_what_the_package_may_use() -> None:
    text = (PACKAGE / "requirements.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    assert {name.removesuffix("-cpu") for name in pinned} >= OPTIONAL


def test_the_image_is_one_for_many_models_and_nobody_is_root_in_it() -> None:
    text = (PACKAGE / "Dockerfile").read_text()
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER server$", last, re.MULTILINE)
    assert "com.amazonaws.sagemaker.capabilities.multi-models=true" in last
    assert "com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true" in last
    assert "gcc" not in last  # the compiler stays in the stage that builds
    copied = re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)
    assert copied == ["include/model_server"]


def test_alone_and_without_a_compiler_it_gives_the_same_answers(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tmp_path / "alone" / "model_server"
    shutil.copytree(PACKAGE, alone, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    monkeypatch.setenv("CONTRACT_COMMAND", f"{IMAGE_PYTHON} {alone / '__main__.py'} serve")
    server = ModelServer(
        tmp_path,
        PATH=str(tmp_path),
        SAGEMAKER_SUBMIT_DIRECTORY=str(SCRIPTS),
        SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv",
    )
    try:
        case = json.loads((artifacts / "model-0.expected.json").read_text())
        assert server.load_folder("a", artifacts / "model-0")[0] == 200
        for row, prediction in case["rows"]:
            assert server.ask("a", row.encode()) == (200, prediction)
        assert server.metric("plain_total") == 0
        assert '"event": "no_evaluator"' in server.log.read_text()
    finally:
        server.stop()
