"""A forecast by the city's name, from the newest known values, against a real endpoint and a real S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet.champions import artifact
from city_fleet.champions.answers import check_forecast
from city_fleet.errors import BadRequest, PublishError, UnknownCity
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.model_question import Asked
from city_fleet.prediction.predict import Prediction, Predictor, clients
from city_fleet.state import live
from city_fleet.state.challengers import CANARY
from city_fleet.state.context import CityContext
from tests.support import forecast_city, planned_city, table_artifacts
from tests.support.factors import Aws
from tests.support.forecast_city import ForecastCity
from tests.support.local_sagemaker import running_server
from tests.support.on_trial import OnTrial
from tests.support.serving import KEYS, Serving, city_name, serve


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("forecasts")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(server, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def austin(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> ForecastCity:
    """The city; its model is live."""
    made = forecast_city.make(tmp_path_factory.mktemp("austin"))
    made.publish(serving)
    return made


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def predictor(
    serving: Serving, austin: ForecastCity, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Predictor:
    """Nothing is known of the city but what its model's artifact holds."""
    for item in serving.s3.list_objects_v2(Bucket=KEYS.bucket, Prefix=KEYS.known_prefix("austin")).get(
        "Contents", []
    ):
        serving.s3.delete_object(Bucket=KEYS.bucket, Key=item["Key"])
    for name, value in serving.server.variables.items():
        monkeypatch.setenv(name, value)
    s3, runtime = clients()
    known = KnownCopies(s3, KEYS, clock=clock)
    return Predictor(LivePointers(s3, KEYS), runtime, Endpoints(s3, KEYS, serving.endpoint), known=known)


def predictions(answer: Any) -> list[float]:
    return [each["prediction"] for each in answer["forecasts"]]


def test_by_its_name_a_city_is_forecast_as_its_evaluation_did(
    predictor: Predictor, austin: ForecastCity
) -> None:
    for name in ("austin", "Austin", " AUSTIN "):
        answer = predictor.forecast(name).to_dict()
        assert answer["city"] == "austin"
        assert answer["forecasts"] == austin.forecast["forecasts"]
        assert answer["prediction"] == answer["forecasts"][0]["prediction"]
        assert answer["known_until"] == "2015-07-01"
    assert answer["late_periods"] > 100  # the data end in 2015
    assert answer["warning"] == (
        f"the newest data are of 2015-07-01, {answer['late_periods']} periods older than expected"
    )
    assert "label" not in answer
    assert len(predictor.forecast("austin", horizon=2).to_dict()["forecasts"]) == 2


def test_newer_values_reach_the_model_within_the_time_that_copies_are_kept(
    predictor: Predictor, serving: Serving, austin: ForecastCity, clock: Clock, tmp_path: Path
) -> None:
    before = predictor.forecast("austin").to_dict()
    as_of = "20151001T000000Z"
    body = austin.known(tmp_path, as_of, (2015, 8, 255_000), (2015, 9, 251_000))
    key = forecast_city.keep(serving, body, as_of)
    assert predictor.forecast("austin").to_dict()["known_until"] == before["known_until"]
    clock.seconds = 31
    answer = predictor.forecast("austin").to_dict()
    assert answer["known_until"] == "2015-09-01"
    assert [each["period"] for each in answer["forecasts"]] == ["2015-10-01", "2015-11-01", "2015-12-01"]
    assert answer["late_periods"] == before["late_periods"] - 2
    assert answer["warning"].endswith("months older than expected")
    # A backfill of an earlier night is no news.
    earlier = json.dumps({**json.loads(body), "as_of": "20150901T000000Z"}).encode()
    forecast_city.keep(serving, earlier, "20150901T000000Z")
    clock.seconds = 62
    assert predictor.forecast("austin").to_dict()["forecasts"] == answer["forecasts"]
    # What somebody has changed is passed over for the one before, and said.
    serving.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=body.replace(b"251000", b"999999"))
    clock.seconds = 93
    later = predictor.forecast("austin").to_dict()
    assert later["forecasts"] == answer["forecasts"]  # it is at hand already
    predictor.known = KnownCopies(serving.s3, KEYS)  # one that has nothing at hand
    changed = predictor.forecast("austin").to_dict()
    assert changed["forecasts"] == answer["forecasts"]  # the earlier night's copy holds the same values
    assert changed["warning"].startswith("the newest known values can't be believed; ")


def test_the_callers_own_newer_values_count(predictor: Predictor, austin: ForecastCity) -> None:
    history = [{"period": "2015-08-31", "median": 255_000, "sales": 2500, "listings": None}]
    answer = predictor.forecast("austin", 1, history).to_dict()
    assert [each["period"] for each in answer["forecasts"]] == ["2015-09-01"]
    assert answer["known_until"] == "2015-08-01"


@pytest.mark.parametrize(
    ("horizon", "history", "words"),
    [
        (4, None, "city 'austin': horizon: got 4; allowed: a whole number from 1 to 3"),
        (0, None, "horizon: got 0; allowed: a whole number from 1 to 100, how many periods ahead"),
        (True, None, "horizon: got true"),
        (None, {}, "history: got an empty mapping; allowed: a list of at most 1000 rows"),
        (None, [5], "history, row 1: got 5 as its period"),
        (None, [{"median": 1}], "history, row 1: got null as its period"),
        (
            None,
            [{"period": "2015-08-01", "median": float("nan")}],
            "column 'median': got nan; allowed: a number",
        ),
        (None, [{"period": "2015-08-01", "median": 10**400}], "column 'median': got"),
        (None, [{"period": "2015-08-01", "median": 1, "slaes": 1}], "Did you mean 'sales'?"),
        (None, [{"period": "August", "median": 1}], "got 'August'; allowed: a day such as"),
    ],
)
def test_what_can_not_be_asked_is_the_callers_to_put_right(
    predictor: Predictor, horizon: Any, history: Any, words: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        predictor.forecast("austin", horizon, history)
    assert words in caught.value.message
    assert caught.value.message.startswith("city 'austin'")


def test_what_has_no_next_period_says_which_features_it_needs(
    predictor: Predictor, serving: Serving, tmp_path: Path
) -> None:
    tables = table_artifacts.make(tmp_path)
    pointer = table_artifacts.publish(serving, tables, "mixed_two")
    with pytest.raises(
        BadRequest, match="is that of a table, which has no next period; allowed: features"
    ) as table:
        predictor.forecast(pointer.city)
    assert table.value.features == list(pointer.features)
    old = city_name()
    serving.publish(old, 0)
    with pytest.raises(
        BadRequest, match=r"can't be asked by the city's name alone; allowed: .* Send features"
    ):
        predictor.forecast(old)
    with pytest.raises(UnknownCity, match=r"no live model of city 'austn'. Did you mean 'austin'\?"):
        predictor.forecast("Austn")


def test_known_values_that_can_not_be_read_leave_the_model_to_its_own(
    predictor: Predictor, serving: Serving, austin: ForecastCity, clock: Clock
) -> None:
    with serving.faults({"kind": "slow_down", "operation": "ListObjectsV2"}):
        answer = predictor.forecast("austin").to_dict()
    assert answer["forecasts"] == austin.forecast["forecasts"]
    assert answer["warning"].startswith("the newest known values could not be read; ")
    clock.seconds = 6
    assert "could not be read" not in predictor.forecast("austin").to_dict()["warning"]


def test_a_model_goes_on_from_its_own_values_where_the_settings_have_changed(
    predictor: Predictor, serving: Serving, austin: ForecastCity
) -> None:
    value = {
        "format_version": 1,
        "city": "austin",
        "as_of": "20160101T000000Z",
        "frequency": "week",
        "known_until": "2015-12-28",
        "columns": ["median", "sales", "listings", "inventory"],
        "first": "2015-12-28",
        "rows": [[1.0, 1.0, 1.0, 1.0]],
    }
    for change in ({}, {"frequency": "month", "columns": ["price", "sales", "listings", "inventory"]}):
        forecast_city.keep(serving, json.dumps(value | change).encode(), "20160101T000000Z")
        predictor.known = KnownCopies(serving.s3, KEYS)  # one that has nothing at hand
        answer = predictor.forecast("austin").to_dict()
        assert answer["forecasts"] == austin.forecast["forecasts"]
        assert answer["warning"].startswith("the fleet's data have changed since the model was trained")


def test_before_a_model_goes_live_the_endpoint_must_forecast_as_the_evaluation_did(
    predictor: Predictor, serving: Serving, austin: ForecastCity
) -> None:
    found = live.read(serving.s3, KEYS, "austin")
    assert found is not None
    aws = Aws(serving.s3, None, serving.server.client("sagemaker-runtime"))
    city = CityContext(aws, KEYS, serving.endpoint, "g", "austin")
    at = city.address_of(found.pointer)
    check_forecast(aws.runtime, at, austin.forecast)
    first, *others = austin.forecast["forecasts"]
    for wrong, words in (
        (
            {"forecasts": [{**first, "prediction": first["prediction"] * 1.001}, *others]},
            "for 2015-08-01, and not",
        ),
        ({"forecasts": [first]}, "forecasts other periods"),
        ({"known_until": "2015-08-01"}, "forecasts other periods"),
    ):
        with pytest.raises(PublishError, match=words):
            check_forecast(aws.runtime, at, {**austin.forecast, **wrong})
    old = serving.publish(city_name(), 0)
    with pytest.raises(
        PublishError, match=r"has no forecast by the city's name .* run the fleet's _endpoint DAG"
    ):
        check_forecast(aws.runtime, city.address_of(old), austin.forecast)


def test_what_is_planned_comes_from_the_last_run_or_from_the_caller(
    predictor: Predictor, serving: Serving, tmp_path: Path
) -> None:
    """A shop whose model takes the promotion of the very day that it forecasts."""
    jobs = planned_city.evaluated(tmp_path, *planned_city.PLAN, city="waco")
    body = (jobs.root / "evaluate" / "evaluation" / "city=waco" / "model.tar.gz").read_bytes()
    made = artifact.parse(body, "the artifact")
    pointer = serving.publish("waco", body, features=made.features, **made.says)
    assert pointer.forecast["known_ahead"] == ["promotion"]
    plain = predictions(predictor.forecast("waco", 2).to_dict())
    promoted = [{"period": "2015-07-01", "promotion": 1}]
    other = predictions(predictor.forecast("waco", 2, ahead=promoted).to_dict())
    assert other[0] > plain[0] + 30
    with pytest.raises(BadRequest, match=r"not known: 'promotion' of 2015-07-03; allowed: a number for each"):
        predictor.forecast("waco", 3)
    whole = [{"period": "2015-07-03", "promotion": 0}]
    assert predictions(predictor.forecast("waco", 3, ahead=whole).to_dict())[:2] == plain
    # What a later run has read of the plan counts from then on.
    known = jobs.read_json("preprocess/report/city=waco/known.json")
    known |= {"as_of": "20150702T000000Z", "rows": [*known["rows"][:-2], [None, 1.0], *known["rows"][-1:]]}
    forecast_city.keep(serving, json.dumps(known).encode(), "20150702T000000Z", "waco")
    predictor.known = KnownCopies(serving.s3, KEYS)  # one that has nothing at hand
    assert predictions(predictor.forecast("waco", 1).to_dict()) == other[:1]
    for ahead, words in (
        ([{"promotion": 1}], "ahead, row 1: got null as its period"),
        ([{"period": "2015-07-01", "promotion": "yes"}], "column 'promotion': got 'yes'; allowed: a number"),
        ({}, "ahead: got an empty mapping; allowed: a list of at most 1000 rows"),
        ([{"period": "2015-07-01", "visitors": 9}], "those that are known ahead: promotion"),
    ):
        with pytest.raises(BadRequest) as caught:
            predictor.forecast("waco", ahead=ahead)
        assert words in str(caught.value)


def test_a_canary_answers_by_the_citys_name_too(serving: Serving, austin: ForecastCity) -> None:
    models = (austin.publish(serving), austin.publish(serving))
    city = OnTrial(serving, CANARY, 0.5, models=models, known=KnownCopies(serving.s3, KEYS))
    callers = city.callers(2)
    found = city.predictor.predict_many(
        [Asked("Austin", horizon=2, caller=caller) for caller in callers], 20.0
    )
    for caller, each in zip(callers, found, strict=True):
        assert isinstance(each, Prediction), each
        taken = city.trial.takes(caller)
        assert (each.role, each.target_model) == (
            ("challenger", models[0].target_model) if taken else ("champion", models[1].target_model)
        )
        assert [step["step"] for step in each.to_dict()["forecasts"]] == [1, 2]
    assert {each.role for each in city.seen} == {"champion", "challenger"}
    # What the task of the reaper asks it once a night, beside the champion's of the table.
    whole = city.predictor.of_challenger(city.trial, Asked("austin"))
    assert (whole.role, len(whole.to_dict()["forecasts"])) == ("challenger", 3)
    assert (city.tally[1:], city.is_as_before()) == ((0, False), True)
