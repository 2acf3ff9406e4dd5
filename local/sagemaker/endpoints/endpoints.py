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
    Deployment,
    container_specs,
    data_capture,
    instances,
    retained,
)
from local.sagemaker.endpoints.fleet_update import pending_variants
from local.sagemaker.errors import ValidationException, not_found
from local.sagemaker.moments import now
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.quotas import ENDPOINT, quota_name
from local.sagemaker.reach import Server
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.services.alarms import alarm_states
from local.sagemaker.services.scaling import deregister, scaled_variants
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
        "Refused are configurations with " + ", ".join((*UNSUPPORTED_CONFIG, *UNSUPPORTED_VARIANT)) + ".",
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
    deployment = Deployment(config, specs, capture=data_capture(server, config))
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
    if "DeploymentConfig" in request:
        document["LastDeploymentConfig"] = request["DeploymentConfig"]
    with server.store.transaction():
        _check_new(server, name)
        server.store.insert(KIND, name, document)
        taken = server.quotas.take((KIND, name), instances(spec for spec, _ in deployment.specs))
        server.store.when_undone(taken)
    server.endpoints.deploy(name, deployment)
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
    source="API Reference: UpdateEndpoint, DeploymentConfig; Developer Guide: Deployment guardrails for updating "
    "models in production, Auto-Rollback Configuration and Monitoring, Exclusions",
    differs=[
        "Of variants that are scalable targets neither name nor instance type may change, in words of our own.",
        "The traffic is shared by the very percentage, also between fleets of one instance; one process serves each.",
        "Alarms have the state that SetAlarmState gives them; one in ALARM before the first step rolls back too.",
        "An alarm that is not there is refused, in words of our own.",
        "A rollback takes all traffic back at once; the status stays Updating meanwhile.",
        "DeploymentConfig and RetainDeploymentConfig together are refused.",
    ],
    no_effect=["DeploymentConfig.RollingUpdatePolicy.RollbackMaximumBatchSize"],
)
def update_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Move an endpoint to another configuration: new containers first, then the old ones are drained."""
    name, config = request["EndpointName"], request["EndpointConfigName"]
    before = _settled(server, name)
    specs = container_specs(server, name, config)
    if request.get("RetainAllVariantProperties"):
        excluded = [
            each["VariantPropertyType"] for each in request.get("ExcludeRetainedVariantProperties", [])
        ]
        specs = retained(specs, before.get("ProductionVariants", []), excluded)
    deployment = Deployment(config, specs, _policy(request, before), data_capture(server, config))
    _check_policy(deployment, before)
    _check_scaling(deployment, before)

    def change(document: Document) -> None:
        _check_settled(document)
        if document["EndpointStatus"] == "Failed":
            raise ValidationException(
                f'Cannot update failed endpoint "{document["EndpointArn"]}"; delete it.'
            )
        # Blue/green: the new fleet's instances come on top of those in service; rolling: a batch of them.
        share = deployment.plan.batch
        taken = server.quotas.take((KIND, name), instances((spec for spec, _ in specs), share))
        server.store.when_undone(taken)
        moment = now()
        for member in ("FailureReason", "LastDeploymentConfig"):
            document.pop(member, None)
        if deployment.policy is not None:
            document["LastDeploymentConfig"] = deployment.policy
        document.update(
            EndpointStatus="Updating",
            LastModifiedTime=moment,
            PendingDeploymentSummary={
                "EndpointConfigName": config,
                "ProductionVariants": pending_variants(server, config, specs, "Creating"),
                "StartTime": moment,
            },
        )

    document = _change(server, name, change)
    server.endpoints.deploy(name, deployment)
    return {"EndpointArn": document["EndpointArn"]}


def _policy(request: dict[str, Any], before: Document) -> dict[str, Any] | None:
    """The DeploymentConfig of an update: its own, or that of the last one."""
    if not request.get("RetainDeploymentConfig"):
        return request.get("DeploymentConfig")
    if "DeploymentConfig" in request:
        raise ValidationException(
            "DeploymentConfig can't be given with RetainDeploymentConfig, which takes that of the last update."
        )
    return before.get("LastDeploymentConfig")


def _check_scaling(deployment: Deployment, before: Document) -> None:
    """Check that no variant that is a scalable target goes or changes its instance type (Developer Guide).

    :raises ValidationException: if one does.
    """
    new = {spec.variant: spec.instance_type for spec, _ in deployment.specs}
    old = {spec["variant"]: spec["instance_type"] for spec, _ in before.get("_deployed", {}).get("specs", [])}
    scaled = scaled_variants(before["_region"], before["EndpointName"])
    changed = [variant for variant in scaled if variant in old and new.get(variant) != old[variant]]
    if changed:
        raise ValidationException(
            f"The variants {changed} are scalable targets of Application Auto Scaling, and this update removes them or"
            " changes their instance type: deregister them first."
        )


def _check_policy(deployment: Deployment, before: Document) -> None:
    """Check that an update can go the way that its policy says.

    :param before: the endpoint as it is.
    :raises ValidationException: if not.
    """
    plan = deployment.plan
    if deployment.policy is None:
        return
    old = sorted(each["VariantName"] for each in before.get("ProductionVariants", []))
    new = sorted({spec.variant for spec, _ in deployment.specs})
    if old != new:
        raise ValidationException(
            f"DeploymentConfig: the new endpoint configuration must have the endpoint's variant names, {old}; it has"
            f" {new}."
        )
    missing = set(plan.alarms) - alarm_states(before["_region"], plan.alarms).keys()
    if missing:
        raise ValidationException(
            f"AutoRollbackConfiguration: could not find the CloudWatch alarms {sorted(missing)} in"
            f" {before['_region']}."
        )


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
        shares = {
            each: (float(variant["CurrentWeight"]), variant["CurrentInstanceCount"])
            for each, variant in variants.items()
        }
        deployed = document.get("_deployed", {}).get("specs", [])
        more = {
            spec["variant"]: (quota_name(spec["instance_type"], ENDPOINT), added)
            for spec, _ in deployed
            if (added := shares[spec["variant"]][1] - spec["instance_count"]) > 0
        }
        server.store.when_undone(server.quotas.take((KIND, name), more.values()))
        for each in deployed:  # for a later server
            weight, each[0]["instance_count"] = shares[each[0]["variant"]]
            each[1] = weight
        server.endpoints.share(name, shares)

    return {"EndpointArn": _change(server, name, change)["EndpointArn"]}


@operation("DeleteEndpoint")
def delete_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete an endpoint; its configuration and models stay."""
    name = request["EndpointName"]

    def change(document: Document) -> None:
        _check_settled(document)
        document.update(EndpointStatus="Deleting", LastModifiedTime=now())

    document = _change(server, name, change)
    server.endpoints.delete(name)
    deregister(document["_region"], name)
    return {}


def _check_new(server: Server, name: str) -> None:
    """Check that no endpoint is called so: case counts in every operation but CreateEndpoint (API Reference).

    :raises ValidationException: if one is.
    """
    for taken in server.store.names(KIND):
        if taken.lower() == name.lower():
            raise ValidationException(f'Cannot create already existing endpoint "{server.arn(KIND, taken)}".')


def _settled(server: Server, name: str) -> Document:
    document = server.store.get(KIND, name)
    if document is None:
        raise not_found("endpoint", server.arn(KIND, name))
    _check_settled(document)
    return document


def _check_settled(document: Document) -> None:
    if document["EndpointStatus"] in IN_PROGRESS:
        raise ValidationException(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')


def _change(server: Server, name: str, change: Callable[[Document], None]) -> Document:
    try:
        return server.store.update(KIND, name, change)
    except NotFound:
        raise not_found("endpoint", server.arn(KIND, name)) from None
