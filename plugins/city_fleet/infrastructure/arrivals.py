"""What hears that raw data have arrived: a rule, a queue, and a second queue for what can't be worked off. Pure.

docs/events.md says what becomes of a message. S3 tells EventBridge of every object, and a rule of each installation
picks its own: a bucket has one list of notifications, which two stacks would take from each other.
"""

from __future__ import annotations

from typing import Any

from city_fleet.infrastructure.cloudformation import (
    ACCOUNT,
    PARTITION,
    REGION,
    Resource,
    attribute,
    document,
    ref,
    resource,
    statement,
    sub,
)
from city_fleet.infrastructure.names import StackNames
from city_fleet.raw_places import pattern_of

#: As long as one message may take: six times the function's timeout, as Lambda asks for.
VISIBILITY_SECONDS = 180
#: As long as SQS keeps anything: whoever mends what broke has two weeks.
RETENTION_SECONDS = 1_209_600
TRIES = 5


def resources(names: StackNames) -> dict[str, Resource]:
    """Return the queues, who may write to them, and the rule that does."""
    kept = {
        "MessageRetentionPeriod": RETENTION_SECONDS,
        # SQS's own key: with one of KMS every message would cost a call of it, and says no more than a key in S3.
        "SqsManagedSseEnabled": True,
    }
    redrive = {"deadLetterTargetArn": attribute("ArrivalsFailed"), "maxReceiveCount": TRIES}
    return {
        "ArrivalsFailed": resource(
            "AWS::SQS::Queue",
            {
                "QueueName": names.of("arrivals_failed"),
                **kept,
                "RedriveAllowPolicy": {
                    "redrivePermission": "byQueue",
                    # By name: the queue itself refers to this one.
                    "sourceQueueArns": [
                        sub(f"arn:{PARTITION}:sqs:{REGION}:{ACCOUNT}:{names.of('arrivals')}")
                    ],
                },
            },
            keep=False,  # a message says that a file has come, and the file stays
        ),
        "Arrivals": resource(
            "AWS::SQS::Queue",
            {
                "QueueName": names.of("arrivals"),
                **kept,
                "RedrivePolicy": redrive,
                "VisibilityTimeout": VISIBILITY_SECONDS,
            },
            keep=False,
        ),
        "ArrivalsPolicy": resource(
            "AWS::SQS::QueuePolicy",
            {
                "Queues": [ref("Arrivals"), ref("ArrivalsFailed")],
                "PolicyDocument": document(
                    _only_the_rule("Arrivals", "TheRuleSaysWhatArrived"),
                    _only_the_rule("ArrivalsFailed", "TheRuleKeepsWhatItCannotSay"),
                ),
            },
        ),
        "ArrivalsRule": resource(
            "AWS::Events::Rule",
            {
                "Name": names.of("arrivals"),
                "Description": "Raw data of the fleet have arrived",
                "EventPattern": _raw_data_created(names),
                "State": "ENABLED",
                "Targets": [
                    {
                        "Id": "arrivals",
                        "Arn": attribute("Arrivals"),
                        "DeadLetterConfig": {"Arn": attribute("ArrivalsFailed")},
                    }
                ],
            },
        ),
    }


def _raw_data_created(names: StackNames) -> dict[str, Any]:
    """Return the pattern of events that say that raw data have arrived, also where they are read in place.

    Another bucket has to tell EventBridge itself: what it tells is its owner's to say.
    """
    pattern = created_below(names, names.fleet.keys.raw_prefix())
    elsewhere = []
    for template in sorted(names.fleet.raw_elsewhere()):
        bucket, key = pattern_of(template)
        prefix = key.partition("*")[0]
        elsewhere.append({"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": prefix}]}})
    return pattern | {"detail": {"$or": [pattern["detail"], *elsewhere]}} if elsewhere else pattern


def created_below(names: StackNames, prefix: str) -> dict[str, Any]:
    """Return the pattern of S3's events that say that an object was written below a prefix of the bucket."""
    return {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [names.fleet.bucket]}, "object": {"key": [{"prefix": prefix}]}},
    }


def _only_the_rule(queue: str, sid: str) -> dict[str, Any]:
    return statement(
        sid,
        {"Service": "events.amazonaws.com"},
        "sqs:SendMessage",
        attribute(queue),
        ArnEquals={"aws:SourceArn": attribute("ArrivalsRule")},
    )
