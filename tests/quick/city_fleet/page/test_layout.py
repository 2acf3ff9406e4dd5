"""What the pages are shipped with: libraries as their packages have them, and markup that the policy lets through."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from tests.support.paths import ROOT

PAGE = ROOT / "plugins" / "city_fleet" / "page"
STATIC, TEMPLATES = PAGE / "static", PAGE / "templates"
#: Files of the layout that are the project's own.
OWN = {"page.js", "theme.js", "theme.css", "city.js", "city.css", "icon.svg"}


def test_libraries_are_the_bytes_of_their_packages() -> None:
    vendored = json.loads((STATIC / "vendored.json").read_text())
    for name, about in vendored.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == about["sha256"], name
        assert about["integrity"].startswith("sha512-"), name
        assert about["tarball"].startswith("https://registry.npmjs.org/"), name
        assert (STATIC / about["licence_file"]).read_text().strip(), name
    licences = {about["licence_file"] for about in vendored.values()}
    assert {path.name for path in STATIC.iterdir()} == {*vendored, *licences, *OWN, "vendored.json"}


def test_nothing_in_the_markup_is_what_the_policy_refuses() -> None:
    found = []
    for path in sorted(TEMPLATES.glob("*.html")):
        text = path.read_text()
        for pattern in (
            r"<script(?![^>]*\bsrc=)",
            r"<style\b",
            r"\sstyle=",
            r"\son[a-z]+=",
            r"hx-on",
            r"javascript:",
        ):
            found += [f"{path.name}: {hit}" for hit in re.findall(pattern, text)]
        # Nothing is marked as safe: whatever others wrote is escaped.
        found += [f"{path.name}: {hit}" for hit in re.findall(r"\|\s*safe\b|autoescape\s+false", text)]
        # Addresses are relative, or they would leave the base path.
        found += [
            f"{path.name}: {hit}" for hit in re.findall(r'(?:href|src|action|hx-get|hx-post)="/[^"]*"', text)
        ]
    assert found == []


def test_own_scripts_evaluate_no_text() -> None:
    for name in sorted(OWN):
        text = (STATIC / name).read_text()
        assert not re.search(
            r"\beval\(|new Function|\.innerHTML\b|insertAdjacentHTML|document\.write", text
        ), name
        # Nothing is fetched from elsewhere.
        assert "//cdn" not in text
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name


def test_every_file_that_a_template_names_is_there() -> None:
    named = {
        name
        for path in TEMPLATES.glob("*.html")
        for name in re.findall(r"file\('([^']+)'\)|file\(\"([^\"]+)\"\)", path.read_text())
    }
    assert named
    for names in named:
        assert Path(STATIC, next(filter(None, names))).is_file(), names
