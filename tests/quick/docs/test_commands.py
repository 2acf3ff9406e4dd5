"""Commands of ./fleet as pages, messages and help name them: they exist, take what is given, and run where they can."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from city_fleet.cli.app import app
from tests.support.paths import ROOT

_FENCE = re.compile(r"^( *)```(?:bash|sh|console|text)?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(?:\./fleet|bin/fleet|city-fleet) ([^`]+)`")
#: A command at the beginning of a line or after what joins commands; as it is called from a checkout and from a wheel.
_CALL = re.compile(
    r"(?:^|&& |\|\| |\| |\$\()(?:\$ )?(?:\./fleet|bin/fleet|city-fleet|python -m city_fleet\.cli\.app) +"
    r"([^|>&;)\n]*?)(?:, or .*)?(?=[|>&;)\n]|$)"
)
#: In code: what a message tells to type.
_IN_CODE = re.compile(r"`(?:\./fleet|\{command_name\(\)\}) ([a-z]+)((?: --?[a-z][a-z-]*)*)")
#: These ask neither Airflow nor AWS.
READS_FILES_ALONE = ("lint", "cities", "plan", "schema")
#: Settings of the fleets in examples that are not those of this repository.
_ELSEWHERE = ("bike_rides", "harbour", "city_fleets")


@functools.cache
def _group() -> TyperGroup:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def _documents() -> Iterator[tuple[str, str]]:
    for path in sorted(
        {*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "include").rglob("*.md")}
    ):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def typed_in(text: str) -> Iterator[str]:
    """What a reader types behind ./fleet, from the fences of a page."""
    for _, block in _FENCE.findall(text):
        # A line that ends with a backslash goes on.
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            yield from (call.strip() for call in _CALL.findall(line.strip()))


def fault(call: str) -> str | None:
    """What is wrong with a whole command; None where it may be typed so."""
    group = _group()
    try:
        name, *arguments = shlex.split(call, comments=True)
        group.commands[name].make_context(name, arguments)
    except Exception as error:
        return repr(error)
    return None


def fault_of_a_part(call: str) -> str | None:
    """What is wrong with a command within a sentence, which may leave out its arguments, or say CITY for one."""
    name, *words = call.split()
    command = _group().commands.get(name)
    if command is None:
        # `./fleet -h`, and "`./fleet …`" for any of them.
        return None if not re.match(r"[a-z]", name) or name == "--version" else f"there is no command {name}"
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    known |= {"-h", "--help"}
    unknown = [word for word in (word.strip("[]…,.()") for word in words) if word.startswith("-")]
    unknown = [word for word in unknown if word.partition("=")[0] not in known]
    return f"{name} has no {', '.join(unknown)}" if unknown else None


def test_what_a_reader_types_is_taken() -> None:
    calls = [(page, call) for page, text in _documents() for call in typed_in(text)]
    wrong = [f"{page}: ./fleet {call}: {found}" for page, call in calls if (found := fault(call))]
    assert len(calls) > 80
    assert not wrong, "\n".join(wrong)


def test_commands_within_sentences_have_the_options_that_are_named() -> None:
    parts = [
        (page, part)
        for page, text in _documents()
        if page != "CHANGELOG.md"
        for part in _INLINE.findall(text)
    ]
    wrong = [f"{page}: ./fleet {part}: {found}" for page, part in parts if (found := fault_of_a_part(part))]
    assert len(parts) > 100
    assert not wrong, "\n".join(wrong)


def test_commands_that_messages_and_help_name_exist() -> None:
    seen, wrong = 0, []
    for path in sorted(
        path for folder in ("plugins", "include", "local") for path in (ROOT / folder).rglob("*.py")
    ):
        for name, options in _IN_CODE.findall(path.read_text(encoding="utf-8")):
            seen += 1
            if found := fault_of_a_part(name + options):
                wrong.append(f"{path.relative_to(ROOT)}: {found}")
    assert seen > 50
    assert not wrong, "\n".join(wrong)


def test_examples_of_every_command_are_taken() -> None:
    """The last lines of `./fleet COMMAND --help`."""
    wrong, seen = [], 0
    for name, command in _group().commands.items():
        examples = re.findall(r"^ *\./fleet ([^|>\n]*?)(?:  .*)?$", command.help or "", re.MULTILINE)
        seen += len(examples)
        wrong += [f"{name}: ./fleet {call}: {found}" for call in examples if (found := fault(call))]
    assert seen > 60
    assert not wrong, "\n".join(wrong)


def test_what_reads_files_alone_runs_as_it_is_printed(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """On the fleets of this repository, from its folder, without AWS or a stack."""
    monkeypatch.chdir(ROOT)
    for name in ("CITY_FLEET_FLEETS", "CITY_FLEET_ENVIRONMENT", "CITY_FLEET_BUCKET", "CITY_FLEET_ROLE"):
        monkeypatch.delenv(name, raising=False)
    calls = {call for _, text in _documents() for call in typed_in(text)}
    ran = 0
    for call in sorted(calls):
        name, *arguments = shlex.split(call, comments=True)
        of_another = any(word in argument for argument in arguments for word in _ELSEWHERE)
        # A file that the reader has made before.
        of_reader = any(each.endswith((".json", ".csv")) and not Path(each).exists() for each in arguments)
        if name not in READS_FILES_ALONE or of_another or of_reader or {"--look", "--data"} & {*arguments}:
            continue
        ran += 1
        with subtests.test(call):
            done = CliRunner().invoke(app, [name, *arguments])
            assert done.exit_code == 0, done.output
            assert done.stdout
    assert ran >= 5


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```bash\n./fleet lnt\n```\n", "KeyError"),
        ("```bash\ncd x && ./fleet rollback --to 3 --reason  # of what\n```\n", "requires an argument"),
        ("1. First\n\n   ```\n   $ ./fleet run austin --unpaused | cat\n   ```\n", "NoSuchOption"),
        ("```bash\n./fleet backfill austin \\\n  --form 2014-01-01 --to 2014-06-01\n```\n", "NoSuchOption"),
        ("```bash\nx=$(city-fleet predict)\n```\n", "Missing"),
    ],
)
def test_a_mistake_is_found(page: str, said: str) -> None:
    (call,) = typed_in(page)
    assert said in str(fault(call))


def test_a_mistake_within_a_sentence_is_found() -> None:
    assert fault_of_a_part("rolback austin") == "there is no command rolback"
    assert fault_of_a_part("run CITY… [--as-off]") == "run has no --as-off"
    assert fault_of_a_part("run CITY… [--as-of]") is None
