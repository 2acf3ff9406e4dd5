"""The bucket of an installation, its key, and who may come near them. Pure.

A bucket is shared by the environments of a fleet, and often by several fleets, and CloudFormation lets one stack alone
say how a bucket is: the stack that makes it. The others get ``BucketExists=true`` and leave it as it is.
"""

from __future__ import annotations

from typing import Any

from city_fleet.infrastructure import policies
from city_fleet.infrastructure.cloudformation import (
    ACCOUNT,
    PARTITION,
    Resource,
    attribute,
    document,
    ref,
    resource,
    statement,
    sub,
)
from city_fleet.infrastructure.names import StackNames

#: Events serve nobody once the index has them: docs/internals/architecture.md, "The index".
EVENTS_DAYS = 31
#: How long what was overwritten or deleted can be brought back.
REPLACED_DAYS = 90


def resources(names: StackNames) -> dict[str, Resource]:
    """Return the bucket, its policy, the key and the key's alias."""
    return {
        "Key": resource(
            "AWS::KMS::Key",
            {
                "Description": f"Encrypts what {names.stack} keeps in S3 and in its queue",
                "EnableKeyRotation": True,
                "KeyPolicy": _key_policy(),
                "PendingWindowInDays": 30,
            },
            condition="MakesKey",
            keep=True,
        ),
        "KeyAlias": resource(
            "AWS::KMS::Alias",
            {"AliasName": f"alias/city-fleet/{names.stack}", "TargetKeyId": ref("Key")},
            condition="MakesKey",
        ),
        "Bucket": resource("AWS::S3::Bucket", _bucket(names), condition="MakesBucket", keep=True),
        "BucketPolicy": resource(
            "AWS::S3::BucketPolicy",
            {"Bucket": ref("Bucket"), "PolicyDocument": document(_only_over_tls())},
            condition="MakesBucket",
            keep=True,
        ),
    }


def _bucket(names: StackNames) -> dict[str, Any]:
    fleet = names.fleet
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": policies.key_arn()}
    return {
        "BucketName": fleet.bucket,
        "BucketEncryption": {
            # A bucket key asks KMS once for many objects, instead of once for each.
            "ServerSideEncryptionConfiguration": [
                {"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": default}
            ]
        },
        "LifecycleConfiguration": {"Rules": _lifecycle(names)},
        # To EventBridge, not to the queue: a bucket has one list of notifications, and each installation its rule.
        "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "VersioningConfiguration": {"Status": "Enabled"},
    }


def _lifecycle(names: StackNames) -> list[dict[str, Any]]:
    keys, capture = names.fleet.keys, names.fleet.capture
    return [
        {
            "Id": "events",
            "Status": "Enabled",
            "Prefix": keys.events_prefix(),
            "ExpirationInDays": EVENTS_DAYS,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
        {
            # Never deleted by age: what a model that may still go live was judged by stands there. `retire` deletes.
            "Id": "runs",
            "Status": "Enabled",
            "Prefix": keys.runs_prefix(),
            "Transitions": [{"StorageClass": "INTELLIGENT_TIERING", "TransitionInDays": 30}],
        },
        {
            # There with capture off too: what was kept before goes when its time is over.
            "Id": "capture",
            "Status": "Enabled",
            "Prefix": keys.capture_prefix(),
            "ExpirationInDays": capture.keep_days,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
        {
            # What really happened is of use as long as what was predicted is there; scores are kept elsewhere.
            "Id": "outcomes",
            "Status": "Enabled",
            "Prefix": keys.outcomes_prefix(),
            "ExpirationInDays": capture.keep_days,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
        {
            "Id": "replaced",
            "Status": "Enabled",
            "Prefix": "",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            "ExpiredObjectDeleteMarker": True,
            "NoncurrentVersionExpiration": {"NoncurrentDays": REPLACED_DAYS},
        },
    ]


def _only_over_tls() -> dict[str, Any]:
    everything = [attribute("Bucket"), {"Fn::Sub": "${Bucket.Arn}/*"}]
    refused = statement(
        "OnlyOverTLS", {"AWS": "*"}, "s3:*", everything, Bool={"aws:SecureTransport": "false"}
    )
    return refused | {"Effect": "Deny"}


def _key_policy() -> dict[str, Any]:
    account = sub(f"arn:{PARTITION}:iam::{ACCOUNT}:root")
    may = ["kms:Decrypt", "kms:GenerateDataKey"]
    return document(
        # IAM policies of the account decide who uses the key: this template's, and whose else the account gives it.
        statement("TheAccountDecides", {"AWS": account}, "kms:*", "*"),
        statement(
            "AlarmsGoThroughItsTopic",
            {"Service": "cloudwatch.amazonaws.com"},
            may,
            "*",
            StringEquals={"aws:SourceAccount": sub(ACCOUNT)},
        ),
        # EventBridge sends no aws:SourceAccount to KMS: with a condition every message would be lost without a word.
        # Who may send to the topic is said by the topic's own policy.
        statement("EventsGoThroughItsTopic", {"Service": "events.amazonaws.com"}, may, "*"),
    )
