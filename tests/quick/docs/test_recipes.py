"""The recipes name files, functions and tests that exist; tests/service/docs follows two of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "internals" / "recipes.md").read_text(encoding="utf-8")
_FILE = re.compile(r"`((?:plugins|include|local|tests|docs|bin|dags)/[\w./-]+\.\w+)`")
_ANSWER = re.compile(r"`([\w./]+\.py):([\w.]+)`")
#: The one file of the recipes that a reader makes.
NEW = {"plugins/city_fleet/cli/greet.py"}


def has(path: Path, name: str) -> bool:
    """Tell whether a file defines a function, or a method as ``Class.method``."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = [
            node
            for node in nodes
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == part
        ]
        if not found:
            return False
        nodes = found[0].body
    return True


def test_every_file_that_is_named_exists() -> None:
    named = set(_FILE.findall(TEXT))
    assert len(named) > 30
    assert {path for path in named if not (ROOT / path).exists()} <= NEW


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 8
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= written, named - written


@pytest.mark.parametrize(("path", "name"), _ANSWER.findall(TEXT))
def test_an_answer_is_a_function_that_exists(path: str, name: str) -> None:
    assert has(ROOT / path, name), f"docs/internals/recipes.md, Find your way: {path} has no {name}"


def test_there_are_answers() -> None:
    assert len(_ANSWER.findall(TEXT)) > 12
    assert not has(ROOT / "plugins/city_fleet/naming.py", "Keys.target_model")
