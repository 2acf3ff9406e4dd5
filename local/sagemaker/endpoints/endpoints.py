"""Endpoints: the operations.

States follow the AWS documentation of DescribeEndpoint: Creating, InService, Updating, Deleting, Failed. A
failed update leaves the old containers in service; FailureReason tells why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local.sagemaker.endpoints.endpoint_manager import KIND
from local.sagemaker.endpoints.endpoint_specs import (
    UNSUPPORTED_CONFIG,
    UNSUPPORTED_VARIANT,
    container_specs,
    instances,
)
from local.sagemaker.errors import ValidationException, not_found
from local.sagemaker.moments import now
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.reach import Server
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import Document, NotFound

PREFIXES = (
    "Current",
    "Desired",
)  # of weight and instance count: a change takes effect at once here, so both are equal
IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


@operation(
    "CreateEndpoint",
    source="API Reference; Developer Guide: Multi-model endpoints",
    differs=[
        "Refused are configurations with "
        + ", ".join((*UNSUPPORTED_CONFIG, *UNSUPPORTED_VARIANT))
        + ", or with data capture switched on.",
        "A container is a process that serves in script mode (SAGEMAKER_PROGRAM); one, whatever the instance count.",
        "The instance type decides on the quota alone: memory and disk for models are settings, and loaded models are "
        "bounded by a number as well.",
    ],
    no_effect=["DeploymentConfig"],
)
def create_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Create an endpoint from an endpoint configuration."""
    name, config = request["EndpointName"], request["EndpointConfigName"]
    arn = server.arn(KIND, name)
    _check_new(server, name)
    specs = container_specs(server, name, config)
    moment = now()
    document: Document = {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": config,
        "EndpointStatus": "Creating",
        "CreationTime": moment,
        "LastModifiedTime": moment,
        "_region": server.region,
        "_tags": check_tags(request.get("Tags", [])),
    }
    with server.store.transaction():
        _check_new(server, name)
        server.store.insert(KIND, name, document)
        taken = server.quotas.take((KIND, name), instances(spec for spec, _ in specs))
        server.store.when_undone(taken)
    server.endpoints.deploy(name, config, specs)
    return {"EndpointArn": arn}


@operation("DescribeEndpoint")
def describe_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe an endpoint."""
    document = server.store.get(KIND, request["EndpointName"])
    if document is None:
        raise not_found("endpoint", server.arn(KIND, request["EndpointName"]))
    return document


@operation("ListEndpoints")
def list_endpoints(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Endpoints, filtered and sorted, a page at a time."""
    return list_page(
        "ListEndpoints", request, server.store.list(KIND), name="EndpointName", status="EndpointStatus"
    )


@operation(
    "UpdateEndpoint",
    differs=["Blue/green, all at once."],
    refused=["RetainAllVariantProperties", "RetainDeploymentConfig"],
    no_effect=["DeploymentConfig", "ExcludeRetainedVariantProperties"],
)
def update_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Move an endpoint to another configuration: new containers first, then the old ones are drained."""
    name, config = request["EndpointName"], request["EndpointConfigName"]
    if request.get("RetainAllVariantProperties") or request.get("RetainDeploymentConfig"):
        raise ValidationException(
            "RetainAllVariantProperties and RetainDeploymentConfig: the local SageMaker does not support "
            "them; "
            "leave them out."
        )
    _settled(server, name)
    specs = container_specs(server, name, config)

    def change(document: Document) -> None:
        _check_settled(document)
        if document["EndpointStatus"] == "Failed":
            raise ValidationException(
                f'Cannot update failed endpoint "{document["EndpointArn"]}"; delete it.'
            )
        # Blue/green: the new fleet's instances come on top of those in service.
        taken = server.quotas.take((KIND, name), instances(spec for spec, _ in specs))
        server.store.when_undone(taken)
        moment = now()
        document.pop("FailureReason", None)
        document.update(
            EndpointStatus="Updating",
            LastModifiedTime=moment,
            PendingDeploymentSummary={"EndpointConfigName": config, "StartTime": moment},
        )

    document = _change(server, name, change)
    server.endpoints.deploy(name, config, specs)
    return {"EndpointArn": document["EndpointArn"]}


@operation(
    "UpdateEndpointWeightsAndCapacities",
    differs=["DesiredInstanceCount is described and counts for the quota; one process serves all the same."],
)
def update_weights(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Share the traffic of an endpoint in service differently among its variants."""
    name = request["EndpointName"]
    wanted = {each["VariantName"]: each for each in request["DesiredWeightsAndCapacities"]}

    def change(document: Document) -> None:
        _check_settled(document)
        if document["EndpointStatus"] != "InService":
            raise ValidationException(f'Endpoint "{document["EndpointArn"]}" is not in service.')
        variants = {each["VariantName"]: each for each in document["ProductionVariants"]}
        for unknown in wanted.keys() - variants.keys():
            raise ValidationException(
                f'Variant "{unknown}" is not a variant of endpoint "{document["EndpointArn"]}".'
            )
        for variant, desired in wanted.items():
            if "ServerlessUpdateConfig" in desired:
                raise ValidationException("ServerlessUpdateConfig: the local SageMaker does not support it.")
            for member, values in (("DesiredWeight", "Weight"), ("DesiredInstanceCount", "InstanceCount")):
                if member in desired:
                    variants[variant] |= {f"{prefix}{values}": desired[member] for prefix in PREFIXES}
        document["LastModifiedTime"] = now()
        weights = {each: float(variant["CurrentWeight"]) for each, variant in variants.items()}
        for deployed in document.get("_deployed", {}).get("specs", []):  # for a later server
            deployed[1] = weights[deployed[0]["variant"]]
        server.endpoints.weigh(name, weights)

    return {"EndpointArn": _change(server, name, change)["EndpointArn"]}


@operation("DeleteEndpoint")
def delete_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete an endpoint; its configuration and models stay."""
    name = request["EndpointName"]

    def change(document: Document) -> None:
        _check_settled(document)
        document.update(EndpointStatus="Deleting", LastModifiedTime=now())

    _change(server, name, change)
    server.endpoints.delete(name)
    return {}


def _check_new(server: Server, name: str) -> None:
    """Check that no endpoint is called so: case counts in every operation but CreateEndpoint (API Reference).

    :raises ValidationException: if one is.
    """
    for taken in server.store.names(KIND):
        if taken.lower() == name.lower():
            raise ValidationException(f'Cannot create already existing endpoint "{server.arn(KIND, taken)}".')


def _settled(server: Server, name: str) -> None:
    document = server.store.get(KIND, name)
    if document is None:
        raise not_found("endpoint", server.arn(KIND, name))
    _check_settled(document)


def _check_settled(document: Document) -> None:
    if document["EndpointStatus"] in IN_PROGRESS:
        raise ValidationException(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')


def _change(server: Server, name: str, change: Callable[[Document], None]) -> Document:
    try:
        return server.store.update(KIND, name, change)
    except NotFound:
        raise not_found("endpoint", server.arn(KIND, name)) from None
