"""SQS and S3's notifications, asked by boto3: what arrives, what waits, and what a restart leaves."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.support.local_sagemaker import LocalSageMaker

REGION = "us-east-1"


def policy(queue_arn: str, bucket: str) -> str:
    """What lets S3 write to a queue of what happens in a bucket, and nobody else."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def notified_queue(server: LocalSageMaker, bucket: str, queue: str, **attributes: str) -> str:
    """Make a bucket whose raw data a queue is told of; return the queue's URL."""
    sqs, s3 = server.client("sqs"), server.client("s3")
    s3.create_bucket(Bucket=bucket)
    url = str(sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(arn, bucket)})
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "fleet/raw/"}]}},
                }
            ]
        },
    )
    return url


def messages(server: LocalSageMaker, url: str, **wanted: Any) -> list[dict[str, Any]]:
    wanted = {"MaxNumberOfMessages": 10, **wanted}
    return list(server.client("sqs").receive_message(QueueUrl=url, **wanted).get("Messages", []))


def kill(server: LocalSageMaker) -> None:
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=30)


def test_each_way_to_write_an_object_is_told_once_as_s3_tells_it(
    local_sagemaker: LocalSageMaker, unique: Callable[[str], str]
) -> None:
    bucket = unique("told")
    url = notified_queue(local_sagemaker, bucket, unique("told"))
    (test,) = messages(local_sagemaker, url)
    assert json.loads(test["Body"])["Event"] == "s3:TestEvent"
    s3 = local_sagemaker.client("s3")
    s3.put_object(Bucket=bucket, Key="fleet/laptop/live/austin.json", Body=b"no raw data")
    s3.put_object(Bucket=bucket, Key="fleet/raw/city=austin/a b.csv", Body=b"one")
    source = {"Bucket": bucket, "Key": "fleet/raw/city=austin/a b.csv"}
    s3.copy_object(Bucket=bucket, Key="fleet/raw/city=waco/copy.csv", CopySource=source)
    parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
    body = io.BytesIO(b"x" * (6 * 2**20))
    s3.upload_fileobj(body, bucket, "fleet/raw/city=paris/parts.csv", Config=parts)
    s3.delete_object(Bucket=bucket, Key="fleet/raw/city=waco/copy.csv")
    records = [json.loads(each["Body"])["Records"] for each in messages(local_sagemaker, url)]
    assert [len(each) for each in records] == [1, 1, 1]
    found = [(each["eventName"], each["s3"]["object"]["key"]) for (each,) in records]
    assert found == [
        ("ObjectCreated:Put", "fleet/raw/city%3Daustin/a+b.csv"),
        ("ObjectCreated:Copy", "fleet/raw/city%3Dwaco/copy.csv"),
        ("ObjectCreated:CompleteMultipartUpload", "fleet/raw/city%3Dparis/parts.csv"),
    ]
    first = records[0][0]
    assert (first["eventSource"], first["awsRegion"]) == ("aws:s3", REGION)
    assert first["s3"]["bucket"]["name"] == bucket
    assert first["s3"]["object"]["size"] == 3
    sequence = [each["s3"]["object"]["sequencer"] for (each,) in records]
    assert sequence == sorted(sequence)


def test_a_queue_that_s3_may_not_write_to_is_no_destination(
    local_sagemaker: LocalSageMaker, unique: Callable[[str], str]
) -> None:
    s3, sqs, bucket = local_sagemaker.client("s3"), local_sagemaker.client("sqs"), unique("shut")
    s3.create_bucket(Bucket=bucket)
    name = unique("shut")
    arn = f"arn:aws:sqs:{REGION}:123456789012:{name}"
    wanted = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}

    def refused() -> None:
        with pytest.raises(ClientError, match="Unable to validate the following destination"):
            s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
        assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)

    refused()  # there is none
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    refused()  # it lets nobody write
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(arn, "another-bucket")})
    refused()
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(arn, bucket)})
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
    assert (
        s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"][0]["QueueArn"] == arn
    )


def test_a_wait_ends_with_the_message_and_keeps_nobody_waiting(
    local_sagemaker: LocalSageMaker, unique: Callable[[str], str]
) -> None:
    sqs = local_sagemaker.client("sqs")
    url = sqs.create_queue(QueueName=unique("wait"))["QueueUrl"]
    found: list[Any] = []
    started = time.monotonic()
    waiting = threading.Thread(
        target=lambda: found.append(messages(local_sagemaker, url, WaitTimeSeconds=20))
    )
    waiting.start()
    other = sqs.create_queue(QueueName=unique("other"))["QueueUrl"]  # as it would be behind a lock
    assert messages(local_sagemaker, other, WaitTimeSeconds=1) == []
    assert time.monotonic() - started > 1
    sqs.send_message(QueueUrl=url, MessageBody="here")
    waiting.join(timeout=10)
    assert [each["Body"] for each in found[0]] == ["here"]
    assert time.monotonic() - started < 15


def test_a_restart_loses_no_message_and_no_receipt(start_server: Callable[..., LocalSageMaker]) -> None:
    server = start_server()
    sqs = server.client("sqs")
    dead = sqs.create_queue(QueueName="arrivals-dead")["QueueUrl"]
    redrive = {
        "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:123456789012:arrivals-dead",
        "maxReceiveCount": 2,
    }
    url = notified_queue(server, "raw-data", "arrivals", RedrivePolicy=json.dumps(redrive))
    (test,) = messages(server, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=test["ReceiptHandle"])
    s3 = server.client("s3")
    for name in ("first", "second"):
        s3.put_object(Bucket="raw-data", Key=f"fleet/raw/city=austin/{name}.csv", Body=b"rows")
    (taken,) = messages(server, url, MaxNumberOfMessages=1, VisibilityTimeout=600)
    kill(server)

    server = start_server(folder=server.data_dir.parent)
    sqs = server.client("sqs")
    # Still in flight, and still whoever holds its handle may delete it.
    (other,) = messages(server, url, VisibilityTimeout=0)
    assert "second.csv" in other["Body"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=taken["ReceiptHandle"])
    # The bucket still tells its queue, and receptions are counted on: the third finds it among the dead.
    server.client("s3").put_object(Bucket="raw-data", Key="fleet/raw/city=waco/third.csv", Body=b"rows")
    received = [each["Body"] for each in messages(server, url, VisibilityTimeout=0)]
    assert [("second.csv" in body, "third.csv" in body) for body in received] == [
        (True, False),
        (False, True),
    ]
    assert ["third.csv" in each["Body"] for each in messages(server, url)] == [True]
    kill(server)

    server = start_server(folder=server.data_dir.parent)
    (buried,) = messages(server, dead)
    assert "second.csv" in buried["Body"]
    assert messages(server, url, VisibilityTimeout=30) == []
