"""Raw data into the bucket: one object per city, put only when it changed, nothing silently left out."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.config import Config
from moto import mock_aws

from city_fleet.config import Fleet, load_fleet
from city_fleet.data.ingest import NOTHING_SPECIAL, IngestReport, Permissions, ingest
from city_fleet.data.raw_files import raw_files
from city_fleet.errors import ConfigError, DataError, PlatformError, UnknownName
from city_fleet.state.objects import ObjectStore
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


HEADER = "city,date,y\n"


def days(first: int, last: int, name: str = "waco", value: int = 1) -> str:
    """Rows of one city for some days of January 2020."""
    return "".join(f"{name},2020-01-{day:02},{value}\n" for day in range(first, last + 1))


TABLE = """\
fleet: small
bucket: small-data
role: arn:aws:iam::123456789012:role/small
start_date: 2020-01-01
dataset: {kind: table, city_column: city, target: {column: y}, %s}
cities: {waco: {}}
"""


def table_keys(s3: Any) -> dict[str, int]:
    """The keys below the city's prefix, and how many rows each holds."""
    listed = s3.list_objects_v2(Bucket="small-data", Prefix="small/raw/city=waco/").get("Contents", [])
    keys = [item["Key"] for item in listed]
    return {
        key.removeprefix("small/raw/city=waco/"): body(s3, "small-data", key).count("\n") - 1 for key in keys
    }


def test_a_table_without_time_keeps_what_was_known_when(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TABLE % "key: id", encoding="utf-8")
    fleet = load_fleet(tmp_path / "small.yaml", {})

    def put(count: int, day: int, allow: Permissions = NOTHING_SPECIAL, name: str = "all") -> IngestReport:
        path = tmp_path / f"{name}.csv"
        path.write_text(
            "city,id,x,y\n" + "".join(f"waco,{at},{at},1\n" for at in range(count)), encoding="utf-8"
        )
        known = datetime(2020, 1, day, tzinfo=UTC)
        return ingest(fleet, s3, source=path, create_bucket=True, allow=allow, known=known)

    assert put(3, 1).cities[0].status == "uploaded"
    assert put(3, 2).cities[0].key.endswith("known=20200101T000000Z/rows.csv"), (
        "the same rows are known already"
    )
    assert put(5, 3, name="renamed").cities[0].kept == ("known=20200101T000000Z/rows.csv",)
    assert table_keys(s3) == {"known=20200101T000000Z/rows.csv": 3, "known=20200103T000000Z/rows.csv": 5}
    (refused,) = put(4, 4).refused
    assert "all.csv has 4 different rows, of city 'waco'; S3 has 5 different rows, in" in refused.text
    put(2, 5, Permissions(append=True), "more")
    assert list(table_keys(s3))[-1] == "known=20200105T000000Z/more.csv"
    (newest, *_) = [
        file for file in raw_files(fleet, ObjectStore(s3, fleet.bucket), "waco") if "0103" in file.name
    ]
    assert (newest.rows, newest.first, newest.last) == (5, "", ""), "names of rows have no first and last"
    report = put(9, 6)
    assert report.cities[0].removed == ("known=20200105T000000Z/more.csv",), (
        "a full export has those rows too"
    )


def test_a_table_with_a_time_is_replaced_whatever_its_rows_are_called(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TABLE % "time: {columns: [date]}", encoding="utf-8")
    fleet = load_fleet(tmp_path / "small.yaml", {})
    for value in range(8):  # rows have no key: what tells them apart is in no order
        path = tmp_path / f"{value}.csv"
        path.write_text(HEADER + days(1, 10, value=value), encoding="utf-8")
        assert ingest(fleet, s3, source=path, create_bucket=True).refused == ()
    assert table_keys(s3) == {"7.csv": 10}


def test_a_column_that_own_features_make_is_not_asked_of_the_file(s3: Any, tmp_path: Path) -> None:
    asked = "  features: [{column: warmth, lags: [1]}]\n"
    (tmp_path / "small.yaml").write_text(
        SMALL + asked + "cities: {waco: {own_scripts: {features: include/scripts/job_failure.py}}}\n",
        encoding="utf-8",
    )
    fleet = load_fleet(tmp_path / "small.yaml", {})
    path = tmp_path / "a.csv"
    path.write_text(HEADER + days(1, 10), encoding="utf-8")
    assert ingest(fleet, s3, source=path, create_bucket=True).refused == ()
    path.write_text(HEADER + days(1, 5), encoding="utf-8")
    (refused,) = ingest(fleet, s3, source=path).refused
    assert "rows of 5 periods" in refused.text


def test_parquet_and_packed_files_are_split_like_any_other(s3: Any, tmp_path: Path) -> None:
    fleet, path = small(tmp_path, "city,date,y\nWaco,2020-01-01,1.5\nTyler,2020-01-01,\n")
    packed, parquet = tmp_path / "data.csv.gz", tmp_path / "data.parquet"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    pd.read_csv(path, parse_dates=["date"]).assign(date=lambda frame: frame["date"].dt.date).to_parquet(
        parquet
    )
    bodies = []
    for source in (path, packed, parquet):
        report = ingest(fleet, s3, source=source, create_bucket=True)
        assert [upload.key for upload in report.cities] == [
            f"small/raw/city={city}/data.csv" for city in ("tyler", "waco")
        ]
        bodies.append([body(s3, "small-data", upload.key) for upload in report.cities])
    assert bodies[0] == bodies[1] == bodies[2]
    packed.write_bytes(packed.read_bytes()[:-9])
    parquet.write_bytes(b"PAR1 it is not")
    for source, said in (
        (packed, "a gzip file that can't be read"),
        (parquet, "a Parquet file that can't be read"),
    ):
        with pytest.raises(DataError) as refused:
            ingest(fleet, s3, source=source)
        assert said in str(refused.value)


class Town:
    """A city's raw data in S3, and exports that come in one after the other."""

    def __init__(self, s3: Any, folder: Path) -> None:
        self.s3, self.folder = s3, folder
        self.fleet, _ = small(folder, HEADER)

    def ingest(self, name: str, rows: str, allow: Permissions = NOTHING_SPECIAL) -> IngestReport:
        (self.folder / name).write_text(HEADER + rows, encoding="utf-8")
        return ingest(
            self.fleet, self.s3, source=self.folder / name, cities=["waco"], create_bucket=True, allow=allow
        )

    def put(self, name: str, rows: str) -> None:
        key = f"small/raw/city=waco/{name}"
        self.s3.put_object(Bucket="small-data", Key=key, Body=(HEADER + rows).encode())

    def there(self) -> dict[str, int]:
        """The city's files, and how many rows each holds."""
        listed = self.s3.list_objects_v2(Bucket="small-data", Prefix="small/raw/city=waco/").get(
            "Contents", []
        )
        return {
            item["Key"].rsplit("/", 1)[-1]: body(self.s3, "small-data", item["Key"]).count("\n") - 1
            for item in listed
        }


@pytest.fixture
def town(s3: Any, tmp_path: Path) -> Town:
    return Town(s3, tmp_path)


def test_a_full_export_under_a_new_name_takes_the_place_of_the_old_one(town: Town) -> None:
    town.ingest("full_2020-01-10.csv", days(1, 10))
    report = town.ingest("full_2020-01-12.csv", days(1, 12, value=2))
    assert town.there() == {"full_2020-01-12.csv": 12}
    assert [(upload.status, upload.removed) for upload in report.cities] == [
        ("uploaded", ("full_2020-01-10.csv",))
    ]
    assert report.refused == ()


def test_what_an_ingest_left_that_died_is_cleared_up_by_the_next(town: Town) -> None:
    """It died between the new file and the removal of the old one: both are there."""
    town.ingest("old.csv", days(1, 10))
    deleted: list[str] = []
    events = town.s3.meta.events

    def die(**_: Any) -> None:
        deleted.append("asked")
        raise KeyboardInterrupt

    events.register("before-call.s3.DeleteObject", die)
    with pytest.raises(KeyboardInterrupt):
        town.ingest("new.csv", days(1, 12))
    assert deleted
    assert town.there() == {"new.csv": 12, "old.csv": 10}, "the new one is there before the old one goes"
    events.unregister("before-call.s3.DeleteObject", die)
    report = town.ingest("new.csv", days(1, 12))
    assert town.there() == {"new.csv": 12}
    assert [(upload.status, upload.removed) for upload in report.cities] == [("unchanged", ("old.csv",))]


def test_append_adds_a_file_and_refuses_one_that_contradicts_another(town: Town) -> None:
    town.ingest("january.csv", days(1, 10))
    report = town.ingest("more.csv", days(9, 20), Permissions(append=True))
    assert town.there() == {"january.csv": 10, "more.csv": 12}, "equal rows may stand in both"
    assert [upload.kept for upload in report.cities] == [("january.csv",)]
    report = town.ingest("wrong.csv", days(10, 25, value=7), Permissions(append=True))
    (refused,) = report.refused
    assert (refused.city, refused.reason) == ("waco", "contradiction")
    assert "wrong.csv, row 2: 2020-01-10 has 'y' 7, and 1 in row 11 of january.csv" in refused.text
    assert town.there() == {"january.csv": 10, "more.csv": 12}
    town.ingest("all.csv", days(1, 25))
    assert town.there() == {"all.csv": 25}, "without append a full export takes the place of all of them"


def test_files_of_others_stay_until_somebody_says_so(town: Town) -> None:
    town.ingest("mine.csv", days(1, 10))
    town.put("theirs.csv", days(5, 8))
    town.put("_SUCCESS", "")
    report = town.ingest("next.csv", days(1, 11))
    assert set(town.there()) == {"next.csv", "theirs.csv", "_SUCCESS"}
    assert [(upload.removed, upload.kept) for upload in report.cities] == [(("mine.csv",), ("theirs.csv",))]
    (refused,) = town.ingest("last.csv", days(1, 12, value=3)).refused
    assert "row 2 of theirs.csv" in refused.text, "a run would refuse the two together"
    assert "--remove theirs.csv" in refused.hint
    assert set(town.there()) == {"next.csv", "theirs.csv", "_SUCCESS"}
    town.ingest("last.csv", days(1, 12, value=3), Permissions(replace_all=True))
    assert set(town.there()) == {"last.csv", "_SUCCESS"}


@pytest.mark.parametrize(
    ("own", "others"),
    [
        (days(1, 7, "Tyler"), days(8, 10, "TYLER")),
        (days(1, 7, "Tyler"), days(8, 10, "Tylr")),
        (days(1, 7, "Tyler"), days(8, 10, "Týler Texas")),
        # Another name altogether, from the day on that the city has no rows any more.
        (days(1, 7, "Tyler"), days(8, 10, "Rose City")),
        (days(1, 4, "Tyler") + days(6, 10, "Tyler"), days(5, 5, "T yler")),
        (days(1, 10, "Tyler"), days(8, 10, "tyler")),
        ("", days(1, 10, "Tyler (TX)")),
    ],
)
def test_a_name_that_takes_rows_away_from_a_city_is_refused(
    s3: Any, tmp_path: Path, own: str, others: str
) -> None:
    fleet, path = small(tmp_path, HEADER + own + others + days(1, 10))
    (refused,) = ingest(fleet, s3, source=path, create_bucket=True, cities=["tyler"]).refused
    assert (refused.city, refused.reason) == ("tyler", "unknown_name")
    assert "--allow-unknown" in refused.hint
    assert s3.list_objects_v2(Bucket="small-data")["KeyCount"] == 0


def test_a_city_beside_another_is_not_taken_for_it(town: Town) -> None:
    """Names that are near, as San Angelo and San Antonio: both have rows of the same days."""
    report = town.ingest("data.csv", days(1, 10) + days(2, 10, "Wacos"))
    assert report.refused == ()
    assert [(each.name, each.nearest) for each in report.unknown] == [("Wacos", "waco")]


def test_rows_left_out_by_name_may_be_allowed(town: Town) -> None:
    report = town.ingest("data.csv", days(1, 7) + days(8, 10, "Wacco"), Permissions(unknown=True))
    assert (report.refused, town.there()) == ((), {"data.csv": 7})


def test_fewer_or_older_rows_than_in_s3_are_refused_unless_allowed(town: Town) -> None:
    town.ingest("data.csv", days(5, 10))
    others = days(1, 20, "Tyler")
    for rows in (days(6, 10), days(1, 9), ""):
        (refused,) = town.ingest("other.csv", rows + others).refused
        assert (refused.city, refused.reason) == ("waco", "fewer_rows")
        assert "S3 has rows of 6 periods, the last 2020-01-10, in data.csv" in refused.text
        assert town.there() == {"data.csv": 6}
    assert town.ingest("other.csv", days(6, 12)).refused == (), "as many and newer: a window that moves on"
    town.ingest("data.csv", days(6, 9), Permissions(fewer_rows=True))
    assert town.there() == {"data.csv": 4}


def test_a_file_without_notes_is_counted_before_it_is_replaced(town: Town) -> None:
    town.s3.create_bucket(Bucket="small-data")
    town.put("data.csv", days(1, 10))
    (refused,) = town.ingest("data.csv", days(1, 9)).refused
    assert refused.reason == "fewer_rows"
    town.ingest("data.csv", days(1, 10))
    town.ingest("next.csv", days(1, 11))
    assert town.there() == {"next.csv": 11}, "what ingest has written once is its own from then on"


def test_one_refused_city_does_not_hold_the_others(s3: Any, tmp_path: Path) -> None:
    fleet, path = small(tmp_path, HEADER + days(1, 5) + days(1, 4, "Tyler") + days(5, 5, "TYLER"))
    report = ingest(fleet, s3, source=path, create_bucket=True)
    assert [upload.city for upload in report.cities] == ["waco"]
    assert [(refusal.city, refusal.reason) for refusal in report.refused] == [("tyler", "unknown_name")]
    assert report.without_rows == ("fort_worth",)


# Raw data as they come ----------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_file_with_semicolons_or_tabs_is_split_like_any_other(
    s3: Any, tmp_path: Path, delimiter: str
) -> None:
    rows = ["city,date,y", "waco,01.02.2020,'1.234,5'", "waco,02.02.2020,'0,5'", "Tyler,01.02.2020,3"]
    text = "\n".join(row.replace(",", delimiter, 2).replace("'", "") for row in rows)
    # As long as an earlier file has, of another kind: what was lost is noticed by periods and values.
    (tmp_path / "small.yaml").write_text(
        SMALL.replace("columns: [date]", 'columns: [date], format: "%d.%m.%Y"') + '  decimal: ","\n' + CITIES
    )
    fleet, path = load_fleet(tmp_path / "small.yaml", {}), tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    report = ingest(fleet, s3, source=path, create_bucket=True)
    assert [(each.city, each.rows) for each in report.cities] == [("tyler", 1), ("waco", 2)]
    there = body(s3, "small-data", "small/raw/city=waco/data.csv")
    assert there == 'city,date,y\nwaco,01.02.2020,"1.234,5"\nwaco,02.02.2020,"0,5"\n'
    (found,) = raw_files(fleet, ObjectStore(s3, "small-data"), "waco")
    assert (found.first, found.last) == ("2020-02-01", "2020-02-02")


def test_a_file_without_a_city_column_is_one_citys(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL.replace("  city_column: city\n", "") + CITIES)
    fleet, path = load_fleet(tmp_path / "small.yaml", {}), tmp_path / "data.csv"
    path.write_text("date,y\n2020-01-01,1\n2020-01-02,2\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"got null, and 3 cities; allowed: the column with the city's name, or one"
    ):
        ingest(fleet, s3, source=path, create_bucket=True)
    report = ingest(fleet, s3, source=path, cities=["fort_worth"], create_bucket=True)
    assert [(each.city, each.rows) for each in report.cities] == [("fort_worth", 2)]
    assert body(s3, "small-data", "small/raw/city=fort_worth/data.csv") == path.read_text()


def test_what_is_read_in_place_is_not_ingested(s3: Any, tmp_path: Path) -> None:
    elsewhere = CITIES.replace("waco: {}", 'waco: {dataset: {raw: "s3://lake/{slug}/"}}')
    (tmp_path / "small.yaml").write_text(SMALL + elsewhere)
    fleet, path = load_fleet(tmp_path / "small.yaml", {}), tmp_path / "data.csv"
    path.write_text("city,date,y\nwaco,2020-01-01,1\nTyler,2020-01-02,2\n", encoding="utf-8")
    report = ingest(fleet, s3, source=path, create_bucket=True)
    assert [each.city for each in report.cities] == ["tyler"]
    with pytest.raises(
        ConfigError, match=r"city 'waco', field 'dataset.raw'.*read in place.*s3://lake/waco/"
    ):
        ingest(fleet, s3, source=path, cities=["waco"])
    (tmp_path / "small.yaml").write_text(SMALL + "  raw: s3://lake/{slug}/\n" + CITIES)
    with pytest.raises(ConfigError, match="nothing is uploaded"):
        ingest(load_fleet(tmp_path / "small.yaml", {}), s3, source=path)
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["small-data"]


@pytest.mark.parametrize("extra", ["  aggregate: sum\n", "  duplicates: last\n"])
def test_files_that_may_differ_stand_side_by_side(s3: Any, tmp_path: Path, extra: str) -> None:
    head = "city,date,y\n"
    fleet, path = small(tmp_path, f"{head}waco,2020-01-01,1\nwaco,2020-01-02,2\n", extra)
    ingest(fleet, s3, source=path, create_bucket=True)
    more = tmp_path / "more.csv"
    more.write_text(f"{head}waco,2020-01-02,3\nwaco,2020-01-02,4\n", encoding="utf-8")
    report = ingest(fleet, s3, source=more, allow=Permissions(append=True))
    assert report.refused == ()
    plain, _ = small(tmp_path, "x", "")
    (refused,) = ingest(plain, s3, source=more, allow=Permissions(append=True)).refused
    assert (refused.city, refused.reason) == ("waco", "contradiction")
