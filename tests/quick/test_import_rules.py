"""Every import contract of pyproject.toml is kept, and reports an import that it is there to forbid."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import grimp
import pytest
from importlinter import Contract, configuration
from importlinter.application.use_cases import read_user_options
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract

ROOT = Path(__file__).resolve().parents[2]
TYPES: dict[str, type[Contract]] = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
    "protected": ProtectedContract,
}
#: Of each contract, imports that it must report: importer and imported. A module with "new" in its name is made.
OFFENCES = {
    "The library's layers": [
        ("city_fleet.naming", "city_fleet.config"),
        ("city_fleet.airflow_rest", "city_fleet.config"),
        ("city_fleet.state", "city_fleet.champions"),
        ("city_fleet.champions", "city_fleet.approval"),
        ("city_fleet.jobs", "city_fleet.doctor"),
        ("city_fleet.serving", "city_fleet.prediction"),
        ("city_fleet.retiring", "city_fleet.views"),
        ("city_fleet.views", "city_fleet.cli"),
        ("city_fleet.night", "city_fleet.views"),
        ("city_fleet.jobs", "city_fleet.night"),
        ("city_fleet.cli", "city_fleet.orchestration"),
        ("city_fleet.new_package", "city_fleet.errors"),
    ],
    "The layers of the local SageMaker": [
        ("local.sagemaker.errors", "local.sagemaker.store"),
        ("local.sagemaker.store", "local.sagemaker.quotas"),
        ("local.sagemaker.processes.images", "local.sagemaker.reach"),
        ("local.sagemaker.reach", "local.sagemaker.protocol.operations"),
        ("local.sagemaker.registry.tags", "local.sagemaker.jobs.jobs"),
        ("local.sagemaker.jobs.runner", "local.sagemaker.faults.faults"),
        ("local.sagemaker.endpoints.runtime", "local.sagemaker.server"),
        ("local.sagemaker.server", "local.sagemaker.app"),
        ("local.sagemaker.new_package", "local.sagemaker.errors"),
    ],
    "Only orchestration and the pages import Airflow": [
        ("city_fleet.state", "airflow"),
        ("city_fleet.doctor", "airflow"),
        ("city_fleet.cli", "airflow"),
        ("local.sagemaker.app", "airflow"),
        ("model_server.process", "airflow"),
    ],
    "What the Lambda function carries needs boto3 alone": [
        (importer, imported)
        for importer in ("city_fleet.prediction", "city_fleet.state", "city_fleet.errors")
        for imported in ("airflow", "pydantic", "yaml", "pandas", "typer")
    ],
    "The command line starts without Airflow and pandas": [
        ("city_fleet.cli", "airflow"),
        ("city_fleet.cli", "pandas"),
        ("city_fleet.views.fleet", "pandas"),
        ("city_fleet.errors", "airflow"),
    ],
    "The worlds do not know each other": [
        ("city_fleet.errors", "local.sagemaker.errors"),
        ("city_fleet.errors", "model_server.answers"),
        ("local.sagemaker.app", "city_fleet.naming"),
        ("local.sagemaker.app", "model_server.answers"),
        ("model_server.answers", "city_fleet.naming"),
        ("model_server.answers", "local.sagemaker.errors"),
    ],
    "Packages and modules import in no circle": [
        ("city_fleet.errors", "city_fleet.airflow_rest"),
        ("city_fleet.config.section", "city_fleet.config.fleet_file"),
        ("local.sagemaker.quotas", "local.sagemaker.command_line"),
        ("local.sagemaker.jobs.runner", "local.sagemaker.jobs.training_run"),
        ("local.sagemaker.endpoints.variants", "local.sagemaker.endpoints.endpoint_manager"),
        ("local.stack.errors", "local.stack.demo"),
    ],
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grimp.ImportGraph]:
    """Every module of the worlds, and what it imports."""
    before = list(sys.path)
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "include")]
    yield grimp.build_graph(
        "city_fleet",
        "local",
        "model_server",
        include_external_packages=True,
        cache_dir=str(tmp_path_factory.mktemp("imports")),
    )
    sys.path[:] = before


def contracts() -> dict[str, Contract]:
    """The contracts of pyproject.toml by name."""
    configuration.configure()
    options = read_user_options(str(ROOT / "pyproject.toml"))
    return {
        each["name"]: TYPES[each["type"]](each["name"], options.session_options, each)
        for each in options.contracts_options
    }


@pytest.mark.parametrize("name", contracts())
def test_a_contract_is_kept_until_something_offends_it(name: str, graph: grimp.ImportGraph) -> None:
    contract = contracts()[name]
    assert contract.check(deepcopy(graph), verbose=False).kept
    assert OFFENCES.get(name), f"{name}: name imports in OFFENCES that this contract must report"
    for importer, imported in OFFENCES[name]:
        spoilt = deepcopy(graph)
        assert importer in spoilt.modules or "new" in importer, f"there is no module {importer}"
        assert imported in spoilt.modules or "." not in imported, f"there is no module {imported}"
        for module in {importer, imported} - spoilt.modules:
            spoilt.add_module(module, is_squashed="." not in module)
        spoilt.add_import(importer=importer, imported=imported)
        assert not contract.check(spoilt, verbose=False).kept, f"{name}: {importer} may import {imported}"


def test_no_offence_is_left_of_a_contract_that_is_gone() -> None:
    assert set(OFFENCES) == set(contracts())
