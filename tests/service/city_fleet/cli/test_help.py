"""What ./fleet says of itself: every command, whatever is added later, is listed, explained and shown by examples."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from city_fleet.cli.app import COMMANDS, app
from tests.service.city_fleet.cli.test_app import fleet

_GROUP = get_command(app)
assert isinstance(_GROUP, TyperGroup)
NAMES = list(_GROUP.commands)


def command(name: str) -> Any:
    assert isinstance(_GROUP, TyperGroup)
    return _GROUP.commands[name]


def examples(name: str) -> list[str]:
    """Return the examples in a command's help, without what a shell does with their output."""
    _, _, text = fleet(name, "--help").stdout.partition("Examples:\n")
    block = text.partition("\n\n")[0]
    return [re.split(r" [>|] ", line.strip())[0] for line in block.splitlines()]


def test_the_commands_are_listed_by_purpose() -> None:
    sections = fleet("--help").stdout.partition("Options:\n")[2].split("\n\n")[1:]
    listed = {}
    for section in sections:
        purpose, *lines = section.rstrip().split("\n")
        listed[purpose] = [line.split()[0] for line in lines]
    assert listed == {
        f"{key}:": [each.__name__.rstrip("_") for each in group] for key, group in COMMANDS.items()
    }
    assert [name for names in listed.values() for name in names] == NAMES


def test_without_a_command_the_help_is_printed() -> None:
    assert fleet().stdout + fleet().stderr == fleet("--help").stdout


def test_no_line_of_the_list_is_cut_off() -> None:
    lines = fleet("--help").stdout.splitlines()
    for name in NAMES:
        (line,) = [line for line in lines if re.match(rf"  {name} +[A-Z].*\.$", line)]
        assert not line.endswith("..."), f"shorten the first sentence of {name}"


@pytest.mark.parametrize(
    ("typed", "meant"), [("rolback", "rollback"), ("aprove", "approve"), ("backfil", "backfill")]
)
def test_a_wrong_command_proposes_the_nearest(typed: str, meant: str) -> None:
    done = fleet(typed, "austin")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Did you mean '{meant}'" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_examples_that_can_be_typed(name: str) -> None:
    found = examples(name)
    assert found, f"the help of {name} has no example"
    for example in found:
        program, typed, *arguments = shlex.split(example)
        assert (program, typed) == ("./fleet", name)
        command(name).make_context(name, arguments)  # raises on an option or a value that does not exist


@pytest.mark.parametrize("name", NAMES)
def test_every_option_and_argument_has_help(name: str) -> None:
    for parameter in command(name).params:
        text = parameter.help or ""
        assert re.fullmatch(r"[A-Z].*\.", text), f"{name} {parameter.opts[0]}: {text!r} is not a sentence"
        takes_value = not getattr(parameter, "is_flag", False)
        assert not takes_value or parameter.metavar, f"{name} {parameter.opts[0]} does not name its value"
