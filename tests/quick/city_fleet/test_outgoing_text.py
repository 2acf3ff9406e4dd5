"""Others' text on its way to terminals, logs and Markdown."""

from __future__ import annotations

import ast
import json
import logging
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet import outgoing_text
from city_fleet.errors import ConfigError, PublishError
from city_fleet.outgoing_text import markdown, markdown_code, one_line, printable
from tests.support.paths import ROOT

KEPT = set("\n\t\u200c\u200d")


@given(st.text())
def test_what_is_printable_moves_no_cursor_and_turns_no_text(text: str) -> None:
    shown = printable(text)
    for char in shown:
        bad = unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") or unicodedata.bidirectional(char) in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # fmt: skip
        assert not bad or char in KEPT, ascii(shown)
    assert printable(shown) == shown
    shown.encode()
    assert "\n" not in one_line(text)
    assert one_line(one_line(text)) == one_line(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("a\rb", "a\\u000db"),
        ("\x9b31m", "\\u009b31m"),
        ("gnp.\u202efdp", "gnp.\\u202efdp"),
        ("\u2066x\u2069\u061c", "\\u2066x\\u2069\\u061c"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("\ud800", "\\ud800"),
        ("Zürich, 東京, 🚲, שלום, क्‍ष, line\nbreak", "Zürich, 東京, 🚲, שלום, क्‍ष, line\nbreak"),
    ],
)
def test_what_is_not_shown_as_itself_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_printable_json_means_the_same(text: str) -> None:
    assert json.loads(printable(json.dumps({text: text}, ensure_ascii=False))) == {text: text}


def test_markdown_of_a_text_is_that_text() -> None:
    assert markdown("<b> & [x](y)") == "&lt;b&gt; &amp; \\[x\\]\\(y\\)"
    assert markdown("a\n# b") == "a\\\\n\\# b"
    assert markdown_code("a`b\nc") == "`a'b\\nc`"


def test_errors_hold_printable_text_alone() -> None:
    error = PublishError("held by \x1b[2J\u202eann", city="austin")
    assert str(error) == error.message == "held by \\u001b[2J\\u202eann"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "\u202e" not in str(ConfigError(file="a\u202eb.yaml", got="x"))


def test_the_librarys_loggers_tell_it_escaped(caplog: pytest.LogCaptureFixture) -> None:
    log = outgoing_text.logger("city_fleet.a_test")
    assert outgoing_text.logger("city_fleet.a_test").filters == log.filters
    with caplog.at_level(logging.INFO):
        log.warning("%s took %d s", "\x1b[2Jann\u202e", 5)
        try:
            raise ValueError("\x9bcell")
        except ValueError:
            log.exception("failed")
    assert caplog.messages == ["\\u001b[2Jann\\u202e took 5 s", "failed"]
    assert "\\u009bcell" in caplog.text
    assert "\x9b" not in caplog.text


def test_every_logger_of_the_library_is_one_of_these() -> None:
    for folder in ("plugins/city_fleet", "include/lambda"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name != "outgoing_text.py":
                calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
                assert "logging.getLogger" not in {ast.unparse(call.func) for call in calls}, path
