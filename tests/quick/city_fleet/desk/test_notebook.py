"""A city's notebook: what is in it, what is not, and what its last cell asks SageMaker for."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from city_fleet.config import Fleet, load_fleet
from city_fleet.config.overridden import overridden
from city_fleet.desk.data_at_hand import DataAtHand
from city_fleet.desk.notebook import Subject, files_of, notebook, write
from city_fleet.desk.trial import Served
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.jobs.job_files import settings, settings_file
from city_fleet.jobs.job_requests import train_request
from city_fleet.plan import TRAIN, CityPlan, Run, plan_city
from tests.support.fleets import TEXAS
from tests.support.paths import ROOT

AS_OF = datetime(2015, 8, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return load_fleet(TEXAS, environ={})


def subject(plan: CityPlan, folder: Path, **served: Served) -> Subject:
    data = DataAtHand(folder / "raw", "txhousing.csv", "source:/data/", {plan.city.slug: ("rows.csv",)})
    return Subject(plan, AS_OF, data, **served)


def written(plan: CityPlan, folder: Path) -> dict[str, Any]:
    """Write a notebook, and return what its last cell sends."""
    write(folder / "one.ipynb", subject(plan, folder))
    found = json.loads((folder / "one-files" / "job.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def dag_request(plan: CityPlan, job: dict[str, Any]) -> dict[str, Any]:
    """What the DAG would send of the same run, of tables at the same place."""
    channels = {each["ChannelName"]: each for each in job["request"]["InputDataConfig"]}
    key = re.search(r"/runs/[^/]+/([0-9a-f]{10})/", channels["train"]["DataSource"]["S3DataSource"]["S3Uri"])
    assert key is not None
    return train_request(
        plan,
        Run("night", key[1], AS_OF),
        image_uri=image_uri(plan.city.algorithm, plan.fleet.region),
        code_archive_uri=CodeBundle.of(plan).archive_uri(plan.fleet.keys),
        data={name: each["DataSource"]["S3DataSource"]["S3Uri"] for name, each in channels.items()},
    )


def test_the_request_is_the_dags_but_for_name_and_tags(
    fleet: Fleet, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    kinds: dict[str, dict[tuple[str, ...], Any]] = {
        "as it is": {},
        "spot": {("training", "spot"): True, ("training", "max_wait_seconds"): 3600},
        "a table less": {("algorithm", "refit"): False, ("dataset", "backtest_periods"): 12},
    }
    for name, changes in kinds.items():
        with subtests.test(name):
            folder = tmp_path / name
            plan = plan_city(overridden(fleet, "austin", changes) if changes else fleet, "austin")
            job = written(plan, folder)
            asked = dag_request(plan, job)
            theirs = {key: value for key, value in asked.items() if key not in ("TrainingJobName", "Tags")}
            assert {key: value for key, value in job["request"].items() if key != "Tags"} == theirs
            tags = {each["Key"]: each["Value"] for each in job["request"]["Tags"]}
            night = {each["Key"]: each["Value"] for each in asked["Tags"]}
            # Without a step and a DAG run: whoever looks for jobs of runs leaves this one alone.
            assert tags == {key: night[key] for key in tags}
            assert sorted(tags) == ["city-fleet:city", "city-fleet:environment", "city-fleet:fleet"]


def test_a_private_fleets_job_runs_in_its_network_with_its_key(tmp_path: Path) -> None:
    text = TEXAS.read_text(encoding="utf-8").replace("include/data", str(ROOT / "include" / "data"))
    private = (
        "kms_key: arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n"
        "network: {subnets: [subnet-0a1b2c3d], security_group_ids: [sg-0a1b2c3d], encrypt_traffic: true}\n"
    )
    path = tmp_path / "texas.yaml"
    path.write_text(text + private, encoding="utf-8")
    plan = plan_city(load_fleet(path, environ={}), "austin")
    job = written(plan, tmp_path / "private")
    assert job["kms_key"] == plan.fleet.kms_key == job["request"]["OutputDataConfig"]["KmsKeyId"]
    assert job["request"]["VpcConfig"]["Subnets"] == ["subnet-0a1b2c3d"]
    assert job["request"]["EnableInterContainerTrafficEncryption"] is True


def test_the_settings_are_the_jobs_own(fleet: Fleet, tmp_path: Path) -> None:
    plan = plan_city(fleet, "austin")
    archive = tmp_path / "champion" / "champion.tar.gz"
    served = Served(
        "austin", "austin/20150701T000000Z-0123456789ab.tar.gz", '"e"', "20150701T000000Z", archive
    )
    write(tmp_path / "one.ipynb", subject(plan, tmp_path, champion=served))
    folder = tmp_path / "one-files" / "settings"
    asked = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()}
    run = Run("night", "0123456789", AS_OF)
    assert asked["train"] == settings(plan, run, TRAIN)
    champion = asked["evaluate"]["cities"][0]["champion"]
    assert champion["target_model"] == served.target_model
    assert asked["preprocess"]["raw_uri"] == "source:/data/"
    # What the cell uploads has the bytes of the DAG's file, so its folder has the same name.
    body = json.dumps(asked["train"], indent=2, ensure_ascii=False).encode()
    assert body == settings_file(plan, run, TRAIN).body


def test_it_is_a_notebook_without_outputs_secrets_or_places_of_this_machine(
    fleet: Fleet, tmp_path: Path
) -> None:
    plan = plan_city(fleet, "austin")
    write(tmp_path / "austin.ipynb", subject(plan, tmp_path))
    made = json.loads((tmp_path / "austin.ipynb").read_text(encoding="utf-8"))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 8
    for cell in code:
        ast.parse(cell["source"])
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert all("outputs" not in cell for cell in made["cells"] if cell not in code)
    files = files_of(tmp_path / "austin.ipynb")
    assert files.name == "austin-files"
    for path in [tmp_path / "austin.ipynb", *files.glob("*.json"), *files.glob("settings/*")]:
        text = path.read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert str(ROOT) not in text
        assert "SECRET" not in text.upper()
    scripts = {
        path.relative_to(files / "code").as_posix() for path in (files / "code").rglob("*") if path.is_file()
    }
    assert scripts == set(json.loads((files / "job.json").read_text(encoding="utf-8"))["code"])


def test_no_text_of_others_becomes_code_or_markup(fleet: Fleet) -> None:
    plan = plan_city(fleet, "austin")
    named = replace(
        plan, city=plan.city.model_copy(update={"name": "<script>alert(1)</script> [x](y) $city"})
    )
    made = notebook(named, "one-files")
    head = made["cells"][0]["source"].splitlines()[0]
    assert "<script>" not in head
    assert "[x](y)" not in head
    assert "alert" not in "".join(each["source"] for each in made["cells"][1:])


def test_the_change_is_one_that_the_algorithm_has(fleet: Fleet) -> None:
    def change(changed: Fleet) -> str:
        plan = plan_city(changed, "austin")
        (found,) = [
            each["source"] for each in notebook(plan, "f")["cells"] if "def change(city)" in each["source"]
        ]
        return str(found)

    assert 'city["candidates"][0]["hyperparameters"]["max_depth"] = 6\n' in change(fleet)
    assert 'city["seed"] += 1\n' in change(overridden(fleet, "austin", {("algorithm", "name"): "knn"}))
