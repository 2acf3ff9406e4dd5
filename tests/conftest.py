"""How tests are spread over processes: a file stays together, and so do all tests of the one whole stack.

No property test is timed.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

_STACK = "tests/e2e/"
# The stack of another process may take both cores just when examples are drawn.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


class Together(LoadScopeScheduling):
    """Sends a file's tests to one process, and those of the stack too.

    xdist's own groups (3.8.0) do not work with the node ids of pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _STACK if nodeid.startswith(_STACK) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Return the scheduler for ``-n 2``; in the order in which tests were collected."""
    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the stack's tests, which take longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(_STACK))
