"""Files of tables that nobody means: a sentence that names the place, and memory that keeps its bounds."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.service.scripts.test_hostile_raw import MEASURED
from tests.service.scripts.test_preprocess_table import AS_OF, DATASET, HEADER, houses
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import RAW_URI, Jobs

sys.path.insert(0, str(SCRIPTS))

import raw_records
from job_failure import JobFailure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has taken")


def run(jobs: Jobs) -> tuple[int, str, int]:
    """Exit code, sentence, and the most memory that the job has taken, in bytes."""
    city = {"city": "austin", "dataset": DATASET}
    settings = {"format_version": 1, "as_of": AS_OF, "raw_uri": RAW_URI, "cities": [city]}
    (jobs.root / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    message = jobs.root / "message"
    message.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(IMAGE_PYTHON, "-c", MEASURED, str(SCRIPTS), "--settings", str(jobs.root / "settings.json")),
            *("--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out()), "--message-file", str(message)),
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    said = message.read_text(encoding="utf-8") if message.exists() else ""
    return done.returncode, said, int(done.stdout.rsplit("peak ", 1)[1]) * 1024


def table(count: int, **more: Any) -> pa.Table:
    rows = houses(count)
    columns = {name: pa.array([str(row[at]) for row in rows]) for at, name in enumerate(HEADER)}
    return pa.table({**columns, **more})


@pytest.fixture
def folder(jobs: Jobs) -> Path:
    path = jobs.raw / "city=austin"
    path.mkdir(parents=True)
    return path


def test_a_parquet_file_that_says_one_long_text_very_often(jobs: Jobs, folder: Path) -> None:
    """Some kilobytes that would be 20 gigabytes of text."""
    rows = 20_000
    bomb = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 1_000_001]))
    pq.write_table(table(rows, bomb=bomb), folder / "data.parquet", compression="zstd")
    assert (folder / "data.parquet").stat().st_size < 1_000_000
    code, said, memory = run(jobs)
    assert code == 1
    assert (
        f"{RAW_URI}city=austin/data.parquet, after row 1, column 'bomb': got a cell of 1000001 bytes" in said
    )
    assert memory < 300_000_000


def test_a_text_that_may_be_is_kept_once(jobs: Jobs, folder: Path) -> None:
    rows = 3_000
    often = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 1_000]))
    pq.write_table(table(rows, often=often), folder / "data.parquet")
    code, said, memory = run(jobs)
    assert code == 0, said
    assert memory < 300_000_000


def test_columns_of_lists_are_no_cells(jobs: Jobs, folder: Path) -> None:
    lists = pa.array([[1.5] * 2_000] * 200)
    pairs = pa.array([{"a": 1, "b": "x"}] * 200)
    pq.write_table(table(200, lists=lists, pairs=pairs), folder / "data.parquet")
    code, said, _ = run(jobs)
    assert code == 0, said
    features = jobs.read_json("preprocess/report/city=austin/status.json")["features"]
    assert features == ["built", "garage", "sqft", "type"]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ('"open,1,2,3\n', "row 202: not CSV (unexpected end of data); often a quote that is never closed"),
        (f"2023-01-01,{'9' * 200_000},1\n", "row 202: not CSV (field larger than field limit"),
        ("2023-01-01," + "x," * 3_000_000, "row 202: more than 1000000 characters in one row"),
        (
            "2023-01-01,1\0,2,House,yes,1999-01-01\n",
            "row 202, column 'price': got '1\\x00'; allowed: a number",
        ),
        (
            "999999999-01-01,1,2,House,yes,1999-01-01\n",
            "row 202, column 'sold': got '999999999-01-01'; allowed:",
        ),
        ("2023-01-01,1,2,House,yes,1999-01-01,\udcff\n", "row 202: not UTF-8 text (byte "),
    ],
    ids=["open quote", "long cell", "no end of line", "NUL", "year", "encoding"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_csv_is_refused_with_file_and_row(
    jobs: Jobs, folder: Path, rows: str, sentence: str, *, packed: bool
) -> None:
    lines = [",".join(HEADER), *(",".join(map(str, row)) for row in houses()), rows]
    content = "\n".join(lines).encode("utf-8", "surrogateescape")
    name = "data.csv.gz" if packed else "data.csv"
    (folder / name).write_bytes(gzip.compress(content) if packed else content)
    code, said, memory = run(jobs)
    assert code == 1
    assert f"{RAW_URI}city=austin/{name}, {sentence}" in said
    assert memory < 250_000_000


def test_what_is_packed_has_a_largest_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_records, "MOST_UNPACKED_BYTES", 5_000_000)
    path = folder / "data.csv.gz"
    path.write_bytes(gzip.compress(b"day,cups\n" + b"2023-01-01,1\n" * 1_000_000))
    with pytest.raises(JobFailure, match="allowed: at most 5000000 bytes when unpacked"):
        for _ in raw_records.DataFile(path, "data.csv.gz", ["day"]).rows():
            pass
