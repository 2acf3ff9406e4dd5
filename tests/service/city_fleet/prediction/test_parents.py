"""No city without an answer: the demo's three cities with too little data, a stale one, and parents that can't answer.

Models are made by the real job scripts from the demo's fleet file, and asked over a real endpoint and a real S3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet.champions import artifact
from city_fleet.champions.answers import check_forecast
from city_fleet.config import load_fleet
from city_fleet.errors import BadRequest, ServingError, UnknownCity
from city_fleet.prediction.city_catalog import CityCatalog
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Predictor, clients
from city_fleet.state import known_values
from city_fleet.state.model_address import Address
from city_fleet.state.objects import ObjectStore
from tests.support.factors import Aws
from tests.support.local_sagemaker import running_server
from tests.support.parent_jobs import PlannedJobs, write_fleet, write_texas
from tests.support.serving import KEYS, Serving, serve

CITIES = ("austin", "el_paso", "kerrville", "lufkin", "south_padre_island", "temple_belton")
SPARSE = ("kerrville", "lufkin", "south_padre_island")


class Family:
    """A parent and its cities, made of the demo's data; el_paso's data end a year before the others'."""

    def __init__(self, folder: Path) -> None:
        self.fleet = write_fleet(folder / "fleet", *CITIES)
        self.raw = folder / "raw"
        write_texas(self.raw, CITIES)
        self.parent = PlannedJobs(folder / "texas", self.raw, "texas", fleet=self.fleet)
        self.parent.run()
        self.cities = {city: PlannedJobs(folder / city, self.raw, city, fleet=self.fleet) for city in CITIES}
        for jobs in self.cities.values():
            assert jobs.preprocess().code == 0
        old = PlannedJobs(folder / "austin_2012", self.raw, "austin", "2012-08-01", fleet=self.fleet)
        old.run()
        self.old_austin = old

    def known(self, serving: Serving, city: str) -> None:
        """Keep what is known of a city as its run does, with the parent that the fleet file names."""
        jobs, settings = self.cities[city], load_fleet(self.fleet, {}).cities[city]
        body = jobs.out("preprocess", "report", f"city={city}", "known.json").read_bytes()
        assert settings.parent == "texas"
        assert settings.stale_periods == 12
        body = known_values.with_parent(body, settings.parent, settings.stale_periods)
        found = known_values.parse(body, "known.json", city, "20150801T000000Z")
        known_values.keep(ObjectStore(serving.s3, KEYS.bucket), KEYS, found, body)

    def publish(self, serving: Serving, jobs: PlannedJobs, **changes: Any) -> None:
        """Make the model of a run the one that is live."""
        body = jobs.artifact.read_bytes()
        made = artifact.parse(body, "the artifact")
        serving.publish(jobs.city, body, **{"features": made.features, **made.says, **changes})


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("parents")) as started:
        started.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(started, tmp_path_factory.mktemp("models"))


@pytest.fixture
def serving(server: Serving, family: Family, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """The parent's model is live, and of each city it is known whose child it is."""
    found = server.s3.list_objects_v2(Bucket=KEYS.bucket).get("Contents", [])
    for item in found:
        if item["Key"].removeprefix(KEYS.prefix).startswith(("live/", "known/", "history/")):
            server.s3.delete_object(Bucket=KEYS.bucket, Key=item["Key"])
    for name, value in server.server.variables.items():
        monkeypatch.setenv(name, value)
    family.publish(server, family.parent)
    for city in CITIES:
        family.known(server, city)
    return server


def predictor_of(serving: Serving) -> Predictor:
    s3, runtime = clients()
    known = KnownCopies(s3, KEYS, ttl_seconds=0)
    return Predictor(
        LivePointers(s3, KEYS, ttl_seconds=0), runtime, Endpoints(s3, KEYS, serving.endpoint), known=known
    )


def catalog_of(serving: Serving) -> CityCatalog:
    s3, _ = clients()
    pointers = LivePointers(s3, KEYS, ttl_seconds=0)
    return CityCatalog(ObjectStore(s3, KEYS.bucket), KEYS, pointers, KnownCopies(s3, KEYS, ttl_seconds=0))


@pytest.mark.parametrize("city", SPARSE)
def test_a_city_without_a_model_is_answered_by_its_parent_or_the_baseline(
    city: str, serving: Serving, family: Family
) -> None:
    answer = predictor_of(serving).forecast(city).to_dict()
    who = family.parent.json("evaluate", "evaluation", "evaluation.json")["children"][city]
    assert answer["served_by"] == ("texas" if who["serves"] == "model" else "baseline")
    assert answer["city"] == city
    assert answer["target_model"].startswith("texas/")
    assert [each["period"] for each in answer["forecasts"]] == ["2015-08-01", "2015-09-01", "2015-10-01"]
    assert answer["known_until"] == "2015-07-01"
    assert answer["unit"] == "US$"
    assert 30_000 < answer["prediction"] < 600_000
    about = catalog_of(serving).about(city, Deadline(10))
    assert (about["city"], about["parent"], about["served_by"]) == (city, "texas", "texas")


def test_a_parent_that_loses_on_a_citys_rows_leaves_it_to_the_baseline(
    serving: Serving, family: Family
) -> None:
    children = family.parent.json("evaluate", "evaluation", "evaluation.json")["children"]
    losing = [city for city, each in children.items() if each["serves"] == "baseline"]
    assert losing, children
    for city in losing:
        answer = predictor_of(serving).forecast(city, history=None).to_dict()
        assert answer["served_by"] == "baseline"
        rows = json.loads(
            family.cities[city].out("preprocess", "report", f"city={city}", "known.json").read_text()
        )
        values = [row[rows["columns"].index("median")] for row in rows["rows"]]
        naive = next(value for value in reversed(values) if value is not None)
        wanted = [naive] * 3 if children[city]["method"] == "last known value" else values[-12:-9]
        assert [each["prediction"] for each in answer["forecasts"]] == wanted
        # Its own held-out errors make its intervals: 33 rows of three steps are enough for 80 % alone.
        assert all(each["intervals"]["80"] for each in answer["forecasts"])
        newer = predictor_of(serving).forecast(city, history=[{"period": "2015-08-01", "median": 123_456}])
        if children[city]["method"] == "last known value":
            assert newer.prediction == 123_456


def test_a_stale_champion_gives_way_to_the_parent_and_a_fresh_one_does_not(
    serving: Serving, family: Family
) -> None:
    own = family.old_austin
    until = own.json("evaluate", "evaluation", "evaluation.json")["holdout"]["last"]
    assert until == "2012-07-01"
    family.publish(serving, own, data_until="2014-07-01")  # twelve periods: exactly what is allowed
    assert predictor_of(serving).forecast("austin").to_dict()["served_by"] == "austin"
    family.publish(serving, own, data_until="2014-06-01")
    stale = predictor_of(serving).forecast("austin").to_dict()
    assert stale["served_by"] in ("texas", "baseline")
    assert stale["target_model"].startswith("texas/")
    # A row of features is the own model's matter alone.
    row = dict.fromkeys(artifact.parse(own.artifact.read_bytes(), "it").features, 1.0)
    assert (
        predictor_of(serving)
        .predict("austin", row | {"median_mean_12": 2e5})
        .target_model.startswith("austin/")
    )


def test_a_champion_that_its_parent_has_beaten_gives_way_until_another_serves(
    serving: Serving, family: Family
) -> None:
    family.publish(serving, family.old_austin, data_until="2015-07-01")
    assert predictor_of(serving).forecast("austin").to_dict()["served_by"] == "austin"
    pointer = json.loads(serving.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.live("austin"))["Body"].read())
    note = known_values.note_beaten
    assert note(serving.s3, KEYS, "austin", "20150801T000000Z", pointer["target_model"])
    assert not note(serving.s3, KEYS, "austin", "20150801T000000Z", pointer["target_model"]), "said already"
    assert not note(serving.s3, KEYS, "austin", "20140801T000000Z", None), "a backfill"
    assert predictor_of(serving).forecast("austin").to_dict()["served_by"] in ("texas", "baseline")
    # A person, or a later run, makes another model the one that is live: it serves whatever was said of the other.
    family.publish(serving, family.old_austin, data_until="2015-07-01")
    assert predictor_of(serving).forecast("austin").to_dict()["served_by"] == "austin"
    note(serving.s3, KEYS, "austin", "20150802T000000Z", None)
    family.publish(serving, family.old_austin, data_until="2015-07-01")
    assert predictor_of(serving).forecast("austin").to_dict()["served_by"] == "austin"


def test_a_child_with_a_champion_is_not_touched_by_what_becomes_of_its_parent(
    serving: Serving, family: Family
) -> None:
    family.publish(serving, family.old_austin, data_until="2012-07-01")
    pointer = json.loads(serving.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.live("texas"))["Body"].read())
    serving.s3.put_object(
        Bucket=KEYS.bucket, Key=KEYS.model(pointer["target_model"]), Body=b"no archive at all"
    )
    texas = serving.publish("texas", b"no archive at all either", features=tuple(pointer["features"]))
    broken = predictor_of(serving).forecast("austin").to_dict()
    assert broken["served_by"] == "austin"
    assert (
        "the city's parent, which should answer since this model is old or was worse, can't"
        in broken["warning"]
    )
    with pytest.raises(
        ServingError, match="city 'kerrville' has no live model, and its parent 'texas'"
    ) as said:
        predictor_of(serving).forecast("kerrville")
    assert said.value.status == 502
    assert texas.target_model in str(said.value)

    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live("texas"))
    assert predictor_of(serving).forecast("austin").to_dict()["served_by"] == "austin"
    with pytest.raises(
        UnknownCity, match="its parent 'texas', whose model would answer for it, has none"
    ) as none:
        predictor_of(serving).forecast("kerrville")
    assert none.value.status == 404


def test_who_has_no_parent_learns_what_one_would_do(serving: Serving, family: Family) -> None:
    report = family.cities["lufkin"].out("preprocess", "report", "city=lufkin", "known.json")
    later = report.read_bytes().replace(b'"20150801T000000Z"', b'"20150802T000000Z"')
    known = known_values.parse(later, "known.json", "lufkin", "20150802T000000Z")
    known_values.keep(ObjectStore(serving.s3, KEYS.bucket), KEYS, known, later)
    with pytest.raises(UnknownCity, match="with `parent:` in the fleet file a model that is pooled"):
        predictor_of(serving).forecast("lufkin")
    with pytest.raises(UnknownCity) as nobody:
        predictor_of(serving).forecast("atlantis")
    assert "parent" not in str(nobody.value)


def test_the_parent_itself_is_asked_through_its_cities(serving: Serving, family: Family) -> None:
    with pytest.raises(BadRequest, match="texas is the parent of austin, el_paso"):
        predictor_of(serving).forecast("texas")
    with pytest.raises(BadRequest, match="horizon"):
        predictor_of(serving).forecast("kerrville", horizon=4)


def test_the_smoke_test_asks_a_parent_for_one_of_its_cities(serving: Serving, family: Family) -> None:
    pointer = json.loads(serving.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.live("texas"))["Body"].read())
    forecast = family.parent.json("evaluate", "evaluation", "evaluation.json")["forecast"]
    assert forecast["asked"]["child"] in CITIES
    aws = Aws(serving.s3, None, clients()[1])
    check_forecast(aws.runtime, Address(serving.endpoint, pointer["target_model"]), forecast)
