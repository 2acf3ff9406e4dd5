"""``./fleet plan`` without a city: what a person reads and what a program gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import fleet
from tests.support.fleets import SMALL

TRAIN = "ml.m5.large for training job usage"


def test_both_ways_stand_side_by_side_in_a_terminals_width() -> None:
    done = fleet("plan", "--cities", "3000", "--fleet", "texas_housing")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "a DAG per city" in done.stdout
    assert "60 cohorts of 50" in done.stdout
    assert f"# {TRAIN}" in done.stdout


def test_quotas_are_read_as_the_aws_command_prints_them(tmp_path: Path) -> None:
    listed = [{"ServiceCode": "sagemaker", "QuotaCode": "L-611FA074", "QuotaName": TRAIN, "Value": 3.0}]
    path = tmp_path / "quotas.json"
    path.write_text(json.dumps({"Quotas": listed}), encoding="utf-8")
    arguments = ("plan", "--cities", "3000", "--fleet", "texas_housing", "--quotas", str(path), "--json")
    ((found,), again) = (json.loads(fleet(*arguments).stdout), fleet(*arguments[:-1]).stdout)
    alone, together = found["ways"]
    need = next(each for each in alone["needs"] if each["name"] == TRAIN)
    assert (need["have"], need["fits"], need["code"]) == (3, False, "L-611FA074")
    assert "does not fit" in again
    assert "the training quota" in again
    assert max(map(len, again.splitlines())) <= 100
    assert alone["with_quotas"]["seconds"] > 5 * together["with_quotas"]["seconds"]
    path.write_text("[]", encoding="utf-8")
    refused = fleet(*arguments)
    assert refused.returncode == 1
    assert "no list of quotas" in refused.stdout
    missing = fleet(*arguments[:-3], "--quotas", str(tmp_path / "none.json"))
    assert (missing.returncode, "No such file" in missing.stderr) == (1, True)


def test_a_fleet_as_it_is_and_its_people_and_parents_stay_alone(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    cities = "cities:\n" + "".join(f"  c{number}: {{name: C{number}}}\n" for number in range(9))
    path.write_text(SMALL + cities + "  asked: {name: Asked, approval: manual}\n", encoding="utf-8")
    (found,) = json.loads(fleet("plan", "--fleet", str(path), "--json").stdout)
    alone, together = (way["night"] for way in found["ways"])
    assert (alone["dag_runs"], alone["jobs"]) == (10, 30)
    assert (together["cohorts"], together["dag_runs"], together["jobs"]) == (1, 2, 4)
    assert found["ways"][1]["alone"] == {"approval is manual: a person is asked about one city": 1}
    path.write_text(path.read_text(encoding="utf-8") + "defaults: {cohort: 3}\n", encoding="utf-8")
    (found,) = json.loads(fleet("plan", "--fleet", str(path), "--json").stdout)
    own = found["ways"][1]
    # As the file has them: about three a cohort.
    assert own["cohort"] == 3
    assert 2 <= own["night"]["cohorts"] <= 3
    assert not any(line.startswith("defaults:") for line in own["settings"])


def test_what_scales_is_said_with_what_it_costs_at_most(tmp_path: Path) -> None:
    scaling = "{min_instances: 1, max_instances: 8, invocations_per_instance: 600}"
    path = tmp_path / "small.yaml"
    path.write_text(f"{SMALL}endpoint: {{scaling: {scaling}}}\ncities: {{a: }}\n", encoding="utf-8")
    done = fleet("plan", "--fleet", str(path))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Endpoint small--laptop is")]
    # ml.m5.large is 0.115 dollars an hour.
    assert line.endswith("reckoned with 1 of up to 8 instances: 22.08 dollars a day at most"), done.stdout
    (quota,) = [
        line.split() for line in done.stdout.splitlines() if line.startswith("ml.m5.large for endpoint")
    ]
    assert quota[3:6] == ["L-614B09FD", "8", "8"], "what it may have at most"


def test_a_region_without_prices_is_not_reckoned_with_anothers_and_a_month_has_its_nights(
    tmp_path: Path,
) -> None:
    path = tmp_path / "small.yaml"
    text = f"{SMALL}budget: {{night: 0.01}}\ncities: {{a: , b: , c: , d: }}\n"
    path.write_text(text, encoding="utf-8")
    (found,) = json.loads(fleet("plan", "--fleet", str(path), "--json").stdout)
    way = found["ways"][0]
    day = way["night"]["cost"]["the endpoint, a day"]
    jobs = way["night"]["dollars"] - day
    assert way["dollars_a_month"] == pytest.approx(day * 365 / 12 + jobs * way["nights_a_month"], abs=0.2)
    assert "and budget.night is 0.01: runs would wait" in fleet("plan", "--fleet", str(path)).stdout
    path.write_text(f"region: eu-central-1\n{text}", encoding="utf-8")
    done = fleet("plan", "--fleet", str(path)).stdout
    assert "warning: no price of S3 is known in eu-central-1" in done
    assert [line.split()[3:] for line in done.splitlines() if line.startswith("dollars a month")] == [
        ["not", "known", "not", "known"]
    ]


def test_a_night_and_a_city_are_not_mixed_up() -> None:
    for arguments in (("austin", "--cities", "5"), ("--look",), ("--cities", "0")):
        done = fleet("plan", *arguments, "--fleet", "texas_housing")
        assert done.returncode == 2, arguments
    hurried = fleet("plan", "--cities", "10000", "--within", "6").stdout
    assert "No quota makes it so short with a DAG per city: starts in Airflow alone" in hurried
    several = fleet("plan", "--cities", "5")
    assert several.stdout.startswith("A night of 5 cities, with the usual settings")
