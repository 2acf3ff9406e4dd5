"""How tests are spread over processes: a file stays together, and so do all tests of the one whole stack."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name each test's group for pytest-xdist. The stack's group takes longest, so it begins first."""
    for item in items:
        stack = item.get_closest_marker("e2e") is not None
        item.add_marker(pytest.mark.xdist_group("stack" if stack else str(item.path)))
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
