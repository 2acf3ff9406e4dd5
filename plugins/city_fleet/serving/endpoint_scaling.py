"""Has Application Auto Scaling change the number of an endpoint's instances, as the fleet file says.

Clients are passed in. Every step looks first and may be repeated. What somebody has registered by hand is left alone
where the fleet file says nothing of scaling. DeleteEndpoint deregisters what is left (Developer Guide, "Delete
endpoints configured for auto scaling"), so nobody else has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, outgoing_text
from city_fleet.config.scaling_section import Scaling
from city_fleet.errors import Busy
from city_fleet.outgoing_text import printable
from city_fleet.serving import scaling_requests
from city_fleet.state.scalable_targets import (
    POLICY,
    VARIANT,
    Registered,
    ScalingClient,
    difference,
    registered,
    variant,
)

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

log = outgoing_text.logger(__name__)


def instances(found: Mapping[str, Any]) -> int:
    """Return the number of instances that an endpoint has or is to have.

    :param found: its description.
    """
    return sum(int(each.get("DesiredInstanceCount", 0)) for each in found.get("ProductionVariants", []))


def register(scaling: ScalingClient, endpoint: str, wanted: Scaling) -> bool:
    """Have an endpoint that is in service scale as the fleet file says.

    :return: whether anything had to change.
    :raises Busy: the target that was registered a moment ago is not known yet.
    """
    if difference(registered(scaling, endpoint), wanted) is None:
        return False
    scaling.register_scalable_target(**scaling_requests.target_request(endpoint, wanted))
    try:
        scaling.put_scaling_policy(**scaling_requests.policy_request(endpoint, wanted))
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        # RegisterScalableTarget is only eventually consistent (API Reference).
        raise Busy(f"Endpoint {endpoint} is not known as a scalable target yet") from error
    return True


def end(scaling: ScalingClient, sagemaker: SageMakerClient, found: Mapping[str, Any], count: int) -> bool:
    """End what :func:`register` has begun, and give an endpoint back the number of instances of the fleet file.

    :param found: its description.
    :param count: instances that it is to have from then on. The policy goes last: it says that this is to be done.
    :return: whether there was anything to end.
    """
    endpoint = found["EndpointName"]
    known = _looked(scaling, endpoint)
    if known.tracking is None:
        return False
    if not known.others and instances(found) != count:
        _resize(sagemaker, endpoint, count)
    _forget(scaling, endpoint, known)
    return True


def _looked(scaling: ScalingClient, endpoint: str) -> Registered:
    """Return what is registered of an endpoint that need not scale.

    Many an Airflow may not ask Application Auto Scaling, or has no way there out of its VPC: it has never registered
    anything, and must not fail for that.
    """
    try:
        return registered(scaling, endpoint)
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
    except BotoCoreError as error:
        log.warning("Nobody can say whether endpoint %s scales: %s", endpoint, printable(str(error)))
    return Registered()


def release(scaling: ScalingClient, endpoint: str, *, scales: bool) -> bool:
    """Deregister an endpoint before an update that SageMaker refuses for a scalable target: another instance type.

    A target with policies of somebody else is left: SageMaker's refusal says what is to be done.

    :param scales: whether it is to scale afterwards.
    :return: whether it was registered.
    """
    known = registered(scaling, endpoint) if scales else _looked(scaling, endpoint)
    if known.tracking is None or known.others:
        return False
    _forget(scaling, endpoint, known)
    return True


def grow(sagemaker: SageMakerClient, endpoint: str, count: int) -> None:
    """Give an endpoint that serves nobody yet as many instances as it needs.

    :raises Busy: they are being started.
    """
    _resize(sagemaker, endpoint, count)
    status = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"]
    if status != "InService":
        raise Busy(f"Endpoint {endpoint} is {status}: it gets {count} instances, as many as serve now")


def _resize(sagemaker: SageMakerClient, endpoint: str, count: int) -> None:
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[{"VariantName": VARIANT, "DesiredInstanceCount": count}],
    )


def _forget(scaling: ScalingClient, endpoint: str, known: Registered) -> None:
    """Take away the policy alone where others go on scaling, else the target, and the policy with it."""
    try:
        if known.others:
            scaling.delete_scaling_policy(**variant(endpoint), PolicyName=POLICY)
        else:
            scaling.deregister_scalable_target(**variant(endpoint))
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
