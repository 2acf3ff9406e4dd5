"""Two of the recipes, followed on a copy: the test that a step names fails until the step is done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDERS = ("plugins", "include", "local", "dags", "tests", "docs", "bin", "bench", "requirements")
FILES = (
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "requirements.txt",
    "LICENSE",
    "fleet",
)

Edit = Callable[[Path], None]
#: What each file of its steps becomes, and the tests that all pass in the end.
Recipe = tuple[dict[str, Edit], tuple[str, ...]]


def steps(title: str) -> list[tuple[str, str]]:
    """The files of a recipe, in order, with the test that fails until each is done."""
    text = (ROOT / "docs" / "internals" / "recipes.md").read_text(encoding="utf-8")
    recipe = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w./-]+)` \|.*\| (?:`(\w+)` )?\|$", recipe, re.MULTILINE)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    root = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.csv")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "include" / "data", root / "include" / "data", dirs_exist_ok=True)
    for path in (ROOT / ".airflowignore", *(ROOT / "plugins").rglob(".airflowignore")):
        shutil.copy(path, root / path.relative_to(ROOT))
    return root


def failing(root: Path, tests: tuple[str, ...]) -> set[str]:
    """The names of the tests of some files that fail in the copy."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    arguments = ["-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=no", *tests]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=root,
        # Outside of the copy, whose folders are looked at; the next step's tests need not compile all of it again.
        env={**environment, "PYTHONPYCACHEPREFIX": str(root.parent / "bytecode")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return set(re.findall(r"^(?:FAILED|SUBFAILED\S*|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE))


def file_of(root: Path, test: str) -> str:
    """The file that has a test."""
    (found,) = [
        path for path in (root / "tests").rglob("test_*.py") if f"\ndef {test}(" in path.read_text("utf-8")
    ]
    return str(found.relative_to(root))


def insert(path: Path, before: str, text: str) -> None:
    old = path.read_text(encoding="utf-8")
    assert old.count(before) == 1, f"{path} has {before!r} {old.count(before)} times"
    path.write_text(old.replace(before, text + before), encoding="utf-8")


def follow(root: Path, recipes: dict[str, Recipe]) -> None:
    """Do recipes step by step, side by side: after each step, the next step's test fails, and that of no step done.

    Side by side, because every look at the copy's tests begins with seconds of imports.

    :param recipes: title → what each file of its steps becomes, and the tests that all pass in the end.
    """
    todo = {title: steps(title) for title in recipes}
    for title, (edits, _) in recipes.items():
        assert [path for path, _ in todo[title]] == list(edits), (
            f"{title} lists other files, or another order"
        )
        assert all(test for _, test in todo[title][1:]), (
            "each step but the first has a test that fails until it is done"
        )
    # What the steps name is asked after each, all else in the end.
    named = tuple(sorted({file_of(root, test) for found in todo.values() for _, test in found if test}))
    last = max(map(len, todo.values()))
    for number in range(1, last + 1):
        for title, (edits, _) in recipes.items():
            for path, _ in todo[title][number - 1 : number]:
                edits[path](root / path)
        fails = failing(
            root, named if number < last else tuple(test for _, tests in recipes.values() for test in tests)
        )
        for title, found in todo.items():
            done, left = {test for _, test in found[:number]}, [test for _, test in found[number:]]
            assert not fails & done, f"{title}: step {number} is done, and {fails & done} fails all the same"
            assert set(left[:1]) <= fails, (
                f"{title}: step {number} is done, and {left[0]} of the next step does not fail"
            )
    assert not fails, f"the recipes are followed to their end, and {fails} fails"


def a_setting(copy: Path) -> Recipe:
    """Add ``cool_down_minutes`` to the settings of a city."""

    def write_schema(path: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(copy / "plugins"),
            "PYTHONPYCACHEPREFIX": str(copy.parent),
        }
        command = [sys.executable, "-m", "city_fleet.cli.app", "schema"]
        path.write_bytes(
            subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=True).stdout
        )

    field = (
        "    cool_down_minutes: Annotated[int, Range(True, 0, 60)] = 5\n"
        '    """Pause after a model has gone live."""\n'
    )

    def why_it_does_not_count(path: Path) -> None:
        insert(path, '    "stale_after_hours": "', '    "cool_down_minutes": "how the tasks run",\n')
        insert(path, '    "stale_after_hours": 9', '    "cool_down_minutes": 9,\n')

    row = "| `cool_down_minutes` | minutes from 0 to 60 | `5` | Pause after a model has gone live. |\n"
    return (
        {
            "plugins/city_fleet/config/settings.py": lambda path: insert(
                path, "    stale_after_hours:", field
            ),
            "tests/quick/city_fleet/test_settings_digest.py": why_it_does_not_count,
            "docs/fleet-file.md": lambda path: insert(path, "| `stale_after_hours` |", row),
            "include/fleets/fleet.schema.json": write_schema,
        },
        (
            "tests/quick/city_fleet/config/test_json_schema.py",
            "tests/quick/city_fleet/test_settings_digest.py",
        ),
    )


def a_command() -> Recipe:
    """Add ``./fleet greet``."""
    code = (
        '"""Command ``greet``: says hello."""\n\nfrom __future__ import annotations\n\n\n'
        'def greet() -> None:\n    """Say hello.\n\n    \\b\n    Examples:\n      ./fleet greet\n    """\n'
    )

    def join_commands(path: Path) -> None:
        insert(path, "from city_fleet.cli.history", "from city_fleet.cli.greet import greet\n")
        insert(path, "lint, cities, plan, schema, compile)", "greet, ")

    return (
        {
            "plugins/city_fleet/cli/greet.py": lambda path: path.write_text(code),
            "docs/internals/architecture.md": lambda path: insert(
                path, "`history`, `history_file`", "`greet`, "
            ),
            "plugins/city_fleet/cli/app.py": join_commands,
            "docs/runbook.md": lambda path: path.write_text(
                f"{path.read_text()}\n```bash\n./fleet greet\n```\n"
            ),
        },
        ("tests/quick/docs", "tests/quick/city_fleet/cli"),
    )


def test_a_setting_and_a_command_are_added_as_the_recipes_say(copy: Path) -> None:
    follow(copy, {"Add a setting": a_setting(copy), "Add a command": a_command()})
    help_of_all = ("tests/service/city_fleet/cli/test_help.py",)
    assert failing(copy, help_of_all) == set()
