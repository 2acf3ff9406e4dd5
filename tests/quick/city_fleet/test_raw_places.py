"""Where a city's raw data lie: templates, names as tools spell them in keys, and what a policy says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from city_fleet import raw_places
from city_fleet.config import Fleet, load_fleet
from city_fleet.errors import FleetFileError
from city_fleet.infrastructure import access, arrivals, functions
from city_fleet.infrastructure.names import StackNames
from city_fleet.jobs import job_files, job_requests
from city_fleet.plan import PREPROCESS, plan_city
from tests.support.fleets import SMALL, january_run

CITIES = "cities:\n  austin: {name: Austin}\n  sao_paulo: {name: São Paulo}\n  ffm: {name: Frankfurt/Main}\n"


def fleet(tmp_path: Path, raw: str, more: str = "") -> Fleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(SMALL + f'  raw: "{raw}"\n{more}{CITIES}', encoding="utf-8")
    return load_fleet(path, {})


@pytest.mark.parametrize(
    ("template", "city", "folder", "prefixes"),
    [
        (
            "s3://lake/sales/city={name}/",
            "austin",
            "sales/",
            ["sales/city=Austin/"],
        ),
        ("s3://lake/sales/{slug}", "sao_paulo", "sales/", ["sales/sao_paulo/"]),
        ("s3://lake/{name}/daily/", "austin", "", ["Austin/daily/"]),
        ("s3://lake/all/of/it/", "austin", "all/of/it/", ["all/of/it/"]),
        (
            "s3://lake/city={name}/",
            "sao_paulo",
            "",
            ["city=São Paulo/", "city=Sa\u0303o Paulo/", "city=S%C3%A3o%20Paulo/"],
        ),
        ("s3://lake/city={name}/", "ffm", "", ["city=Frankfurt%2FMain/"]),
    ],
)
def test_a_template_leads_to_the_prefixes_that_a_name_is_spelled_as(
    tmp_path: Path, template: str, city: str, folder: str, prefixes: list[str]
) -> None:
    place = fleet(tmp_path, template).raw_place(city)
    assert (place.bucket, place.own, place.folder) == ("lake", False, folder)
    assert list(place.prefixes) == prefixes
    assert all(prefix.startswith(folder) for prefix in prefixes)


@pytest.mark.parametrize(
    ("template", "allowed"),
    [
        ("s3://lake/{city}/", "placeholders {name}"),
        ("s3://lake/{}/", "placeholders {name}"),
        ("s3://lake/{name", "a folder in S3"),
        ("s3://lake/", "a folder in S3"),
        ("s3://lake", "a folder in S3"),
        ("lake/sales/{name}/", "a folder in S3"),
        ("s3://lake/../{name}/", "a folder in S3"),
        ("s3://lake//{name}/", "a folder in S3"),
        ("s3://lake/*/{name}/", "a folder in S3"),
        ("s3://lake/{name}?/", "a folder in S3"),
    ],
)
def test_other_templates_are_refused_with_what_is_allowed(
    tmp_path: Path, template: str, allowed: str
) -> None:
    with pytest.raises(FleetFileError) as refused:
        fleet(tmp_path, template)
    assert "dataset.raw" in str(refused.value)
    assert allowed in str(refused.value)


def test_a_city_that_the_fleet_does_not_know_is_below_its_own_prefix(tmp_path: Path) -> None:
    place = fleet(tmp_path, "s3://lake/{slug}/").raw_place("gone")
    assert (place.own, place.uri) == (True, "s3://small-data/small/raw/city=gone/")


def test_roles_may_read_exactly_what_the_template_leads_to(tmp_path: Path) -> None:
    found = fleet(tmp_path, "s3://lake/sales/city={name}/", "defaults: {retries: 1}\n")
    names = StackNames(found)
    jobs = {each["Sid"]: each for each in access.role_statements(names)}
    arn = {"Fn::Sub": "arn:${AWS::Partition}:s3:::lake/sales/city=*/*"}
    assert jobs["ReadRawDataElsewhere1"] == {
        "Sid": "ReadRawDataElsewhere1", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [arn],
    }  # fmt: skip
    listed = jobs["ListRawDataElsewhere1"]
    assert (listed["Action"], listed["Resource"]) == (
        "s3:ListBucket",
        [{"Fn::Sub": "arn:${AWS::Partition}:s3:::lake"}],
    )
    assert listed["Condition"] == {"StringLike": {"s3:prefix": ["sales/city=*/*"]}}
    airflow = {each["Sid"] for each in access.airflow_statements(names)}
    assert "ListRawDataElsewhere1" in airflow
    assert "ReadRawDataElsewhere1" not in airflow
    # Nobody may write or delete there.
    for statement in [*access.role_statements(names), *access.airflow_statements(names)]:
        if "lake" in str(statement["Resource"]):
            assert statement["Action"] in ("s3:GetObject", "s3:ListBucket")
    own = StackNames(load_fleet(_own(tmp_path), {}))
    assert not [each for each in access.role_statements(own) if "Elsewhere" in each.get("Sid", "")]


def _own(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(SMALL + CITIES, encoding="utf-8")
    return path


def test_a_job_gets_the_files_into_the_folder_of_its_city(tmp_path: Path) -> None:
    plan, run = plan_city(fleet(tmp_path, "s3://lake/sales/city={name}/"), "sao_paulo"), january_run()
    names = ["city=São Paulo/year=2015/part-0.csv"]
    manifest = job_files.raw_manifest(plan, run, names)
    assert manifest.key.startswith("small/laptop/runs/sao_paulo/")
    assert manifest.body.decode() == (
        '[\n  {\n    "prefix": "s3://lake/sales/"\n  },\n  "city=São Paulo/year=2015/part-0.csv"\n]'
    )
    request = job_requests.preprocess_request(plan, run, image_uri="image", code_uri="s3://code/", raw=names)
    inputs = {each["InputName"]: each["S3Input"] for each in request["ProcessingInputs"]}
    assert inputs["raw"]["LocalPath"] == "/opt/ml/processing/input/raw/city=sao_paulo"
    (city,) = job_files.settings(plan, run, PREPROCESS, names)["cities"]
    assert city["raw_uri"] == "s3://lake/sales/"
    assert "files" not in city
    assert "raw" not in city["dataset"]


def test_the_settings_list_the_files_by_age_where_the_newest_counts(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(SMALL + "  duplicates: last\n" + CITIES, encoding="utf-8")
    plan, run = plan_city(load_fleet(path, {}), "austin"), january_run()
    (city,) = job_files.settings(plan, run, PREPROCESS, ["b.csv", "a.csv"])["cities"]
    assert city["files"] == ["b.csv", "a.csv"]
    assert "files" not in job_files.settings(plan, run, "train")["cities"][0]


@pytest.mark.parametrize("name", ["a" * 256, "100%", "a?b", "x\\y", "..", "a=b", "#1"])
def test_every_name_has_a_spelling_that_is_one_part_of_a_key(name: str) -> None:
    found = raw_places.spellings(name)
    assert len(set(found)) == len(found)
    assert all("/" not in each for each in found)
    assert found


def test_the_rule_hears_of_both_buckets_and_the_function_knows_the_names(tmp_path: Path) -> None:
    names = StackNames(fleet(tmp_path, "s3://lake/sales/city={name}/"))
    (pattern,) = arrivals.resources(names)["ArrivalsRule"]["Properties"]["EventPattern"]["detail"].values()
    assert [(each["bucket"]["name"], each["object"]["key"]) for each in pattern] == [
        (["small-data"], [{"prefix": "small/raw/"}]),
        (["lake"], [{"prefix": "sales/city="}]),
    ]
    assert names.fleet.raw_elsewhere() == {"s3://lake/sales/city={name}/": {"Frankfurt/Main": "ffm"}}
    found = functions.resources(names)["RetrainFunction"]["Properties"]["Environment"]["Variables"]
    assert json.loads(found["CITY_FLEET_RAW_ELSEWHERE"]) == names.fleet.raw_elsewhere()
