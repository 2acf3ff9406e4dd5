"""What production installs is what was tested, and none of what only tests and laptops need."""

from __future__ import annotations

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

#: Tools of tests, checks and the laptop, which have no business in production; types-* beside them.
TOOLS = {"pytest", "pytest-xdist", "hypothesis", "moto", "mypy", "ruff", "awscli", "import-linter"}


def pins(path: str) -> dict[str, set[str]]:
    """The versions of a requirements file by canonical name: two where environments need different ones."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / path).read_text(encoding="utf-8").splitlines():
        text = line.split(" #")[0].strip()
        if text and not text.startswith(("#", "-")):
            wanted = Requirement(text)
            found.setdefault(canonicalize_name(wanted.name), set()).add(str(wanted.specifier))
    return found


def test_production_installs_no_tool_of_tests_or_laptops() -> None:
    production = pins("requirements/production.lock")
    assert len(production) > 100
    assert not {name for name in production if name in TOOLS or name.startswith("types-")}
    assert set(pins("requirements/dev.lock")) >= TOOLS, "a name in TOOLS is spelled otherwise in dev.lock"


def test_production_installs_the_versions_that_were_tested() -> None:
    tested, production = pins("requirements/dev.lock"), pins("requirements/production.lock")
    other = {
        name: (sorted(pinned), sorted(tested.get(name, set())))
        for name, pinned in production.items()
        if not pinned <= tested.get(name, set())
    }
    assert not other, f"in production.lock and in dev.lock (make lock writes both): {other}"


def test_production_installs_everything_that_is_pinned_but_pytest() -> None:
    direct, production = pins("requirements.txt"), pins("requirements/production.lock")
    lost = {
        name: sorted(pinned)
        for name, pinned in direct.items()
        if name != "pytest" and not pinned <= production.get(name, set())
    }
    assert not lost, f"requirements.txt pins what production.lock does not hold (make lock writes it): {lost}"
    assert "pytest" in direct
