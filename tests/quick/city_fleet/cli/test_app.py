"""The command line is all there: no module of it is left out of ``app``."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

CLI = ROOT / "plugins" / "city_fleet" / "cli"


def test_every_module_of_the_command_line_is_reached_from_app() -> None:
    known = {
        path.stem: path.read_text(encoding="utf-8") for path in CLI.glob("*.py") if path.stem != "__init__"
    }
    reached, waiting = {"app"}, ["app"]
    while waiting:
        text = known[waiting.pop()]
        found = {*re.findall(r"from city_fleet\.cli\.(\w+) import", text)}
        found |= {*re.findall(r"from city_fleet\.cli import (\w+)", text)}
        waiting += found - reached
        reached |= found
    assert len(reached) > 20
    assert reached == set(known), "no command is made of these; app.py lists commands in COMMANDS"
