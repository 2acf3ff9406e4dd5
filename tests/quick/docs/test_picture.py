"""The pictures of docs/internals/architecture.md and README.md say what the code does: rooms, floors and imports."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LIBRARY = "plugins/city_fleet"
#: The worlds that stand beside the library.
BESIDE = (
    "dags",
    "include/lambda",
    "include/scripts",
    "include/importer",
    "include/model_server",
    "local/sagemaker",
    "local/stack",
)
PAGE, README = ROOT / "docs" / "internals" / "architecture.md", ROOT / "README.md"

Arrows = set[tuple[str, str]]


@dataclass
class Picture:
    """A Mermaid flowchart: rooms go by their labels, arrows join rooms.

    :ivar groups: rooms of each subgraph, by the subgraph's id.
    """

    rooms: list[str] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    solid: Arrows = field(default_factory=set)
    dotted: Arrows = field(default_factory=set)


def picture_of(text: str) -> Picture:
    """Read the one Mermaid picture of a page; a line of another form is an error, and so is one that draws twice."""
    (source,) = re.findall(r"^```mermaid\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found, labels, inside = Picture(), {}, []
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    assert lines[0].startswith("flowchart ")
    for line in lines[1:]:
        if line == "end":
            inside.pop()
        elif group := re.fullmatch(r'subgraph (\w+)\["[^"]+"\]', line):
            inside.append(group[1])
            found.groups[group[1]] = []
        elif room := re.fullmatch(r'(\w+)\["([^"]+)"\]', line):
            labels[room[1]] = room[2].removesuffix("/")
            found.rooms.append(labels[room[1]])
            for name in inside:
                found.groups[name].append(labels[room[1]])
        elif arrow := re.fullmatch(r'(\w+) (-->|-\. "[^"]+" \.->) (\w+)', line):
            ends = [found.groups.get(name) or [labels[name]] for name in (arrow[1], arrow[3])]
            pairs = {(one, other) for one in ends[0] for other in ends[1]}
            drawn = found.solid if arrow[2] == "-->" else found.dotted
            assert not pairs & drawn, f"drawn twice: {line}"
            drawn |= pairs
        else:
            raise AssertionError(f"what does this line draw? {line}")
    return found


def room_of(module: str) -> str | None:
    """The room of an imported module; None where it is none of this repository's."""
    parts = module.split(".")
    if parts[0] == "city_fleet" and len(parts) > 1:
        return parts[1]
    if parts[0] == "local" and len(parts) > 1:
        return f"local/{parts[1]}"
    return "include/model_server" if parts[0] == "model_server" else None


def modules_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def imports() -> dict[str, set[str]]:
    """What each room of the code imports."""
    files: dict[str, list[Path]] = {room: sorted((ROOT / room).rglob("*.py")) for room in BESIDE}
    for path in (ROOT / LIBRARY).iterdir():
        if path.is_dir() and path.name != "__pycache__":
            files[path.name] = sorted(path.rglob("*.py"))
        elif path.suffix == ".py" and path.stem != "__init__":
            files[path.stem] = [path]
    found = {
        room: {other for path in paths for name in modules_imported(path) if (other := room_of(name))}
        for room, paths in files.items()
    }
    return {
        room: {other for other in others if other in files and other != room}
        for room, others in found.items()
    }


def below(rooms: Iterable[str]) -> set[str]:
    """All that these rooms import, and so on."""
    found: set[str] = set()
    waiting = list(rooms)
    while waiting:
        new = imports()[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def arrows() -> Arrows:
    """The imports that do not follow from others."""
    return {
        (room, other)
        for room, others in imports().items()
        for other in others
        if other not in below(others - {other})
    }


def floors() -> list[list[str]]:
    """The layers of pyproject.toml, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["name"] == "The library's layers"]
    return [sorted(layer.split(" | ")) for layer in layers]


def faults(text: str) -> list[str]:
    """What the page's picture says otherwise than the code."""
    drawn = picture_of(text)
    found = [f"not drawn: {room}" for room in sorted(set(imports()) - set(drawn.rooms))]
    found += [f"drawn, and not there: {room}" for room in sorted(set(drawn.rooms) - set(imports()))]
    names = [name for name in drawn.groups if name.startswith("floor")]
    if [sorted(drawn.groups[name]) for name in names] != floors():
        found.append(f"the floors of pyproject.toml are {floors()}")
    if names != [f"floor{number}" for number in range(len(names), 0, -1)]:
        found.append(f"floors are counted from the bottom: {names}")
    found += [f"there is no such import: {one} --> {other}" for one, other in sorted(drawn.solid - arrows())]
    found += [
        f"an import that is not drawn: {one} --> {other}" for one, other in sorted(arrows() - drawn.solid)
    ]
    return found + crossings(drawn, imports())


def crossings(drawn: Picture, known: dict[str, set[str]]) -> list[str]:
    return [
        f"dotted, and an import: {one} .-> {other}"
        for one, other in sorted(drawn.dotted)
        if other in known.get(one, ()) or one in known.get(other, ())
    ]


def test_the_picture_of_the_rooms_is_that_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.index("```mermaid") < text.index("\n## "), "the page begins with the picture"
    assert not faults(text), "\n".join(["docs/internals/architecture.md:", *faults(text)])


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('      doctor["doctor/"]\n', "", "not drawn: doctor"),
        ('views["views/"]', 'views["sights/"]', "drawn, and not there: sights"),
        ("  naming --> clock\n", "", "an import that is not drawn: naming --> clock"),
        (
            "  naming --> clock\n",
            "  naming --> clock\n  ticks --> clock\n",
            "no such import: ticks --> clock",
        ),
        ("  plan --> config\n", "  plan --> config\n  plan --> naming\n", "no such import: plan --> naming"),
        ('      ticks["ticks"]\n', "", "the floors of pyproject.toml"),
        ("subgraph floor7", "subgraph floor9", "floors are counted from the bottom"),
        (
            "  lambda -. ",
            '  stack -. "HTTP" .-> plan\n  lambda -. ',
            "dotted, and an import: local/stack .-> plan",
        ),
    ],
)
def test_a_picture_that_says_otherwise_is_told_so(old: str, new: str, fault: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    spoilt = text.replace(old, new)
    if not new:  # with its arrows
        name = old.split("[", maxsplit=1)[0].strip()
        spoilt = re.sub(rf"^.*(--> {name}|\b{name} -->).*\n", "", spoilt, flags=re.MULTILINE)
    assert any(fault in each for each in faults(spoilt)), faults(spoilt)


def test_the_readmes_picture_shows_every_world_and_who_imports_whom() -> None:
    drawn = picture_of(README.read_text(encoding="utf-8"))
    assert sorted(drawn.rooms) == sorted([LIBRARY, *BESIDE])
    worlds = {room: room if room in BESIDE else LIBRARY for room in imports()}
    known: dict[str, set[str]] = {world: set() for world in worlds.values()}
    for room, others in imports().items():
        known[worlds[room]] |= {worlds[other] for other in others} - {worlds[room]}
    assert drawn.solid == {(one, other) for one, others in known.items() for other in others}
    assert not crossings(drawn, known)
