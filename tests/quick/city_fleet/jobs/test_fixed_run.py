"""What a run is about: what makes another run of it, and what does not."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from city_fleet.jobs import fixed_run
from city_fleet.jobs.fixed_run import FixedRun, RawObject
from city_fleet.plan import CityPlan, FixedChampion
from tests.support.fleets import AS_OF, austin
from tests.support.paths import SCRIPTS

FILE = RawObject("a.csv", 3, "0" * 32)
PREFIX = "s3://city-fleet/texas_housing/raw/city=austin/"


def about(plan: CityPlan, raw: tuple[RawObject, ...] = (FILE,)) -> str:
    return plan.about(AS_OF, fixed_run.raw_digest(raw), "c0de")


def changed(plan: CityPlan, section: str, **values: Any) -> CityPlan:
    settings = getattr(plan.city, section).model_copy(update=values)
    return replace(plan, city=plan.city.model_copy(update={section: settings}))


def of_fleet(plan: CityPlan, **values: Any) -> CityPlan:
    return replace(plan, fleet=plan.fleet.model_copy(update=values))


def test_what_makes_another_model_makes_another_run() -> None:
    plan = austin()
    other_city = replace(plan, city=plan.city.model_copy(update={"slug": "waco"}))
    keys = [
        about(plan),
        about(other_city),
        about(of_fleet(plan, fleet="other")),
        about(of_fleet(plan, environment="production")),
        about(changed(plan, "dataset", holdout_periods=6)),
        about(changed(plan, "algorithm", hyperparameters={"max_depth": 9})),
        about(plan, ()),
        about(plan, (FILE, replace(FILE, name="b.csv"))),
        about(plan, (replace(FILE, etag="1" * 32),)),
        plan.about(AS_OF + timedelta(seconds=1), fixed_run.raw_digest((FILE,)), "c0de"),
        plan.about(AS_OF, fixed_run.raw_digest((FILE,)), "other"),
    ]
    assert len(set(keys)) == len(keys)


def test_what_costs_or_decides_otherwise_makes_no_other_run() -> None:
    plan = austin()
    same = [
        changed(plan, "training", instance_type="ml.m5.4xlarge", max_runtime_seconds=60, spot=True),
        changed(plan, "gate", tolerance=0.5),
        of_fleet(plan, role="arn:aws:iam::123456789012:role/other", bucket="moved"),
        replace(plan, city=plan.city.model_copy(update={"approval": "manual", "retries": 9, "name": "A"})),
    ]
    assert {about(each) for each in same} == {about(plan)}


def read(**changes: Any) -> dict[str, Any]:
    return {"uri": f"{PREFIX}a.csv", "size_bytes": 3, "etag": "0" * 32, **changes}


@pytest.mark.parametrize(
    ("fixed", "inputs", "said"),
    [
        ((FILE,), [read()], None),
        ((FILE,), [read(), read(uri=f"{PREFIX}b.csv")], f"{PREFIX}b.csv was added"),
        ((FILE,), [read(etag="1" * 32)], f"{PREFIX}a.csv was replaced"),
        ((FILE,), [], f"{PREFIX}a.csv was taken away"),
        # The ETag of an upload in parts says nothing about a file's MD5; its size does.
        ((replace(FILE, etag="0" * 32 + "-2"),), [read(etag="1" * 32)], None),
        ((replace(FILE, etag="0" * 32 + "-2"),), [read(size_bytes=4)], f"{PREFIX}a.csv was replaced"),
    ],
)
def test_what_a_job_has_read_is_held_against_what_was_fixed(
    fixed: tuple[RawObject, ...], inputs: list[dict[str, Any]], said: str | None
) -> None:
    run = FixedRun("k", "20140101T000000Z", 1, fixed, None, "d/r/2")
    assert fixed_run.difference(run, inputs, PREFIX, tuple) == said


def test_with_a_key_of_kms_an_etag_is_no_md5_and_tells_of_every_write() -> None:
    run = FixedRun("k", "20140101T000000Z", 1, (FILE,), None, "d/r/2")
    inputs = [read(etag="1" * 32)]
    assert fixed_run.difference(run, inputs, PREFIX, lambda: (FILE,)) is None
    later = (replace(FILE, etag="2" * 32),)
    assert fixed_run.difference(run, inputs, PREFIX, lambda: later) == f"{PREFIX}a.csv was replaced"
    assert (
        fixed_run.difference(run, [read(size_bytes=4)], PREFIX, lambda: (FILE,))
        == f"{PREFIX}a.csv was replaced"
    )


def test_a_fixed_run_survives_its_bytes() -> None:
    champion = FixedChampion("austin/m.tar.gz", '"etag"', "20131201T000000Z")
    run = FixedRun("k", "20140101T000000Z", 2, (FILE,), champion, "f.austin/scheduled__1/2")
    assert FixedRun.from_json(run.to_json()) == run
    assert FixedRun.from_json(replace(run, champion=None).to_json()).champion is None
    assert run.begun_by == "f.austin/scheduled__1"


def test_the_files_that_are_no_data_are_those_that_the_job_ignores() -> None:
    script = ast.parse((SCRIPTS / "raw_data.py").read_text())
    calls: dict[str, ast.Call] = {
        node.targets[0].id: node.value
        for node in script.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
    }
    constant: Callable[[ast.expr], Any] = ast.literal_eval
    assert constant(calls["NO_DATA"].args[0]) == fixed_run.NO_DATA.pattern
