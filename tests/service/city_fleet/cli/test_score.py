"""./fleet score as a person runs it, against a real endpoint: tables of numbers and classes, a series by features."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

from city_fleet.cli import score_command
from city_fleet.prediction import row_batches
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import clients
from city_fleet.prediction.row_batches import RowScorer
from tests.support import table_artifacts
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import running_server
from tests.support.serving import FEATURES, KEYS, Serving, serve

Command = Callable[..., Done]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_artifacts.make(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def serving(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Houston's model is of many classes, Dallas's of a number, El Paso's (by name) of a series with features."""
    with running_server(tmp_path_factory.mktemp("score")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        serving = serve(server, tmp_path_factory.mktemp("models"))
        table_artifacts.publish(serving, tables, "categories_many", "houston")
        table_artifacts.publish(serving, tables, "mixed", "dallas")
        serving.publish("el_paso", 1)
        yield serving


@pytest.fixture
def run(serving: Serving, tmp_path: Path) -> Command:
    text = SMALL.replace("fleet: small", f"fleet: {KEYS.fleet}").replace("small-data", KEYS.bucket)
    cities = "cities: {houston: , dallas: , el_paso: {name: El Paso}, waco: }\n"
    fleets = tmp_path / "fleets"
    fleets.mkdir()
    (fleets / "houses.yaml").write_text(f"{text}endpoint: {{name: {serving.endpoint}}}\n{cities}")

    def command(*arguments: str, **more: Any) -> Done:
        settings = {**serving.server.variables, "CITY_FLEET_FLEETS": str(fleets), **more}
        return fleet("score", *arguments, **settings)

    return command


def rows_of(tables: Path, name: str, count: int) -> tuple[list[dict[str, Any]], list[Any]]:
    """Rows by feature and what the model answers, over and over until there are so many."""
    case = table_artifacts.expected(tables, name)
    rows = [dict(zip(case["features"], row, strict=True)) for row in case["rows"]]
    return [rows[n % len(rows)] for n in range(count)], [case["json"][n % len(rows)] for n in range(count)]


def as_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    def cell(value: Any) -> Any:
        return "" if value is None else str(value).lower() if isinstance(value, bool) else value

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return path


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_row_of_a_csv_is_answered_in_its_order(run: Command, tables: Path, tmp_path: Path) -> None:
    rows, answers = rows_of(tables, "mixed", row_batches.MOST_ROWS + 50)
    done = run("dallas", str(as_csv(tmp_path / "rows.csv", rows)))
    assert done.returncode == 0, done.stderr
    found = read(done.stdout)
    assert [float(each["prediction"]) for each in found] == pytest.approx(answers, rel=1e-6)
    assert [int(each["row"]) for each in found] == list(range(2, len(rows) + 2))
    assert {(each["city"], each["error"], each["label"]) for each in found} == {("dallas", "", "")}
    assert score_command._MOST_CLASSES == row_batches.MOST_CLASSES
    (model,) = {each["target_model"] for each in found}
    assert f"550 of 550 rows have a prediction, by {model}" in done.stderr


def test_what_is_refused_keeps_its_place_and_says_why(run: Command, tables: Path, tmp_path: Path) -> None:
    rows, answers = rows_of(tables, "mixed", 6)
    rows = [{"id": f"r{number}", **row} for number, row in enumerate(rows)]
    rows[1] = {**rows[1], "pool": "perhaps"}
    rows[4] = {**rows[4], "listed": "yesterday"}
    file = as_csv(tmp_path / "rows.csv", rows)
    file.write_text(file.read_text() + "1,2\n")
    out = tmp_path / "scored.csv"
    done = run("dallas", str(file), "--keep", "--out", str(out), "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["rows"], report["refused"]) == (7, 3)
    assert [each["row"] for each in report["first_refused"]] == [3, 6, 8]
    found = read(out.read_text())
    assert [each["id"] for each in found] == ["r0", "r1", "r2", "r3", "r4", "r5", ""]
    assert "feature 'pool': got 'perhaps'; allowed: true or false" in found[1]["error"]
    assert "feature 'listed': got 'yesterday'" in found[4]["error"]
    assert found[6]["error"].startswith("got 2 values; allowed: ")
    for number in (0, 2, 3, 5):
        assert float(found[number]["prediction"]) == pytest.approx(answers[number], rel=1e-6)
    assert [bool(each["prediction"]) for each in found] == [True, False, True, True, False, True, False]


def test_classes_come_with_their_probability_as_parquet(run: Command, tables: Path, tmp_path: Path) -> None:
    rows, answers = rows_of(tables, "categories_many", 20)
    file, out = tmp_path / "rows.parquet", tmp_path / "scored.parquet"
    pandas.DataFrame([{"price": 1.5, **row} for row in rows]).to_parquet(file)
    done = run("Houston", str(file), "--out", str(out), "--keep", "--top-k", "2")
    assert done.returncode == 0, done.stderr
    found = pandas.read_parquet(out)
    assert list(found.label) == [each["label"] for each in answers]
    best = [max(each["probabilities"].values()) for each in answers]
    assert list(found.probability) == pytest.approx(best, abs=1e-6)
    most, second = json.loads(found.top_k[0])
    assert most["label"] == answers[0]["label"] != second["label"]
    assert str(found.price.dtype) == "float64"
    assert str(found.prediction.dtype) == "float64"
    assert list(found.row) == list(range(1, 21))


def test_each_row_is_of_its_own_city(run: Command, serving: Serving, tables: Path, tmp_path: Path) -> None:
    row, expected = serving.expected(1)
    (house,), (price,) = rows_of(tables, "mixed", 1)
    lines = [
        {"town": "El Paso", **row},
        {"town": "dallas", **house},
        {"town": "Atlantis", **row},
        {"town": None},
        {"town": "el_paso", **row, "trend": "much"},
        {"town": "El Paso", **row},
    ]
    columns = dict.fromkeys(name for line in lines for name in line)
    text = "\n".join(json.dumps({name: line.get(name) for name in columns}) for line in lines)
    done = run("--all", "-", "--format", "jsonl", "--city-column", "town", stdin=text)
    assert done.returncode == 1
    found = read(done.stdout)
    assert [each["city"] for each in found] == ["el_paso", "dallas", "atlantis", "", "el_paso", "el_paso"]
    assert float(found[0]["prediction"]) == float(found[5]["prediction"]) == pytest.approx(expected)
    assert float(found[1]["prediction"]) == pytest.approx(price, rel=1e-6)
    assert "no live model of city 'atlantis'" in found[2]["error"]
    assert "no live model of city ''" in found[3]["error"]
    assert "feature 'trend': got 'much'; allowed: a number" in found[4]["error"]


def test_a_row_that_the_model_itself_refuses_is_taken_out_of_its_batch(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in serving.server.variables.items():
        monkeypatch.setenv(name, value)
    s3, runtime = clients()
    row, expected = serving.expected(1)
    # The series predicts the ratio to a mean, which must be above 0; that stands in the artifact alone.
    rows: list[tuple[str, dict[str, Any]]] = [("el_paso", dict(row)) for _ in range(7)]
    rows[2] = ("el_paso", {**row, FEATURES[0]: -1.0})
    rows[6] = ("el_paso", {**row, FEATURES[0]: None})
    found = RowScorer(LivePointers(s3, KEYS), runtime, Endpoints(s3, KEYS, serving.endpoint)).score(rows)
    for number, answer in enumerate(found):
        if number in (2, 6):
            assert answer.error is not None
            assert "city 'el_paso': feature 'median_mean_12': got " in answer.error
            assert answer.prediction is None
        else:
            assert answer.prediction == pytest.approx(expected)
            assert answer.error is None


def test_the_columns_are_held_against_the_model_first(run: Command, tables: Path, tmp_path: Path) -> None:
    rows, _ = rows_of(tables, "mixed", 3)
    good = as_csv(tmp_path / "good.csv", [{"id": 1, **row} for row in rows])
    done = run("dallas", str(good), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "good.csv: 3 rows; nothing was predicted" in done.stdout
    assert "columns that it does not take: id" in done.stdout
    bad = as_csv(
        tmp_path / "bad.csv", [{{"pool": "pools"}.get(name, name): row[name] for name in row} for row in rows]
    )
    packed = tmp_path / "bad.csv.gz"
    packed.write_bytes(gzip.compress(bad.read_bytes()))
    for file in (bad, packed):
        for more in ((), ("--dry-run",)):
            done = run("dallas", str(file), *more)
            assert done.returncode == 1
            said = done.stdout + done.stderr
            assert "no column for 1 of the " in said
            assert "Name like them: 'pool' (is it 'pools'?)" in said
            assert "target_model" not in done.stdout, "not a row is written"


def test_wrong_usage_and_wrong_files_say_what_is_allowed(run: Command, tables: Path, tmp_path: Path) -> None:
    rows, _ = rows_of(tables, "mixed", 1)
    good = str(as_csv(tmp_path / "good.csv", rows))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text(",".join(rows[0]) + "\n")
    (tmp_path / "no.parquet").write_text("PAR0")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 5000)[:40])
    clash = as_csv(tmp_path / "clash.csv", [{"label": 1, **rows[0]}])
    out = tmp_path / "out.csv"
    for arguments, code, words in (
        (("dallas",), 2, "allowed: CITY and FILE, or --all and FILE"),
        (("--all", "dallas", good), 2, "allowed: FILE alone"),
        (("dallas", "rows.xlsx"), 2, "allowed: a file that ends in .csv"),
        (("dallas", good, "--format", "xml"), 2, "allowed: csv, parquet, jsonl"),
        (("dallas", good, "--out", "x.txt.gz"), 2, "allowed: a name that ends in .csv, .parquet or .jsonl"),
        (("dallas", good, "--json"), 2, "say with --out where the rows go"),
        (("dallas", str(tmp_path / "nowhere.csv")), 1, "got No such file or directory"),
        (("dallas", str(tmp_path / "empty.csv")), 1, "got no rows"),
        (("dallas", str(tmp_path / "head.csv")), 1, "got no rows below the names"),
        (("dallas", str(tmp_path / "no.parquet")), 1, "got a Parquet file that can't be read"),
        (("dallas", str(tmp_path / "cut.csv.gz")), 1, "cut.csv.gz"),
        (("dallas", str(clash), "--keep"), 1, "Rename it, or leave --keep out"),
        (("--all", good), 1, "got no column 'city'"),
        (("waco", good), 1, "has no live model of city 'waco'"),
        (
            ("dallas", good, "--out", str(tmp_path / "no" / "out.csv")),
            1,
            "allowed: a file that can be written",
        ),
    ):
        done = run(*arguments, *(("--out", str(out)) if "--out" not in arguments and code == 1 else ()))
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        assert words in " ".join(done.stderr.replace("│", " ").split()), (arguments, done.stderr)
        assert not out.exists(), arguments
        assert not out.with_name("out.csv.part").exists()
