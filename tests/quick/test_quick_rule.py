"""The rule of this folder holds, and a test that breaks it is named."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable

import pytest

from tests.support.quick_rule import NotQuick, watched, within_this_process


def test_every_test_of_this_folder_is_watched(request: pytest.FixtureRequest) -> None:
    assert watched() == request.node.nodeid


def test_who_leaves_the_process_is_stopped_and_named_even_if_the_refusal_is_caught() -> None:
    ways: dict[Callable[[], object], str] = {
        lambda: subprocess.run([sys.executable, "-c", ""], check=True): "starts a process",
        lambda: os.system("true"): "starts a process",
        os.fork: "starts a process",
        lambda: socket.create_server(("127.0.0.1", 0)): "opens a socket",
        lambda: urllib.request.urlopen("http://127.0.0.1:9/", timeout=1): "opens a socket",
    }
    for way, what in ways.items():
        with pytest.raises(NotQuick, match=f"a_test {what}"), within_this_process("a_test"):
            way()
        with (
            pytest.raises(NotQuick, match=f"a_test {what}"),
            within_this_process("a_test"),
            contextlib.suppress(Exception),
        ):
            way()


def test_who_stays_is_let_be() -> None:
    with within_this_process("a_test"):
        left, right = socket.socketpair()  # what an event loop wakes itself up with
        left.close(), right.close()
