"""Cohorts in a fleet file: who is in which, what moves nobody, and the same in every part of a compiled file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from city_fleet import cohorts
from city_fleet.config import Fleet, load_fleet
from city_fleet.config.cohort_rule import MOST_MEMBERS, spread
from city_fleet.config.compiled_form import compile_form
from city_fleet.config.fleet_file import read_fleet
from city_fleet.config.open_form import open_form
from city_fleet.config.parts import Part, shard_of
from city_fleet.config.usable_fleets import _narrowed
from city_fleet.jobs.cohort_plan import plan_cohort
from city_fleet.naming import jump_hash
from tests.support.fleets import SMALL

HEAD = SMALL + "defaults: {cohort: 4}\n"


def load(folder: Path, cities: str, head: str = HEAD, **environ: str) -> Fleet:
    path = folder / "fleet.yaml"
    path.write_text(f"{head}cities:\n{cities}", encoding="utf-8")
    return load_fleet(path, environ)


def cities(count: int) -> str:
    return "".join(f"  c{number}:\n" for number in range(count))


def test_the_hash_is_that_of_the_paper() -> None:
    # Reference values: the C++ function of the paper, as other implementations of it check theirs by.
    expected = {(1, 1): 0, (42, 57): 43, (0xDEAD10CC, 1): 0, (0xDEAD10CC, 666): 361, (256, 1024): 520}
    assert {case: jump_hash(*case) for case in expected} == expected


def test_a_new_city_moves_no_other_one_and_a_new_cohort_takes_its_share() -> None:
    slugs = [f"c{number}" for number in range(1000)]
    before = spread(slugs[:-1], 50)
    after = spread(slugs, 50)
    assert len(before) == len(after) == 20
    assert [sorted({*after[name]} - {*before[name]}) for name in after if after[name] != before[name]] == [
        ["c999"]
    ]
    assert sum(map(len, after.values())) == 1000
    home = {slug: name for name, members in after.items() for slug in members}
    one_more = {slug: name for name, members in spread([*slugs, "new"], 50).items() for slug in members}
    moved = {slug for slug in slugs if one_more[slug] != home[slug]}
    assert {one_more[slug] for slug in moved} == {"cohort_021"}
    assert 20 < len(moved) < 80


def test_no_cohort_is_larger_than_airflow_maps() -> None:
    sizes = [len(members) for members in spread([f"c{number}" for number in range(10_000)], 1000).values()]
    assert max(sizes) <= MOST_MEMBERS
    assert sum(sizes) == 10_000


def test_a_city_that_has_a_mistake_for_a_day_moves_no_other_one(tmp_path: Path) -> None:
    right = load(tmp_path, cities(9))
    wrong = load(tmp_path, cities(8) + "  c8: {retries: -1}\n")
    assert set(wrong.broken) == {"c8"}
    assert all(right.cohort_of(slug) == wrong.cohort_of(slug) for slug in wrong.cities)


def test_what_needs_a_dag_or_a_job_of_its_own_keeps_it(tmp_path: Path) -> None:
    fleet = load(
        tmp_path,
        cities(6)
        + "  none: {cohort: null}\n  asked: {approval: manual}\n  hourly: {schedule: '@hourly'}\n"
        + "  large: {training: {instance_type: ml.m5.4xlarge}}\n  patient: {retries: 9}\n"
        + "  old: {algorithm: {image: sklearn}}\n  tuned: {algorithm: {hyperparameters: {max_depth: 2}}}\n"
        + "  elsewhere: {dataset: {raw: 's3://other/{slug}/'}}\n  pooled:\n  child: {parent: pooled}\n",
    )
    assert not fleet.broken
    reasons = cohorts.own_dag_reasons(fleet)
    words = {
        "asked": "approval is manual", "hourly": "schedule is not", "large": "training is not",
        "patient": "retries is not", "old": "image is not", "elsewhere": "dataset.raw", "pooled": "parent of other",
    }  # fmt: skip
    assert {slug: words[slug] in reason for slug, reason in reasons.items()} == dict.fromkeys(words, True)
    inside = {slug for members in cohorts.cohorts(fleet).values() for slug in members}
    assert inside == {"c0", "c1", "c2", "c3", "c4", "c5", "tuned", "child"}
    assert fleet.dag_id_of("asked") == "small.asked"
    assert fleet.dag_id_of("tuned") == f"small._{cohorts.cohort_of(fleet, 'tuned')}"
    assert "(asked): approval is manual" in "\n".join(cohorts.reasons_counted(fleet))
    assert load(tmp_path, cities(3), SMALL).members == {}


@pytest.mark.parametrize(
    ("body", "head", "words"),
    [
        (
            "  c1:\n  c2: {cohort: 5}\n",
            HEAD,
            r"city 'c2', field 'cohort': got 5; allowed: 4, as of the other",
        ),
        ("  c1: {cohort: 3}\n  c2: {cohort: 5}\n", SMALL, "city 'c2', field 'cohort': got 5; allowed: 3"),
        ("  c1: {cohort: 1}\n", SMALL, "allowed: a whole number from 2 to 1000"),
        (
            "  c1:\n  c2: {approval: '${CITY_FLEET_ENVIRONMENT}'}\n",
            HEAD,
            r"'approval': got '\$\{CITY_FLEET_ENVIRONMENT\}', .* written out",
        ),
        (
            "  c1: {training: {instance_type: '${CITY_FLEET_BUCKET}'}}\n",
            HEAD,
            "'training.instance_type': .* written out",
        ),
    ],
)
def test_one_size_and_the_same_in_every_environment(tmp_path: Path, body: str, head: str, words: str) -> None:
    fleet = load(tmp_path, body, head, CITY_FLEET_ENVIRONMENT="manual", CITY_FLEET_BUCKET="ml.m5.4xlarge")
    assert len(fleet.broken) == 1
    text = str(next(iter(fleet.broken.values())))
    assert re.search(words, text), text


def test_a_part_of_a_fleet_knows_all_cohorts_and_reads_one(tmp_path: Path) -> None:
    fleet = load(tmp_path, cities(2000) + "  own: {cohort: null}\n", SMALL + "defaults: {cohort: 50}\n")
    reading = read_fleet(fleet.path, {})
    form = compile_form(fleet.path, reading, "0" * 40)
    assert form is not None
    read: list[int] = []

    def shard(number: int) -> bytes:
        read.append(number)
        return form.shards[number]

    opened = open_form(form.manifest, shard)
    members = fleet.members["cohort_007"]
    for found in (
        opened.fleet(fleet.path, {}, Part(slug="_cohort_007")),
        _narrowed(reading, Part(slug="_cohort_007")),
    ):
        assert (tuple(found.cities), found.members) == (members, fleet.members)
        plan = plan_cohort(found, "cohort_007")
        assert (plan.slugs, plan.dag_id) == (members, "small._cohort_007")
    assert len(read) == 1
    one = opened.fleet(fleet.path, {}, Part(slug=members[3]))
    assert list(one.cities) == [members[3]]
    assert one.dag_id_of(members[3]) == "small._cohort_007"
    assert len(read) == 2
    together: set[str] = set()
    for index in range(4):
        of_file = opened.fleet(fleet.path, {}, Part(index, 4))
        homes = {of_file.cohort_of(slug) or slug for slug in of_file.cities}
        assert {shard_of(f"_{home}" if home != "own" else home, 4) for home in homes} == {index}
        assert together.isdisjoint(of_file.cities)
        together |= set(of_file.cities)
    assert len(together) == 2001
