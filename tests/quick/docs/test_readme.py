"""What the README and the architecture page show works and is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from city_fleet.config import load_fleet
from tests.support.paths import ROOT


def test_the_readmes_fleet_file_loads(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (text,) = [block for block in blocks if "\nfleet:" in block]
    path = tmp_path / "bike_rides.yaml"
    path.write_text(text)
    fleet = load_fleet(path, environ={})
    assert not fleet.broken
    assert set(fleet.cities) == {"central_park", "harbour"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins" / "city_fleet").glob("*.py")), ids=lambda path: path.stem
)
def test_the_architecture_page_names_every_module_of_the_library(path: Path) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_*]+)`", page))
    assert path.stem == "__init__" or any(re.fullmatch(name.replace("*", ".*"), path.stem) for name in named)
