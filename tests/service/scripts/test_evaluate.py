"""evaluate.py as a processing job: metrics in prices on the same rows, and artifacts not to be trusted."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import statistics
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.script_jobs import AS_OF, Jobs, pack

Texas = dict[str, list[list[str]]]


@pytest.fixture(scope="module")
def evaluated(austin: Jobs) -> Jobs:
    """Austin, evaluated with a champion: the model of a year before."""
    champion = Jobs(austin.root / "year_before")
    shutil.copytree(austin.raw, champion.raw)
    before = "20140801T000000Z"
    for finished in (champion.preprocess("austin", as_of=before), champion.train("austin", as_of=before)):
        assert finished.code == 0, finished.stderr
    pack(champion.root / "model" / "model", austin.root / "champion" / f"{before}-0123456789ab.tar.gz")
    finished = austin.evaluate(
        "austin",
        more=[
            *("--champion-dir", str(austin.root / "champion")),
            *("--champion-target-model", f"austin/{before}-0123456789ab.tar.gz"),
            *("--champion-etag", '"d41d8cd98f00b204e9800998ecf8427e"', "--champion-as-of", before),
        ],
    )
    assert finished.code == 0, finished.stderr
    assert finished.message is None
    return austin


def test_the_report_measures_all_three_on_the_same_rows(evaluated: Jobs) -> None:
    report = evaluated.read_json("evaluate/evaluation/city=austin/evaluation.json")
    assert (report["format_version"], report["city"], report["as_of"], report["rows"]) == (
        1,
        "austin",
        AS_OF,
        12,
    )
    assert report["holdout"] == {"first": "2014-08-01", "last": "2015-07-01"}
    assert (report["kind"], report["task"], report["algorithm"]) == ("series", "regression", "xgboost")
    archive = evaluated.root / "evaluate" / "evaluation" / "city=austin" / report["artifact"]
    assert report["artifact_sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert report["champion"].pop("target_model") == "austin/20140801T000000Z-0123456789ab.tar.gz"
    assert report["champion"].pop("etag") == '"d41d8cd98f00b204e9800998ecf8427e"'
    assert report["champion"].pop("as_of") == "20140801T000000Z"
    holdout = evaluated.read_json("evaluate/evaluation/city=austin/holdout.json")
    assert holdout["features"] == report["features"]
    assert len(holdout["rows"]) == 12
    assert report["challenger"].pop("rows_trained") == 157 + 12
    assert report["champion"].pop("rows_trained") == 157
    assert (report["champion"].pop("rows"), report["champion"].pop("challenger")) == (
        12,
        report["challenger"],
    )
    for name, column in (("challenger", "predicted"), ("naive", "naive")):
        errors = [row[column] - row["actual"] for row in holdout["rows"]]
        actual = [row["actual"] for row in holdout["rows"]]
        squares = statistics.fmean(error**2 for error in errors)
        assert report[name] == pytest.approx(
            {
                "mape": statistics.fmean(abs(e) / a for e, a in zip(errors, actual, strict=True)),
                "wape": sum(map(abs, errors)) / sum(actual),
                "rmse": squares**0.5,
                "mae": statistics.fmean(map(abs, errors)),
                "r2": 1 - squares / statistics.pvariance(actual),
            }
        )
    assert list(report["champion"]) == ["mape", "wape", "rmse", "mae", "r2"]
    assert list(report["baselines"]) == ["last known value", "same period last season", "drift"]
    assert (
        report["baselines"]["last known value"]
        == report["naive"]
        != report["baselines"]["same period last season"]
    )
    with evaluated.out("test", "city=austin", "test.csv").open(encoding="utf-8", newline="") as file:
        shares = [abs(float(row["seasonal"]) / float(row["target"]) - 1) for row in csv.DictReader(file)]
    assert report["baselines"]["same period last season"]["mape"] == pytest.approx(statistics.fmean(shares))
    # Both models know Austin better than last month's price does.
    assert report["challenger"]["mape"] < report["naive"]["mape"]
    assert report["champion"]["mape"] < report["naive"]["mape"]
    assert report["champion"]["mape"] != report["challenger"]["mape"]


def test_drift_is_the_distance_of_the_medians_in_robust_standard_deviations(evaluated: Jobs) -> None:
    drift = evaluated.read_json("evaluate/evaluation/city=austin/evaluation.json")["drift"]
    features = evaluated.read_json("evaluate/evaluation/city=austin/evaluation.json")["features"]
    assert list(drift) == [name for name in features if name != "trend" and "month_of_year" not in name]
    rows = {part: [] for part in ("train", "validation", "test")}
    for part, values in rows.items():
        with evaluated.out(part, "city=austin", f"{part}.csv").open(encoding="utf-8", newline="") as file:
            values += [
                float(row["inventory_lag_1"]) for row in csv.DictReader(file) if row["inventory_lag_1"]
            ]
    trained = rows["train"] + rows["validation"]
    middle = statistics.median(trained)
    scale = 1.4826 * statistics.median(abs(value - middle) for value in trained)
    assert drift["inventory_lag_1"] == pytest.approx(
        abs(statistics.median(rows["test"]) - middle) / scale, abs=1e-3
    )
    # In 2015 Austin has hardly anything on the market; it is far from all it was trained on.
    assert drift["inventory_lag_1"] > 1 > drift["median_lag_1_ratio"]


def test_the_endpoint_answers_what_was_evaluated(evaluated: Jobs, ask: Any) -> None:
    holdout = evaluated.read_json("evaluate/evaluation/city=austin/holdout.json")
    body = json.dumps({"instances": [row["values"] for row in holdout["rows"]]})
    answer = ask(evaluated.root / "model" / "model", body, "application/json", accept="application/json")
    assert json.loads(answer["text"])["predictions"] == [row["predicted"] for row in holdout["rows"]]


def test_shares_are_measured_on_the_rows_that_are_not_zero(jobs: Jobs, austin: Jobs) -> None:
    place(jobs, austin)
    path = jobs.out("test", "city=austin", "test.csv")
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    for zeros in (3, len(rows)):
        changed = [
            ",".join([row.split(",")[0], "0", *row.split(",")[2:]]) if number < zeros else row
            for number, row in enumerate(rows)
        ]
        path.write_text("\n".join([header, *changed]) + "\n", encoding="utf-8")
        finished = jobs.evaluate("austin")
        assert finished.code == 0, finished.stderr
        report = jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")
        assert (report["rows"], report["zero_rows"]) == (12, zeros)
        held = jobs.read_json("evaluate/evaluation/city=austin/holdout.json")["rows"]
        shares = [abs(row["predicted"] / row["actual"] - 1) for row in held if row["actual"]]
        assert report["challenger"]["mape"] == (pytest.approx(statistics.fmean(shares)) if shares else None)
        assert report["challenger"]["mae"] > 0


def place(jobs: Jobs, austin: Jobs) -> None:
    """Give a test its own copy of Austin's test set and model."""
    shutil.copytree(austin.out("test"), jobs.out("test"))
    shutil.copytree(austin.root / "model" / "packed", jobs.root / "model" / "packed")


def drop_feature(jobs: Jobs, name: str) -> None:
    path = jobs.out("test", "city=austin", "test.csv")
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    at = rows[0].index(name)
    path.write_text("\n".join(",".join(row[:at] + row[at + 1 :]) for row in rows), encoding="utf-8")
    path = path.with_name("schema.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["features"] = [feature for feature in schema["features"] if feature["name"] != name]
    path.write_text(json.dumps(schema), encoding="utf-8")


def train_champion(jobs: Jobs, austin: Jobs, more: list[str], transform: str) -> list[str]:
    """Train a champion with other settings, and return the arguments of evaluate.py that name it."""
    champion = Jobs(jobs.root / "champion_run")
    shutil.copytree(austin.raw, champion.raw)
    given = ["--target-transform", transform, *more]
    assert champion.preprocess("austin", more=given).code == 0
    finished = champion.train("austin", target_transform=transform)
    assert finished.code == 0, finished.stderr
    pack(champion.root / "model" / "model", jobs.root / "champion" / "c.tar.gz")
    named = ["--champion-dir", str(jobs.root / "champion"), "--champion-target-model", "austin/c.tar.gz"]
    return [*named, "--champion-etag", "e", "--champion-as-of", AS_OF]


def copy_table_of_champion(jobs: Jobs) -> None:
    """Judge the champion by the table that its own settings make."""
    shutil.rmtree(jobs.out("test"))
    shutil.copytree(jobs.root / "champion_run" / "preprocess" / "test", jobs.out("test"))


@pytest.mark.parametrize(
    ("transform", "known"), [("log_ratio_to_mean:12", "P1M"), ("log_ratio_to_mean:6", "P3M"), ("log", "P1M")]
)
def test_a_feature_taken_away_is_made_for_the_champion_of_the_raw_data(
    jobs: Jobs, austin: Jobs, transform: str, known: str
) -> None:
    """One column more, other lags, another window: the champion is judged as by the table of its own settings."""
    late = ["--available-after", known]
    wide = [
        *late,
        "--feature",
        '{"column":"volume","lags":[1,5]}',
        "--target-lag",
        "9",
        "--calendar",
        "quarter_of_year",
    ]
    more = train_champion(jobs, austin, wide, transform)
    place(jobs, austin)
    shutil.copytree(austin.raw, jobs.raw)
    assert jobs.preprocess("austin", more=late).code == 0
    measured = []
    for _ in range(2):
        finished = jobs.evaluate("austin", more=more)
        assert finished.code == 0, finished.stderr
        measured.append(jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")["champion"])
        del measured[-1]["challenger"]  # the second time another one
        copy_table_of_champion(jobs)
        shutil.copytree(jobs.root / "champion_run" / "model", jobs.root / "model", dirs_exist_ok=True)
        jobs.pack()
    assert measured[0]["mape"] > 0
    assert measured[1] == measured[0]


def test_a_champion_of_another_target_is_not_compared(jobs: Jobs, austin: Jobs) -> None:
    more = train_champion(jobs, austin, [], "none")
    model = jobs.root / "champion_run" / "model" / "model"
    card = json.loads((model / "city_fleet" / "model.json").read_text(encoding="utf-8"))
    (model / "city_fleet" / "model.json").write_text(
        json.dumps({**card, "target": "sales"}), encoding="utf-8"
    )
    pack(model, jobs.root / "champion" / "c.tar.gz")
    place(jobs, austin)
    assert jobs.evaluate("austin", more=more).code == 0
    error = jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")["champion"]["error"]
    assert error == "The champion cannot be compared: it predicts 'sales', the new model 'median'."


def test_a_champion_that_cannot_be_compared_is_reported_and_the_challenger_still_judged(
    jobs: Jobs, austin: Jobs
) -> None:
    """The champion needs a column that the raw data do not hold any more."""
    more = train_champion(
        jobs, austin, ["--feature", '{"column":"volume","lags":[1]}'], "log_ratio_to_mean:12"
    )
    place(jobs, austin)
    history = jobs.out("test", "city=austin", "history.csv")
    history.write_text(history.read_text(encoding="utf-8").replace("volume", "other", 1), encoding="utf-8")
    finished = jobs.evaluate("austin", more=more)
    assert finished.code == 0, finished.stderr
    report = jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")
    assert report["challenger"]["mape"] < report["naive"]["mape"]
    assert report["champion"] == {
        "target_model": "austin/c.tar.gz",
        "etag": "e",
        "as_of": AS_OF,
        "error": report["champion"]["error"],
    }
    assert report["champion"]["error"].startswith(
        f"The champion cannot be compared: the model of {AS_OF} needs feature volume_lag_1, "
        "which the test set lacks"
    )


def test_a_champion_that_has_seen_the_held_out_months_is_not_measured(jobs: Jobs, austin: Jobs) -> None:
    """A run of a backfill beside a newer model: that model was trained on the months this run holds out."""
    place(jobs, austin)
    folder = jobs.root / "champion"
    pack(austin.root / "model" / "model", folder / "c.tar.gz")
    more = ["--champion-dir", str(folder), "--champion-target-model", "austin/c.tar.gz"]
    later = "20160101T000000Z"
    assert later > AS_OF
    finished = jobs.evaluate("austin", more=[*more, "--champion-etag", "e", "--champion-as-of", later])
    assert finished.code == 0, finished.stderr
    assert jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")["champion"] == {
        "target_model": "austin/c.tar.gz",
        "etag": "e",
        "as_of": later,
        "error": f"The champion was made as of {later}.",
    }


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


HOSTILE = [
    ([member("../escaped")], "'../escaped' leads out of the archive; nothing of it is used."),
    ([member("/tmp/escaped")], "'/tmp/escaped' leads out of the archive; nothing of it is used."),
    ([member("city_fleet/../../escaped")], "leads out of the archive; nothing of it is used."),
    ([member("a"), member("a/b")], "not a readable tar.gz file"),
    (
        [member("link", tarfile.SYMTYPE, "/etc/passwd")],
        "'link' is a link or device; allowed: files and folders.",
    ),
    (
        [member("link", tarfile.LNKTYPE, "/etc/passwd")],
        "'link' is a link or device; allowed: files and folders.",
    ),
    ([member("pipe", tarfile.FIFOTYPE)], "'pipe' is a link or device; allowed: files and folders."),
    ([member(f"file{number}") for number in range(101)], "too large; allowed: 100 members"),
    ([member("huge", size=2 << 30)], "too large; allowed: 100 members of 268435456 bytes together."),
]


@pytest.mark.parametrize(("members", "sentence"), HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing_outside(
    jobs: Jobs, austin: Jobs, members: list[tarfile.TarInfo], sentence: str
) -> None:
    place(jobs, austin)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for info in members:
            # The headers alone: what they promise is what has to be refused.
            tar.addfile(info, io.BytesIO(b"") if info.size == 0 else None)
    (jobs.root / "model" / "packed" / "model.tar.gz").write_bytes(content.getvalue())
    finished = jobs.evaluate("austin")
    assert finished.code == 1
    assert sentence in (finished.message or ""), finished.message
    assert "Traceback" not in finished.stderr
    assert not Path("/tmp/escaped").exists()
    assert not (jobs.root / "evaluate").exists()


def test_a_corrupt_archive_and_none_at_all_are_named(jobs: Jobs, austin: Jobs) -> None:
    place(jobs, austin)
    archive = jobs.root / "model" / "packed" / "model.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    expected = "The new model of austin cannot be evaluated: model.tar.gz: not a readable tar.gz file ("
    assert (jobs.evaluate("austin").message or "").startswith(expected)
    archive.write_bytes(b"nonsense")
    assert (jobs.evaluate("austin").message or "").startswith(expected)
    archive.unlink()
    assert "holds 0 archives (none); allowed: exactly one tar.gz." in (jobs.evaluate("austin").message or "")


def test_model_and_test_set_must_belong_together(jobs: Jobs, austin: Jobs) -> None:
    place(jobs, austin)
    drop_feature(jobs, "sales_lag_2")
    assert "needs feature sales_lag_2, which the test set lacks" in (jobs.evaluate("austin").message or "")
    assert "--city: got 'waco'; the test set is of 'austin'." in (jobs.evaluate("waco").message or "")
    schema = jobs.out("test", "city=austin", "schema.json")
    schema.write_text(schema.read_text(encoding="utf-8").replace('"austin"', '"waco"'), encoding="utf-8")
    jobs.out("test", "city=austin").rename(jobs.out("test", "city=waco"))
    assert "got a model of city 'austin'; allowed: 'waco'." in (jobs.evaluate("waco").message or "")
