"""Several shared endpoints in a fleet file: what is refused, what is warned of, and where a model is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import Fleet, load_fleet
from city_fleet.config.endpoint_section import home_of_model
from city_fleet.config.lint import endpoint_mistakes, fleet_warnings
from city_fleet.errors import FleetFileError
from city_fleet.jobs.images import image_uri
from tests.support.fleets import SMALL

URI = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/torch@sha256:" + "0" * 64
CITIES = "cities: {a: , b: {algorithm: {image: sklearn, name: knn}}}\n"


def loaded(folder: Path, more: str, cities: str = CITIES) -> Fleet:
    path = folder / "small.yaml"
    path.write_text(SMALL + more + cities, encoding="utf-8")
    return load_fleet(path, {})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("endpoints: {x: {}}\n", "endpoints.x"),
        ("endpoints: {x: {algorithms: [linear]}, y: {algorithms: [linear]}}\n", "endpoints.x has already"),
        ("endpoints: {x: {algorithms: [linear], name: small--laptop}}\n", "which endpoint is called already"),
        (
            "endpoints: {x: {algorithms: [linear], name: n}, y: {images: [sklearn], name: n}}\n",
            "which endpoints.x is called already",
        ),
        ("endpoint: {kind: serverless}\n", "endpoint.kind"),
        (
            "endpoint: {scaling: {min_instances: 2, max_instances: 4, invocations_per_instance: 9}}\n",
            "a whole number from 2 to 4, scaling's min_instances and max_instances",
        ),
        (
            "endpoint: {scaling: {min_instances: 2, max_instances: 1, invocations_per_instance: 9}}\n",
            "a whole number from min_instances (2) to 1000",
        ),
        (
            "endpoints: {x: {images: [sklearn], kind: multi_container, scaling: {min_instances: 1, max_instances: 2,"
            " invocations_per_instance: 9}}}\n",
            "null with kind multi_container: every model that goes live makes another endpoint",
        ),
        ("endpoint: {scaling: {min_instances: 1, max_instances: 2}}\n", "invocations_per_instance"),
    ],
)
def test_endpoints_that_can_not_be_told_apart_are_refused(tmp_path: Path, given: str, said: str) -> None:
    with pytest.raises(FleetFileError) as caught:
        loaded(tmp_path, given)
    assert said in str(caught.value)


def test_a_model_in_a_container_of_its_own_can_not_be_tried(tmp_path: Path) -> None:
    more = (
        "defaults: {challenger: {share: 0.1}}\nendpoints: {own: {images: [sklearn], kind: multi_container}}\n"
    )
    fleet = loaded(tmp_path, more)
    (error,) = fleet.errors
    assert list(fleet.cities) == ["a"]
    assert (
        "city 'b', field 'challenger.share': got 0.1; allowed: 0, because its models get a container"
        in str(error)
    )


def test_lint_names_endpoints_that_serve_nothing_and_what_containers_cost(tmp_path: Path) -> None:
    more = "endpoints: {idle: {algorithms: [linear]}, own: {images: [sklearn], kind: multi_container}}\n"
    found = [line for line in fleet_warnings(loaded(tmp_path, more)) if "endpoints" in line]
    assert [line.partition("field ")[2][:40] for line in found if "idle" in line] == [
        "'endpoints.idle': no city trains its alg"
    ]
    (costs,) = [line for line in found if "endpoints.own.kind" in line]
    assert "every model that goes live has another endpoint of 1 ml.m5.large" in costs
    assert "both are paid for" in costs


def test_lint_names_an_endpoint_that_the_policies_do_not_allow(tmp_path: Path) -> None:
    more = "endpoints: {x: {images: [sklearn], name: mine}, y: {algorithms: [xgboost], name: small--laptop--z}}\n"
    (found,) = [line for line in fleet_warnings(loaded(tmp_path, more)) if "policies" in line]
    assert "'endpoints.x.name': " in found
    assert "begin with small--laptop--, and this is mine" in found


def test_lint_refuses_more_cities_than_there_are_containers(tmp_path: Path) -> None:
    cities = "cities: {" + ", ".join(f"c{number}: " for number in range(16)) + "}\n"
    (wrong,) = endpoint_mistakes(loaded(tmp_path, "endpoint: {kind: multi_container}\n", cities))
    assert "multi_container for 16 cities" in str(wrong)
    assert "at most 15" in str(wrong)
    assert endpoint_mistakes(loaded(tmp_path, "endpoint: {kind: multi_container}\n")) == []


def test_a_model_is_served_by_what_made_it_and_not_by_what_its_city_trains_now(tmp_path: Path) -> None:
    more = f"endpoints: {{lin: {{algorithms: [linear]}}, sk: {{images: [sklearn, '{URI}']}}}}\n"
    fleet = loaded(tmp_path, more)
    sklearn = image_uri(fleet.cities["b"].algorithm, fleet.region)
    xgboost = image_uri(fleet.defaults.algorithm, fleet.region)
    assert {
        made: home_of_model(made[0], lambda made=made: made[1], fleet.endpoints)  # type: ignore[misc]
        for made in [("linear", sklearn), ("ridge", sklearn), ("ridge", URI), ("", xgboost)]
    } == {("linear", sklearn): "lin", ("ridge", sklearn): "sk", ("ridge", URI): "sk", ("", xgboost): ""}
