"""preprocess.py on tables: what it learns and from which rows, what it leaves out, and how it refuses bad data."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.service.scripts.test_job_settings import TEXAS_DATASET
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import RAW_URI, Finished, Jobs, digests, start_job

sys.path.insert(0, str(SCRIPTS))

from table_file import read_table
from table_schema import Table

AS_OF = "20240101T000000Z"
FIRST = datetime(2023, 1, 1, tzinfo=UTC)
DATASET: dict[str, Any] = {
    "kind": "table",
    "task": "regression",
    "target": {"column": "price", "min": 0, "max": None, "transform": "none"},
    "time": {"columns": ["sold"], "format": None},
    "minimum_rows": 50,
}
HEADER = ["sold", "price", "sqft", "type", "garage", "built"]
Rows = list[list[Any]]


def houses(count: int = 200) -> Rows:
    """House sales, two a day: number, category, words of truth and date."""
    source = random.Random(3)
    rows: Rows = []
    for at in range(count):
        sqft = source.randint(500, 3000)
        kind = source.choice(["Condo", "House", "House", "Loft"])
        day = FIRST + timedelta(days=at // 2)
        built = f"{source.randint(1890, 2020)}-0{source.randint(1, 9)}-15"
        rows.append([f"{day:%Y-%m-%d}", 100 * sqft, sqft, kind, source.choice(["yes", "no"]), built])
    return rows


def changed(**more: Any) -> dict[str, Any]:
    return {**DATASET, **more}


def prepare(jobs: Jobs, dataset: dict[str, Any], as_of: str = AS_OF, city: str = "austin") -> Finished:
    settings = {
        "format_version": 1,
        "as_of": as_of,
        "raw_uri": RAW_URI,
        "cities": [{"city": city, "dataset": dataset}],
    }
    path = jobs.root / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    message = jobs.root / "message"
    message.unlink(missing_ok=True)
    arguments = ["--settings", str(path), "--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out())]
    return start_job("preprocess.py", [*arguments, "--message-file", str(message)], message)


def done(jobs: Jobs, rows: Rows, dataset: dict[str, Any], header: Sequence[str] = HEADER) -> dict[str, Any]:
    """Prepare the city of these rows, and return its status."""
    jobs.write_raw("austin", [header, *rows])
    finished = prepare(jobs, dataset)
    assert finished.code == 0, finished.stderr
    return jobs.read_json("preprocess/report/city=austin/status.json")


def part(jobs: Jobs, name: str) -> Table:
    return read_table(jobs.out(name), name, "austin")


def column(table: Table, name: str) -> np.ndarray:
    return table.values[:, table.schema.names.index(name)]


def test_rows_with_a_time_are_split_by_it_and_encoded_by_kind(jobs: Jobs) -> None:
    rows = houses()
    status = done(jobs, rows, DATASET)
    assert status["status"] == "ready"
    assert status["rows"] == {"train": 140, "validation": 30, "test": 30}
    assert (status["known_rows"], status["usable_rows"]) == (200, 200)
    assert status["newest"] == {
        "frequency": "day", "period": "2023-04-10", "expected": "2024-01-01", "late_periods": 266,
    }  # fmt: skip
    train, test = part(jobs, "train"), part(jobs, "test")
    assert {each.name: each.kind for each in train.schema.features} == {
        "built": "date", "garage": "boolean", "sqft": "number", "type": "category",
    }  # fmt: skip
    kinds = train.schema.features[-1]
    counts = {name: sum(row[3] == name for row in rows[:140]) for name in kinds.categories}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert test.schema == train.schema
    assert test.rows == [f"data.csv:{number}" for number in range(172, 202)]
    assert test.target.tolist() == [row[1] for row in rows[170:]]
    for at, row in enumerate(rows[170:]):
        assert column(test, "built")[at] == (datetime.fromisoformat(row[5]) - datetime(1970, 1, 1)).days
        assert column(test, "garage")[at] == (row[4] == "yes")
        assert column(test, "type")[at] == kinds.categories.index(row[3])
    baseline = train.schema.baseline
    assert baseline is not None
    assert (baseline.name, baseline.values) == ("median", (float(np.median([row[1] for row in rows[:140]])),))
    with jobs.out("test", "city=austin", "raw.csv").open(encoding="utf-8", newline="") as file:
        header, *cells = csv.reader(file)
    assert header == sorted(HEADER)
    assert [row[header.index("type")] for row in cells] == [row[3] for row in rows[170:]]
    assert {row[header.index("garage")] for row in cells} == {"true", "false"}


def test_rows_of_one_moment_stay_together(jobs: Jobs) -> None:
    rows = houses(100)
    for row in rows[80:90]:
        row[0] = rows[90][0]  # twelve rows of one day, across the boundary of 15
    status = done(jobs, rows, DATASET)
    assert status["rows"]["test"] == 20
    assert status["rows"]["validation"] == 16  # 15, and its neighbour of the same day


def test_what_is_known_later_is_not_seen(jobs: Jobs) -> None:
    """Whatever comes after as_of leaves every byte as it is, the manifest's digest of the file apart."""
    rows = houses()
    done(jobs, rows, DATASET)
    clean = digests(jobs.out())
    poison = ["2024-01-01T00:00:01", "nonsense", "x" * 50, "Castle", "perhaps", "never"]
    done(jobs, [*rows, poison], DATASET)
    poisoned = digests(jobs.out())
    # The manifest has the file's digest, and the status counts the row.
    assert {name for name in clean if clean[name] != poisoned[name]} == {
        "report/city=austin/manifest.json",
        "report/city=austin/status.json",
    }
    assert jobs.read_json("preprocess/report/city=austin/status.json")["later_rows"] == 1
    jobs.write_raw("austin", [HEADER, *rows, poison])
    assert "got 'nonsense'; allowed: a number of at least 0" in (
        prepare(jobs, DATASET, as_of="20240102T000000Z").message or ""
    )


def test_a_row_is_known_after_its_moment_and_what_is_added(jobs: Jobs) -> None:
    rows = houses(198)
    rows += [["2023-12-30T18:00:00+02:00", *rows[0][1:]], ["2023-12-31T00:00:01", *rows[0][1:]]]
    assert done(jobs, rows, changed(available_after="P1D"))["known_rows"] == 199
    assert done(jobs, rows, DATASET)["known_rows"] == 200


def test_the_holdout_leaves_no_trace_in_what_is_learned(jobs: Jobs) -> None:
    rows = houses()
    done(jobs, rows, DATASET)
    schema = jobs.out("train", "city=austin", "schema.json").read_bytes()
    train = jobs.out("train", "city=austin", "train.csv").read_bytes()
    for row in rows[170:]:
        row[1:] = [row[1] * 7, row[2] * 9, "Castle", row[4], "9999-12-31"]
    done(jobs, rows, DATASET)
    assert jobs.out("train", "city=austin", "schema.json").read_bytes() == schema
    assert jobs.out("train", "city=austin", "train.csv").read_bytes() == train
    test = part(jobs, "test")
    assert set(column(test, "type")) == {len(test.schema.features[-1].categories)}
    assert set(column(test, "built")) == {2932896.0}


def test_classes_and_their_frequencies_are_those_of_the_training_rows(jobs: Jobs) -> None:
    rows = houses()
    for at, row in enumerate(rows):
        row[1] = "Uchi" if at % 4 == 0 else "Franklin"
    rows[7][1] = "Once"
    rows[150][1] = "Late"  # in the validation part: not a class, and the row is left out
    rows[190][1] = "New"  # in the holdout: kept, as no class that a model can name
    rows[195][1] = ""
    dataset = changed(task="multiclass", target={"column": "price"})
    status = done(jobs, rows, dataset)
    # Two rows a day, and none of them is parted from the other.
    assert status["rows"] == {"train": 138, "validation": 29, "test": 31}
    train, test = part(jobs, "train"), part(jobs, "test")
    assert train.schema.classes == ("Franklin", "Once", "Uchi")
    assert status["classes"]["Once"] == {"train": 1, "validation": 0, "test": 0}
    assert status["classes"]["New"] == {"train": 0, "validation": 0, "test": 1}
    assert status["classes"]["Late"] == {"train": 0, "validation": 1, "test": 0}
    assert (test.target == -1).sum() == 1
    assert test.rows[int(np.flatnonzero(test.target == -1)[0])] == "data.csv:192"
    assert train.schema.baseline is not None
    shares = np.bincount(train.target.astype(int)) / len(train)
    assert train.schema.baseline.values == tuple(shares)


@pytest.mark.parametrize(("positive", "classes"), [(None, ("no", "yes")), ("no", ("yes", "no"))])
def test_the_positive_class_is_the_last(jobs: Jobs, positive: str | None, classes: tuple[str, str]) -> None:
    rows = [[row[0], row[4], *row[2:]] for row in houses()]
    done(jobs, rows, changed(task="binary", target={"column": "price"}, positive=positive))
    assert part(jobs, "train").schema.classes == classes


def test_a_value_far_from_all_others_is_found_and_a_long_tail_is_not(jobs: Jobs) -> None:
    """Delays, prices and amounts have long tails: nearly all are small, and some are many times as large."""
    header = [*HEADER, "delay", "slip"]
    rows = houses()
    for at, row in enumerate(rows):
        row += [at % 5 if at % 30 else 400 + at, 1000 + at]
    rows[60][-1] = 1_000_000
    extremes = done(jobs, rows, DATASET, header)["extremes"]
    assert extremes["delay"]["deviations"] < 20
    assert (extremes["slip"]["value"], extremes["slip"]["period"]) == (1_000_000.0, "data.csv:62")
    assert extremes["slip"]["deviations"] > 1000


def test_columns_that_say_nothing_are_left_out_and_named(jobs: Jobs) -> None:
    rows = houses()
    header = [*HEADER, "constant", "empty", "late", "gaps"]
    for at, row in enumerate(rows):
        row += ["same", "", "1" if at >= 140 else "", "same" if at % 2 else ""]
    status = done(jobs, rows, DATASET, header)
    assert status["left_out"] == {
        "constant": "the same in all training rows",
        "empty": "no value in the training rows",
        "late": "no value in the training rows",
    }
    assert "gaps" in status["features"]
    assert status["missing_share"]["gaps"] == 0.5
    assert (status["missing_share"]["late"], status["recent_missing_share"]["late"]) == (0.7, 0.0)


def test_many_categories_share_a_number(jobs: Jobs) -> None:
    rows = houses()
    for at, row in enumerate(rows):
        row[3] = "007" if at % 3 == 0 else "7" if at % 3 == 1 else f"{at:03d}"
    columns = [{"column": "type", "kind": "category", "most": 2}, {"column": "sqft"}]
    status = done(jobs, rows, changed(columns=columns))
    train = part(jobs, "train")
    assert train.schema.features[0].categories == ("007", "7")
    assert train.schema.names == ["type", "sqft"]
    assert set(column(train, "type")) == {0.0, 1.0, 2.0}
    assert status["other_share"]["type"] == pytest.approx(46 / 140, abs=1e-3)
    done(jobs, rows, DATASET)  # nothing is said of the kind: a zero in front is none of a number's
    kind = next(each for each in part(jobs, "train").schema.features if each.name == "type")
    assert kind.kind == "category"
    assert len(kind.categories) == 48


def test_two_hundred_columns(jobs: Jobs) -> None:
    rows = houses()
    for at, row in enumerate(rows):
        row += [(at * number) % 7 for number in range(1, 201)]
    status = done(jobs, rows, DATASET, [*HEADER, *(f"c{number:03d}" for number in range(1, 201))])
    assert len(status["features"]) == 4 + 200 - len(status["left_out"])
    assert len(part(jobs, "train").schema.names) == len(status["features"]) >= 170


def test_rows_without_time_are_drawn_by_their_key_wherever_they_stand(jobs: Jobs) -> None:
    rows = [[f"{at:04d}", *row[1:]] for at, row in enumerate(houses(600))]
    dataset = changed(time=None, key="sold")
    header = ["sold", *HEADER[1:]]
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    members = []
    for order in (rows, rows[::-1], [*rows[100:], *([f"x{row[0]}", *row[1:]] for row in rows[:100])]):
        jobs.write_raw("austin", [header, *order])
        finished = prepare(jobs, dataset, as_of=now)
        assert finished.code == 0, finished.stderr
        members.append({name: set(part(jobs, name).rows) for name in ("train", "validation", "test")})
    assert members[0] == members[1]
    assert all(members[2][name] & {row[0] for row in rows[100:]} <= members[0][name] for name in members[0])
    sizes = [len(members[0][name]) for name in ("train", "validation", "test")]
    assert sizes[0] == pytest.approx(420, abs=40)
    assert sizes[1] == pytest.approx(90, abs=30)
    # The name itself is no feature.
    assert "sold" not in part(jobs, "train").schema.names


def test_files_tell_when_their_rows_were_known(jobs: Jobs) -> None:
    rows = houses()
    dataset = changed(time=None, ignore=["sold"])
    jobs.write_raw("austin", [HEADER, *rows[:120]], name="known=20230601T000000Z/houses.csv")
    jobs.write_raw("austin", [HEADER, *rows[:150]], name="known=20230701T000000Z/houses.csv")
    jobs.write_raw("austin", [HEADER, *rows[150:]], name="known=20230801T000000Z/more.csv")
    found = {}
    for as_of in ("20230615T000000Z", "20230715T000000Z", "20230801T000000Z", "20230101T000000Z"):
        finished = prepare(jobs, dataset, as_of=as_of)
        assert finished.code == 0, finished.stderr
        found[as_of] = jobs.read_json("preprocess/report/city=austin/status.json")["known_rows"]
        # A run says of every file what it was, of those too that it did not know yet.
        inputs = jobs.read_json("preprocess/report/city=austin/manifest.json")["inputs"]
        assert len(inputs) == 3
        assert all(len(entry["etag"]) == 32 for entry in inputs)
    assert list(found.values()) == [120, 150, 200, 0]
    (jobs.raw / "city=austin" / "known=20230801T000000Z").rename(jobs.raw / "city=austin" / "known=soon")
    assert "got folder 'known=soon'; allowed: a UTC time" in (prepare(jobs, dataset).message or "")


def test_a_backfill_of_rows_that_nobody_dated_is_refused(jobs: Jobs) -> None:
    jobs.write_raw("austin", [HEADER, *houses()])
    message = prepare(jobs, changed(time=None, ignore=["sold"])).message or ""
    assert "as of 2024-01-01 nobody knows which rows were there" in message
    assert "./fleet ingest" in message


def test_a_later_file_replaces_the_rows_of_its_keys(jobs: Jobs) -> None:
    rows = [[*row, f"id{at}"] for at, row in enumerate(houses())]
    jobs.write_raw("austin", [[*HEADER, "id"], *rows], name="a.csv")
    jobs.write_raw("austin", [[*HEADER, "id"], [*rows[190][:1], 777, *rows[190][2:]]], name="b.csv")
    finished = prepare(jobs, changed(key="id"))
    assert finished.code == 0, finished.stderr
    test = part(jobs, "test")
    assert len(test.rows) == len(set(test.rows)) == 30
    assert test.target[test.rows.index("id190")] == 777
    jobs.write_raw("austin", [[*HEADER, "id"], *rows, rows[3]], name="a.csv")
    message = prepare(jobs, changed(key="id")).message or ""
    assert (
        f"{RAW_URI}city=austin/a.csv, row 202: key 'id3' of column 'id' is there already, in row 5" in message
    )


BAD = [
    ("weight", "0", {"weight": "weight"}, "column 'weight': got '0'; allowed: a number above 0."),
    ("weight", "", {"weight": "weight"}, "column 'weight': got ''; allowed: a number above 0."),
    ("sqft", "many", {}, "column 'sqft': got 'many'; allowed: a number, or empty. The training rows hold nothing else"),
    ("garage", "perhaps", {}, "column 'garage': got 'perhaps'; allowed: true, false, yes, no, 1 or 0, or empty."),
    ("built", "1890-02-31", {}, "column 'built': got '1890-02-31'; allowed: a date written as 2014-07-31"),
    ("price", "-1", {}, "column 'price': got '-1'; allowed: a number of at least 0, or empty."),
    ("price", "1e19", {}, "column 'price': got '1e19'; allowed: a number of at least 0, or empty."),
    ("price", "0", {"target": {"column": "price", "transform": "log"}}, "got '0'; allowed: a number above 0"),
    ("sold", "soon", {}, "column 'sold': got 'soon'; allowed: an ISO date"),
    ("sqft", "9", {"columns": [{"column": "sqft", "kind": "number", "min": 10}]}, "a number of at least 10, or empty."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cell", "more", "sentence"), BAD)
def test_a_bad_cell_is_named_with_file_row_and_column(
    jobs: Jobs, name: str, cell: str, more: dict[str, Any], sentence: str
) -> None:
    header = [*HEADER, "weight"]
    rows = [[*row, 1.5] for row in houses()]
    rows[180][header.index(name)] = cell
    jobs.write_raw("austin", [header, *rows])
    finished = prepare(jobs, changed(**more))
    assert finished.code == 1
    assert f"{RAW_URI}city=austin/data.csv, row 182, " in (finished.message or "")
    assert sentence in (finished.message or "")


def test_weights_reach_the_tables_and_are_no_feature(jobs: Jobs) -> None:
    rows = [[*row, 0.5 + at] for at, row in enumerate(houses())]
    status = done(jobs, rows, changed(weight="weight"), [*HEADER, "weight"])
    assert "weight" not in status["features"]
    assert part(jobs, "test").weight.tolist() == [0.5 + at for at in range(170, 200)]


def test_a_logarithm_is_the_label_and_the_target_stays(jobs: Jobs) -> None:
    done(jobs, houses(), changed(target={"column": "price", "transform": "log"}))
    test = part(jobs, "test")
    assert test.label.tolist() == [math.log(value) for value in test.target]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"minimum_rows": 1000},
            "austin has 200 usable rows as of 2024-01-01; 1000 are needed (minimum_rows).",
        ),
        (
            {"columns": [{"column": "constant"}]},
            "no column that a model could learn from ('constant': the same",
        ),
        (
            {"task": "binary", "target": {"column": "constant"}},
            "all of class 'same'; at least 2 classes are needed",
        ),
    ],
)
def test_too_little_data_ends_well(jobs: Jobs, more: dict[str, Any], sentence: str) -> None:
    rows = [[*row, "same"] for row in houses()]
    status = done(jobs, rows, changed(**more), [*HEADER, "constant"])
    assert status["status"] == "too_little_data"
    assert sentence in status["reason"]
    assert list(jobs.out("train").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"task": "guess"}, 'dataset.task: got "guess"; allowed: one of regression, binary, multiclass.'),
        ({"positive": "yes"}, 'dataset.positive: got "yes"; allowed: nothing, unless task is binary.'),
        (
            {"task": "binary"},
            "dataset.target.min: got 0; allowed: nothing, since the classes of a binary task",
        ),
        ({"holdout_share": 1.5}, "dataset.holdout_share: got 1.5; allowed: a number above 0 and below 1."),
        ({"holdout_share": 0.9}, "allowed: less than 1 together with validation_share."),
        ({"columns": []}, "dataset.columns: got []; allowed: at least one column, or null for all."),
        ({"columns": [{"column": "price"}]}, "column 'price' is the target; allowed: another column."),
        ({"columns": [{"column": "sqft"}, {"column": "sqft"}]}, "sqft is there twice; allowed: once."),
        (
            {"columns": [{"column": "sqft", "kind": "colour"}]},
            'columns[0].kind: got "colour"; allowed: one of number',
        ),
        ({"columns": [{"column": "sqrt"}]}, "column 'sqrt' is missing; columns found:"),
        (
            {"task": "binary", "target": {"column": "type"}},
            "has 3 classes in the training rows (Condo, House, Loft)",
        ),
        (
            {"task": "binary", "target": {"column": "garage"}, "positive": "maybe"},
            "positive: got 'maybe'; allowed: a class of column 'garage': no, yes.",
        ),
    ],
)
def test_wrong_settings_name_their_field(jobs: Jobs, more: dict[str, Any], sentence: str) -> None:
    jobs.write_raw("austin", [HEADER, *houses()])
    finished = prepare(jobs, changed(**more))
    assert finished.code == 1
    assert sentence in (finished.message or "")


def test_the_same_rows_in_parquet_and_packed_make_the_same_tables(jobs: Jobs) -> None:
    """Texts, numbers, truth values and dates as Parquet keeps them; and CSV as gzip packs it."""
    rows = houses()
    done(jobs, rows, DATASET)
    there = {name: part(jobs, name) for name in ("train", "validation", "test")}
    path = jobs.raw / "city=austin" / "data.csv"
    (path.parent / "data.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert prepare(jobs, DATASET).code == 0
    for name, table in there.items():
        np.testing.assert_array_equal(part(jobs, name).values, table.values)
    (path.parent / "data.csv.gz").unlink()
    frame = pd.DataFrame(rows, columns=HEADER)
    frame["garage"] = frame["garage"] == "yes"
    frame["sold"] = pd.to_datetime(frame["sold"])
    frame["type"] = frame["type"].astype("category")
    frame.to_parquet(path.with_suffix(".parquet"))
    finished = prepare(jobs, DATASET)
    assert finished.code == 0, finished.stderr
    for name, table in there.items():
        np.testing.assert_array_equal(part(jobs, name).values, table.values)
        np.testing.assert_array_equal(part(jobs, name).target, table.target)
        assert part(jobs, name).schema == table.schema


def test_a_packed_file_that_is_cut_off_is_refused(jobs: Jobs, tmp_path: Path) -> None:
    jobs.write_raw("austin", [], name="data.csv.gz").write_bytes(gzip.compress(b"sold,price\n" * 9999)[:-20])
    assert "data.csv.gz: not a readable gzip file" in (prepare(jobs, changed(columns=None)).message or "")


def test_both_pandas_write_the_same_bytes(jobs: Jobs, texas: dict[str, list[list[str]]]) -> None:
    """The managed image has pandas 2 and numpy 2.1, this project's own environment pandas 3."""
    rows = houses()
    for row, more in zip(
        rows, (0.1 + 0.2, 1e-300, 123456789012345.0, 1e16, -0.0, 5e-324, 1e17), strict=False
    ):
        row[2] = more
    jobs.write_raw("austin", [HEADER, *rows])
    jobs.write_raw("waco", texas["waco"])
    log = changed(target={"column": "price", "min": 1, "transform": "log"})
    cities = [{"city": "austin", "dataset": log}, {"city": "waco", "dataset": TEXAS_DATASET}]
    settings = {"format_version": 1, "as_of": AS_OF, "raw_uri": RAW_URI, "cities": cities}
    (jobs.root / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    found = []
    for python in (IMAGE_PYTHON, sys.executable):
        shutil.rmtree(jobs.out(), ignore_errors=True)
        subprocess.run(
            [
                *(python, str(SCRIPTS / "preprocess.py"), "--settings", str(jobs.root / "settings.json")),
                *("--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out())),
            ],
            check=True,
            capture_output=True,
        )
        found.append(digests(jobs.out()))
    # Of the series one more: how its judged periods are divided.
    assert len(found[0]) == 3 * 2 * 2 + 2 + 2 + 3 + 2 + 1
    assert found[0] == found[1]


def test_words_dates_and_moments_as_people_write_them(jobs: Jobs) -> None:
    words = ["TRUE", "No", "1", "false", " yes ", "NA"]
    header = ["year", "month", "day", *HEADER[1:]]
    rows = []
    for at, row in enumerate(houses()):
        day, built = datetime.fromisoformat(row[0]), datetime.fromisoformat(row[5])
        rows.append([day.year, f"{day.month}.0", day.day, *row[1:4], words[at % 6], f"{built:%d.%m.%Y}"])
    columns = [
        {"column": "garage", "kind": "boolean"},
        {"column": "built", "kind": "date", "format": "%d.%m.%Y"},
        {"column": "type", "kind": "category"},
    ]
    more = changed(columns=columns, time={"columns": ["year", "month", "day"], "format": None})
    status = done(jobs, rows, more, header)
    assert status["newest"]["period"] == "2023-04-10"
    assert status["missing_share"]["garage"] == pytest.approx(33 / 200)
    test = part(jobs, "test")
    wanted = [(1.0, 0.0, 1.0, 0.0, 1.0, math.nan)[at % 6] for at in range(170, 200)]
    np.testing.assert_array_equal(column(test, "garage"), wanted)
    with jobs.out("test", "city=austin", "raw.csv").open(encoding="utf-8", newline="") as file:
        raw = list(csv.DictReader(file))
    assert [row["garage"] for row in raw[:6]] == [
        {1.0: "true", 0.0: "false"}.get(value, "") for value in wanted[:6]
    ]
    days = column(test, "built")
    assert [row["built"] for row in raw] == [
        (datetime(1970, 1, 1) + timedelta(days=value)).date().isoformat() for value in days
    ]
