"""Raw data into the bucket: one object per city, put only when it changed, nothing silently left out."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from city_fleet.config import Fleet, load_fleet
from city_fleet.data.ingest import ingest
from city_fleet.errors import ConfigError, DataError, PlatformError, UnknownName
from tests.support.fleets import SMALL, texas
from tests.support.paths import ROOT

DATA = ROOT / "include" / "data" / "txhousing.csv"
CITIES = "cities:\n  fort_worth: {name: Fort Worth}\n  waco: {}\n  tyler: {name: Tyler}\n"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


def small(folder: Path, rows: str, extra: str = "") -> tuple[Fleet, Path]:
    """A small fleet of three cities, and a data file for it."""
    (folder / "small.yaml").write_text(SMALL + extra + CITIES, encoding="utf-8")
    path = folder / "data.csv"
    path.write_text(rows, encoding="utf-8")
    return load_fleet(folder / "small.yaml", {}), path


def body(s3: Any, bucket: str, key: str) -> str:
    return str(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())


def test_the_texas_data_become_one_object_per_city(s3: Any) -> None:
    report = ingest(texas(), s3, create_bucket=True)
    assert len(report.cities) == 46
    assert (report.unknown, report.without_rows) == ((), ())
    assert {upload.status for upload in report.cities} == {"uploaded"}
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    listed = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="city-fleet"):
        listed.update({item["Key"]: item for item in page["Contents"]})
    assert len(listed) == 46
    for upload in report.cities:
        text = body(s3, "city-fleet", upload.key)
        assert upload.key == f"texas_housing/raw/city={upload.city}/txhousing.csv"
        expected = [rows[0], *(row for row in rows if row[0] == upload.name)]
        assert list(csv.reader(io.StringIO(text))) == expected, "order of columns and text of values are kept"
        assert upload.rows == 187
        assert listed[upload.key]["ETag"].strip('"') == hashlib.md5(text.encode()).hexdigest()


def test_a_second_time_nothing_is_put(s3: Any) -> None:
    ingest(texas(), s3, create_bucket=True)
    before = s3.head_object(Bucket="city-fleet", Key="texas_housing/raw/city=waco/txhousing.csv")
    puts: list[str] = []
    s3.meta.events.register("before-call.s3.PutObject", lambda **_: puts.append("put"))
    report = ingest(texas(), s3)
    assert {upload.status for upload in report.cities} == {"unchanged"}
    assert puts == []
    after = s3.head_object(Bucket="city-fleet", Key="texas_housing/raw/city=waco/txhousing.csv")
    assert (before["ETag"], before["LastModified"]) == (after["ETag"], after["LastModified"])


def test_only_what_changed_is_put_again(s3: Any, tmp_path: Path) -> None:
    rows = "city,date,y\nFort Worth,2020-01-01,1\nwaco,2020-01-01,2\nTyler,2020-01-01,3\n"
    fleet, path = small(tmp_path, rows)
    ingest(fleet, s3, source=path, create_bucket=True)
    path.write_text(rows + "waco,2020-01-02,5\n", encoding="utf-8")
    report = ingest(fleet, s3, source=path)
    assert {upload.city: upload.status for upload in report.cities} == {
        "fort_worth": "unchanged",
        "tyler": "unchanged",
        "waco": "uploaded",
    }


def test_chosen_cities_alone(s3: Any) -> None:
    report = ingest(texas(), s3, cities=["waco", "austin"], create_bucket=True)
    assert [upload.city for upload in report.cities] == ["austin", "waco"]
    assert s3.list_objects_v2(Bucket="city-fleet")["KeyCount"] == 2


def test_values_keep_their_text(s3: Any, tmp_path: Path) -> None:
    rows = 'note,y,city,date\r\n"a, ""b""\nc",007.50,Tyler,2020-01-01\r\n,,Tyler,2020-01-02\r\n'
    fleet, path = small(tmp_path, "\ufeff" + rows)
    report = ingest(fleet, s3, source=path, create_bucket=True)
    text = body(s3, "small-data", report.cities[0].key)
    assert list(csv.reader(io.StringIO(text, newline=""))) == list(csv.reader(io.StringIO(rows, newline="")))


def test_names_that_do_not_match_are_reported(s3: Any, tmp_path: Path) -> None:
    rows = "city,date,y\nFort Wort,2020-01-01,1\nWaco,2020-01-01,2\n"
    rows += "Atlantis,2020-01-01,3\nAtlantis,2020-01-02,3\n"
    fleet, path = small(tmp_path, rows)
    report = ingest(fleet, s3, source=path, create_bucket=True)
    assert [(upload.city, upload.rows) for upload in report.cities] == [("waco", 1)], "waco has no other name"
    assert [(city.name, city.rows, city.nearest) for city in report.unknown] == [
        ("Atlantis", 2, None),
        ("Fort Wort", 1, "Fort Worth"),
    ]
    assert report.without_rows == ("fort_worth", "tyler")


def test_a_broken_city_is_left_out_and_the_others_go_on(s3: Any, tmp_path: Path) -> None:
    rows = "city,date,y\nwaco,2020-01-01,1\nTyler,2020-01-01,2\n"
    fleet, path = small(tmp_path, rows)
    (tmp_path / "small.yaml").write_text(
        SMALL + CITIES.replace("waco: {}", "waco: {gate: {tolerance: x}}"), encoding="utf-8"
    )
    fleet = load_fleet(tmp_path / "small.yaml", {})
    report = ingest(fleet, s3, source=path, create_bucket=True)
    assert [upload.city for upload in report.cities] == ["tyler"]
    assert report.unknown == ()
    with pytest.raises(ConfigError) as caught:
        ingest(fleet, s3, source=path, cities=["waco"])
    assert caught.value.field == "gate.tolerance"


def test_an_unknown_city_is_refused_before_anything_is_put(s3: Any) -> None:
    with pytest.raises(UnknownName) as caught:
        ingest(texas(), s3, cities=["waco", "autsin"], create_bucket=True)
    assert caught.value.nearest == "austin"
    assert s3.list_buckets()["Buckets"] == []


@pytest.mark.parametrize(
    ("rows", "row", "column", "got", "nearest"),
    [
        ("town,date,y\nwaco,2020-01-01,1\n", 1, "city", "no such column", None),
        ("citty,date,y\nwaco,2020-01-01,1\n", 1, "city", "no such column", "citty"),
        ("city,Date,y\nwaco,2020-01-01,1\n", 1, "date", "no such column", "Date"),
        ("city,date,z\nwaco,2020-01-01,1\n", 1, "y", "no such column", None),
        ("city,date,y,extr\nwaco,2020-01-01,1,1\n", 1, "extra", "no such column", "extr"),
        ("city,date,y,extra,extra\nwaco,2020-01-01,1,1,1\n", 1, "extra", "the column a second time", None),
        ("city,date,y,extra\nwaco,2020-01-01,1,1\nwaco,2020-01-02,1\n", 3, None, "3 values", None),
        ("city,date,y,extra\nwaco,2020-01-01,1,\"a\nb\"\n,2020-01-02,1,1\n", 4, "city", "nothing", None),
        ("city,date,y,extra\nwaco,2020-01-01,1,\"a\n", 2, None, "a line that is not CSV", None),
        ("city,date,y,extra\n", None, None, "a header without rows", None),
        ("", None, None, "an empty file", None),
        ("city,date,y,extra\nwaco,2020-01-01,1,1\nWaco,2020-01-01,1,1\n", None, "city",
         "'waco' and 'Waco'", None),
    ],
)  # fmt: skip
def test_bad_data_are_refused_with_their_place(
    *, s3: Any, tmp_path: Path, rows: str, row: int | None, column: str | None, got: str, nearest: str | None
) -> None:
    extra = "defaults: {}\n"
    fleet, path = small(tmp_path, rows, extra)
    text = (tmp_path / "small.yaml").read_text(encoding="utf-8")
    text = text.replace("lags: [1]}\n", "lags: [1]}\n  features: [{column: extra, lags: [1]}]\n")
    if "extr" in rows:
        (tmp_path / "small.yaml").write_text(text, encoding="utf-8")
        fleet = load_fleet(tmp_path / "small.yaml", {})
    s3.create_bucket(Bucket="small-data")
    with pytest.raises(DataError) as caught:
        ingest(fleet, s3, source=path)
    error = caught.value
    assert str(path) in str(error)
    assert (error.row, error.column, error.nearest) == (row, column, nearest)
    assert got in error.got
    assert s3.list_objects_v2(Bucket="small-data")["KeyCount"] == 0, "nothing was put"


def test_all_missing_columns_are_named(s3: Any, tmp_path: Path) -> None:
    fleet, path = small(tmp_path, "place,day\nwaco,1\n")
    with pytest.raises(DataError) as caught:
        ingest(fleet, s3, source=path)
    text = str(caught.value)
    assert "the columns of the file: place, day" in text
    assert "dataset.city_column" in text
    assert "Missing too: 'date', 'y'." in text


def test_a_file_that_is_not_there_names_the_nearest(s3: Any, tmp_path: Path) -> None:
    fleet, path = small(tmp_path, "city,date,y\nwaco,2020-01-01,1\n")
    with pytest.raises(DataError) as caught:
        ingest(fleet, s3, source=path.with_name("dta.csv"))
    assert caught.value.nearest == "data.csv"
    with pytest.raises(ConfigError) as no_source:
        ingest(fleet, s3)
    assert no_source.value.field == "dataset.source"


def test_the_source_may_lie_beside_the_fleet_file(s3: Any, tmp_path: Path) -> None:
    fleet, _ = small(tmp_path, "city,date,y\nwaco,2020-01-01,1\n")
    text = (tmp_path / "small.yaml").read_text(encoding="utf-8")
    (tmp_path / "small.yaml").write_text(
        text.replace("dataset:\n", "dataset:\n  source: data.csv\n"), encoding="utf-8"
    )
    fleet = load_fleet(tmp_path / "small.yaml", {})
    report = ingest(fleet, s3, create_bucket=True)
    assert [upload.key for upload in report.cities] == ["small/raw/city=waco/data.csv"]


def test_a_missing_bucket_is_created_only_when_asked(s3: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        ingest(texas(), s3)
    assert caught.value.field == "bucket"
    assert "--create-bucket" in str(caught.value)
    assert s3.list_buckets()["Buckets"] == []


def test_a_bucket_is_created_in_the_fleets_region(s3: Any, tmp_path: Path) -> None:
    fleet, path = small(tmp_path, "city,date,y\nwaco,2020-01-01,1\n", "region: eu-west-1\n")
    ingest(fleet, boto3.client("s3", region_name="eu-west-1"), source=path, create_bucket=True)
    assert s3.get_bucket_location(Bucket="small-data")["LocationConstraint"] == "eu-west-1"


def test_an_unreachable_s3_is_one_sentence(tmp_path: Path) -> None:
    fleet, path = small(tmp_path, "city,date,y\nwaco,2020-01-01,1\n")
    s3 = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2),
    )
    with pytest.raises(PlatformError) as caught:
        ingest(fleet, s3, source=path)
    assert "could not be reached" in str(caught.value)
    assert caught.value.bucket == "small-data"
