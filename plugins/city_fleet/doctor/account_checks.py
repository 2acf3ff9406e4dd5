"""The doctor's look at an account before a fleet goes live: clock, rights, bucket, key, images, quotas.

It changes nothing. What can't be asked is unknown, with the permission that is missing, and never called well. Clients
are passed in; what a night needs is reckoned by whoever calls. Sources: the API references of IAM, S3, KMS, ECR and
Service Quotas; Signature Version 4, which refuses a request whose time is more than five minutes off.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors
from city_fleet.config import Fleet
from city_fleet.config.image_table import image_accounts
from city_fleet.doctor.findings import Area, Finding

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_s3 import S3Client

#: Makes a boto3 client of a service's name.
MakeClient = Callable[[str], Any]
SAGEMAKER = "sagemaker.amazonaws.com"
POLICY = "docs/policies/doctor.json"
#: Signature Version 4 refuses what is further off; half of it is near enough to look.
_REFUSED_SECONDS, _NEAR_SECONDS = 300, 150
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z.]+/(?P<repository>[^:@]+)"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64})|:(?P<tag>[^@]+))?"
)


@dataclass(frozen=True)
class QuotaNeed:
    """What tonight needs of a quota of SageMaker.

    :param name: as Service Quotas has it: ``ml.m5.large for training job usage``.
    :param needed: instances at a time.
    :param code: ``L-…``; None where it is not known here.
    :param serving: the endpoint's, without which it does not come up; of jobs too small a quota makes a night long.
    """

    name: str
    needed: int
    code: str | None
    serving: bool = False


@dataclass(frozen=True)
class Wanted:
    """What the account is asked about beside the fleet file.

    :param quotas: of tonight.
    :param images: URIs of the images that train, process and serve.
    :param principal: ARN of the user or role that starts the jobs; None for whoever asks.
    """

    quotas: Sequence[QuotaNeed] = ()
    images: Sequence[str] = ()
    principal: str | None = None


def check(fleet: Fleet, client: MakeClient, caller: str, wanted: Wanted) -> list[Finding]:
    """Check what a fleet needs of its account.

    :param caller: ARN of whoever asks.
    """
    area = Area(f"account, {fleet.fleet}")
    key: list[str] = [fleet.kms_key] if fleet.kms_key else []
    bucket = shlex.quote(fleet.bucket)
    steps: list[tuple[str, str, Callable[[], Iterator[Finding]]]] = [
        ("right to pass the role", "iam:SimulatePrincipalPolicy and iam:GetRole",
         lambda: _pass_role(area, fleet, client("iam"), caller, wanted.principal)),
        ("bucket's versions", "s3:GetBucketVersioning", lambda: _versioning(area, client("s3"), fleet.bucket, bucket)),
        ("bucket's block of public access", "s3:GetBucketPublicAccessBlock",
         lambda: _public_access(area, client("s3"), fleet.bucket, bucket)),
        ("bucket's policy", "s3:GetBucketPolicy", lambda: _policy(area, client("s3"), fleet.bucket, bucket)),
        ("bucket's encryption", "s3:GetEncryptionConfiguration",
         lambda: _encryption(area, client("s3"), fleet.bucket, key)),
        ("key", "kms:DescribeKey", lambda: _keys(area, client("kms"), key)),
        *((f"image {uri}", "ecr:DescribeImages", lambda uri=uri: _image(area, fleet, client, uri))
          for uri in wanted.images),
        ("quotas", "servicequotas:ListServiceQuotas",
         lambda: _quotas(area, client("service-quotas"), wanted.quotas)),
    ]  # fmt: skip
    found: list[Finding] = []
    for what, permission, step in steps:
        try:
            found += step()
        except ClientError as error:
            if aws_errors.is_denied(error):
                advice = f"Allow {permission} to whoever runs the doctor ({POLICY})"
            else:
                advice = "See the message"
            found.append(area.unknown(f"the {what}: {aws_errors.sentence(error)}", advice))
        except BotoCoreError as error:
            advice = "Is the service to be reached from here, and in this region?"
            found.append(area.unknown(f"the {what}: {str(error).rstrip('.')}", advice))
    return found


def clock(area: Area, headers: Mapping[str, str], now: datetime) -> Finding:
    """Compare this machine's clock with the ``Date`` of an answer of AWS.

    :param now: when it came, with a time zone.
    """
    try:
        there = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError):
        return area.unknown(
            "AWS's answer has no date, so the clock was not compared", "Compare it yourself: date -u"
        )
    off = (now - there).total_seconds()
    what = f"this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} AWS's"
    mend = "sudo timedatectl set-ntp true (or: sudo chronyc makestep)"
    if abs(off) > _REFUSED_SECONDS:
        return area.fail(f"{what}; more than {_REFUSED_SECONDS} s are refused", mend)
    if abs(off) > _NEAR_SECONDS:
        return area.warn(f"{what}; more than {_REFUSED_SECONDS} s are refused", mend)
    return area.ok("this machine's clock agrees with AWS's")


def _pass_role(
    area: Area, fleet: Fleet, iam: IAMClient, caller: str, principal: str | None
) -> Iterator[Finding]:
    """Ask IAM whether the one who starts jobs may give them the fleet's role."""
    source = _policy_source(iam, principal or caller)
    if source is None:
        what = f"IAM tells nothing of the rights of {principal or caller}"
        yield area.unknown(what, "Name the role that Airflow runs under: --principal ARN")
        return
    (answer,) = iam.simulate_principal_policy(
        PolicySourceArn=source,
        ActionNames=["iam:PassRole"],
        ResourceArns=[fleet.role],
        ContextEntries=[
            {
                "ContextKeyName": "iam:PassedToService",
                "ContextKeyValues": [SAGEMAKER],
                "ContextKeyType": "string",
            }
        ],
    )["EvaluationResults"]
    decision = answer["EvalDecision"]
    if decision == "allowed":
        yield area.ok(f"{source} may pass {fleet.role} to SageMaker")
        return
    what = f"{source} may not pass {fleet.role} to SageMaker ({decision})"
    advice = "Allow iam:PassRole of that role (docs/policies/airflow.json), or attach AirflowPolicy of ./fleet deploy"
    if principal is None:
        yield area.warn(
            what, "If Airflow starts the jobs under another role, name it: --principal ARN. " + advice
        )
    else:
        yield area.fail(what, advice)


def _policy_source(iam: IAMClient, arn: str) -> str | None:
    """Return the ARN whose policies IAM can simulate: of a session its role's, path included; None for the account."""
    resource = arn.split(":", 5)[-1]
    if resource.startswith("assumed-role/"):
        return str(iam.get_role(RoleName=resource.split("/")[1])["Role"]["Arn"])
    return arn if resource.startswith(("user/", "role/")) else None


def _versioning(area: Area, s3: S3Client, bucket: str, shown: str) -> Iterator[Finding]:
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled":
        yield area.ok(f"bucket {bucket} keeps versions")
        return
    advice = f"aws s3api put-bucket-versioning --bucket {shown} --versioning-configuration Status=Enabled"
    yield area.warn(f"bucket {bucket} keeps no versions: what is deleted or replaced is gone", advice)


def _public_access(area: Area, s3: S3Client, bucket: str, shown: str) -> Iterator[Finding]:
    try:
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if not aws_errors.is_unset(error):
            raise
        block = {}
    if all(block.get(name) for name in _BLOCKS):
        yield area.ok(f"bucket {bucket} is closed to the public")
        return
    what = f"bucket {bucket} does not block public access itself: {', '.join(n for n in _BLOCKS if not block.get(n))}"
    setting = ",".join(f"{name}=true" for name in _BLOCKS)
    command = (
        f"aws s3api put-public-access-block --bucket {shown} --public-access-block-configuration {setting}"
    )
    yield area.warn(what, command)


def _policy(area: Area, s3: S3Client, bucket: str, shown: str) -> Iterator[Finding]:
    """Name what the bucket's policy denies, beside requests without TLS: it counts for every role."""
    try:
        statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    except ClientError as error:
        if not aws_errors.is_unset(error):
            raise
        yield area.ok(f"bucket {bucket} has no policy that denies")
        return
    except (ValueError, KeyError, TypeError):
        yield area.unknown(f"the policy of bucket {bucket} is no list of statements", "Look at it")
        return
    denies = [
        each
        for each in (statements if isinstance(statements, list) else [statements])
        if each.get("Effect") == "Deny" and not _is_about_tls(each)
    ]
    if not denies:
        yield area.ok(f"bucket {bucket} has no policy that denies")
    for each in denies:
        actions = each.get("Action", "what NotAction leaves")
        named = actions if isinstance(actions, str) else ", ".join(actions)
        advice = (
            f"Does it mean {area.name.rpartition(' ')[2]}'s roles? "
            f"aws s3api get-bucket-policy --bucket {shown} --query Policy --output text"
        )
        yield area.warn(f"the policy of bucket {bucket} denies {named} ({each.get('Sid', 'no Sid')})", advice)


def _is_about_tls(statement: Mapping[str, Any]) -> bool:
    """Tell whether a statement means nothing but requests without TLS, or with an old one."""
    conditions = statement.get("Condition") or {}
    keys = {key for each in conditions.values() for key in each}
    return bool(keys) and keys <= {"aws:SecureTransport", "s3:TlsVersion"}


def _encryption(area: Area, s3: S3Client, bucket: str, key: list[str]) -> Iterator[Finding]:
    """Look which key encrypts what is written; one that the fleet file does not name is looked at too."""
    try:
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    except ClientError as error:
        if not aws_errors.is_unset(error):
            raise
        rules = []
    default: Mapping[str, Any] = next(
        (rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules), {}
    )
    named = default.get("KMSMasterKeyID")
    if named and named not in key:
        key.append(named)
    yield area.ok(f"bucket {bucket} encrypts with {named or default.get('SSEAlgorithm') or 'keys of S3'}")


def _keys(area: Area, kms: Any, keys: Sequence[str]) -> Iterator[Finding]:
    for key in keys:
        quoted = shlex.quote(key)
        try:
            state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
        except ClientError as error:
            if not aws_errors.is_missing(error):
                raise
            yield area.fail(f"there is no key {key}", "Name another one in the fleet file (kms_key)")
            continue
        if state == "Enabled":
            yield area.ok(f"key {key} is enabled; whether each role may use it, its policy says")
        elif state == "PendingDeletion":
            advice = f"aws kms cancel-key-deletion --key-id {quoted} && aws kms enable-key --key-id {quoted}"
            yield area.fail(f"key {key} is about to be deleted, and all that it encrypts with it", advice)
        else:
            yield area.fail(f"key {key} is {state}", f"aws kms enable-key --key-id {quoted}")


def _image(area: Area, fleet: Fleet, client: MakeClient, uri: str) -> Iterator[Finding]:
    parts = _IMAGE.fullmatch(uri)
    if parts is None:
        yield area.unknown(
            f"image {uri} is in no registry of ECR", "SageMaker wants one; look at algorithm.image"
        )
        return
    if parts["account"] in image_accounts():
        yield area.ok(f"image {uri} is AWS's own, in the fleet's region")
        return
    if parts["region"] != fleet.region:
        advice = f"Push it to a registry in {fleet.region}"
        yield area.warn(f"image {uri} is in {parts['region']}, the fleet in {fleet.region}", advice)
        return
    wanted = {"imageDigest": parts["digest"]} if parts["digest"] else {"imageTag": parts["tag"] or "latest"}
    try:
        client("ecr").describe_images(
            registryId=parts["account"], repositoryName=parts["repository"], imageIds=[wanted]
        )
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        repository = shlex.quote(parts["repository"])
        advice = f"aws ecr create-repository --repository-name {repository} (where there is none); docker push {uri}"
        yield area.fail(f"there is no image {uri}", advice)
        return
    yield area.ok(f"image {uri} is there")


def _quotas(area: Area, quotas: Any, wanted: Sequence[QuotaNeed]) -> Iterator[Finding]:
    """Compare what the account has with what tonight needs; reads the list only as far as that takes."""
    missing = {need.name for need in wanted}
    have: dict[str, tuple[float, str]] = {}
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker") if missing else ()
    for page in pages:
        for row in page["Quotas"]:
            if row.get("QuotaName") in missing and "Value" in row:
                have[row["QuotaName"]] = (row["Value"], row["QuotaCode"])
                missing.discard(row["QuotaName"])
        if not missing:
            break
    for need in wanted:
        yield _quota(area, need, have.get(need.name))


def _quota(area: Area, need: QuotaNeed, have: tuple[float, str] | None) -> Finding:
    if have is None:
        advice = "aws service-quotas list-service-quotas --service-code sagemaker names those that there are"
        return area.unknown(f"quota {need.name!r} is not in the account's list", advice)
    value, code = have
    if value >= need.needed:
        return area.ok(f"quota {need.name!r}: {value:g}, tonight needs {need.needed}")
    command = (
        "aws service-quotas request-service-quota-increase --service-code sagemaker "
        f"--quota-code {code} --desired-value {need.needed}"
    )
    what = f"quota {need.name!r}: {value:g}, tonight needs {need.needed}"
    if need.serving:
        return area.fail(f"{what}: the endpoint does not come up", command)
    if value < 1:
        return area.fail(f"{what}: no job starts", command)
    return area.warn(f"{what} to be over in time", command)
