"""The containers that a model is made of: what a model package says takes the place of its name."""

from __future__ import annotations

from typing import Any

from local.sagemaker.errors import ValidationException
from local.sagemaker.reach import Server
from local.sagemaker.registry.model_packages import find_package
from local.sagemaker.store import Document

#: What a model package's container and a model's have in common.
_SHARED = ("Image", "ModelDataUrl", "ModelDataSource", "Environment", "ContainerHostname")


def resolved_containers(server: Server, containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A model's containers with an image each.

    :param server: holds the model packages.
    :param containers: as CreateModel has them.
    :raises ValidationException: if a package is not there, not approved, or has no such inference specification.
    """
    return [each for container in containers for each in _resolved(server, container)]


def _resolved(server: Server, container: dict[str, Any]) -> list[dict[str, Any]]:
    if "ModelPackageName" not in container:
        return [container]
    package = find_package(server, container["ModelPackageName"])
    approval = package.get("ModelApprovalStatus", "Approved")
    if approval != "Approved":
        raise ValidationException(
            f"A model can't be created from the model package {package['ModelPackageArn']}: its approval"
            f" status is {approval}, and must be Approved."
        )
    own = {member: container[member] for member in _SHARED if member in container and member != "Environment"}
    found = []
    for packaged in _specification(package, container.get("InferenceSpecificationName"))["Containers"]:
        shared = {member: packaged[member] for member in _SHARED if member in packaged}
        environment = {**packaged.get("Environment", {}), **container.get("Environment", {})}
        found.append({"Mode": "SingleModel", **shared, **own, "Environment": environment})
    return found


def _specification(package: Document, name: str | None) -> dict[str, Any]:
    """The inference specification of a package, or one of its additional ones by name."""
    if name is None:
        specification: dict[str, Any] | None = package.get("InferenceSpecification")
        if specification is None:
            raise ValidationException(
                f"The model package {package['ModelPackageArn']} has no InferenceSpecification, which says what"
                " a model of it runs."
            )
        return specification
    additional = {each["Name"]: each for each in package.get("AdditionalInferenceSpecifications", [])}
    if name not in additional:
        raise ValidationException(
            f"InferenceSpecificationName: got {name}; the model package {package['ModelPackageArn']} has:"
            f" {', '.join(additional) or 'none'}."
        )
    return dict(additional[name])
