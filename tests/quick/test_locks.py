"""What production installs is what was tested, and none of what only tests and laptops need."""

from __future__ import annotations

import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

#: Tools of tests, checks and the laptop, which have no business in production; types-* beside them.
TOOLS = {"pytest", "pytest-xdist", "hypothesis", "moto", "mypy", "ruff", "awscli", "import-linter"}


def pins(path: str) -> dict[str, set[str]]:
    """The versions of a requirements file by canonical name: two where environments need different ones."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / path).read_text(encoding="utf-8").splitlines():
        text = line.split(" #")[0].rstrip("\\ ").strip()
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


LOCKS = (
    *(
        "requirements/dev.lock",
        "requirements/production.lock",
        "requirements/image.lock",
        "requirements/import.lock",
        "requirements/notebook.lock",
        "requirements/lineage.lock",
        "requirements/uv.lock",
    ),
    "include/model_server/requirements.lock",
)


def test_every_package_of_every_lock_has_hashes() -> None:
    for path in LOCKS:
        text = (ROOT / path).read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert lines, path
        assert not [line for line in lines if not re.search(r" --hash=sha256:[0-9a-f]{64}", line)], path


def test_each_lock_holds_what_its_requirements_pin() -> None:
    sources = {
        "requirements/image.lock": "requirements/image.txt",
        "requirements/import.lock": "include/importer/requirements.txt",
        "requirements/notebook.lock": "requirements/notebook.txt",
        "include/model_server/requirements.lock": "include/model_server/requirements.txt",
        "requirements/uv.lock": "requirements/uv.txt",
        "requirements/lineage.lock": "requirements/lineage.txt",
    }
    for lock, source in sources.items():
        held = pins(lock)
        lost = {name: pinned for name, pinned in pins(source).items() if not pinned <= held.get(name, set())}
        assert not lost, f"{source} pins what {lock} does not hold (make lock writes it): {lost}"


def test_what_stands_for_the_image_has_what_the_scripts_need() -> None:
    image, scripts = pins("requirements/image.lock"), pins("include/scripts/requirements.txt")
    assert {name: image.get(name) for name in scripts} == scripts
    # boto3 would look for credentials on the network (docs/adr/0042).
    assert not {"boto3", "numba", "flask"} & set(image)


def test_notebooks_run_on_the_versions_of_the_image() -> None:
    image, notebook = pins("requirements/image.lock"), pins("requirements/notebook.lock")
    named = pins("include/scripts/requirements.txt")
    assert {name: notebook.get(name) for name in named} == {name: image[name] for name in named}
    assert not {"mlflow", "torch"} & set(notebook)


def test_whatever_installs_from_a_lock_asks_for_hashes() -> None:
    installs = {
        path: re.findall(
            r"^.*pip\b.* (?:sync|install)\b.*$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE
        )
        for path in (".ci/run", "local/Dockerfile", "include/model_server/Dockerfile")
    }
    for path, lines in installs.items():
        assert not [line for line in lines if "--require-hashes" not in line and "apt-get" not in line], path
    bootstrap = (ROOT / "local/stack/bootstrap.py").read_text(encoding="utf-8")
    assert len(re.findall(r'"(?:sync|install)", ', bootstrap)) == bootstrap.count('"--require-hashes"') == 3


def test_what_imports_a_model_has_what_serves_it() -> None:
    image, importer = pins("requirements/image.lock"), pins("requirements/import.lock")
    # What is compared with a model's own library must be what the image answers with.
    names = {"numpy", "pandas", "scikit-learn", "scipy", "xgboost", "xgboost-cpu"}
    other = {name: (image[name], importer.get(name)) for name in names if image[name] != importer.get(name)}
    assert not other
