"""Several shared endpoints in one fleet: which serves a city, and what each is asked for."""

from __future__ import annotations

from pathlib import Path

from city_fleet.config import Fleet, load_fleet
from city_fleet.jobs.images import serving_image_uri
from city_fleet.plan import plan_city
from city_fleet.serving import endpoint_requests
from tests.support.fleets import SMALL

OWN_IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/torch@sha256:" + "0" * 64
TWO = f"""\
endpoint: {{instance_type: ml.t2.medium}}
endpoints:
  forest: {{algorithms: [random_forest], instance_type: ml.m5.xlarge, instance_count: 2}}
  torch: {{images: ["{OWN_IMAGE}"]}}
cities:
  a:
  b: {{algorithm: {{image: sklearn, name: random_forest}}}}
  c: {{algorithm: {{image: "{OWN_IMAGE}"}}}}
"""


def fleet_of(folder: Path, more: str = TWO) -> Fleet:
    path = folder / "small.yaml"
    path.write_text(SMALL + more, encoding="utf-8")
    return load_fleet(path, {})


def test_a_city_is_served_by_the_endpoint_that_names_its_algorithm_or_image(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    assert {slug: plan_city(fleet, slug).endpoint for slug in fleet.cities} == {
        "a": "small--laptop",
        "b": "small--laptop--forest",
        "c": "small--laptop--torch",
    }
    assert (
        [serving_image_uri(fleet, name).rpartition("/")[2] for name in fleet.endpoint_names]
        == [
            "sagemaker-xgboost:3.2-0",
            "sagemaker-xgboost:3.2-0",  # scikit-learn's image lacks XGBoost; XGBoost's answers with every algorithm
            OWN_IMAGE.rpartition("/")[2],
        ]
    )


def test_the_requests_of_an_endpoint_are_of_its_own_settings_and_name(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    names, kinds = set(), []
    for name in fleet.endpoint_names:
        model = endpoint_requests.model_request(fleet, name, image_uri="i", code_archive_uri="s3://b/c")
        config = endpoint_requests.endpoint_config_request(fleet, name, model_name=model["ModelName"])
        served = endpoint_requests.endpoint_request(
            fleet, name, endpoint_config_name=config["EndpointConfigName"]
        )
        (variant,) = config["ProductionVariants"]
        kinds.append((variant["InstanceType"], variant["InitialInstanceCount"]))
        names |= {model["ModelName"], config["EndpointConfigName"], served["EndpointName"]}
        assert model["ModelName"].startswith(served["EndpointName"])
    assert kinds == [("ml.t2.medium", 1), ("ml.m5.xlarge", 2), ("ml.m5.large", 1)]
    assert len(names) == 9
