"""What S3 refuses and moto lets pass: conditions, wrong checksums, limits, and what nothing here answers."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.sagemaker.services.checksums import crc32c, crc64nvme

PAST, FUTURE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
#: What a request to S3 looks like that boto3 would not send.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request"}


@pytest.fixture
def s3(local_sagemaker: Any) -> Any:
    """A client that does not check what it is asked for."""
    return boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=local_sagemaker.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, proxies={}, parameter_validation=False),
    )


def outcome(call: Callable[..., Any], **request: Any) -> tuple[int, str]:
    """Status of a call, and the code of its error."""
    try:
        return call(**request)["ResponseMetadata"]["HTTPStatusCode"], ""
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def md5(body: bytes) -> str:
    return b64(hashlib.md5(body, usedforsecurity=False).digest())


def crc32(body: bytes) -> str:
    return b64(zlib.crc32(body).to_bytes(4, "big"))


def test_conditions_of_a_copys_source(s3: Any, bucket: str, subtests: pytest.Subtests) -> None:
    etag = s3.put_object(Bucket=bucket, Key="source", Body=b"1")["ETag"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    for conditions, status in [
        ({"CopySourceIfMatch": '"0"'}, 412),
        ({"CopySourceIfMatch": etag}, 200),
        ({"CopySourceIfMatch": etag.strip('"')}, 200),
        ({"CopySourceIfNoneMatch": etag}, 412),
        ({"CopySourceIfNoneMatch": '"0"'}, 200),
        ({"CopySourceIfUnmodifiedSince": PAST}, 412),
        ({"CopySourceIfUnmodifiedSince": FUTURE}, 200),
        ({"CopySourceIfModifiedSince": PAST}, 200),
        # "Copy object" of the API Reference: the ETag decides.
        ({"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": PAST}, 200),
        ({"CopySourceIfNoneMatch": etag, "CopySourceIfModifiedSince": PAST}, 412),
    ]:
        with subtests.test(conditions=conditions):
            copy = {"Bucket": bucket, "CopySource": f"{bucket}/source", **conditions}
            assert outcome(s3.copy_object, Key="target", **copy)[0] == status
            part = outcome(s3.upload_part_copy, Key="parts", UploadId=upload, PartNumber=1, **copy)
            assert part == (status, "" if status == 200 else "PreconditionFailed")
    for source in (f"{bucket}", "/"):
        copy = {"Bucket": bucket, "Key": "target", "CopySource": source}
        assert outcome(s3.copy_object, **copy) == (400, "InvalidArgument")


def test_conditions_of_what_is_read(s3: Any, bucket: str, subtests: pytest.Subtests) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]
    for conditions, status in [
        ({"IfNoneMatch": etag}, 304),
        ({"IfNoneMatch": etag.strip('"')}, 304),
        ({"IfNoneMatch": "*"}, 304),
        ({"IfNoneMatch": '"0"'}, 200),
        ({"IfNoneMatch": '"0"', "IfModifiedSince": datetime.now(UTC)}, 200),
        ({"IfMatch": etag}, 200),
        ({"IfMatch": etag.strip('"')}, 200),
        ({"IfMatch": "*"}, 200),
        ({"IfMatch": '"0"'}, 412),
        ({"IfMatch": etag, "IfUnmodifiedSince": PAST}, 200),
        ({"IfUnmodifiedSince": PAST}, 412),
        ({"IfModifiedSince": PAST}, 200),
        ({"IfModifiedSince": FUTURE}, 200),  # RFC 9110: a date that is to come counts for nothing
    ]:
        with subtests.test(conditions=conditions):
            for call in (s3.get_object, s3.head_object):
                assert outcome(call, Bucket=bucket, Key="a", **conditions)[0] == status
    assert outcome(s3.get_object, Bucket=bucket, Key="b", IfMatch=etag) == (404, "NoSuchKey")


def test_a_write_takes_one_condition_and_no_other_value(
    s3: Any, bucket: str, subtests: pytest.Subtests
) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]

    def complete(**request: Any) -> Any:
        upload = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
        part = {"Bucket": bucket, "Key": "a", "UploadId": upload}
        part_etag = s3.upload_part(**part, PartNumber=1, Body=b"2")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": part_etag}]}
        return s3.complete_multipart_upload(**part, MultipartUpload=parts, **request)

    writes: dict[str, Callable[..., Any]] = {
        "put": lambda **request: s3.put_object(Bucket=bucket, Key="a", Body=b"1", **request),
        "copy": lambda **request: s3.copy_object(
            Bucket=bucket, Key="a", CopySource=f"{bucket}/a", MetadataDirective="REPLACE", **request
        ),
        "complete": complete,
    }
    for name, write in writes.items():
        for conditions in ({"IfNoneMatch": etag}, {"IfMatch": "*"}, {"IfMatch": etag, "IfNoneMatch": "*"}):
            with subtests.test(write=name, conditions=conditions):
                assert outcome(write, **conditions) == (501, "NotImplemented")
    assert s3.head_object(Bucket=bucket, Key="a")["ETag"] == etag
    assert outcome(complete, IfMatch=etag) == (200, "")


def test_deletes_on_condition(s3: Any, bucket: str) -> None:
    etags = {key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode())["ETag"] for key in "abc&"}
    for condition in ({"IfMatchSize": 1}, {"IfMatchLastModifiedTime": PAST}):  # of directory buckets
        assert outcome(s3.delete_object, Bucket=bucket, Key="a", **condition) == (501, "NotImplemented")
    assert outcome(s3.delete_object, Bucket=bucket, Key="a", IfMatch="*") == (204, "")
    assert outcome(s3.delete_object, Bucket=bucket, Key="a", IfMatch="*") == (412, "PreconditionFailed")
    objects = [
        {"Key": "b", "ETag": '"0"'},
        {"Key": "c", "ETag": etags["c"]},
        {"Key": "gone", "ETag": etags["c"]},
        {"Key": "&"},
    ]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [each["Key"] for each in answer["Deleted"]] == ["c", "&"]
    assert [(each["Key"], each["Code"]) for each in answer["Errors"]] == [
        ("b", "PreconditionFailed"),
        ("gone", "PreconditionFailed"),
    ]
    left = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in left] == ["b"]
    only = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b", "ETag": '"0"'}]})
    assert "Deleted" not in only
    assert len(only["Errors"]) == 1
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    for number in (0, 1001):
        many = [{"Key": str(each)} for each in range(number)]
        assert outcome(s3.delete_objects, Bucket=bucket, Delete={"Objects": many}) == (400, "MalformedXML")


def test_a_body_must_be_what_its_sender_says(s3: Any, bucket: str, subtests: pytest.Subtests) -> None:
    body = b"model"
    right = {
        "ContentMD5": md5(body),
        "ChecksumCRC32": crc32(body),
        "ChecksumCRC32C": b64(crc32c(body)),
        "ChecksumCRC64NVME": b64(crc64nvme(body)),
        "ChecksumSHA1": b64(hashlib.sha1(body, usedforsecurity=False).digest()),
        "ChecksumSHA256": b64(hashlib.sha256(body).digest()),
        "ChecksumSHA512": b64(hashlib.sha512(body).digest()),
    }
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    for member, value in right.items():
        invalid = "InvalidDigest" if member == "ContentMD5" else "InvalidRequest"
        with subtests.test(member=member):
            for text, expected in [
                (value, (200, "")),
                (b64(bytes(len(base64.b64decode(value)))), (400, "BadDigest")),
                (b64(b"short"), (400, invalid)),
                ("no base64", (400, invalid)),
            ]:
                put = outcome(s3.put_object, Bucket=bucket, Key=member, Body=body, **{member: text})
                assert put == expected
                part = {"Bucket": bucket, "Key": "parts", "UploadId": upload, "PartNumber": 1, "Body": body}
                assert outcome(s3.upload_part, **part, **{member: text}) == expected
            if member != "ContentMD5":
                head = s3.head_object(Bucket=bucket, Key=member, ChecksumMode="ENABLED")
                assert head[member] == value
    two = {name: right[name] for name in ("ChecksumCRC32", "ChecksumSHA1")}
    assert outcome(s3.put_object, Bucket=bucket, Key="two", Body=body, **two) == (400, "InvalidRequest")
    unknown = {"ChecksumXXHASH64": b64(bytes(8))}
    assert outcome(s3.put_object, Bucket=bucket, Key="two", Body=body, **unknown) == (501, "NotImplemented")
    assert outcome(s3.head_object, Bucket=bucket, Key="two")[0] == 404


def test_chunks_and_hashes_of_raw_requests(local_sagemaker: Any, s3: Any, bucket: str) -> None:
    def put(key: str, body: bytes, **fields: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        url = f"{local_sagemaker.url}/{bucket}/{key}"
        answer = httpx.put(url, content=body, headers={**SIGNED, **named}, trust_env=False)
        return answer.status_code, answer.text.partition("<Code>")[2].partition("</Code>")[0]

    chunked = {
        "x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "content_encoding": "aws-chunked",
    }
    trailer = f"x-amz-checksum-crc32:{crc32(b'model')}"
    body = f"3\r\nmod\r\n2\r\nel\r\n0\r\n{trailer}\r\n\r\n".encode()
    assert put("chunks", body, **chunked, x_amz_decoded_content_length="5") == (200, "")
    found = s3.get_object(Bucket=bucket, Key="chunks", ChecksumMode="ENABLED")
    assert found["Body"].read() == b"model"
    assert (found["ChecksumCRC32"], found.get("ContentEncoding", "")) == (crc32(b"model"), "")
    wrong = body.replace(b"mod", b"bad")
    assert put("wrong", wrong, **chunked) == (400, "BadDigest")
    assert put("wrong", body, **chunked, x_amz_decoded_content_length="6") == (400, "IncompleteBody")
    for cut in (1, 4, 8, 13):
        assert put("wrong", body[:cut], **chunked) == (400, "IncompleteBody")
    other = hashlib.sha256(b"other").hexdigest()
    assert put("wrong", b"model", x_amz_content_sha256=other) == (400, "XAmzContentSHA256Mismatch")
    assert put("wrong", b"model", x_amz_sdk_checksum_algorithm="CRC32") == (400, "InvalidRequest")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_an_upload_in_parts_is_completed_as_it_was_sent(
    s3: Any, bucket: str, subtests: pytest.Subtests
) -> None:
    bodies = [b"1" * 5 * 1024**2, b"2"]
    crcs = [zlib.crc32(body).to_bytes(4, "big") for body in bodies]
    upload = {"Bucket": bucket, "Key": "large"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, ChecksumAlgorithm="CRC32")["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in enumerate(bodies, 1)
    ]
    for wrong, members, code in [
        ("order", {"MultipartUpload": {"Parts": parts[::-1]}}, "InvalidPartOrder"),
        ("none", {"MultipartUpload": {"Parts": []}}, "MalformedXML"),
        ("part", {"MultipartUpload": {"Parts": [{**parts[0], "ETag": '"0"'}]}}, "InvalidPart"),
        (
            "checksum",
            {"MultipartUpload": {"Parts": [{**parts[0], "ChecksumCRC32": "AAAAAA=="}]}},
            "InvalidPart",
        ),
        ("size", {"MultipartUpload": {"Parts": parts}, "MpuObjectSize": 7}, "InvalidRequest"),
        ("whole", {"MultipartUpload": {"Parts": parts}, "ChecksumCRC32": "AAAAAA==-2"}, "BadDigest"),
    ]:
        with subtests.test(wrong=wrong):
            assert outcome(s3.complete_multipart_upload, **upload, **members) == (400, code)
    whole = b64(zlib.crc32(b"".join(crcs)).to_bytes(4, "big"))
    named = [{**part, "ChecksumCRC32": b64(crc)} for part, crc in zip(parts, crcs, strict=True)]
    done = {"MultipartUpload": {"Parts": named}, "ChecksumCRC32": f"{whole}-2"}
    size = sum(map(len, bodies))
    assert outcome(s3.complete_multipart_upload, **upload, **done, MpuObjectSize=size) == (200, "")
    assert outcome(s3.complete_multipart_upload, **upload, **done) == (200, "")  # it may be told twice
    for call in (s3.upload_part, s3.list_parts, s3.abort_multipart_upload, s3.complete_multipart_upload):
        numbered = {"PartNumber": 1} if call == s3.upload_part else {}
        assert outcome(call, **{**upload, "UploadId": "nowhere"}, **numbered) == (404, "NoSuchUpload")
    for number in (0, 10_001, "one"):
        assert outcome(s3.upload_part, **upload, PartNumber=number) == (400, "InvalidArgument")


def test_limits_of_names_and_pages(
    local_sagemaker: Any, s3: Any, bucket: str, subtests: pytest.Subtests
) -> None:
    for name in (
        *("ab", "a" * 64, "Capital", "under_score", "two..dots", "-start", "end-", "192.168.5.4"),
        *("xn--a", "sthree-a", "amzn-s3-demo-a", "a-s3alias", "a--ol-s3", "a.mrap", "a--table-s3"),
    ):
        with subtests.test(bucket=name):
            url = f"{local_sagemaker.url}/{name}"  # boto3 does not let some of them pass
            answer = httpx.put(url, headers=SIGNED, trust_env=False)
            assert (answer.status_code, "<Code>InvalidBucketName</Code>" in answer.text) == (400, True)
    for key in ("k" * 1025, "ü" * 513):
        for call in (s3.put_object, s3.get_object):
            assert outcome(call, Bucket=bucket, Key=key) == (400, "KeyTooLongError")
    assert outcome(s3.put_object, Bucket=bucket, Key="k" * 1024) == (200, "")
    long = {"Metadata": {"name": "v" * 2045}}
    assert outcome(s3.put_object, Bucket=bucket, Key="a", **long) == (400, "MetadataTooLarge")
    for page in (
        *({"ContinuationToken": token} for token in ("nothing", "")),
        *({"MaxKeys": number} for number in (-1, "x", 2**31)),
    ):
        with subtests.test(page=page):
            assert outcome(s3.list_objects_v2, Bucket=bucket, **page) == (400, "InvalidArgument")
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=5000)["MaxKeys"] == 1000
    for owned in (s3.head_bucket, s3.list_objects_v2):
        assert outcome(owned, Bucket=bucket, ExpectedBucketOwner="111111111111")[0] == 403
        assert outcome(owned, Bucket=bucket, ExpectedBucketOwner="123456789012")[0] == 200


def test_what_is_not_heeded_is_refused_by_name(s3: Any, bucket: str) -> None:
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    for members in (key, {"WriteOffsetBytes": 1}):
        with pytest.raises(ClientError) as caught:
            s3.put_object(Bucket=bucket, Key="a", Body=b"1", **members)
        error = caught.value.response["Error"]
        assert (error["Code"], error["Header"].startswith("x-amz-")) == ("NotImplemented", True)
    encryption = {"ServerSideEncryption": "rot13"}
    assert outcome(s3.put_object, Bucket=bucket, Key="a", **encryption) == (400, "InvalidArgument")


def test_what_nothing_answers_says_so_once(
    local_sagemaker: Any, s3: Any, bucket: str, subtests: pytest.Subtests
) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    for service, operation, members in [
        ("s3", "SelectObjectContent", {"Bucket": bucket, "Key": "a"}),
        ("s3", "GetObjectTorrent", {"Bucket": bucket, "Key": "a"}),
        ("s3", "RenameObject", {"Bucket": bucket, "Key": "b", "RenameSource": "a"}),
        ("s3", "PutBucketRequestPayment", {"Bucket": bucket}),
        ("s3", "DeleteBucketMetricsConfiguration", {"Bucket": bucket, "Id": "m"}),
        ("iam", "GenerateServiceLastAccessedDetails", {"Arn": "a" * 20}),
        ("sts", "DecodeAuthorizationMessage", {"EncodedMessage": "a"}),
        ("sqs", "ListMessageMoveTasks", {"SourceArn": "a"}),
        ("logs", "ListAnomalies", {}),
        ("ec2", "DescribeFastLaunchImages", {}),
        ("pricing", "DescribeServices", {}),
        ("sagemaker", "CreateApp", {}),
    ]:
        with subtests.test(operation=operation):
            client = boto3.client(
                service,
                region_name="us-east-1",
                endpoint_url=local_sagemaker.url,
                aws_access_key_id="local",
                aws_secret_access_key="local",
                config=Config(retries={"total_max_attempts": 3}, proxies={}, parameter_validation=False),
            )
            with pytest.raises(ClientError) as caught:
                client._make_api_call(operation, members)
            response = caught.value.response
            assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
            assert response["ResponseMetadata"]["RetryAttempts"] == 0
            assert operation in response["Error"]["Message"]
    form = {"Action": "ListMessageMoveTasks", "SourceArn": "a"}
    signed = {"Authorization": SIGNED["Authorization"].replace("/s3/", "/sqs/")}
    answer = httpx.post(local_sagemaker.url, data=form, headers=signed, trust_env=False)
    assert (answer.status_code, "<Code>NotImplemented</Code>" in answer.text) == (501, True)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
    assert outcome(s3.head_bucket, Bucket=bucket) == (200, "")
