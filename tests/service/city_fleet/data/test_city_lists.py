"""The list of cities from S3: copied into the CSV that counts, never without many of the cities, never with code."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from city_fleet.cli.app import app
from city_fleet.config import Fleet, load_fleet
from city_fleet.data import city_lists
from city_fleet.errors import ConfigError, DataError, PlatformError
from tests.support.fleets import SMALL

CITIES = [f"c{number:02}" for number in range(20)]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="lake")
        yield client


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CITY_FLEET_FLEETS", str(tmp_path))
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    (tmp_path / "cities.csv").write_text("city\n" + "\n".join(CITIES) + "\n", encoding="utf-8")
    return tmp_path


def fleet(folder: Path, name: str = "cities.csv", more: str = "") -> Fleet:
    text = f"{SMALL}city_list: {{source: 's3://lake/exports/{name}'{more}}}\ncities: {{from: cities.csv}}\n"
    (folder / "small.yaml").write_text(text, encoding="utf-8")
    return load_fleet(folder / "small.yaml", {})


def put(s3: Any, rows: list[dict[str, Any]], name: str = "cities.csv") -> None:
    body, frame = io.BytesIO(), pd.DataFrame(rows)
    frame.to_parquet(body) if name.endswith("parquet") else frame.to_csv(body, index=False)
    s3.put_object(Bucket="lake", Key=f"exports/{name}", Body=body.getvalue())


@pytest.mark.parametrize("name", ["cities.csv", "cities.csv.gz", "cities.parquet"])
def test_a_list_of_any_kind_becomes_the_csv_that_counts(s3: Any, folder: Path, name: str) -> None:
    rows: list[dict[str, Any]] = [{"city": slug, "name": f"Town {slug}"} for slug in reversed(CITIES[1:])]
    rows += [{"city": "new", "name": "New, Town", "retries": 7, "training.spot": True}]
    rows[-1] |= {"dataset.target.lags": "[1, 7]", "training.max_wait_seconds": 1800}
    if name.endswith(".gz"):
        put(s3, rows, "plain.csv")

        plain = s3.get_object(Bucket="lake", Key="exports/plain.csv")["Body"].read()
        s3.put_object(Bucket="lake", Key=f"exports/{name}", Body=gzip.compress(plain))
    else:
        put(s3, rows, name)
    before = fleet(folder, name)
    found = city_lists.pull(before, s3, {})
    assert (found.added, found.removed, found.mistakes) == (("new",), ("c00",), {})
    assert (folder / "cities.csv").read_text() == "city\n" + "\n".join(CITIES) + "\n", "not written yet"
    found.write()
    after = load_fleet(folder / "small.yaml", {})
    assert sorted(after.cities) == sorted([*CITIES[1:], "new"])
    assert not after.broken
    new = after.cities["new"]
    assert (new.name, new.retries, new.training.max_wait_seconds) == ("New, Town", 7, 1800)
    assert new.dataset.target.lags == (1, 7)
    lines = list(csv.reader((folder / "cities.csv").open(encoding="utf-8", newline="")))
    assert [line[0] for line in lines[1:]] == sorted(after.cities), "sorted, for whoever reviews it"
    assert sorted(path.name for path in folder.iterdir()) == ["cities.csv", "small.yaml"]
    assert city_lists.pull(after, s3, {}).unchanged


def test_a_list_that_broke_off_retires_nobody(s3: Any, folder: Path) -> None:
    put(s3, [{"city": slug} for slug in CITIES[:15]])
    with pytest.raises(ConfigError, match=r"without 5 of the 20 cities; allowed: at most 20% fewer"):
        city_lists.pull(fleet(folder), s3, {})
    assert len(city_lists.pull(fleet(folder), s3, {}, even_so=True).removed) == 5
    assert len(city_lists.pull(fleet(folder, more=", most_removed: 0.25"), s3, {}).removed) == 5
    put(s3, [{"city": slug} for slug in CITIES[:16]])
    assert len(city_lists.pull(fleet(folder), s3, {}).removed) == 4


def test_cities_that_would_break_count_as_gone(s3: Any, folder: Path) -> None:
    """An export whose column has shifted has all the cities, and can run none of them."""
    put(s3, [{"city": slug, "retries": "many"} for slug in CITIES])
    with pytest.raises(ConfigError) as caught:
        city_lists.pull(fleet(folder), s3, {})
    assert "without 20 of the 20 cities" in str(caught.value)
    assert "got 'many'; allowed: a whole number from 0 to 20" in str(caught.value)
    put(s3, [{"city": slug, "retries": "many" if slug == "c03" else "1"} for slug in CITIES])
    found = city_lists.pull(fleet(folder), s3, {})
    assert (found.removed, list(found.mistakes)) == (("c03",), ["c03"])


@pytest.mark.parametrize("column", ["scripts", "own_scripts.train", "algorithm.image", "entry"])
def test_who_writes_the_list_does_not_say_whose_code_runs(s3: Any, folder: Path, column: str) -> None:
    put(s3, [{"city": slug, column: "somebody/elses"} for slug in CITIES])
    with pytest.raises(ConfigError, match="a column that says whose code runs"):
        city_lists.pull(fleet(folder), s3, {}, even_so=True)


def test_what_is_no_list_changes_nothing(s3: Any, folder: Path) -> None:
    with pytest.raises(PlatformError, match="no such object"):
        city_lists.pull(fleet(folder), s3, {})
    s3.put_object(Bucket="lake", Key="exports/cities.parquet", Body=b"PAR1 no more")
    with pytest.raises(DataError, match="a Parquet file that can't be read"):
        city_lists.pull(fleet(folder, "cities.parquet"), s3, {})
    put(s3, [{"place": "c01"}])
    with pytest.raises(ConfigError, match="got the columns place"):
        city_lists.pull(fleet(folder), s3, {})


@pytest.mark.parametrize(
    "source", ["s3://lake/x.txt", "https://lake/x.csv", "s3://lake/*.csv", "s3://lake/${aws:username}.csv"]
)
def test_a_source_is_one_object(folder: Path, source: str) -> None:
    (folder / "small.yaml").write_text(f"{SMALL}city_list: {{source: '{source}'}}\ncities: {{a: }}\n")
    with pytest.raises(Exception, match=r"city_list\.source"):
        load_fleet(folder / "small.yaml", {"aws:username": "x"})


def test_the_command_pulls_and_says_what_changes(s3: Any, folder: Path) -> None:
    fleet(folder)
    put(s3, [{"city": slug} for slug in [*CITIES[2:], "x"]])
    run = CliRunner()
    done = run.invoke(app, ["cities", "--pull", "--json"])
    assert done.exit_code == 0, done.output
    (said,) = json.loads(done.stdout)
    assert (said["added"], said["removed"], said["unchanged"]) == (["x"], ["c00", "c01"], False)
    assert "is what the source says already" in run.invoke(app, ["cities", "--pull"]).stdout
    put(s3, [{"city": "x"}])
    refused = run.invoke(app, ["cities", "--pull", "--fleet", "small"])
    assert refused.exit_code == 1
    assert "a list without 18 of the 19 cities" in refused.stderr
    assert run.invoke(app, ["cities", "--pull", "--yes"]).exit_code == 0
    assert sorted(load_fleet(folder / "small.yaml", {}).cities) == ["x"]
    assert run.invoke(app, ["cities", "--yes"]).exit_code == 2
