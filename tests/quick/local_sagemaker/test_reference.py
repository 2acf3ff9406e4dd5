"""The table of operations in the documentation is made from the code, and names what exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.model import Shape

from local.sagemaker import reference
from local.sagemaker.app import load_operations
from local.sagemaker.endpoints.endpoint_specs import UNSUPPORTED_CONFIG, UNSUPPORTED_VARIANT
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.operations import FIDELITY, OPERATIONS

load_operations()


def test_the_documentation_is_up_to_date() -> None:
    assert reference.main(["--check"]) == 0, "run `make docs-local`"


def test_a_stale_document_is_told_and_renewed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "local.md"
    document.write_text(f"# Before\n{reference.BEGIN}\nold\n{reference.END}\nafter\n", encoding="utf-8")
    assert reference.main([str(document), "--check"]) == 1
    assert "run `make docs-local`" in capsys.readouterr().err
    assert reference.main([str(document)]) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# Before\n")
    assert text.endswith("\nafter\n")
    assert "| CreateTrainingJob | " in text
    assert reference.main([str(document), "--check"]) == 0
    document.write_text("no marks", encoding="utf-8")
    assert reference.main([str(document), "--check"]) == 1
    assert "it needs the two lines" in capsys.readouterr().err


def test_no_member_of_a_request_is_ignored_silently(subtests: pytest.Subtests) -> None:
    """What nothing in the code names is declared: refused, or without effect. Registry entries are kept as they are."""
    sources = Path(reference.__file__).parent.rglob("*.py")
    read = set(re.findall(r"[A-Za-z0-9]+", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    # CreateEndpoint refuses what CreateEndpointConfig and CreateModel take of these, as a whole.
    later = {*UNSUPPORTED_CONFIG, *UNSUPPORTED_VARIANT, "ModelDataSource"}
    later |= {"AdditionalModelDataSources"}

    def unread(shape: Shape, path: str, declared: set[str]) -> Iterator[str]:
        if shape.type_name == "list":
            yield from unread(shape.member, path, declared)
        for name, member in shape.members.items() if shape.type_name == "structure" else ():
            where = f"{path}.{name}".lstrip(".")
            if where in declared or name in later:
                continue
            if name in read:
                yield from unread(member, where, declared)
            else:
                yield where

    for operation in (
        *("CreateTrainingJob", "UpdateTrainingJob", "CreateProcessingJob", "CreateModel"),
        *("CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities"),
    ):
        with subtests.test(operation=operation):
            fidelity = FIDELITY[operation]
            declared = {each.partition("=")[0] for each in (*fidelity.refused, *fidelity.no_effect)}
            assert not list(unread(wire.operation_model(operation).input_shape, "", declared))


def test_every_operation_declares_what_it_does() -> None:
    assert set(FIDELITY) == set(OPERATIONS)
    for name, fidelity in FIDELITY.items():
        assert fidelity.source, name
        assert all(sentence.endswith(".") for sentence in fidelity.differs), name


def test_members_that_are_declared_exist(subtests: pytest.Subtests) -> None:
    for name in sorted(FIDELITY):
        with subtests.test(name=name):
            for declared in (*FIDELITY[name].refused, *FIDELITY[name].no_effect):
                path, _, value = declared.partition("=")
                shape = wire.operation_model(name).input_shape
                for part in path.split("."):
                    while shape.type_name == "list":
                        shape = shape.member
                    assert part in shape.members, declared
                    shape = shape.members[part]
                assert not value or value in getattr(shape, "enum", ()), declared


def test_what_is_taken_can_be_described(subtests: pytest.Subtests) -> None:
    for name in [name for name in sorted(FIDELITY) if name.startswith("Create")]:
        with subtests.test(name=name):
            described = wire.operation_model(name.replace("Create", "Describe")).output_shape.members
            # Tags have operations of their own; the others are about the call, not about the resource.
            apart = {"Tags", "ClientToken", "DeploymentConfig", *FIDELITY[name].refused}
            assert set(wire.operation_model(name).input_shape.members) - apart <= set(described)


def test_no_module_that_declares_an_operation_is_left_out() -> None:
    folder = Path(reference.__file__).parent
    declaring = {
        ".".join(("local.sagemaker", *path.relative_to(folder).with_suffix("").parts))
        for path in folder.rglob("*.py")
        if any(_declares_an_operation(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert declaring == {handler.__module__ for handler in OPERATIONS.values()}


def _declares_an_operation(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "operation"
        for each in node.decorator_list
    )
