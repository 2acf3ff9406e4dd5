"""./fleet predict as a person runs it, against a real endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import forecast_city, table_artifacts
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL
from tests.support.forecast_city import ForecastCity
from tests.support.local_sagemaker import running_server
from tests.support.serving import KEYS, ROW, Serving, city_name, serve


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("cli-predict")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        serving = serve(server, tmp_path_factory.mktemp("models"))
        serving.publish("waco", 1)
        tables = table_artifacts.make(tmp_path_factory.mktemp("tables"))
        table_artifacts.publish(serving, tables, "categories_many", "houston")
        yield serving


class PredictCommand:
    """Runs ./fleet predict with fleet files of the test's own; the first one's endpoint is in service."""

    def __init__(self, serving: Serving, folder: Path) -> None:
        self.folder = folder
        self.aws = serving.server.variables
        self.add(KEYS.fleet, f"endpoint: {{name: {serving.endpoint}}}\ncities: {{waco: {{}}, austin: {{}}}}")

    def add(self, name: str, rest: str) -> None:
        text = SMALL.replace("fleet: small", f"fleet: {name}").replace(
            "bucket: small-data", f"bucket: {KEYS.bucket}"
        )
        (self.folder / f"{name}.yaml").write_text(f"{text}{rest}\n")

    def __call__(self, *arguments: str, **environ: str) -> Done:
        settings = {**self.aws, "CITY_FLEET_FLEETS": str(self.folder), **environ}
        return fleet("predict", *arguments, **settings)


@pytest.fixture
def run(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> PredictCommand:
    return PredictCommand(serving, tmp_path_factory.mktemp("fleets"))


def named(row: dict[str, float | None]) -> list[str]:
    return [f"{name}={'null' if value is None else value!r}" for name, value in row.items()]


def test_an_example_is_predicted_as_training_expected(run: PredictCommand) -> None:
    done = run("waco", "--example")
    assert done.returncode == 0, done.stderr
    lines = dict(line.strip().split("  ", 1) for line in done.stdout.splitlines() if "  " in line.strip())
    said = {name: value.strip() for name, value in lines.items()}
    assert said["prediction"] == said["training said"]
    assert said["model"].startswith("waco/20140101T000000Z-")
    assert said["model"].endswith("(version 1)")
    assert said["as of"] == "2014-01-01T00:00:00Z"
    assert {"median_mean_12", "sales_lag_1", "trend"} <= set(said)
    report = json.loads(run("waco", "--example", "--json").stdout)
    assert report["prediction"] == report["expected"]
    assert report["status"] == 200


def test_what_if_one_feature_were_different(run: PredictCommand) -> None:
    unchanged = json.loads(run("waco", "--example", "--json").stdout)
    doubled = 2 * unchanged["features"]["median_mean_12"]
    changed = json.loads(run("waco", "--example", f"median_mean_12={doubled!r}", "--json").stdout)
    assert changed["prediction"] == pytest.approx(2 * unchanged["prediction"])
    assert "expected" not in changed
    done = run("waco", "--example", "trend=")
    assert "missing  (yours)" in done.stdout
    assert "training said" not in done.stdout


def test_a_row_may_come_from_a_file_from_standard_input_or_in_words(
    run: PredictCommand, serving: Serving, tmp_path: Path
) -> None:
    row, expected = serving.expected(1)
    file = tmp_path / "row.json"
    file.write_text(json.dumps(row))
    saved = tmp_path / "saved.json"
    saved.write_text(run("waco", "--features", str(file), "--json").stdout)
    marked = tmp_path / "marked.json"
    marked.write_text(json.dumps(row), encoding="utf-8-sig")
    for arguments in (named(row), *(["--features", str(each)] for each in (file, saved, marked))):
        report = json.loads(run("waco", *arguments, "--json").stdout)
        assert report["prediction"] == pytest.approx(expected, rel=1e-9)
    report = json.loads(run("waco", "--features", str(file), "trend=null", "--json").stdout)
    assert report["features"] == {**row, "trend": None}


def test_a_tables_model_takes_text_and_answers_the_most_probable_classes(run: PredictCommand) -> None:
    words = ("x0=-250", "type=Haus, groß")
    report = json.loads(run("houston", *words, "--json").stdout)
    assert report["features"] == {"x0": -250, "type": "Haus, groß"}
    assert report["label"] == max(report["probabilities"], key=report["probabilities"].get)
    assert sum(report["probabilities"].values()) == pytest.approx(1)
    cut = json.loads(run("houston", *words, "--top-k", "2", "--json").stdout)
    assert cut["top_k"][0] == {
        "label": report["label"],
        "probability": report["probabilities"][report["label"]],
    }
    done = run("houston", *words, "--top-k", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split(maxsplit=1) == ["prediction", report["label"]]
    assert lines[1].startswith("probability")
    assert lines[1].endswith(report["label"])
    assert lines[2].startswith(" ")
    assert "%" in lines[2]
    example = run("houston", "--example", "--json")
    row = json.loads(example.stdout)
    assert row["label"] == max(row["expected"], key=row["expected"].get)
    refused = run("houston", "x0=many", "type=Loft")
    assert refused.returncode != 0
    assert "feature 'x0': got 'many'; allowed: a number, or null" in refused.stderr


@pytest.fixture(scope="module")
def fort_worth(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> ForecastCity:
    """A city that is live, and can be asked by its name."""
    made = forecast_city.make(tmp_path_factory.mktemp("fort-worth"), "fort_worth", "Fort Worth")
    made.publish(serving)
    return made


def test_by_its_name_a_city_is_forecast_in_a_small_table(
    run: PredictCommand, fort_worth: ForecastCity
) -> None:
    report = json.loads(run("Fort Worth", "--json").stdout)
    assert report["forecasts"] == fort_worth.forecast["forecasts"]
    done = run("fort_worth", "--horizon", "2")
    assert done.returncode == 0, done.stderr
    head, first, second, until, model, *_, withheld, warning = done.stdout.splitlines()
    assert head.split() == ["period", "forecast", "80", "%", "between"]
    steps = fort_worth.forecast["forecasts"]
    numbers = [f"{value:,.0f}" for value in (steps[0]["prediction"], *steps[0]["intervals"]["80"])]
    assert first.split() == ["2015-08-01", *numbers[:2], "and", numbers[2]]
    assert second.startswith("2015-09-01")
    assert until.split(maxsplit=2)[2] == "2015-07-01"
    assert model.startswith("model")
    assert withheld.startswith("not said: 95 %: 11 held-out forecasts")
    assert warning.startswith("warning: the newest data are of 2015-07-01, ")
    assert report["warning"] in warning
    example = run("fort_worth", "--example")
    period = json.loads(run("fort_worth", "--example", "--json").stdout)["period"]
    assert f"of             {period}, the newest row" in example.stdout
    assert f"by name, the next period ({report['forecasts'][0]['period']}: {numbers[0]})" in example.stdout
    assert f"by features, of {period}" in example.stdout
    # What it prints can be pasted, and is answered as it says.
    by_name, by_features = (
        json.loads(line) for line in example.stdout.splitlines() if line.startswith('  {"city"')
    )
    assert by_name == {"city": "fort_worth", "horizon": 1}
    asked = run("fort_worth", *named(by_features["features"]), "--json")
    assert json.loads(asked.stdout)["prediction"] == pytest.approx(
        json.loads(run("fort_worth", "--example", "--json").stdout)["expected"], rel=1e-9
    )


def test_newer_values_come_from_a_file(run: PredictCommand, fort_worth: ForecastCity, tmp_path: Path) -> None:
    row = {"period": "2015-08-01", "median": 255_000, "sales": None}
    for name, text in (
        ("newer.csv", "period,median,sales\n2015-08-01,255000,\n"),
        ("marked.csv", "\ufeffperiod, median ,sales\r\n2015-08-01,255000,NA\r\n\r\n"),
        ("newer.json", json.dumps([row])),
        ("request.json", json.dumps({"city": "x", "history": [row]})),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        report = json.loads(run("fort_worth", "--history", str(tmp_path / name), "--json").stdout)
        assert (report.get("known_until"), report["forecasts"][0]["period"]) == (
            "2015-08-01",
            "2015-09-01",
        ), report
    for text, words in (
        (
            "month,median\n2015-08,1\n",
            "wrong.csv:1: got the columns month, median; allowed: rows with a column 'period'",
        ),
        ("period,median\n2015-08-01\n", "got 1 cells; allowed: 2, as in the header"),
        ("period,median\n2015-08-01,much\n", "column 'median': got 'much'; allowed: a number, or empty"),
        ("period,slaes,median\n2015-08-01,1,2\n", "Did you mean 'sales'?"),
        ("[1]", "JSON of another form"),
        ("", "got nothing; allowed: rows with"),
    ):
        (tmp_path / "wrong.csv").write_text(text)
        done = run("fort_worth", "--history", str(tmp_path / "wrong.csv"))
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["waco", "trend=1"], "features missing: median_mean_12, sales_lag_1"),
        (["waco", "trend=1"], "A whole row to start from: ./fleet predict waco --example"),
        (["Waco"], "can't be asked by the city's name alone"),
        (["waco"], "A whole row to start from: ./fleet predict waco --example"),
        (
            ["houston"],
            "is that of a table, which has no next period; allowed: features, with a value for each of x0",
        ),
        (["waco", "--example", "trnd=1"], "did you mean 'trend'?"),
        (["waco", "--example", "trend=high"], "feature 'trend': got 'high'; allowed: a number, or null"),
        (["waco", "--example", "trend=inf"], "feature 'trend': got Infinity"),
        (["waco", "--example", "median_mean_12=0"], "got 0; allowed: a number above 0"),
        (["wacko", "--example"], "fleet 'houses' has no live model of city 'wacko'. Did you mean 'waco'?"),
        (["austin", *named(ROW)], "fleet 'houses' has no live model of city 'austin'."),
        (["waco", "--features", "/nowhere.json"], "/nowhere.json: got No such file"),
    ],
)
def test_mistakes_are_explained(run: PredictCommand, arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert not done.stdout
    as_json = run(*arguments, "--json")
    assert as_json.returncode == 1
    assert words in json.loads(as_json.stdout)["message"]


def test_what_is_no_row_is_refused(run: PredictCommand, tmp_path: Path) -> None:
    file = tmp_path / "row.json"
    for text, words in (
        ("{", "text that is not JSON"),
        ('{"trend": 1, "trend": 2}', "text that is not JSON ('trend' is there twice in one object)"),
        ("[1]", "JSON that is a list; allowed: a JSON object"),
    ):
        file.write_text(text)
        done = run("waco", "--features", str(file))
        assert (done.returncode, words in done.stderr) == (1, True)
    file.write_text("{}")
    for arguments in (
        ["trend"],
        ["=1"],
        ["--example", "--features", str(file)],
        ["--example", "--horizon", "2"],
        ["trend=1", "--history", str(file)],
        [],
    ):
        assert run(*(["waco", *arguments] if arguments else [])).returncode == 2


def test_an_artifact_without_samples_says_what_to_do(run: PredictCommand, serving: Serving) -> None:
    city = city_name()
    serving.publish(city, b"no archive")
    done = run(city, "--example")
    assert done.returncode == 1
    assert (
        "is not a readable tar.gz (Not a gzipped file (b'no')), so there is no example. Give the features"
        in done.stderr
    )
    assert "Give the features yourself" in done.stderr


def test_of_several_fleets_the_city_says_which(run: PredictCommand) -> None:
    run.add("offices", "cities: {austin: {}, dallas: {}}")
    assert run("waco", "--example").returncode == 0
    done = run("austin", "--example")
    assert "city 'austin' is in the fleets houses, offices; say which with --fleet." in done.stderr
    done = run("dalas", "--example")
    assert "has no city 'dalas'" in done.stderr
    assert "Did you mean 'dallas'?" in done.stderr
    assert run("waco", "--example", "--fleet", "houses").returncode == 0
    assert "fleet 'offices' has no live model" in run("waco", "--example", "--fleet", "offices").stderr


def test_aws_that_is_away_is_said_at_once(run: PredictCommand) -> None:
    done = run("waco", "--example", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "did not answer" in done.stderr
    assert "Could not connect to the endpoint URL" in done.stderr
