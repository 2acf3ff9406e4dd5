"""The rooms of the code, their list in docs/internals/architecture.md and the folders of the tests are the same."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "internals" / "architecture.md"
#: What a folder of tests/quick and tests/service is about.
SUBJECTS = {
    "city_fleet": "plugins/city_fleet",
    "local_sagemaker": "local/sagemaker",
    "local_stack": "local/stack",
    "model_server": "include/model_server",
    "scripts": "include/scripts",
    "importer": "include/importer",
    "lambda": "include/lambda",
    "docs": "docs",
}
CODE = [subject for subject in SUBJECTS.values() if subject != "docs"]


def code_rooms() -> dict[str, set[str]]:
    """The modules of every room, by its folder."""
    found: dict[str, set[str]] = defaultdict(set)
    for subject in CODE:
        for path in (ROOT / subject).rglob("*.py"):
            if path.stem not in ("__init__", "__main__"):
                found[str(path.parent.relative_to(ROOT))].add(path.stem)
    return found


def listed_rooms() -> dict[str, set[str]]:
    """The modules that the tables of the architecture page list, by folder; rooms of the library go by short names."""
    found: dict[str, set[str]] = defaultdict(set)
    room = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith("|"):
            room = ""
        elif (named := re.fullmatch(r"`([\w/]+)/`", cells[1])) is not None:
            room = named[1]
        elif cells[1]:
            room = ""
        if room:
            library = ROOT / "plugins" / room, ROOT / "plugins" / "city_fleet" / room
            folder = next((path for path in library if path.is_dir()), ROOT / room)
            found[str(folder.relative_to(ROOT))] |= set(re.findall(r"`(\w+)`", cells[2]))
    return found


def test_the_architecture_page_lists_every_module_in_its_room_and_no_other() -> None:
    code, listed = code_rooms(), listed_rooms()
    assert sum(map(len, code.values())) > 200
    wrong = [
        f"{room}: {'not listed' if module in code[room] else 'listed, and not there'}: {module}"
        for room in sorted({*code, *listed})
        for module in sorted(code[room] ^ listed[room])
    ]
    assert not wrong, f"{PAGE.name}, tables of rooms:\n" + "\n".join(wrong)


def test_each_folder_of_tests_mirrors_a_room() -> None:
    lost = []
    for tier in ("quick", "service"):
        for path in (ROOT / "tests" / tier).rglob("*.py"):
            subject, *below = path.parent.relative_to(ROOT / "tests" / tier).parts or ("",)
            if subject and not (ROOT / SUBJECTS.get(subject, "nowhere") / Path(*below)).is_dir():
                lost.append(str(path.relative_to(ROOT)))
    assert not lost, f"no room of the code has this name: {lost}"


def test_no_name_stands_for_two_modules_of_the_library() -> None:
    """Whoever reads a bare module name, in a log or in a document, knows which one is meant."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in (ROOT / "plugins" / "city_fleet").rglob("*.py"):
        if path.stem != "__init__":
            places[path.stem].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
