"""Application Auto Scaling of an endpoint's variants, over boto3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.endpoint_calls import Endpoints


def test_a_variant_is_a_scalable_target_as_long_as_it_is_there(
    fleet: Endpoints, local_sagemaker: Any
) -> None:
    name = fleet.create("scaled")
    scaling = local_sagemaker.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": f"endpoint/{name}/variant/AllTraffic",
    }
    for change, words in [
        ({"ResourceId": "endpoint/nobody/variant/AllTraffic"}, 'Could not find endpoint ".*endpoint/nobody"'),
        (
            {"ResourceId": f"endpoint/{name}/variant/Blue"},
            'Could not find variant "Blue" .* it has: AllTraffic',
        ),
        ({"ResourceId": name}, "endpoint/<name>/variant/<name>, got"),
        ({"MinCapacity": 5}, "MinCapacity is 5 and must not be more than MaxCapacity, which is 4"),
    ]:
        request = {**target, "MinCapacity": 1, "MaxCapacity": 4, **change}
        with pytest.raises(ClientError, match=words) as caught:
            scaling.register_scalable_target(**request)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=4)
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    scaling.put_scaling_policy(
        **target,
        PolicyName="busy",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 70.0,
            "PredefinedMetricSpecification": metric,
        },
    )
    (described,) = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[target["ResourceId"]]
    )["ScalableTargets"]
    assert (described["MinCapacity"], described["MaxCapacity"]) == (1, 4)
    (policy,) = scaling.describe_scaling_policies(
        ServiceNamespace="sagemaker", ResourceId=target["ResourceId"]
    )["ScalingPolicies"]
    assert policy["PolicyName"] == "busy"

    # Another instance type is refused while it is a target.
    green = fleet.config("larger")
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": green,
        "InstanceType": "ml.m5.xlarge",
        "InitialInstanceCount": 1,
        "ManagedInstanceScaling": {"Status": "ENABLED", "MinInstanceCount": 1, "MaxInstanceCount": 2},
    }
    larger = fleet.unique("xlarge")
    fleet.sagemaker.create_endpoint_config(EndpointConfigName=larger, ProductionVariants=[variant])
    with pytest.raises(ClientError, match="deregister them first"):
        fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=larger)
    scaling.deregister_scalable_target(**target)
    fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=larger)
    (variant,) = fleet.settled(name)["ProductionVariants"]
    assert variant["ManagedInstanceScaling"]["MaxInstanceCount"] == 2

    # Who deletes the endpoint deletes its targets.
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=4)
    fleet.sagemaker.delete_endpoint(EndpointName=name)
    left = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert target["ResourceId"] not in [each["ResourceId"] for each in left]
    listed = fleet.sagemaker.list_endpoints
    fleet.wait_until(lambda: not listed(NameContains=name)["Endpoints"], 60, "the endpoint is gone")
