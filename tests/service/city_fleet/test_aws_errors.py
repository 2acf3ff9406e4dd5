"""What SageMaker says of things that do not exist, as the library understands it."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from city_fleet import aws_errors
from tests.support.local_sagemaker import LocalSageMaker

DESCRIBES = {
    "describe_model": {"ModelName": "no-such-thing"},
    "describe_endpoint": {"EndpointName": "no-such-thing"},
    "describe_endpoint_config": {"EndpointConfigName": "no-such-thing"},
    "describe_training_job": {"TrainingJobName": "no-such-thing"},
    "describe_processing_job": {"ProcessingJobName": "no-such-thing"},
    "describe_model_package": {
        "ModelPackageName": "arn:aws:sagemaker:us-east-1:123456789012:model-package/no-such-thing/1"
    },
    "delete_model_package": {
        "ModelPackageName": "arn:aws:sagemaker:us-east-1:123456789012:model-package/no-such-thing/1"
    },
    "list_model_packages": {"ModelPackageGroupName": "no-such-thing"},
}


@pytest.mark.parametrize("operation", DESCRIBES)
def test_sagemaker_says_of_each_kind_of_thing_that_it_is_missing(aws: LocalSageMaker, operation: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(aws.client("sagemaker"), operation)(**DESCRIBES[operation])
    assert aws_errors.is_missing(caught.value)


@pytest.mark.parametrize("operation", ["describe_endpoint", "list_model_packages"])
def test_a_request_that_is_wrong_is_no_thing_that_is_missing(aws: LocalSageMaker, operation: str) -> None:
    (parameter,) = DESCRIBES[operation]
    with pytest.raises(ClientError) as caught:
        getattr(aws.client("sagemaker"), operation)(**{parameter: "not a name!"})
    assert aws_errors.is_invalid(caught.value)
    assert not aws_errors.is_missing(caught.value)
