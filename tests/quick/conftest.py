"""Each test of this folder stays within its process, from its fixtures to its end."""

from __future__ import annotations

from collections.abc import Iterator

import croniter  # noqa: F401 - asks a program about the interpreter when it is imported, which is no test's doing
import pytest

from tests.support.quick_rule import within_this_process


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with within_this_process(item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with within_this_process(item.nodeid):
        return (yield)
