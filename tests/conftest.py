"""How tests are spread over processes: a file stays together, and so do all tests of the one whole stack.

No property test is timed.
"""

from __future__ import annotations

import functools
import os
import tempfile
from typing import Any

import botocore.loaders
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

_STACK = "tests/e2e/"
# The folders whose files take longest come first, so that both processes have something to do until the end.
_ORDER = (_STACK, "tests/airflow/", "tests/service/")
# The stack of another process may take both cores just when examples are drawn.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Forms of the fleet files of tests, and of the processes that tests start, are kept nowhere else.
os.environ["CITY_FLEET_COMPILED"] = tempfile.mkdtemp(prefix="city-fleet-compiled-")

# What is made once for all processes of a run of the tests; those of pytest-xdist inherit it.
os.environ.setdefault("CITY_FLEET_TEST_RUN", tempfile.mkdtemp(prefix="city-fleet-tests-"))

_load_file = botocore.loaders.JSONFileLoader.load_file


@functools.cache
def _service_model(path: str) -> Any:
    return _load_file(botocore.loaders.JSONFileLoader(), path)


_services_of: dict[tuple[str, ...], list[str]] = {}
_list_services = botocore.loaders.Loader.list_available_services


def _services(loader: Any, type_name: str) -> list[str]:
    key = (type_name, *loader.search_paths)
    if key not in _services_of:
        _services_of[key] = _list_services(loader, type_name)
    return _services_of[key]


# Each boto3 session reads the models of its services anew, 60 ms for SageMaker's, and looks twice through the folders
# of all services, 20 ms; tests and the hooks of the Amazon provider make thousands of sessions.
botocore.loaders.JSONFileLoader.load_file = lambda self, file_path: _service_model(file_path)  # type: ignore[method-assign]
botocore.loaders.Loader.list_available_services = _services  # type: ignore[method-assign]


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
    """Begin with what takes longest: the stack's tests, then those with an Airflow, or a server, of their own.

    What is marked as long is left out, and says so, unless ``make test-long`` asks for it.
    """
    if not os.environ.get("CITY_FLEET_TEST_LONG"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: make test-long"))
    items.sort(key=lambda item: [item.nodeid.startswith(folder) for folder in _ORDER], reverse=True)
