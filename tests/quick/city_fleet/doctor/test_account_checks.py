"""What the doctor says of an account, by what AWS would answer; botocore holds requests and answers to its model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from city_fleet.cli.doctor_account import wanted_of
from city_fleet.doctor import account_checks, aws_checks
from city_fleet.doctor.account_checks import QuotaNeed, Wanted
from city_fleet.doctor.findings import Area, Finding, Level
from tests.support.fleets import texas

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/city-fleet"
PERSON = f"arn:aws:iam::{ACCOUNT}:user/somebody"
AREA = Area("account, texas_housing")
TRAINING = "ml.m5.large for training job usage"
ENDPOINT = "ml.m5.large for endpoint usage"
OWN = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/city-fleet-model-server:1"
TLS = {"Effect": "Deny", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}


class Account:
    """An account of AWS: what it answers to one operation after the other."""

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.stubs: dict[str, Stubber] = {}

    def client(self, service: str) -> Any:
        if service not in self.clients:
            made = boto3.client(
                service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
            )
            self.clients[service], self.stubs[service] = made, Stubber(made)
            self.stubs[service].activate()
        return self.clients[service]

    def answers(self, service: str, operation: str, value: dict[str, Any], asked: Any = None) -> None:
        self.client(service)
        self.stubs[service].add_response(operation, value, asked)

    def refuses(self, service: str, operation: str, code: str, message: str = "said AWS") -> None:
        self.client(service)
        self.stubs[service].add_client_error(operation, code, message, 400)


@pytest.fixture
def account() -> Iterator[Account]:
    made = Account()
    yield made
    for stub in made.stubs.values():
        stub.assert_no_pending_responses()


def said(found: list[Finding]) -> dict[Level, list[str]]:
    sorted_: dict[Level, list[str]] = defaultdict(list)
    for each in found:
        sorted_[each.level].append(each.what)
    return sorted_


def well(account: Account, *, without: str = "") -> None:
    """An account in which all is as it should be, but for one service's operation, which the test answers."""
    block = dict.fromkeys(account_checks._BLOCKS, True)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "a-key"}}
    page = [
        {"QuotaName": TRAINING, "QuotaCode": "L-611FA074", "Value": 20.0},
        {"QuotaName": ENDPOINT, "QuotaCode": "L-614B09FD", "Value": 2.0},
    ]
    for service, operation, value in (
        ("iam", "simulate_principal_policy", {"EvaluationResults": [decision("allowed")]}),
        ("s3", "get_bucket_versioning", {"Status": "Enabled"}),
        ("s3", "get_public_access_block", {"PublicAccessBlockConfiguration": block}),
        ("s3", "get_bucket_policy", {"Policy": json.dumps({"Statement": [TLS]})}),
        ("s3", "get_bucket_encryption", {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}),
        ("kms", "describe_key", {"KeyMetadata": {"KeyId": "a-key", "KeyState": "Enabled"}}),
        ("ecr", "describe_images", {"imageDetails": []}),
        ("service-quotas", "list_service_quotas", {"Quotas": page}),
    ):
        if operation != without:
            account.answers(service, operation, value)


def decision(word: str) -> dict[str, str]:
    return {"EvalActionName": "iam:PassRole", "EvalDecision": word}


WANTED = Wanted((QuotaNeed(TRAINING, 12, "L-611FA074"), QuotaNeed(ENDPOINT, 1, None, True)), (OWN,))


def look(account: Account, caller: str = PERSON, wanted: Wanted = WANTED) -> list[Finding]:
    return account_checks.check(texas(), account.client, caller, wanted)


def test_an_account_that_has_all_it_needs(account: Account) -> None:
    well(account)
    found = look(account)
    assert {each.level for each in found} == {Level.OK}, found
    assert f"{PERSON} may pass {ROLE} to SageMaker" in said(found)[Level.OK]
    assert f"quota '{TRAINING}': 20, tonight needs 12" in said(found)[Level.OK]
    assert "key a-key is enabled; whether each role may use it, its policy says" in said(found)[Level.OK]


def test_what_may_not_be_asked_is_unknown_with_the_permission(account: Account) -> None:
    for service, operations in {
        "iam": ("simulate_principal_policy",),
        "s3": (
            "get_bucket_versioning",
            "get_public_access_block",
            "get_bucket_policy",
            "get_bucket_encryption",
        ),
        "ecr": ("describe_images",),
        "service-quotas": ("list_service_quotas",),
    }.items():
        for operation in operations:
            account.refuses(service, operation, "AccessDeniedException")
    found = look(account)
    assert {each.level for each in found} == {Level.UNKNOWN}, found
    assert {each.advice.split(" to whoever")[0] for each in found} == {
        "Allow iam:SimulatePrincipalPolicy and iam:GetRole",
        "Allow s3:GetBucketVersioning",
        "Allow s3:GetBucketPublicAccessBlock",
        "Allow s3:GetBucketPolicy",
        "Allow s3:GetEncryptionConfiguration",
        "Allow ecr:DescribeImages",
        "Allow servicequotas:ListServiceQuotas",
    }


def test_an_operation_that_is_not_there_is_unknown(account: Account) -> None:
    well(account, without="list_service_quotas")
    account.refuses("service-quotas", "list_service_quotas", "NotImplemented", "the local SageMaker has none")
    assert said(look(account))[Level.UNKNOWN] == [
        "the quotas: AWS refused ListServiceQuotas: NotImplemented the local SageMaker has none"
    ]


def test_who_may_pass_the_role(account: Account, subtests: pytest.Subtests) -> None:
    airflow = f"arn:aws:iam::{ACCOUNT}:role/team/airflow"
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/airflow/me"
    trust = {"RoleName": "airflow", "Path": "/team/", "RoleId": "A" * 20, "Arn": airflow}
    for caller, principal, word, level in (
        (PERSON, None, "implicitDeny", Level.WARN),
        (PERSON, airflow, "explicitDeny", Level.FAIL),
        (PERSON, airflow, "allowed", Level.OK),
        (session, None, "allowed", Level.OK),
        (f"arn:aws:iam::{ACCOUNT}:root", None, "", Level.UNKNOWN),
    ):
        with subtests.test(caller=caller, principal=principal, word=word):
            if caller == session:
                account.answers("iam", "get_role", {"Role": {**trust, "CreateDate": datetime(2026, 1, 1)}})
            if word:
                source = airflow if principal or caller == session else caller
                asked = {
                    "PolicySourceArn": source,
                    "ActionNames": ["iam:PassRole"],
                    "ResourceArns": [ROLE],
                    "ContextEntries": ANY,
                }
                account.answers(
                    "iam", "simulate_principal_policy", {"EvaluationResults": [decision(word)]}, asked
                )
            well(account, without="simulate_principal_policy")
            first = look(account, caller, Wanted(WANTED.quotas, WANTED.images, principal))[0]
            assert first.level is level
            assert ("--principal ARN" in first.advice) == (
                principal is None and level in (Level.WARN, Level.UNKNOWN)
            )


def test_a_bucket_that_is_open_keeps_nothing_and_denies(account: Account) -> None:
    account.answers("iam", "simulate_principal_policy", {"EvaluationResults": [decision("allowed")]})
    account.answers("s3", "get_bucket_versioning", {})
    account.refuses("s3", "get_public_access_block", "NoSuchPublicAccessBlockConfiguration")
    deny = {"Effect": "Deny", "Sid": "OnlyByHand", "Action": ["s3:PutObject"], "Principal": "*"}
    account.answers("s3", "get_bucket_policy", {"Policy": json.dumps({"Statement": [TLS, deny]})})
    account.refuses("s3", "get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError")
    found = look(account, wanted=Wanted())
    warned = {each.what: each.advice for each in found if each.level is Level.WARN}
    assert [what.split(":")[0] for what in warned] == [
        "bucket city-fleet keeps no versions",
        "bucket city-fleet does not block public access itself",
        "the policy of bucket city-fleet denies s3",
    ]
    commands = list(warned.values())
    assert commands[0].startswith("aws s3api put-bucket-versioning --bucket city-fleet ")
    assert commands[1].startswith("aws s3api put-public-access-block --bucket city-fleet ")
    assert "OnlyByHand" in list(warned)[2]
    assert "bucket city-fleet encrypts with keys of S3" in said(found)[Level.OK]


def test_a_key_that_is_not_usable_fails(account: Account, subtests: pytest.Subtests) -> None:
    for state, command in (
        ("Disabled", "aws kms enable-key --key-id a-key"),
        ("PendingDeletion", "aws kms cancel-key-deletion --key-id a-key"),
    ):
        with subtests.test(state):
            well(account, without="describe_key")
            answer = {"KeyMetadata": {"KeyId": "a-key", "KeyState": state}}
            account.answers("kms", "describe_key", answer, {"KeyId": "a-key"})
            (wrong,) = [each for each in look(account) if each.level is not Level.OK]
            assert wrong.level is Level.FAIL
            assert wrong.advice.startswith(command)
    with subtests.test("gone"):
        well(account, without="describe_key")
        account.refuses("kms", "describe_key", "NotFoundException")
        assert said(look(account))[Level.FAIL] == ["there is no key a-key"]


def test_images_of_ones_own_are_looked_for_and_awss_are_not(account: Account) -> None:
    well(account, without="describe_images")
    account.refuses("ecr", "describe_images", "ImageNotFoundException")
    mine = wanted_of(texas(), 6, None).wanted.images
    assert len(mine) == 1, "the managed image trains and serves"
    far = OWN.replace("us-east-1", "eu-west-1")
    found = look(account, wanted=Wanted(WANTED.quotas, (*mine, OWN, far, "docker.io/library/x:1")))
    assert said(found)[Level.FAIL] == [f"there is no image {OWN}"]
    assert said(found)[Level.WARN] == [f"image {far} is in eu-west-1, the fleet in us-east-1"]
    assert said(found)[Level.UNKNOWN] == ["image docker.io/library/x:1 is in no registry of ECR"]
    assert f"image {mine[0]} is AWS's own, in the fleet's region" in said(found)[Level.OK]


def test_a_region_without_the_image_is_said(account: Account) -> None:
    asked = wanted_of(texas().model_copy(update={"region": "xx-nowhere-1"}), 6, None)
    assert list(asked.wanted.images) == []
    (wrong,) = asked.wrong
    assert (wrong.level, "xx-nowhere-1" in wrong.what) == (Level.FAIL, True)


def test_quotas_are_compared_with_what_tonight_needs(account: Account, subtests: pytest.Subtests) -> None:
    asked = wanted_of(texas(), 6, None)
    needed = {need.name: need for need in asked.wanted.quotas}
    assert needed[ENDPOINT].serving
    assert {need.needed >= 1 for need in needed.values()} == {True}
    assert asked.slots >= needed[TRAINING].needed
    hurried = {need.name: need.needed for need in wanted_of(texas(), 0.5, None).wanted.quotas}
    assert hurried[TRAINING] > needed[TRAINING].needed
    for value, need, level in (
        (12.0, QuotaNeed(TRAINING, 12, None), Level.OK),
        (5.0, QuotaNeed(TRAINING, 12, None), Level.WARN),
        (0.0, QuotaNeed(TRAINING, 12, None), Level.FAIL),
        (0.0, QuotaNeed(ENDPOINT, 1, None, True), Level.FAIL),
        (9.0, QuotaNeed("ml.x9.huge for training job usage", 1, None), Level.UNKNOWN),
    ):
        with subtests.test(value=value, need=need):
            well(account, without="list_service_quotas")
            first = [{"QuotaName": "another", "QuotaCode": "L-0", "Value": 1.0}]
            rows = [{"QuotaName": name, "QuotaCode": "L-1", "Value": value} for name in (TRAINING, ENDPOINT)]
            account.answers("service-quotas", "list_service_quotas", {"Quotas": first, "NextToken": "more"})
            account.answers("service-quotas", "list_service_quotas", {"Quotas": rows})
            last = look(account, wanted=Wanted((need,), (OWN,)))[-1]
            assert last.level is level
            if level in (Level.WARN, Level.FAIL):
                assert last.advice == (
                    "aws service-quotas request-service-quota-increase --service-code sagemaker "
                    f"--quota-code L-1 --desired-value {need.needed}"
                )


def test_the_clock_is_compared_with_that_of_aws(subtests: pytest.Subtests) -> None:
    date = {"date": "Fri, 27 Nov 2026 07:00:00 GMT"}
    now = datetime(2026, 11, 27, 7, tzinfo=UTC)
    for seconds, level in ((3, Level.OK), (-200, Level.WARN), (301, Level.FAIL), (-4000, Level.FAIL)):
        with subtests.test(seconds):
            found = account_checks.clock(AREA, date, now + timedelta(seconds=seconds))
            assert found.level is level
            assert level is Level.OK or ("ahead of" if seconds > 0 else "behind") in found.what
    for headers in ({}, {"date": "today"}):
        assert account_checks.clock(AREA, headers, now).level is Level.UNKNOWN


def test_credentials_that_are_over_and_a_clock_that_is_off_are_told_apart(
    account: Account, subtests: pytest.Subtests
) -> None:
    for code, message, words in (
        ("ExpiredToken", "The security token included in the request is expired", "have expired"),
        (
            "SignatureDoesNotMatch",
            "Signature expired: 20261127T060000Z is now earlier",
            "refuses this machine's clock",
        ),
        ("InvalidClientTokenId", "The security token is invalid", "does not know who asks"),
    ):
        with subtests.test(code):
            account.refuses("sts", "get_caller_identity", code, message)
            (found,) = aws_checks.check(texas(), account.client, wanted=Wanted())
            assert (found.level, words in found.what, message in found.what) == (Level.FAIL, True, True)
            assert found.advice
