"""Give a fresh stack what an AWS account would hold already: buckets, raw data, the role, queues of arrivals."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from city_fleet import naming
from city_fleet.config import Fleet, load_fleet
from city_fleet.errors import FleetFileError
from local import ROOT
from local.stack.errors import StackError
from local.stack.stack import Stack

ROLE = "city-fleet"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}

#: How often a message is received before it lies among the dead letters.
_TRIES = 10


def seed(stack: Stack, files: list[Path]) -> None:
    """Create the role, then the buckets and the raw data of some fleets, then the queues that are told of more.

    In this order: what a fleet begins with starts no run, the first file after it does. A city that has raw data keeps
    them as they are, whatever has been added since.

    :param files: the fleets' files
    :raises StackError: the data could not be uploaded, with what the command said
    """
    iam = stack.client("iam")
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
    for path in files:
        cities = _without_raw_data(stack, path)
        if cities is None or cities:
            run_fleet(stack, "ingest", "--fleet", str(path), "--create-bucket", *(cities or ()))
    for path in files:
        try:
            fleet = load_fleet(path, stack.environment)
        except FleetFileError:
            continue  # the upload has said so, or goes by the form of before
        if fleet.events.queue is not None:
            create_queue(stack.client("sqs"), stack.client("s3"), fleet)


def _without_raw_data(stack: Stack, path: Path) -> list[str] | None:
    """Return the cities of a fleet that have no raw data yet; None where none has, or nobody can tell."""
    s3 = stack.client("s3")
    try:
        fleet = load_fleet(path, stack.environment)
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=fleet.bucket, Prefix=fleet.keys.raw_prefix(), Delimiter="/"
        )
        there = {each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())}
    except (FleetFileError, s3.exceptions.NoSuchBucket):
        return None
    # What is read in place is nobody's to upload.
    own = [slug for slug, city in fleet.with_raw_data.items() if city.dataset.raw is None]
    return [city for city in own if fleet.keys.raw(city) not in there] if there or not own else None


def create_queue(sqs: Any, s3: Any, fleet: Fleet) -> None:
    """Create a fleet's queue of arrivals and its dead letters, and have S3 tell it of raw data; twice changes nothing.

    :param sqs: boto3 client, :param s3: of the bucket, which exists.
    """
    queue = fleet.events.queue or ""
    dead = _arn(sqs, naming.dead_letter_queue(queue))
    redrive = {"deadLetterTargetArn": dead, "maxReceiveCount": _TRIES}
    arn = _arn(sqs, queue)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {
                    "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{fleet.bucket}"},
                    "StringEquals": {"aws:SourceAccount": arn.split(":")[4]},
                },
            }
        ],
    }
    attributes = {"RedrivePolicy": json.dumps(redrive), "Policy": json.dumps(policy)}
    sqs.set_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], Attributes=attributes)
    # A bucket has one configuration for all that it tells, of all its fleets.
    told = s3.get_bucket_notification_configuration(Bucket=fleet.bucket)
    told.pop("ResponseMetadata", None)
    others = [each for each in told.get("QueueConfigurations", []) if each["Id"] != queue]
    mine = {
        "Id": queue,
        "QueueArn": arn,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": fleet.keys.raw_prefix()}]}},
    }
    if mine["QueueArn"] not in [each["QueueArn"] for each in told.get("QueueConfigurations", [])]:
        told["QueueConfigurations"] = [*others, mine]
        s3.put_bucket_notification_configuration(Bucket=fleet.bucket, NotificationConfiguration=told)


def _arn(sqs: Any, queue: str) -> str:
    """Create a queue if it is not there; return its ARN."""
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def run_fleet(stack: Stack, *arguments: str) -> str:
    """Run the fleet's command line as a person would, in the stack's environment.

    :return: what it printed
    :raises StackError: the command failed; with what it said
    """
    done = subprocess.run(
        [sys.executable, "-m", "city_fleet.cli.app", *arguments],
        env=stack.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise StackError(f"`./fleet {' '.join(arguments)}` ended with {done.returncode}:\n{said}")
    return done.stdout
