"""The documentation names things that exist: files, headings, commands of make and of ./fleet."""

from __future__ import annotations

import os
import re
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

from city_fleet.cli.app import app
from city_fleet.config import load_fleet
from tests.support.paths import ROOT

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_MAKE = re.compile(r"`make ([a-z][a-z-]*)|^(?:\$ )?make ([a-z][a-z-]*)", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


_CODE = re.compile(r"`([^`\n]+)`")
#: A file or folder of this repository, and a module or what it holds; with the names that a reader fills in left out.
_PATH = re.compile(
    r"(?:\.?/)?((?:bench|bin|dags|docs|include|local|plugins|requirements|tests)/[\w./-]*|[\w/-]+\.py)"
)
_MODULE = re.compile(r"(?:city_fleet|local|model_server)(?:\.\w+)+")
#: Files of others, of a reader, and of artifacts.
FOREIGN = {"airflow/triggers/shared_stream.py", "plugins/city_fleet/cli/greet.py", "features.py"}
_TEST_PATH = re.compile(r"\btests/[\w./]*\w")


def documents() -> dict[str, str]:
    """The text of every document of the repository, by path."""
    found = {}
    for folder, below, files in os.walk(ROOT):
        below[:] = [name for name in below if not name.startswith((".", "_")) and name != "dist"]
        for path in (Path(folder, name) for name in files if name.endswith(".md")):
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    assert len(found) > 20
    return found


def _anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as code hosts make them."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_relative_links_lead_somewhere() -> None:
    broken = []
    for document, text in documents().items():
        for target in _LINK.findall(_FENCE.sub("", text)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = ((ROOT / document).parent / name).resolve() if name else ROOT / document
            if not path.exists() or (anchor and path.suffix == ".md" and anchor not in _anchors(path)):
                broken.append(f"{document} links to {target}")
    assert not broken, broken


def test_commands_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (document, first or second)
        for document, text in documents().items()
        for first, second in _MAKE.findall(text)
    }
    unknown = sorted(f"{document}: make {target}" for document, target in named if target not in targets)
    assert named
    assert not unknown, f"the Makefile has no such target: {unknown}"


def test_every_command_stands_in_a_document() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    text = "\n".join(documents().values())
    silent = [name for name in group.commands if not re.search(rf"\./fleet {name}\b", text)]
    assert not silent, f"no document says what these commands of ./fleet are for: {silent}"


def test_paths_of_tests_exist() -> None:
    named = {"Makefile": (ROOT / "Makefile").read_text(), **documents()}
    lost = [
        f"{document}: {path}"
        for document, text in named.items()
        for path in _TEST_PATH.findall(text)
        if document != "CHANGELOG.md" and not (ROOT / path).exists()
    ]
    assert not lost, lost


def _files() -> set[str]:
    """The files and folders of the repository, and each by every end of its path, so that short names are known."""
    found = set()
    for folder, below, files in os.walk(ROOT):
        below[:] = [
            name for name in below if not name.startswith(".") and name not in ("__pycache__", "dist")
        ]
        for name in (*below, *files):
            parts = Path(folder, name).relative_to(ROOT).parts
            found |= {"/".join(parts[start:]) for start in range(len(parts))}
    return found


def _is_module(name: str) -> bool:
    """Tell whether a dotted name is a module of this repository, or something that one defines."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        for root in (ROOT, ROOT / "plugins", ROOT / "include"):
            path = root.joinpath(*parts[:end])
            if path.is_dir() and end == len(parts):
                return True
            file = path.with_suffix(".py") if not path.is_dir() else path / "__init__.py"
            if file.is_file():
                text = file.read_text(encoding="utf-8")
                return end == len(parts) or re.search(rf"\b{parts[end]}\b", text) is not None
    return False


def _stale(documents: dict[str, str]) -> list[str]:
    known, found = _files(), []
    for document, text in documents.items():
        if document == "CHANGELOG.md":  # it names what was moved
            continue
        for code in _CODE.findall(_FENCE.sub("", text)):
            path = _PATH.fullmatch(code)
            if path and path[1].rstrip("/") not in known and code not in FOREIGN:
                found.append(f"{document}: there is no {code}")
            if _MODULE.fullmatch(code) and not _is_module(code):
                found.append(f"{document}: there is no module {code}")
    return found


def test_files_and_modules_that_are_named_exist() -> None:
    assert not _stale(documents()), "\n".join(_stale(documents()))


def test_a_stale_name_is_told() -> None:
    said = {
        "`old_name.py`": "there is no old_name.py",
        "`serving/predict.py`": "there is no serving/predict.py",
        "`local/sagemaker/wire.py`": "there is no local/sagemaker/wire.py",
        "`tests/unit/`": "there is no tests/unit/",
        "`city_fleet.records.index`": "there is no module city_fleet.records.index",
        "`local.sagemaker.wire`": "there is no module local.sagemaker.wire",
        "`city_fleet.naming.job_title`": "there is no module city_fleet.naming.job_title",
    }
    assert _stale({"page.md": " ".join(said)}) == [f"page.md: {each}" for each in said.values()]
    fine = (
        "`state/live.py` `city_fleet.naming.job_name` `local.sagemaker` `include/lambda` `s3://x/y.py` `raw/`"
    )
    assert _stale({"page.md": fine}) == []


def test_the_tutorials_fleet_file_loads(tmp_path: Path) -> None:
    blocks = re.findall(r"<<'END'\n(.*?)\nEND\n", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    (text,) = [block for block in blocks if "\nfleet:" in block]
    path = tmp_path / "bike_rides.yaml"
    path.write_text(text)
    fleet = load_fleet(path, environ={})
    assert not fleet.broken
    assert set(fleet.cities) == {"central_park", "harbour", "old_town"}
