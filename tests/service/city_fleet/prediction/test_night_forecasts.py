"""The table of a night's forecasts, from a real endpoint into a real S3, and read as an analyst reads it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from pyarrow import parquet

from city_fleet.errors import NotReady, PredictError
from city_fleet.prediction import night_forecasts
from city_fleet.prediction.predict import Predictor, clients
from city_fleet.state import forecast_table
from city_fleet.state.objects import ObjectStore
from tests.support import forecast_city
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL
from tests.support.forecast_city import AS_OF, HORIZON, ForecastCity
from tests.support.local_sagemaker import running_server
from tests.support.serving import FEATURES, KEYS, Serving, serve

NIGHT = "2015-08-01"
CITIES = {"austin": "Austin", "child": "A Child", "empty": "Empty", "ghost": "Geistwald", "house": "House"}
Command = Callable[..., Done]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("night-forecasts")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(server, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def austin(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> ForecastCity:
    """Austin's model is live; that of the house is a table's; of "empty" the artifact is gone."""
    made = forecast_city.make(tmp_path_factory.mktemp("austin"))
    made.publish(serving)
    inputs = tuple({"name": name, "kind": "number"} for name in FEATURES)
    serving.publish("house", 0, kind="table", inputs=inputs)
    gone = serving.publish("empty", 0, forecast=made_forecast(serving))
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(gone.target_model))
    return made


def made_forecast(serving: Serving) -> dict[str, Any]:
    body = serving.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.live("austin"))["Body"].read()
    return dict(json.loads(body)["forecast"])


@pytest.fixture
def predictor(serving: Serving, austin: ForecastCity, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    for name, value in serving.server.variables.items():
        monkeypatch.setenv(name, value)
    return night_forecasts.predictor(*clients(), KEYS, serving.endpoint)


def the_table(serving: Serving) -> pandas.DataFrame:
    body = serving.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.forecasts(NIGHT))["Body"].read()
    return pandas.read_parquet(io.BytesIO(body))


def test_every_city_has_rows_and_one_without_a_forecast_says_why(
    predictor: Predictor, serving: Serving, austin: ForecastCity
) -> None:
    store = ObjectStore(serving.s3, KEYS.bucket)
    made = night_forecasts.write_night(store, KEYS, predictor, CITIES, NIGHT)
    assert made.uri == f"s3://{KEYS.bucket}/houses/laptop/forecasts/night={NIGHT}/forecasts.parquet"
    assert made.counts == {"forecast": 1, "no_model": 2, "failed": 1, "refused": 1}
    assert (made.rows, made.cities, made.without, len(made.problems)) == (HORIZON + 4, 5, 4, 4)
    assert "(failed 1, no_model 2, refused 1)" in made.sentence
    assert "no live model" in made.problems[-1], "what is broken comes first"
    read = the_table(serving)
    assert list(read.columns) == [column.name for column in forecast_table.COLUMNS]
    mine = read[read.city == "austin"]
    expected = austin.forecast["forecasts"]
    assert list(mine.prediction) == [step["prediction"] for step in expected]
    assert [str(day.date()) for day in mine.period] == [step["period"] for step in expected]
    between = [step["intervals"] for step in expected]
    assert list(mine.lower_80) == [each["80"][0] for each in between]
    # Too few held-out forecasts judge the furthest step for a wide interval.
    assert None in [each["95"] for each in between]
    assert list(mine.upper_95.isna()) == [each["95"] is None for each in between]
    assert set(mine.intervals_withheld) == {austin.forecast["intervals_withheld"]}
    first = mine.iloc[0]
    assert (first.city_name, first.status, first.served_by, first.by_parent) == (
        "Austin",
        "forecast",
        "austin",
        False,
    )
    assert (first.fleet, first.environment, first.step, first.package_version) == ("houses", "laptop", 1, 1)
    assert str(first.known_until) == "2015-07-01 00:00:00+00:00"
    assert str(first.as_of) == "2014-01-01 00:00:00+00:00"
    assert "older than expected" in first.warning
    assert first.problem is None or pandas.isna(first.problem)
    others = read[read.city != "austin"].set_index("city")
    assert dict(others.status) == {
        "child": "no_model",
        "empty": "failed",
        "ghost": "no_model",
        "house": "refused",
    }
    assert "has no live model of city 'ghost'" in others.problem["ghost"]
    assert "which has no next period" in others.problem["house"]
    assert others.prediction.isna().all()
    assert others.period.isna().all()


def test_a_night_that_is_written_again_is_one_object_with_the_newer_rows(
    predictor: Predictor, serving: Serving, austin: ForecastCity, tmp_path: Path
) -> None:
    store = ObjectStore(serving.s3, KEYS.bucket)
    night_forecasts.write_night(store, KEYS, predictor, {"austin": "Austin"}, NIGHT)
    # A city without a model has a parent since, whose model answers.
    body = json.loads(austin.known(tmp_path, AS_OF))
    body |= {"city": "child", "parent": "austin", "stale_after": 6}
    forecast_city.keep(serving, json.dumps(body).encode(), AS_OF, "child")
    predictor = night_forecasts.predictor(*clients(), KEYS, serving.endpoint)
    night_forecasts.write_night(store, KEYS, predictor, CITIES, NIGHT)
    listed = serving.s3.list_objects_v2(Bucket=KEYS.bucket, Prefix=KEYS.forecasts_prefix())["Contents"]
    assert [item["Key"] for item in listed] == [KEYS.forecasts(NIGHT)]
    (told,) = forecast_table.nights(store, KEYS)
    assert forecast_table.counted(store, KEYS, told).without == len(CITIES) - 1
    child = the_table(serving).set_index("city").loc["child"]
    assert child.status == "failed"
    assert "its parent 'austin', which answers for it, can't" in child.problem


def test_without_any_forecast_the_table_of_before_stays(
    predictor: Predictor, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(serving.s3, KEYS.bucket)
    night_forecasts.write_night(store, KEYS, predictor, {"austin": "Austin"}, NIGHT)
    before = the_table(serving)
    with pytest.raises(
        night_forecasts.NoForecasts, match="none of its 1 cities has a model; nothing is written"
    ):
        night_forecasts.write_night(store, KEYS, predictor, {"ghost": "Geistwald"}, NIGHT)
    with pytest.raises(PredictError, match="which has no next period"):
        night_forecasts.write_night(store, KEYS, predictor, {"ghost": "Geistwald", "house": "House"}, NIGHT)
    monkeypatch.setattr(night_forecasts, "CITY_SECONDS", 0.0)
    with pytest.raises(NotReady):
        night_forecasts.write_night(
            store, KEYS, predictor, {f"c{number}": "" for number in range(600)}, NIGHT
        )
    assert the_table(serving).equals(before)


def test_athena_reads_the_types_that_the_catalog_says(predictor: Predictor, serving: Serving) -> None:
    store = ObjectStore(serving.s3, KEYS.bucket)
    night_forecasts.write_night(store, KEYS, predictor, {"austin": "Austin"}, NIGHT)
    body = serving.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.forecasts(NIGHT))["Body"].read()
    written = parquet.ParquetFile(io.BytesIO(body)).schema
    physical = {
        "string": ("BYTE_ARRAY", "UTF8"),
        "timestamp": ("INT64", "TIMESTAMP_MILLIS"),
        "int": ("INT32", "NONE"),
        "double": ("DOUBLE", "NONE"),
        "boolean": ("BOOLEAN", "NONE"),
    }
    for number, column in enumerate(forecast_table.COLUMNS):
        found = written.column(number)
        assert (found.name, (found.physical_type, found.converted_type)) == (
            column.name,
            physical[column.kind],
        )


@pytest.fixture
def run(serving: Serving, austin: ForecastCity, tmp_path: Path) -> Command:
    text = SMALL.replace("fleet: small", f"fleet: {KEYS.fleet}").replace("small-data", KEYS.bucket)
    more = f"schedule: null\nendpoint: {{name: {serving.endpoint}}}\ncities: {{austin: , ghost: }}\n"
    (tmp_path / "houses.yaml").write_text(text + more)

    def command(*arguments: str) -> Done:
        settings = {**serving.server.variables, "CITY_FLEET_FLEETS": str(tmp_path)}
        return fleet("forecasts", *arguments, **settings)

    return command


def test_a_person_writes_a_table_and_looks_into_it(run: Command, serving: Serving) -> None:
    done = run("--write", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["cities"], made["without"], made["counts"]["no_model"]) == (2, 1, 1)
    listed = json.loads(run("--json").stdout)
    assert (listed[0]["night"], listed[0]["rows"], listed[0]["cities"]) == (made["night"], HORIZON + 1, 2)
    text = run("austin").stdout.splitlines()
    assert text[0].split()[:3] == ["night", "city", "period"]
    assert [line.split()[:3] for line in text[1:]] == [
        [made["night"], "austin", f"2015-0{month}-01"] for month in (8, 9)
    ] + [[made["night"], "austin", "2015-10-01"]]
    assert "no_model: fleet 'houses' has no live model" in run("ghost", "--night", made["night"]).stdout
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.forecasts(made["night"]))


def test_a_wrong_question_is_answered_with_what_is_allowed(run: Command) -> None:
    for arguments, code, words in (
        (("--night", "yesterday"), 2, "allowed: a day such as 2014-01-01"),
        (("--night", "1999-01-01"), 1, "night=1999-01-01/forecasts.parquet: got no table of forecasts"),
        (("--write", "--night", NIGHT), 2, "give no CITY and no --night"),
    ):
        done = run(*arguments)
        assert done.returncode == code, done.stderr
        assert words in " ".join(done.stderr.replace("│", " ").split()), done.stderr
