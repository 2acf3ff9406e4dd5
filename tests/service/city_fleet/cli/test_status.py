"""./fleet status and digest against real S3 and a real registry."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from city_fleet.champions import moves
from city_fleet.naming import Keys, package_group, target_model
from city_fleet.state import index, live, run_records
from city_fleet.state.author import Author
from city_fleet.state.index_state import Champion, Index, IndexEntry
from tests.support.aws_names import IMAGE_URI
from tests.support.command_line import fleet as run_fleet
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.states import record

AS_OF = datetime(2014, 1, 1, tzinfo=UTC)
FLEET = """
fleet: {name}
bucket: {name}
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2010-01-01
end_date: 2014-01-01
schedule: "@monthly"
dataset:
  city_column: city
  time: {{columns: [day]}}
  frequency: month
  available_after: P1M
  target: {{column: value, lags: [1]}}
cities:
"""


class StatusFleet:
    """A fleet of its own in a bucket of its own, and the command line about it."""

    def __init__(self, aws: LocalSageMaker, folder: Path, cities: str) -> None:
        self.name = f"f{uuid.uuid4().hex[:12]}"
        self.aws, self.folder = aws, folder
        self.file = folder / f"{self.name}.yaml"
        self.write(cities)
        self.keys = Keys(self.name, self.name, "laptop")
        self.s3, self.sagemaker = aws.client("s3"), aws.client("sagemaker")
        self.s3.create_bucket(Bucket=self.name)

    def write(self, cities: str) -> None:
        self.file.write_text(FLEET.format(name=self.name) + cities, encoding="utf-8")

    def register(self, city: str, version_status: str = "Approved", **metadata: str) -> str:
        """Register a version; return its ARN."""
        return str(
            self.sagemaker.create_model_package(
                ModelPackageGroupName=self.group(city),
                ModelApprovalStatus=version_status,
                **({"CustomerMetadataProperties": metadata} if metadata else {}),
                InferenceSpecification={
                    "Containers": [{"Image": IMAGE_URI, "ModelDataUrl": f"s3://{self.name}/model.tar.gz"}],
                    "SupportedContentTypes": ["text/csv"],
                    "SupportedResponseMIMETypes": ["text/csv"],
                },
            )["ModelPackageArn"]
        )

    def group(self, city: str) -> str:
        group = package_group(self.name, "laptop", city)
        if not self.sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]:
            self.s3.put_object(Bucket=self.name, Key="model.tar.gz", Body=b"model")
            self.sagemaker.create_model_package_group(ModelPackageGroupName=group)
        return group

    def publish(self, city: str, as_of: datetime = AS_OF, **fields: Any) -> live.LivePointer:
        """Let a city be served: artifact, version, pointer."""
        body = uuid.uuid4().bytes
        sha256 = hashlib.sha256(body).hexdigest()
        target = target_model(city, as_of, sha256)
        self.s3.put_object(Bucket=self.name, Key=self.keys.model(target), Body=body)
        self.s3.put_object(Bucket=self.name, Key=self.keys.raw(city) + "x.csv", Body=b"day,value\n")
        current = live.read(self.s3, self.keys, city)
        pointer = live.LivePointer(
            sequence=current.pointer.sequence + 1 if current else 1,
            city=city,
            target_model=target,
            package_arn=self.register(city),
            as_of=as_of.strftime("%Y%m%dT%H%M%SZ"),
            metrics={"mape": 0.04},
            features=("trend",),
            artifact_sha256=sha256,
            published_at="2014-01-01T03:00:00+00:00",
            published_by=f"{self.name}.{city}/run",
        )
        return live.move(self.s3, self.keys, replace(pointer, **fields), current).pointer

    def end_run(self, city: str, outcome: str, night: datetime = AS_OF, **fields: Any) -> None:
        value = record(city=city, outcome=outcome, **fields)
        run_records.write(self.s3, self.keys, value, as_of=night, key_of_run=uuid.uuid4().hex[:10])

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run ./fleet; return exit code, output and errors."""
        done = run_fleet(*arguments, CITY_FLEET_FLEETS=str(self.folder), **self.aws.variables)
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: str) -> Any:
        out = self(*arguments, "--json")[1]
        return json.loads(out)


@pytest.fixture
def fleet(aws: LocalSageMaker, tmp_path: Path) -> StatusFleet:
    return StatusFleet(aws, tmp_path, "  austin: {name: Austin}\n  waco:\n  tyler: {gate: {tolerance: x}}\n")


def test_a_table_of_all_cities(fleet: StatusFleet) -> None:
    fleet.publish("austin", data_until="2013-11-01")
    fleet.end_run("austin", "live", reasons=["MAPE 4% beats 5%"])
    fleet.end_run("waco", "held", reasons=["MAPE 9% does not beat the naive forecast's 5%"])
    fleet.publish("atlantis")
    code, out, err = fleet("status")
    assert (code, err) == (0, f"Building the index of fleet {fleet.name} from its run records\n")
    head, columns, *rows = out.splitlines()
    assert head.startswith(f"{fleet.name} (laptop) at 20")
    assert head.endswith("4 cities: 1 BROKEN, 1 REMOVED_BUT_SERVING, 1 NOT_DEPLOYED, 1 UP_TO_DATE.")
    assert columns.split() == ["CITY", "STATE", "DATA", "UNTIL", "AGE", "LAST", "RUN", "REMARKS"]
    by_city = {row.split()[0]: row for row in rows}
    assert by_city["austin"].split()[:3] == ["austin", "UP_TO_DATE", "2013-11-01"]
    assert by_city["austin"].rstrip().endswith("live 2014-01-01")
    assert "held 2014-01-01  held: MAPE 9% does not beat" in by_city["waco"]
    assert "not in " in by_city["atlantis"]
    assert "city 'tyler'" in by_city["tyler"], "the file's own path may leave no room for the field"
    assert "'gate.tolerance'" in fleet.json("status", "tyler")[0]["cities"][0]["remarks"][0]
    assert fleet("status")[2] == "", "the index is there by now"


def test_cities_and_states_are_chosen(fleet: StatusFleet) -> None:
    fleet.publish("austin", datetime(2013, 11, 1, tzinfo=UTC))
    (found,) = fleet.json("status", "austin", "waco")
    assert [(city["city"], city["state"]) for city in found["cities"]] == [
        ("austin", "STALE"),
        ("waco", "NOT_DEPLOYED"),
    ]
    assert found["counts"]["STALE"] == 1
    assert found["cities"][0]["due"] == "20140101T000000Z"
    (found,) = fleet.json("status", "--state", "stale", "--state", "broken")
    assert [city["city"] for city in found["cities"]] == ["austin", "tyler"]
    code, _, err = fleet("status", "asutin")
    assert code == 2
    assert "Did you mean 'austin'?" in err
    code, _, err = fleet("status", "--state", "STALLED")
    assert code == 2
    assert "NOT_DEPLOYED" in err


def test_a_version_that_waits_is_shown(fleet: StatusFleet) -> None:
    fleet.publish("austin")
    fleet.register("austin", "PendingManualApproval", approval_expires_at="20140104T000000Z")
    fleet.register("waco", "PendingManualApproval", approval_expires_at="20140104T000000Z")
    fleet.register("waco", "PendingManualApproval")  # its own run is about to publish it
    (found,) = fleet.json("status")
    assert {city["city"]: [each["version"] for each in city["waiting"]] for city in found["cities"]} == {
        "austin": [2],
        "tyler": [],
        "waco": [1],
    }


def test_check_says_what_differs_and_what_repairs_it(fleet: StatusFleet) -> None:
    fleet.publish("austin")
    code, out, _ = fleet("status", "austin", "--check")
    assert code == 0
    assert out.splitlines()[-1] == "S3 and the registry agree with the live pointers of 1 city."

    pointer = fleet.publish("waco")
    fleet.s3.delete_object(Bucket=fleet.name, Key=fleet.keys.model(pointer.target_model))
    fleet.sagemaker.update_model_package(
        ModelPackageArn=pointer.package_arn, ModelApprovalStatus="Rejected", ApprovalDescription="by a person"
    )
    fleet.register("austin")
    fleet.register("austin", "PendingManualApproval", approval_expires_at="20140104T000000Z")
    fleet.publish("atlantis")
    fleet.publish("tyler")
    fleet.s3.put_object(Bucket=fleet.name, Key=fleet.keys.live("tyler"), Body=b"{")
    code, out, _ = fleet("status", "--check")
    assert code == 1
    lines = out.split("\n\n")[1].splitlines()
    said = dict(zip(lines[::2], (line.strip() for line in lines[1::2]), strict=True))
    repairs = {
        what.split(": ")[0] + ": " + what.split(": ", 1)[1][:24]: repair for what, repair in said.items()
    }
    assert repairs == {
        "atlantis: it is not in the fleet f": "./fleet remove atlantis, or put it back into the fleet file",
        "austin: version 3 waits for appr": "./fleet approve austin --version 3, or ./fleet reject austin --version 3",
        "austin: version 2 is approved an": "./fleet promote austin --version 2",
        f"tyler: {fleet.keys.uri(fleet.keys.live('tyler'))[:24]}": "./fleet rebuild tyler",
        f"waco: {fleet.keys.uri(fleet.keys.model(pointer.target_model))[:24]}": "./fleet rollback waco",
        "waco: version 1 serves, but th": "./fleet rollback waco, or ./fleet approve waco --version 1",
    }
    (found,) = fleet.json("status", "waco", "--check")
    assert len(found["differences"]) == 2


def test_check_finds_a_model_whose_bytes_were_changed(fleet: StatusFleet) -> None:
    pointer = fleet.publish("waco")
    fleet.s3.put_object(
        Bucket=fleet.name, Key=fleet.keys.model(pointer.target_model), Body=b"somebody else's"
    )
    (found,) = fleet.json("status", "waco", "--check")
    (difference,) = found["differences"]
    assert f"it was registered with {pointer.artifact_sha256}" in difference["what"]
    assert difference["repair"] == "./fleet rebuild waco"


def test_check_finds_a_pointer_and_a_version_that_are_gone(fleet: StatusFleet) -> None:
    fleet.publish("austin")
    pointer = fleet.publish("austin", datetime(2014, 1, 2, tzinfo=UTC))
    fleet.sagemaker.delete_model_package(ModelPackageName=pointer.package_arn)
    (found,) = fleet.json("status", "austin", "--check")
    assert [each["repair"] for each in found["differences"]] == ["./fleet rollback austin"]
    fleet.s3.delete_object(Bucket=fleet.name, Key=fleet.keys.live("austin"))
    fleet.s3.delete_object(Bucket=fleet.name, Key=fleet.keys.raw("austin") + "x.csv")
    (found,) = fleet.json("status", "austin", "--check")
    assert [each["repair"] for each in found["differences"]] == [
        "./fleet rebuild austin",
        "./fleet ingest austin",
    ]


def test_check_does_not_propose_what_somebody_rolled_back_from(fleet: StatusFleet) -> None:
    first = fleet.publish("austin")
    second = fleet.publish("austin", datetime(2014, 1, 2, tzinfo=UTC))
    back = moves.state_after(second, first, kind=live.ROLLBACK, author=Author("ann"), pinned=True)
    live.move(fleet.s3, fleet.keys, back, live.read(fleet.s3, fleet.keys, "austin"))
    (found,) = fleet.json("status", "austin", "--check")
    assert not [each for each in found["differences"] if "promote" in each["repair"]]
    unpinned = moves.state_after(back, back, kind=live.UNPIN, author=Author("ann"), pinned=False)
    live.move(fleet.s3, fleet.keys, unpinned, live.read(fleet.s3, fleet.keys, "austin"))
    (found,) = fleet.json("status", "austin", "--check")
    assert "./fleet promote austin --version 2" in [each["repair"] for each in found["differences"]]


@contextlib.contextmanager
def counted_calls(page: int = 1000) -> Iterator[Counter[str]]:
    """Count the calls of all clients that are made meanwhile.

    :param page: how many objects S3 lists at once; 1,000 on AWS, and it takes long to put as many.
    """
    boto3.setup_default_session()
    session = boto3._get_default_session()
    counts: Counter[str] = Counter()

    def count(model: Any, **_: Any) -> None:
        counts[model.name] += 1

    def listed(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**params, "MaxKeys": page}

    session.events.register("before-call", count)
    session.events.register("provide-client-params.s3.ListObjectsV2", listed)
    yield counts
    session.events.unregister("before-call", count)
    session.events.unregister("provide-client-params.s3.ListObjectsV2", listed)


def test_many_cities_take_a_handful_of_calls(fleet: StatusFleet) -> None:
    """What the command asks of AWS grows with a fleet by one List for each page of pointers, and by nothing else."""
    cities = [f"c{number:05}" for number in range(230)]
    fleet.write("".join(f"  {city}:\n" for city in cities))
    body = b"{}"
    with ThreadPoolExecutor(8) as pool:
        put = partial(fleet.s3.put_object, Bucket=fleet.name, Body=body)
        list(pool.map(lambda city: put(Key=fleet.keys.live(city)), cities[:-7]))
    etag = fleet.s3.head_object(Bucket=fleet.name, Key=fleet.keys.live(cities[0]))["ETag"]
    entries = {
        city: IndexEntry(Champion(etag, target_model=f"{city}/x.tar.gz", as_of="20131101T000000Z"))
        for city in cities[:-7]
    }
    known = Index("20140101T000000Z", cities=entries, fleet=fleet.name, environment="laptop")
    fleet.s3.put_object(Bucket=fleet.name, Key=fleet.keys.index(), Body=known.to_bytes())
    with counted_calls(page=200) as counts:
        code, out, _ = fleet("status")
    assert code == 0
    # The index, and what is on trial.
    assert counts == {"GetObject": 2, "ListObjectsV2": 4, "Search": 1}
    assert "230 cities: 7 NOT_DEPLOYED, 223 STALE." in out
    assert "… and 213 more: ./fleet status --state STALE" in out
    assert len(out.splitlines()) < 30
    (found,) = fleet.json("status", "--state", "not_deployed")
    assert [city["city"] for city in found["cities"]] == cities[-7:]


def test_an_index_can_be_made_anew(fleet: StatusFleet) -> None:
    fleet.publish("austin")
    fleet("status")
    stored, _ = index.load(fleet.s3, fleet.keys)
    assert stored is not None
    fleet.s3.put_object(Bucket=fleet.name, Key=fleet.keys.index(), Body=replace(stored, cities={}).to_bytes())
    code, _, err = fleet("status", "--rebuild-index")
    assert (code, err) == (0, f"Building the index of fleet {fleet.name} from its run records\n")
    again, _ = index.load(fleet.s3, fleet.keys)
    assert again is not None
    assert again.cities == stored.cities


@contextlib.contextmanager
def refused(operation: str) -> Iterator[None]:
    """As if the credentials of all clients that are made meanwhile did not allow an operation."""
    boto3.setup_default_session()
    session = boto3._get_default_session()

    def refuse(model: Any, **_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, model.name)

    session.events.register(f"before-call.*.{operation}", refuse)
    yield
    session.events.unregister(f"before-call.*.{operation}", refuse)


@pytest.mark.parametrize("operation", ["PutObject", "Search"])
def test_whoever_may_not_do_everything_sees_the_rest(fleet: StatusFleet, operation: str) -> None:
    fleet.publish("austin")
    with refused(operation):
        code, out, _ = fleet("status")
    assert code == 0
    assert "1 UP_TO_DATE" in out
    (note,) = [line for line in out.splitlines() if line.startswith("Note: ")]
    assert "AccessDenied" in note


def test_without_a_bucket_it_says_so(aws: LocalSageMaker, tmp_path: Path) -> None:
    fleet = StatusFleet(aws, tmp_path, "  austin:\n")
    fleet.s3.delete_bucket(Bucket=fleet.name)
    code, out, err = fleet("status")
    assert (code, out) == (1, "")
    assert "NoSuchBucket" in err
    assert "Traceback" not in err


def test_a_digest_of_the_last_night_and_of_one_the_index_has_forgotten(fleet: StatusFleet) -> None:
    fleet.publish("austin")
    for month in range(1, 8):
        stamp = f"2013{month:02}01T000000Z"
        as_of = datetime(2013, month, 1, tzinfo=UTC)
        fleet.end_run("austin", "held", as_of, as_of=stamp, reasons=[f"MAPE {month}% is too much"])
    fleet.end_run("waco", "failed", failed_task="train", reasons=["task train failed: no capacity"])
    code, out, _ = fleet("digest")
    assert code == 0
    assert out.splitlines()[0] == f"{fleet.name} (laptop), 2014-01-01: 1 failed, 1 without result, 1 broken"
    assert "  1 × task train failed: no capacity\n      waco\n" in out
    assert "WITHOUT A RESULT, 1 (running, waiting, paused or never started):\n  austin\n" in out

    (found,) = fleet.json("digest", "--night", "2013-02-01")
    assert found["outcomes"] == {"held": [{"cause": "MAPE …% is too much", "cities": ["austin"]}]}
    assert found["without_result"] == ["waco"]
    (found,) = fleet.json("digest", "--night", "2013-02-02")
    assert (found["outcomes"], found["without_result"]) == ({}, [])
    code, _, err = fleet("digest", "--night", "yesterday")
    assert code == 2
    assert "2014-01-01" in err
