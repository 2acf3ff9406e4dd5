"""./fleet lint --data: the real first step of a run, on data that are at hand."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet.desk.dry_run import prepare
from city_fleet.errors import PlatformError
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL, TEXAS
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.script_jobs import DATA

Rows = list[list[str]]


def texas_rows() -> Rows:
    with DATA.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def lint(folder: Path, rows: Rows, *arguments: str) -> Done:
    """Lint the Texas fleet with other rows."""
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    text = TEXAS.read_text(encoding="utf-8").replace("include/data/txhousing.csv", "rows.csv")
    (folder / "texas.yaml").write_text(text, encoding="utf-8")
    return fleet("lint", "--data", *arguments, str(folder / "texas.yaml"))


def findings(done: Done, kind: str) -> list[dict[str, Any]]:
    (report,) = json.loads(done.stdout)
    return [each for each in report["data"]["findings"] if each["kind"] == kind]


def test_the_texas_fleet_would_train_and_its_feed_has_stopped() -> None:
    done = fleet("lint", "--data", str(TEXAS))
    assert done.returncode == 0, done.stderr
    head, late, *lines = done.stdout.splitlines()[1:]
    assert "46 of 46 cities would be trained" in head
    assert late == "newest data older than they could be (46 cities):"
    # Forty cities of which the same is to be said are one line.
    assert len(lines) == 2
    assert "40 cities (abilene, amarillo, arlington, austin, bay_area and 35 more)" in lines[0]
    assert "the newest known month is 2015-07-01" in lines[0]
    assert "data" not in json.loads(fleet("lint", "--json", str(TEXAS)).stdout)[0]


def test_what_a_run_would_refuse_is_named_by_file_and_row(tmp_path: Path) -> None:
    rows = texas_rows()
    at = {(row[0], row[1], row[2]): number for number, row in enumerate(rows)}
    rows[at["Austin", "2005", "3"]][5] = "12"
    rows[at["Austin", "2005", "4"]][3] = "many"
    tyler = at["Tyler", "2006", "4"]
    rows.insert(tyler + 1, rows[tyler])
    # A row over two lines moves all behind it by one, in the source and in no city's own part alike.
    rows[1] = [*rows[1][:-1], '" \n"']
    rows = [row for row in rows if row[0] != "Waco" or int(row[1]) >= 2012]
    waco = sum(row[0] == "Waco" for row in rows)
    done = lint(tmp_path, rows, "--json")
    assert done.returncode == 1
    lines = (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()
    broken = {each["city"]: each["text"] for each in findings(done, "unreadable")}
    assert set(broken) == {"abilene", "austin", "tyler"}
    for city, places in (
        (
            "austin",
            (("Austin,2005,3,", "column 'median': got '12'"), ("Austin,2005,4,", "'sales': got 'many'")),
        ),
        ("tyler", (("Tyler,2006,4,", "the month of 2006-04-01 is there already"),)),
    ):
        for begins, said in places:
            number = max(at for at, line in enumerate(lines, start=1) if line.startswith(begins))
            assert f"row {number}" in broken[city]
            assert said in broken[city]
        assert "source:" not in broken[city]
    (little,) = findings(done, "too_little")
    assert (little["city"], little["severity"]) == ("waco", "warning")
    assert f"waco has {waco - 6} usable months" in little["text"]
    assert "60 are needed (minimum_periods)" in little["text"]
    assert lint(tmp_path, rows, "--city", "waco").returncode == 0


def test_settings_that_the_data_leave_no_use_for_and_zeros(tmp_path: Path) -> None:
    rows = [["city", "date", "y", "empty", "plan"]]
    rows += [
        ["Waco", f"2025-{day // 28 + 1:02d}-{day % 28 + 1:02d}", str(day % 3), "", "1"] for day in range(200)
    ]
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    rows += [["Waco", str(tomorrow + timedelta(days=after)), "", "", "1"] for after in range(2)]
    (tmp_path / "data.csv").write_text("\n".join(map(",".join, rows)), encoding="utf-8")
    text = SMALL.replace("dataset:\n", "dataset:\n  source: data.csv\n", 1)
    features = "{column: empty, lags: [1]}, {column: plan, known_ahead: true}"
    text = text.replace("lags: [1]}", f"lags: [1, 900]}}\n  horizon: 3\n  features: [{features}]")
    (tmp_path / "small.yaml").write_text(text + "\ncities: {waco: {name: Waco}, tyler: {name: Tyler}}\n")
    done = fleet("lint", "--data", "--json", str(tmp_path / "small.yaml"))
    (zeros,) = findings(done, "zeros")
    assert zeros["field"] == "gate.metric"
    assert "(33." in zeros["text"]
    said = {(each["field"], each["city"]) for each in findings(done, "settings")}
    assert said == {("dataset.target.lags", "waco"), ("dataset.features", "waco")}
    (absent,) = findings(done, "no_rows")
    assert absent["city"] == "tyler"
    (unplanned,) = findings(done, "ahead")
    assert "'plan' is known_ahead, and the data hold it of 2 days" in unplanned["text"]


def test_scripts_run_without_credentials_and_say_why_they_can_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    scripts = [("preprocess.py", b"import os, sys\nsys.exit(f'I see {sorted(os.environ)}')\n")]
    with pytest.raises(PlatformError, match=r"preprocess.py could not run here: I see \[") as caught:
        prepare(scripts, {"cities": [{"city": "waco"}]}, tmp_path, tmp_path / "work")
    assert "AWS_" not in str(caught.value)


def test_without_a_source_what_lies_in_the_bucket_is_looked_at(tmp_path: Path, aws: LocalSageMaker) -> None:
    rows = texas_rows()
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="lint-data")
    for name, content in (
        ("old.csv", [rows[0], *(row for row in rows if row[0] == "Waco" and row[1] < "2010")]),
        ("new.csv", [rows[0], *(row for row in rows if row[0] == "Waco" and row[1] >= "2009")]),
    ):
        content[-1][4] = "other" if name == "old.csv" else content[-1][4]
        body = (
            "\n".join(map(",".join, content)).replace("2009,12,", "2009,12,1")
            if name == "old.csv"
            else "\n".join(map(",".join, content))
        )
        s3.put_object(Bucket="lint-data", Key=f"texas_housing/raw/city=waco/{name}", Body=body.encode())
    text = TEXAS.read_text(encoding="utf-8").replace("  source: include/data/txhousing.csv\n", "")
    (tmp_path / "texas.yaml").write_text(text, encoding="utf-8")
    environ = {**aws.variables, "CITY_FLEET_BUCKET": "lint-data"}
    done = fleet("lint", "--data", "--json", str(tmp_path / "texas.yaml"), "--city", "waco", **environ)
    assert done.returncode == 1, done.stdout + done.stderr
    (found,) = findings(done, "unreadable")
    assert "s3://lint-data/texas_housing/raw/city=waco/old.csv, row" in found["text"]
    assert "the month of 2009-12-01 is there already" in found["text"]
    (absent,) = findings(fleet("lint", "--data", "--json", str(tmp_path / "texas.yaml"), "--city", "austin", **environ),
                         "no_rows")  # fmt: skip
    assert absent["file"] == "s3://lint-data/texas_housing/raw/"


def test_data_are_read_where_a_run_reads_them_and_the_newest_file_counts(
    tmp_path: Path, aws: LocalSageMaker
) -> None:
    """One city is ingested out of the source, the other's files lie elsewhere; the last one written corrects them."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="lake")
    days = [f"2025-{at // 28 + 1:02d}-{at % 28 + 1:02d}" for at in range(200)]

    def put(name: str, value: str) -> datetime:
        body = "\n".join(["date,y", *(f"{day},{value}" for day in days)])
        s3.put_object(Bucket="lake", Key=f"sales/city=Waco/{name}", Body=body.encode())
        return s3.head_object(Bucket="lake", Key=f"sales/city=Waco/{name}")["LastModified"]

    older = put("b.csv", "0")  # by name it would be the newer one
    deadline = time.monotonic() + 10
    while put("a.csv", "7") <= older:
        assert time.monotonic() < deadline, "S3 tells whole seconds"
    lines = ["city,date,y", *(f"Tyler,{day},3" for day in days)]
    (tmp_path / "data.csv").write_text("\n".join(lines), encoding="utf-8")
    text = SMALL.replace("dataset:\n", "dataset:\n  source: data.csv\n  duplicates: last\n", 1)
    cities = (
        'cities: {waco: {name: Waco, dataset: {raw: "s3://lake/sales/city={name}/"}}, tyler: {name: Tyler}}\n'
    )
    (tmp_path / "small.yaml").write_text(f"{text}\n{cities}", encoding="utf-8")
    done = fleet("lint", "--data", "--json", str(tmp_path / "small.yaml"), **aws.variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["data"]["cities"], report["data"]["ready"]) == (2, 2), report["data"]["findings"]
    assert not findings(done, "zeros"), "the older file's zeros count"
    late = {each["city"]: each["file"] for each in findings(done, "late")}
    assert late["waco"] == "s3://lake/sales/city=Waco/"
    assert late["tyler"].endswith("data.csv")
