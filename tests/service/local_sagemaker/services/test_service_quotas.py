"""Service Quotas of SageMaker, over boto3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from city_fleet.night import service_quotas
from local.sagemaker.quotas import Quotas

NAME = "ml.m5.large for training job usage"


@pytest.fixture(scope="module")
def quotas(local_sagemaker: Any) -> Any:
    return local_sagemaker.client("service-quotas")


def test_the_list_is_what_a_doctor_reads(quotas: Any, tmp_path: Path) -> None:
    pages = list(quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker"))
    assert len(pages) > 2
    rows = [row for page in pages for row in page["Quotas"]]
    assert len({row["QuotaCode"] for row in rows}) == len(rows)
    path = tmp_path / "quotas.json"
    path.write_text(json.dumps({"Quotas": rows}))
    read = service_quotas.read(path)
    assert read.instances[NAME] == 1000
    for name, code in service_quotas.known_codes().items():
        assert read.codes[name] == code
    code = read.codes[NAME]
    assert quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode=code)["Quota"]["QuotaName"] == NAME
    (one,) = quotas.list_service_quotas(ServiceCode="sagemaker", QuotaCode=code)["Quotas"]
    assert one["Value"] == 1000.0


def test_what_is_not_there_is_refused(quotas: Any) -> None:
    for request, code in [
        ({"QuotaCode": "L-00000000"}, "NoSuchResourceException"),
        ({"QuotaCode": "?"}, "IllegalArgumentException"),
    ]:
        with pytest.raises(ClientError) as caught:
            quotas.get_service_quota(ServiceCode="sagemaker", **request)
        assert caught.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as caught:
        quotas.list_service_quotas(ServiceCode="sagemaker", NextToken="9999999")
    assert caught.value.response["Error"]["Code"] == "InvalidPaginationTokenException"
    assert quotas.list_aws_default_service_quotas(ServiceCode="vpc")["Quotas"]  # moto's


def test_a_limit_is_what_was_set() -> None:
    limits = Quotas({NAME: 4}, 1000)
    assert (limits.limit(NAME), limits.limit("ml.c5.large for endpoint usage")) == (4, 1000)
