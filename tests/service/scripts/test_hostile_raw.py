"""Raw data that nobody means: a sentence with file and row, and memory that does not follow the file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import RAW_URI, Jobs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has taken")
LAST_DAY = date(2023, 8, 1)
DAYS = 240
NAME = "data.csv"
WHERE = f"{RAW_URI}city=pier/{NAME}"

#: Runs preprocess.py, and prints its memory at the end; ru_maxrss would hold that of the process which starts it.
MEASURED = """
import atexit, runpy, sys
def say():
    print("peak", next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
atexit.register(say)
sys.path[0] = sys.argv[1]
del sys.argv[0]
runpy.run_path(sys.argv[0] + "/preprocess.py", run_name="__main__")
"""


def arguments(jobs: Jobs) -> list[str]:
    """preprocess.py's, for a city that counts cups by day."""
    return [
        *("--city", "pier", "--as-of", "20230901T000000Z", "--raw-dir", str(jobs.raw), "--raw-uri", RAW_URI),
        *("--output-dir", str(jobs.out()), "--message-file", str(jobs.root / "message")),
        *("--time-column", "day", "--frequency", "day", "--available-after", "P1D", "--target", "cups"),
        *("--target-transform", "none", "--target-lag=1", "--feature", '{"column":"warmth","lags":[1,2]}'),
    ]


def good_rows(count: int = DAYS) -> Iterator[str]:
    for number in range(count):
        yield f"{LAST_DAY - timedelta(days=number)},{20 + number % 7},{number % 5}\n"


def write(jobs: Jobs, rows: Iterable[str | bytes], header: str = "day,cups,warmth") -> int:
    """Write the city's file; its size in bytes."""
    path = jobs.raw / "city=pier" / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(f"{header}\n".encode())
        for row in rows:
            file.write(row if isinstance(row, bytes) else row.encode())
    return path.stat().st_size


def run(jobs: Jobs) -> tuple[int, str, int]:
    """Exit code, sentence, and the most memory that the job has taken, in bytes."""
    message = jobs.root / "message"
    message.unlink(missing_ok=True)
    done = subprocess.run(
        [IMAGE_PYTHON, "-c", MEASURED, str(SCRIPTS), *arguments(jobs)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    said = message.read_text(encoding="utf-8") if message.exists() else ""
    return done.returncode, said, int(done.stdout.rsplit("peak ", 1)[1]) * 1024


NEVER_CLOSED = "often a quote that is never closed"
BAD: dict[str, tuple[list[str | bytes], str]] = {
    "a cell of 5 MB": (
        ["2022-01-01,", "9" * 5_000_000, ",1\n"],
        f"{WHERE}, row 242: more than 1000000 characters in one row; {NEVER_CLOSED}",
    ),
    "a cell of 200 KB": (
        ["2022-01-01,", "9" * 200_000, ",1\n"],
        f"{WHERE}, row 242: not CSV (field larger than field limit",
    ),
    "a long number": (
        ["2022-01-01,", "9" * 100_000, ",1\n"],
        f"{WHERE}, row 242, column 'cups': got '{'9' * 60}…'",
    ),
    "a long date": (
        ["2" * 100_000, ",1,1\n"],
        f"{WHERE}, row 242, column 'day': got '{'2' * 60}…'; allowed: an ISO",
    ),
    "an open quote": (
        ['2022-01-01,"1,2\n', *["2022-01-02,5,5\n"] * 20_000],
        f"{WHERE}, row 242: not CSV (field larger than field limit (131072)); {NEVER_CLOSED}",
    ),
    "an open quote near the end": (
        ['2022-01-01,"1,2\n'],
        f"{WHERE}, row 242: not CSV (unexpected end of data); {NEVER_CLOSED}",
    ),
    "an open quote in a column that nobody reads": (
        ['2022-01-01,1,1,"note\n', "2022-01-02,1,1\n"],
        f"{WHERE}, row 242: not CSV (unexpected end of data); {NEVER_CLOSED}",
    ),
    "a row of many lines": (
        ['2022-01-01,1,"\n"', *[',"\n"'] * 300_000],
        f"{WHERE}, row 242: more than 1000000 characters in one row",
    ),
    "a line without end": (
        ["2022-01-01,1," + "x," * 3_000_000],
        f"{WHERE}, row 242: more than 1000000 characters",
    ),
    "an enormous year": (
        ["999999999-01-01,1,1\n"],
        f"{WHERE}, row 242, column 'day': got '999999999-01-01'; allowed:",
    ),
    "a year of 100 digits": (
        ["9" * 100 + "-01-01,1,1\n"],
        f"{WHERE}, row 242, column 'day': got '{'9' * 60}…'",
    ),
    "NUL in a number": (
        ["2022-01-01,1\0,1\n"],
        f"{WHERE}, row 242, column 'cups': got '1\\x00'; allowed: a number",
    ),
    "NUL alone": (["\0" * 50_000 + "\n"], f"{WHERE}, row 242, column 'day': got '\\x00\\x00"),
    "a terminal's order": (["2022-01-01,\x1b[31m\u202e5,1\n"], "got '\\x1b[31m\\u202e5'; allowed: a number"),
    "another encoding": (["2022-01-01,", b"\xe9", ",1\n"], f"{WHERE}, row 242: not UTF-8 text (byte "),
    "another encoding far behind": (
        [*["2099-01-01,1,1\n"] * 200_000, b"2022-01-01,\xff\xfe,1\n"],
        f"{WHERE}, row 200242: not UTF-8 text (byte ",
    ),
    "half a character at the end": ([b"2022-01-01,1,\xe2\x82"], f"{WHERE}, row 242: not UTF-8 text (byte "),
    "many mistakes": (["2022-01-01,x,1\n"] * 50_000, "There are 99996 more like these. Correct the data"),
}


def test_what_is_wrong_is_said_with_file_and_row(jobs: Jobs, subtests: pytest.Subtests) -> None:
    for what, (rows, sentence) in BAD.items():
        with subtests.test(what):
            write(jobs, [*good_rows(), *rows])
            code, said, memory = run(jobs)
            assert code == 1
            assert sentence in said
            assert memory < 60_000_000
            assert len(said) <= 1000
            assert all(each.isprintable() for each in said)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_whole_file_in_another_encoding(jobs: Jobs, encoding: str) -> None:
    path = jobs.raw / "city=pier" / NAME
    write(jobs, [])
    path.write_text("day,cups,warmth\n" + "".join(good_rows()), encoding=encoding)
    code, said, _ = run(jobs)
    assert code == 1
    assert WHERE in said
    assert "not UTF-8 text" in said or "column 'day' is missing" in said
    assert all(each.isprintable() for each in said)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_rows_are_counted_as_an_editor_does(jobs: Jobs, ends: str) -> None:
    path = jobs.raw / "city=pier" / NAME
    write(jobs, [])
    rows = [row.rstrip("\n") for row in good_rows()]
    rows[10] += ',"a cell\nof two lines"'
    for bad, said_of_it in (
        ("2022-01-01,x,1", "column 'cups': got 'x'"),
        ("2022-01-01,\udcff,1", "not UTF-8"),
    ):
        text = ends.join(["day,cups,warmth", *rows, bad]) + ends
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        code, said, _ = run(jobs)
        assert (code, f"{WHERE}, row 243" in said, said_of_it in said) == (1, True, True), said


def wide_rows(days: int, columns: int) -> Iterator[str]:
    more = ",1.25" * columns
    for row in good_rows(days):
        yield row.rstrip("\n") + more + "\n"


def test_memory_does_not_follow_the_file(jobs: Jobs) -> None:
    """As docs/fleet-file.md says: what is kept of a file is less than it is. 38 bytes a byte before."""
    columns = [f"c{number}" for number in range(800)]
    header = ",".join(["day", "cups", "warmth", *columns])
    memory = []
    for days in (240, 4000):
        size = write(jobs, wide_rows(days, len(columns)), header)
        code, said, peak = run(jobs)
        assert code == 0, said
        memory.append((size, peak))
    (small, before), (large, after) = memory
    assert (after - before) / (large - small) < 3, memory


def test_rows_that_a_run_does_not_use_take_no_memory(jobs: Jobs) -> None:
    write(jobs, good_rows())
    before = run(jobs)[2]
    size = write(jobs, [*good_rows(), *("2099-01-01,5,5\n" for _ in range(700_000))])
    code, said, after = run(jobs)
    assert code == 0, said
    assert size > 10_000_000
    assert after - before < size / 2


def test_a_history_of_many_columns_is_read_in_little_memory(jobs: Jobs, tmp_path: Path) -> None:
    """evaluate.py reads all columns of the raw data again, for a champion of other settings."""
    path = tmp_path / "history.csv"
    columns = [f"c{number}" for number in range(500)]
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(["index", "period", *columns]) + "\n")
        for number in range(4000):
            day = LAST_DAY - timedelta(days=number)
            file.write(f"{day.toordinal()},{day}" + ",1.25" * len(columns) + "\n")
    code = f"""
import sys
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
sys.path.insert(0, {str(SCRIPTS)!r})
from pathlib import Path
import champion_table
before = peak()
found = champion_table.read_history(Path({str(path)!r}))
assert len(found.values) == 4000 and found.values[{LAST_DAY.toordinal()}].get("c7") == 1.25
assert found.values[{LAST_DAY.toordinal()}].get("no such column") is None
print(peak() - before)
"""
    done = subprocess.run([IMAGE_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4 * path.stat().st_size
