"""preprocess.py as a processing job: what it writes, what it leaves unseen, and how it refuses bad data."""

from __future__ import annotations

import csv
import hashlib
import math
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.script_jobs import RAW_URI, TEXAS_ARGUMENTS, Jobs, digests

Texas = dict[str, list[list[str]]]


STATUS = "preprocess/report/city={}/status.json"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_austin_is_split_by_time_and_every_file_is_there(austin: Jobs, texas: Texas) -> None:
    status = austin.read_json("preprocess/report/city=austin/status.json")
    assert status["status"] == "ready"
    assert status["reason"] == ""
    assert status["rows"] == {"train": 157, "validation": 12, "test": 12}
    assert status["newest"] == {
        "frequency": "month",
        "period": "2015-07-01",
        "expected": "2015-07-01",
        "late_periods": 0,
    }
    assert status["periods"] == {
        "first": "2000-01-01",
        "last": "2015-07-01",
        "on_grid": 187,
        "usable": 181,
        "needed": 60,
        "missing_periods": 0,
        "missing_target": 0,
    }
    parts = {
        part: table(austin.out(part, "city=austin", f"{part}.csv"))
        for part in ("train", "validation", "test")
    }
    assert {part: (rows[0]["period"], rows[-1]["period"]) for part, rows in parts.items()} == {
        "train": ("2000-07-01", "2013-07-01"),
        "validation": ("2013-08-01", "2014-07-01"),
        "test": ("2014-08-01", "2015-07-01"),
    }
    # The last row, worked out by hand from the file.
    medians = [float(row[5]) for row in texas["austin"][1:]]
    sales = [row[3] for row in texas["austin"][1:]]
    last = parts["test"][-1]
    mean = math.fsum(medians[-13:-1]) / 12
    # Fourteen changes from July to July, back from June: their mean is far more than twice its standard error.
    changes = [medians[at] - medians[at - 12] for at in range(len(medians) - 2, 11, -12)]
    assert float(last["drift"]) == pytest.approx(
        medians[-2] + math.fsum(changes) / len(changes) / 12, rel=1e-9
    )
    assert list(last)[:6] == ["period", "target", "label", "naive", "seasonal", "drift"]
    assert list(last)[6:8] == ["lead", "ahead"]
    assert list(last)[8:] == status["features"]
    assert float(last["seasonal"]) == medians[-13]
    assert float(last["target"]) == medians[-1]
    assert float(last["naive"]) == medians[-2]
    assert float(last["median_mean_12"]) == pytest.approx(mean, rel=1e-12)
    assert float(last["label"]) == pytest.approx(math.log(medians[-1] / mean), rel=1e-9)
    assert float(last["median_lag_12_ratio"]) == pytest.approx(medians[-13] / mean, rel=1e-9)
    assert float(last["sales_lag_2"]) == float(sales[-3])
    # The first rows have no lag of 12 months: empty, not filled in.
    assert parts["train"][0]["median_lag_12_ratio"] == ""


def test_the_manifest_names_the_inputs_as_s3_has_them(austin: Jobs, texas: Texas) -> None:
    manifest = austin.read_json("preprocess/report/city=austin/manifest.json")
    content = (austin.raw / "city=austin" / "data.csv").read_bytes()
    assert manifest["inputs"] == [
        {
            "uri": RAW_URI + "city=austin/data.csv",
            "size_bytes": len(content),
            "etag": hashlib.md5(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "rows": 187,
            "rows_used": 187,
            "rows_repeated": 0,
            "rows_later": 0,
        }
    ]
    assert manifest["arguments"]["as_of"] == manifest["as_of"] == "20150801T000000Z"
    rows = table(austin.out("report", "city=austin", "rows.csv"))
    assert len(rows) == 187
    assert rows[0] == {
        "file": RAW_URI + "city=austin/data.csv",
        "row": "2",
        "period": "2000-01-01",
        "year": "2000",
        "month": "1",
        "median": "133700",
        "sales": "1025",
        "listings": texas["austin"][1][6],
        "inventory": texas["austin"][1][7],
    }


@pytest.mark.parametrize(
    ("as_of", "last"),
    [
        ("20140101T000000Z", "2013-12-01"),
        ("20131231T235959Z", "2013-11-01"),
        ("20140115T120000Z", "2013-12-01"),
    ],
)
def test_a_month_is_known_when_it_is_over(jobs: Jobs, texas: Texas, as_of: str, last: str) -> None:
    jobs.write_raw("austin", texas["austin"])
    assert jobs.preprocess("austin", as_of=as_of).code == 0
    status = jobs.read_json("preprocess/report/city=austin/status.json")
    assert status["periods"]["last"] == last
    assert table(jobs.out("test", "city=austin", "test.csv"))[-1]["period"] == last


def test_a_row_of_late_data_is_made_of_what_was_known_when_its_month_began(jobs: Jobs, texas: Texas) -> None:
    """Published three months late, the newest median that the row of May 2015 may know is that of February."""
    jobs.write_raw("austin", texas["austin"])
    assert jobs.preprocess("austin", more=("--available-after", "P3M")).code == 0
    parts = {
        part: table(jobs.out(part, "city=austin", f"{part}.csv")) for part in ("train", "validation", "test")
    }
    median = {f"{row[1]}-{int(row[2]):02}-01": float(row[5]) for row in texas["austin"][1:] if row[5] != "NA"}
    last = parts["test"][-1]
    assert (last["period"], last["lead"]) == ("2015-05-01", "3.0")
    assert float(last["naive"]) == median["2015-02-01"]
    until = [median[f"{2014 + (month > 12)}-{(month - 1) % 12 + 1:02}-01"] for month in range(3, 15)]
    assert float(last["median_mean_12"]) == pytest.approx(math.fsum(until) / 12, rel=1e-12)
    assert float(last["median_lag_1_ratio"]) == pytest.approx(12 * until[-1] / math.fsum(until), rel=1e-9)
    # The honest naive forecast: 3.9 %, where one that knew the month before would show 2.1 %.
    shares = [abs(float(row["naive"]) / float(row["target"]) - 1) for row in parts["test"]]
    assert sum(shares) / len(shares) == pytest.approx(0.0393, abs=5e-5)
    # No label of the other parts was published after the first held-out month began.
    assert parts["test"][0]["period"] == "2014-06-01"
    assert parts["validation"][-1]["period"] == "2014-03-01"
    assert parts["validation"][0]["period"] == "2013-04-01"
    assert parts["train"][-1]["period"] == "2013-01-01"


@pytest.mark.parametrize("poison", ["nonsense", "-5", "0", "1e300", "", "duplicate", "short row"])
def test_what_is_known_later_is_not_seen(jobs: Jobs, texas: Texas, poison: str) -> None:
    """Whatever happens to the rows after as_of, an earlier run writes the same bytes."""
    header, *rows = texas["waco"]
    jobs.write_raw("waco", [header, *rows])
    assert jobs.preprocess("waco", as_of="20130101T000000Z").code == 0
    clean, status = digests(jobs.out()), jobs.read_json(STATUS.format("waco"))
    known = [row for row in rows if int(row[1]) < 2013]
    later = [row for row in rows if int(row[1]) >= 2013]
    if poison == "duplicate":
        later += later
    elif poison == "short row":
        later = [row[:3] for row in later]
    else:
        later = [[*row[:3], *[poison] * (len(row) - 3)] for row in later]
    jobs.write_raw("waco", [header, *known, *later])
    finished = jobs.preprocess("waco", as_of="20130101T000000Z")
    assert finished.code == 0, finished.stderr
    manifest = "report/city=waco/manifest.json"
    poisoned = digests(jobs.out())
    assert clean.pop(manifest) != poisoned.pop(manifest)
    # How many later rows there are is counted and said, and nothing else.
    assert jobs.read_json(STATUS.format("waco")) == status | {"later_rows": len(later)}
    assert (
        f"{len(later)} rows are of months that are not known yet at 2013-01-01T00:00:00Z" in finished.stdout
    )
    for files in (clean, poisoned):
        del files["report/city=waco/status.json"]
    assert poisoned == clean
    # A run that knows the rows complains, unless the values are merely missing.
    finished = jobs.preprocess("waco", as_of="20150801T000000Z")
    assert finished.code == (0 if poison in ("", "short row") else 1)


@pytest.mark.parametrize(
    ("as_of", "usable", "sentence"),
    [
        (
            "20030101T000000Z",
            30,
            "austin has 30 usable months as of 2003-01-01; 60 are needed (minimum_periods).",
        ),
        (
            "19990101T000000Z",
            0,
            "austin has 0 usable months as of 1999-01-01; 60 are needed (minimum_periods).",
        ),
    ],
)
def test_too_little_data_ends_well_and_says_how_much_is_needed(
    jobs: Jobs, texas: Texas, as_of: str, usable: int, sentence: str
) -> None:
    jobs.write_raw("austin", texas["austin"])
    finished = jobs.preprocess("austin", as_of=as_of)
    assert finished.code == 0
    assert finished.message is None
    status = jobs.read_json("preprocess/report/city=austin/status.json")
    assert status["status"] == "too_little_data"
    assert status["reason"].startswith(sentence)
    assert status["periods"]["usable"] == usable
    # SageMaker uploads these folders, so they are there, but hold nothing to train on by mistake.
    for part in ("train", "validation", "test"):
        assert list(jobs.out(part).iterdir()) == []
    assert jobs.out("report", "city=austin", "manifest.json").exists()


def test_an_empty_window_is_too_little_data(jobs: Jobs, texas: Texas) -> None:
    header, *rows = texas["austin"]
    jobs.write_raw("austin", [header, *rows[:-12], *([*row[:5], "", *row[6:]] for row in rows[-12:])])
    assert jobs.preprocess("austin").code == 0
    status = jobs.read_json("preprocess/report/city=austin/status.json")
    assert status["status"] == "too_little_data"
    assert "but none in the 12 months of the holdout; at least 1 is needed there." in status["reason"]


def test_a_value_far_from_all_others_is_found_with_its_month(jobs: Jobs, texas: Texas) -> None:
    """Sales have no upper limit in the fleet file, so a thousand times too many are possible, but wild."""
    header, *rows = [list(row) for row in texas["abilene"]]
    sales, inventory = header.index("sales"), header.index("inventory")
    rows[60][sales] = str(1000 * int(float(rows[60][sales])))
    for row in rows[-12:]:
        row[inventory] = ""
    jobs.write_raw("abilene", [header, *rows])
    assert jobs.preprocess("abilene").code == 0
    status = jobs.read_json("preprocess/report/city=abilene/status.json")
    wild = status["extremes"]["sales"]
    assert (wild["period"], wild["value"]) == ("2005-01-01", float(rows[60][sales]))
    assert wild["deviations"] > 1000
    assert 1 < status["extremes"]["median"]["deviations"] < 10
    assert status["recent_missing_share"] == {"median": 0.0, "sales": 0.0, "listings": 0.0, "inventory": 1.0}


def test_a_distance_beyond_all_numbers_is_still_a_number(jobs: Jobs, texas: Texas) -> None:
    rows = [list(row) for row in texas["waco"]]
    sales = rows[0].index("sales")
    for number, row in enumerate(rows[1:]):
        row[sales] = repr(1e-300 * (1 + number % 5))
    rows[10][sales] = "1e17"
    jobs.write_raw("waco", rows)
    finished = jobs.preprocess("waco")
    assert finished.code == 0, finished.stderr
    assert (
        jobs.read_json("preprocess/report/city=waco/status.json")["extremes"]["sales"]["deviations"] == 1e300
    )


def test_a_column_that_is_nearly_always_the_same_has_nothing_to_measure_by(jobs: Jobs, texas: Texas) -> None:
    header, *rows = [list(row) for row in texas["abilene"]]
    for number, row in enumerate(rows):
        row[header.index("listings")] = "1" if number % 50 == 0 else "0"
        row[header.index("inventory")] = ""
    jobs.write_raw("abilene", [header, *rows])
    assert jobs.preprocess("abilene").code == 0
    extremes = jobs.read_json("preprocess/report/city=abilene/status.json")["extremes"]
    assert extremes["listings"] is None
    assert extremes["inventory"] is None


def test_missing_months_and_medians_stay_missing_and_are_counted(jobs: Jobs, texas: Texas) -> None:
    header, *rows = texas["kerrville"]
    # Two months are cut out as well: the file has every month of Kerrville, many without a median.
    jobs.write_raw("kerrville", [header, *rows[:150], *rows[152:]])
    jobs.write_raw("south_padre_island", texas["south_padre_island"])
    assert jobs.preprocess("kerrville", "south_padre_island").code == 0
    kerrville = jobs.read_json("preprocess/report/city=kerrville/status.json")
    assert kerrville["periods"]["missing_periods"] == 2
    assert kerrville["periods"]["missing_target"] == 187 - sum(
        row[5] != "" for row in rows[:150] + rows[152:]
    )
    assert kerrville["missing_share"]["median"] == pytest.approx(
        kerrville["periods"]["missing_target"] / 187, abs=1e-6
    )
    padre = jobs.read_json("preprocess/report/city=south_padre_island/status.json")
    assert padre["periods"]["missing_target"] == 187 - 71
    assert padre["status"] == "ready"
    for city in ("kerrville", "south_padre_island"):
        for row in table(jobs.out("train", f"city={city}", "train.csv")):
            assert row["target"]
            assert row["label"]
            assert row["naive"]
            assert row["median_mean_12"]
    # The month after the gap knows nothing of the month before, and its naive forecast reaches further back.
    cut = rows[152]
    after = {row["period"]: row for row in table(jobs.out("train", "city=kerrville", "train.csv"))}[
        f"{cut[1]}-{int(cut[2]):02d}-01"
    ]
    assert (after["sales_lag_1"], after["median_lag_1_ratio"]) == ("", "")
    assert float(after["naive"]) == float(rows[149][5])


COMPLAINTS = [
    (3, "-72", "column 'sales': got '-72'; allowed: a number of at least 0, or empty."),
    (3, "many", "column 'sales': got 'many'; allowed: a number of at least 0, or empty."),
    (3, "1_000", "column 'sales': got '1_000'; allowed: a number of at least 0, or empty."),
    (3, "inf", "column 'sales': got 'inf'; allowed: a number of at least 0, or empty."),
    (5, "0", "column 'median': got '0'; allowed: a number from 1000 to 10000000, or empty."),
    (5, "150,000", "column 'median': got '150,000'; allowed: a number from 1000 to 10000000, or empty."),
    (2, "13", "columns 'year', 'month': got '2000', '13'; allowed: a year and a month (1 to 12)."),
]


@pytest.mark.parametrize(("column", "value", "sentence"), COMPLAINTS)
def test_an_impossible_value_is_named_with_file_row_and_column(
    jobs: Jobs, texas: Texas, column: int, value: str, sentence: str
) -> None:
    rows = [list(row) for row in texas["waco"]]
    rows[10][column] = value
    jobs.write_raw("waco", rows, name="2015/sales.csv")
    finished = jobs.preprocess("waco")
    assert finished.code == 1
    assert finished.message is not None
    assert finished.message.startswith(f"{RAW_URI}city=waco/2015/sales.csv, row 11, {sentence}")
    assert finished.stderr.strip() == finished.message
    assert "Traceback" not in finished.stderr
    status = jobs.read_json("preprocess/report/city=waco/status.json")
    assert (status["status"], status["reason"]) == ("failed", finished.message)


def test_a_target_of_zero_has_no_logarithm_whatever_the_limits(jobs: Jobs, texas: Texas) -> None:
    rows = [list(row) for row in texas["waco"]]
    rows[10][5] = "0"
    jobs.write_raw("waco", rows)
    at = TEXAS_ARGUMENTS.index("--target-min")
    finished = jobs.preprocess("waco", arguments=TEXAS_ARGUMENTS[:at] + TEXAS_ARGUMENTS[at + 4 :])
    assert "row 11, column 'median': got '0'; allowed: a number above 0, or empty." in (
        finished.message or ""
    )


def test_several_mistakes_are_reported_at_once(jobs: Jobs, texas: Texas) -> None:
    rows = [list(row) for row in texas["waco"]]
    for at in range(1, 8):
        rows[at][3] = "x"
    jobs.write_raw("waco", rows)
    message = jobs.preprocess("waco").message or ""
    assert [f"row {row}," in message for row in range(2, 6)] == [True, True, True, False]
    assert "There are 4 more like these." in message


def test_row_numbers_are_those_an_editor_shows(jobs: Jobs, texas: Texas) -> None:
    path = jobs.write_raw("waco", texas["waco"])
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[5:5] = ["", ""]
    lines[20] = lines[20].replace(",2001,", ",2001x,")
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    assert "row 21, columns 'year', 'month': got '2001x'" in (jobs.preprocess("waco").message or "")


def test_a_missing_column_is_named_with_those_found(jobs: Jobs, texas: Texas) -> None:
    header, *rows = texas["waco"]
    jobs.write_raw("waco", [["city", "year", "month", "sale", *header[4:]], *rows])
    assert jobs.preprocess("waco").message == (
        f"{RAW_URI}city=waco/data.csv: column 'sales' is missing; columns found: "
        "city, year, month, sale, volume, median, listings, inventory. Did you mean 'sale'?"
    )


def test_a_month_that_is_there_twice_names_both_rows(jobs: Jobs, texas: Texas) -> None:
    header, *rows = texas["waco"]
    jobs.write_raw("waco", [header, *rows[:100], rows[4], *rows[100:]])
    expected = (
        f"{RAW_URI}city=waco/data.csv, row 102: the month of 2000-05-01 is there already, "
        "in row 6; allowed: once."
    )
    assert (jobs.preprocess("waco").message or "").startswith(expected)


def test_equal_rows_of_two_files_are_one_row(jobs: Jobs, texas: Texas) -> None:
    """Exports that overlap are no mistake: the rows that both hold count once, and the log says so."""
    header, *rows = texas["waco"]
    jobs.write_raw("waco", [header, *rows])
    alone = jobs.preprocess("waco")
    assert alone.code == 0
    expected = {part: table(jobs.out(part, "city=waco", f"{part}.csv")) for part in ("train", "test")}
    jobs.write_raw("waco", [header, *rows[:100]])
    # The same numbers, otherwise written, and the columns in another order.
    again = [[*row[:3], f"{row[3]}.0", *row[4:]][::-1] for row in rows[60:]]
    jobs.write_raw("waco", [header[::-1], *again], name="later.csv")
    both = jobs.preprocess("waco")
    assert both.code == 0, both.message
    assert {part: table(jobs.out(part, "city=waco", f"{part}.csv")) for part in expected} == expected
    note = f"{RAW_URI}city=waco/later.csv: 40 rows are in another file too, with the same values; each counts once."
    assert note in both.stdout
    inputs = jobs.read_json("preprocess/report/city=waco/manifest.json")["inputs"]
    assert [(entry["rows_used"], entry["rows_repeated"]) for entry in inputs] == [(100, 0), (87, 40)]


def test_rows_of_two_files_that_contradict_each_other_name_both(jobs: Jobs, texas: Texas) -> None:
    header, *rows = texas["waco"]
    jobs.write_raw("waco", [header, *rows[:100]])
    changed = [*rows[99][:3], str(int(rows[99][3]) + 1), *rows[99][4:]]
    jobs.write_raw("waco", [header, changed, *rows[100:]], name="later.csv")
    expected = (
        f"{RAW_URI}city=waco/later.csv, row 2: the month of 2008-04-01 is there already, "
        f"in row 101 of {RAW_URI}city=waco/data.csv, with another 'sales': '{rows[99][3]}' there, "
        f"'{changed[3]}' here; allowed: once, or the same values in both files."
    )
    assert (jobs.preprocess("waco").message or "").startswith(expected)


def test_several_files_make_one_city_whatever_their_order_of_rows_and_columns(
    austin: Jobs, jobs: Jobs, texas: Texas
) -> None:
    header, *rows = texas["austin"]
    shuffled = rows[90:]
    random.Random(1).shuffle(shuffled)
    jobs.write_raw("austin", [header[::-1], *(row[::-1] for row in shuffled)], name="b/newer.csv")
    jobs.write_raw("austin", [header, *rows[:90]], name="a.csv")
    assert jobs.preprocess("austin").code == 0
    for part in ("train", "validation", "test"):
        assert digests(jobs.out(part)) == digests(austin.out(part))
    inputs = jobs.read_json("preprocess/report/city=austin/manifest.json")["inputs"]
    assert [(entry["uri"], entry["rows_used"]) for entry in inputs] == [
        (RAW_URI + "city=austin/a.csv", 90),
        (RAW_URI + "city=austin/b/newer.csv", 97),
    ]


def test_one_bad_city_does_not_keep_the_others_from_being_done(jobs: Jobs, texas: Texas) -> None:
    jobs.write_raw("austin", texas["austin"])
    jobs.write_raw("waco", [["year", "price"], ["2000", "1"]])
    jobs.write_raw("dallas", texas["dallas"])
    finished = jobs.preprocess("austin", "waco", "dallas")
    assert finished.code == 1
    assert "city=waco/data.csv: column 'month' is missing" in (finished.message or "")
    states = {
        city: jobs.read_json(f"preprocess/report/city={city}/status.json")["status"]
        for city in ("austin", "waco", "dallas")
    }
    assert states == {"austin": "ready", "waco": "failed", "dallas": "ready"}
    assert jobs.out("test", "city=dallas", "test.csv").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no header; row 1 must name the columns year, month, median, sales, listings, inventory."),
        (b"year,month,median,sales\n2000,1,\xff\xfe,3\n", "not UTF-8 text (byte 31)."),
        (b"year;month;median;sales\n", "column 'year' is missing; columns found: year;month;median;sales."),
        (b"year,month,median,sales,sales\n", "row 1: column 'sales' is there 2 times; allowed: once."),
    ],
)
def test_a_file_that_is_no_such_csv_is_refused(jobs: Jobs, content: bytes, sentence: str) -> None:
    jobs.write_raw("waco", []).write_bytes(content)
    finished = jobs.preprocess("waco")
    assert finished.code == 1
    assert sentence in (finished.message or "")


@pytest.mark.parametrize("later", ["2999-12-31", "9999-12-31"])
def test_a_day_after_as_of_is_ignored_up_to_the_end_of_the_calendar(jobs: Jobs, later: str) -> None:
    arguments = [part.replace("%d.%m.%Y", "%Y-%m-%d") for part in DAILY_ARGUMENTS]
    header, *rows = daily_rows()
    days = [[date(2023, 1, 1) + timedelta(days=n), *row[1:]] for n, row in enumerate(rows)]
    jobs.write_raw("shop_7", [header, *days, [later, 1, 1]])
    finished = jobs.preprocess("shop_7", as_of="20240201T000000Z", arguments=arguments)
    assert finished.code == 0, finished.stderr
    assert jobs.read_json("preprocess/report/city=shop_7/status.json")["periods"]["last"] == "2024-01-31"


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (
            ["1717200000000", "1"],
            "columns 'year', 'month': got '1717200000000', '1'; allowed: a year and a month",
        ),
        (
            ["0", "1"],
            "columns 'year', 'month': got '0', '1'; allowed: a year and a month (1 to 12), in the years",
        ),
    ],
)
def test_what_can_be_no_date_is_refused_with_file_row_and_column(
    jobs: Jobs, texas: Texas, cells: list[str], sentence: str
) -> None:
    rows = [list(row) for row in texas["waco"]]
    rows[10][1:3] = cells
    jobs.write_raw("waco", rows)
    finished = jobs.preprocess("waco")
    assert finished.code == 1
    assert f"{RAW_URI}city=waco/data.csv, row 11, {sentence}" in (finished.message or "")
    assert "Traceback" not in finished.stderr


MARKERS = (
    *(
        "_SUCCESS",
        "_committed_123",
        "_started_123",
        ".part-0.csv.crc",
        "part-0.csv.crc",
        "_temporary/0/part-0.csv",
    ),
    *("x_$folder$", "9f3c.csv.metadata", "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f-manifest.csv"),
)


def test_what_tools_leave_beside_the_data_is_ignored_and_named_in_the_log(jobs: Jobs, texas: Texas) -> None:
    for name in MARKERS:
        jobs.write_raw("waco", [["what a tool writes"]], name=name)
    message = jobs.preprocess("waco").message or ""
    assert (
        "no raw data; expected at least one .csv or .parquet file there. Ignored by their names:" in message
    )
    jobs.write_raw("waco", texas["waco"], name="year=2015/part-00000.csv")
    finished = jobs.preprocess("waco")
    assert finished.code == 0, finished.stderr
    assert all(name in finished.stdout for name in MARKERS)
    assert len(jobs.read_json("preprocess/report/city=waco/manifest.json")["inputs"]) == 1


@pytest.mark.parametrize(
    ("as_of", "available_after", "expected"),
    [
        ("20250825T000000Z", "P1D", "2025-08-24"),
        ("20240205T120000Z", "P1D", "2024-02-04"),
        ("20240205T000000Z", "P9999Y", None),
    ],
)
def test_a_feed_that_has_stopped_is_measured(
    jobs: Jobs, as_of: str, available_after: str, expected: str | None
) -> None:
    rows = daily_rows()
    for row in rows[-2:]:
        row[1] = ""  # the target of the last two days is not known yet
    jobs.write_raw("shop_7", rows)
    more = ["--available-after", available_after]
    finished = jobs.preprocess("shop_7", as_of=as_of, arguments=DAILY_ARGUMENTS, more=more)
    assert finished.code == 0, finished.stderr
    newest = jobs.read_json("preprocess/report/city=shop_7/status.json")["newest"]
    known = "2024-02-02" if expected else None
    assert (newest["expected"], newest["period"]) == (expected, known)
    late = (date.fromisoformat(expected) - date(2024, 2, 2)).days if expected else None
    assert newest["late_periods"] == late


def test_a_cell_that_no_csv_reader_takes_is_refused_with_its_row(jobs: Jobs, texas: Texas) -> None:
    jobs.write_raw("waco", [*texas["waco"], ["x" * 200_000]])
    message = jobs.preprocess("waco").message or ""
    assert f"data.csv, row {len(texas['waco']) + 1}: not CSV (field larger than field limit" in message


def test_what_nobody_foresaw_ends_with_a_sentence_too(jobs: Jobs, texas: Texas) -> None:
    jobs.write_raw("waco", texas["waco"])
    jobs.out("train").parent.mkdir(parents=True)
    jobs.out("train").write_text("a file where a folder has to be")
    finished = jobs.preprocess("waco")
    assert finished.code == 1
    assert (finished.message or "").startswith("Not foreseen: FileExistsError in ")
    assert finished.stderr.rstrip().endswith(finished.message or "?")
    assert "Traceback" in finished.stderr


def test_other_kinds_of_files_are_refused(jobs: Jobs, texas: Texas) -> None:
    jobs.write_raw("waco", texas["waco"], name="waco.xlsx")
    assert "raw data must be .csv, .csv.gz or .parquet files" in (jobs.preprocess("waco").message or "")
    (jobs.raw / "city=waco" / "waco.xlsx").rename(jobs.raw / "city=waco" / "waco.parquet")
    message = jobs.preprocess("waco").message or ""
    assert "needs pyarrow" in message or "not a readable Parquet file" in message


def test_a_city_without_data_is_named_with_the_nearest(jobs: Jobs, texas: Texas) -> None:
    jobs.write_raw("austin", texas["austin"])
    (jobs.raw / "city=empty").mkdir()
    message = jobs.preprocess("austni").message or ""
    assert message.startswith(
        f"{RAW_URI}city=austni/: no raw data for city 'austni'; cities there: austin, empty."
    )
    assert message.endswith("Did you mean 'austin'?")
    assert "expected at least one .csv" in (jobs.preprocess("empty").message or "")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ["--feature", '{"column":"volume","lags":[0]}'],
            "a lag of 0 would show the model what it is to predict",
        ),
        (
            ["--feature", '{"column":"volume","lag":[1]}'],
            "got key 'lag'; allowed: column, lags, min, max, known_ahead, aggregate. Did you mean 'lags'?",
        ),
        (["--feature", "{"], '--feature: got {; allowed: JSON such as {"column":"sales"'),
        (["--feature", '{"column":"median","lags":[1]}'], "column 'median' is there twice"),
        (["--target-lag", "1"], "feature median_lag_1_ratio is there more than once"),
        (["--target-transform", "cube"], "got 'cube'; allowed: none, log, or log_ratio_to_mean:<periods>"),
        (["--available-after", "soon"], "got 'soon'; allowed: a duration such as P1M"),
        (["--holdout-periods", "0"], "--holdout-periods: got 0; allowed: a whole number of at least 1."),
        (["--time-format", "%Y"], "--time-column: got year, month; allowed: one column"),
        (["--frequency", "minute"], "argument --frequency: invalid choice: 'minute'"),
        (
            ["--as-of", "yesterday"],
            "--as-of: got 'yesterday'; allowed: a UTC time written as 20140101T000000Z.",
        ),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_wrong_arguments_reach_the_message_file(
    jobs: Jobs, texas: Texas, more: list[str], sentence: str
) -> None:
    jobs.write_raw("austin", texas["austin"])
    finished = jobs.preprocess("austin", more=more)
    assert finished.code == 1
    assert sentence in (finished.message or "")
    assert "Traceback" not in finished.stderr


def daily_rows() -> list[list[Any]]:
    """Ice cream by day, with a weekly rhythm: nothing of it is like the Texas data."""
    source = random.Random(7)
    rows: list[list[Any]] = [["Tag", "verkauft", "temperatur"]]
    for day in range(400):
        when = date(2023, 1, 1) + timedelta(days=day)
        warm = 10 + 12 * math.sin(day / 58) + source.gauss(0, 2)
        rows.append(
            [f"{when:%d.%m.%Y}", round(60 + 3 * warm + 25 * (when.weekday() >= 5) + source.gauss(0, 4)), warm]
        )
    return rows


DAILY_ARGUMENTS = (
    *("--time-column", "Tag", "--time-format", "%d.%m.%Y", "--frequency", "day", "--available-after", "P1D"),
    *("--target", "verkauft", "--target-lag", "1", "--target-lag", "7"),
    *("--feature", '{"column":"temperatur","lags":[1],"min":-60,"max":60}', "--calendar", "day_of_week"),
    *("--minimum-periods", "120", "--validation-periods", "28", "--holdout-periods", "28"),
)


def test_another_data_set_needs_nothing_but_other_arguments(jobs: Jobs) -> None:
    jobs.write_raw("shop_7", daily_rows())
    finished = jobs.preprocess("shop_7", as_of="20240201T000000Z", arguments=DAILY_ARGUMENTS)
    assert finished.code == 0, finished.stderr
    status = jobs.read_json("preprocess/report/city=shop_7/status.json")
    assert status["periods"]["last"] == "2024-01-31"
    assert status["rows"] == {"train": 339, "validation": 28, "test": 28}
    assert status["features"] == [
        *("verkauft_lag_1", "verkauft_lag_7", "temperatur_lag_1", "day_of_week_sin", "day_of_week_cos")
    ]
    plain = {"target": "verkauft", "target_transform": "none"}
    assert jobs.train("shop_7", as_of="20240201T000000Z", **plain).code == 0
    jobs.pack()
    finished = jobs.evaluate("shop_7", as_of="20240201T000000Z")
    assert finished.code == 0, finished.stderr
    report = jobs.read_json("evaluate/evaluation/city=shop_7/evaluation.json")
    assert report["rows"] == 28
    assert report["challenger"]["rmse"] < report["naive"]["rmse"]
