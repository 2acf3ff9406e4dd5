"""Folding run records: the result depends on which records there are, and on nothing else."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.state.index_state import KEPT_RUNS, Champion, Index, IndexEntry, RunSummary, kept
from tests.support.states import pointer, record, summary

STAMPS = [f"2014010{day}T000000Z" for day in range(1, 6)]


summaries = st.builds(
    lambda run, minute, version: summary(STAMPS[run % len(STAMPS)], run, minute, version),
    st.integers(0, 8),
    st.integers(0, 59),
    st.integers(0, 2),
)


@given(st.lists(summaries, max_size=25), st.data())
def test_any_order_any_repetition_and_any_steps_give_the_same(
    runs: list[RunSummary], data: st.DataObject
) -> None:
    at_once = kept(runs)
    shuffled = data.draw(
        st.permutations(runs + data.draw(st.lists(st.sampled_from(runs)) if runs else st.just([])))
    )
    index = Index()
    while shuffled:
        count = data.draw(st.integers(1, len(shuffled)))
        index = index.with_runs(("austin", run) for run in shuffled[:count])
        shuffled = shuffled[count:]
    assert index.cities.get("austin", IndexEntry()).runs == at_once


@given(st.lists(summaries, min_size=1, max_size=25))
def test_the_newest_nights_and_the_last_run_are_kept(runs: list[RunSummary]) -> None:
    found = kept(runs)
    assert len(found) <= KEPT_RUNS + 1
    assert found[0].as_of == max(run.as_of for run in runs)
    last = IndexEntry(runs=found).last_run
    assert last is not None
    assert last.finished_at == max(run.finished_at for run in runs), "whatever ended last is shown"
    assert len({run.run_key for run in found}) == len(found), "a run that ended twice counts once"


def test_of_one_as_of_what_ended_last_comes_first() -> None:
    """Corrected data are another run about the same moment, with a key that sorts anywhere."""
    first, corrected = summary(STAMPS[0], run=9, minute=1), summary(STAMPS[0], run=1, minute=2)
    assert kept([first, corrected]) == (corrected, first)


@given(st.dictionaries(st.sampled_from(["austin", "waco", "el_paso"]), st.lists(summaries, max_size=5)))
def test_an_index_survives_its_bytes(cities: dict[str, list[RunSummary]]) -> None:
    index = Index("20140101T000000Z", frozenset({"a/b/c.json"})).with_runs(
        (city, run) for city, runs in cities.items() for run in runs
    )
    index = index.with_champions(
        {"waco": Champion.of_pointer(pointer("waco", 3), '"etag"'), "tyler": Champion('"e"', "?")}
    )
    again = Index.from_bytes(index.to_bytes())
    assert again == index
    assert again.to_bytes() == index.to_bytes()


@pytest.mark.parametrize("body", [b"", b"{}", b"\x1f\x8b", Index().to_bytes()[:-3]])
def test_what_is_no_index_is_none(body: bytes) -> None:
    assert Index.from_bytes(body) is None


def test_an_index_of_another_version_is_none() -> None:
    text = gzip.decompress(Index().to_bytes()).replace(b'"format_version":1', b'"format_version":2')
    assert Index.from_bytes(gzip.compress(text)) is None


def test_a_record_is_shortened() -> None:
    name = "austin/20140101T000000Z-0123456789-0a1b2c3d.json"
    long = record(reasons=["x" * 1000, "b", "c", "d"], failed_task="train", failure={"error": "JobError"})
    run = RunSummary.of_record(name, long)
    assert (run.as_of, run.run_key, run.record) == ("20140101T000000Z", "0123456789", name)
    assert run.seconds == (("ml.m5.large", 70), ("ml.t3.medium", 5))
    assert run.reasons == ("x" * 300, "b", "c")
    assert (run.failed_task, run.error) == ("train", "JobError")
    assert RunSummary.of_record(name, record(failure=None)).error is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.pop("outcome"),
        lambda value: value.update(as_of="20150101T000000Z"),
        lambda value: value.update(jobs=[1]),
        lambda value: value.update(reasons=3),
        lambda value: value.update(failure="x"),
    ],
)
def test_what_is_no_record_says_so(spoil: Callable[[dict[str, Any]], Any]) -> None:
    value = record()
    spoil(value)
    with pytest.raises(ValueError, match="austin/20140101T000000Z-0123456789"):
        RunSummary.of_record("austin/20140101T000000Z-0123456789.json", value)


def test_a_champion_is_shortened_and_goes() -> None:
    champion = Champion.of_pointer(pointer("waco", 3), '"etag"')
    assert (champion.sequence, champion.as_of, champion.etag) == (3, "20140101T000000Z", '"etag"')
    index = Index().with_champions({"waco": champion})
    assert index.with_champions({"waco": None}).cities["waco"] == IndexEntry()


GOOD = Index("20140101T000000Z").with_runs([("austin", summary(STAMPS[0], 1, 1))]).with_champions(
    {"austin": Champion.of_pointer(pointer("austin", 3), '"etag"')}
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("watermark",), "yesterday"),
        (("watermark",), 5),
        (("cities",), []),
        (("cities", "austin", "champion", "metrics"), {"mape": "4%"}),
        (("cities", "austin", "champion", "as_of"), "yesterday"),
        (("cities", "austin", "champion", "package_arn"), {}),
        (("cities", "austin", "champion", "data_until"), 5),
        (("cities", "austin", "runs", 0, "as_of"), None),
        (("cities", "austin", "runs", 0, "reasons"), [{}]),
        (("cities", "austin", "runs", 0, "failed_task"), {}),
        (("cities", "austin", "runs", 0, "seconds"), [["ml.m5.large", "many"]]),
        (("cities", "austin", "runs", 0, "finished_at"), 5),
    ],
)
def test_an_index_that_somebody_else_has_written_is_built_anew(path: tuple[Any, ...], value: Any) -> None:
    said = json.loads(gzip.decompress(GOOD.to_bytes()))
    assert Index.from_bytes(gzip.compress(json.dumps(said).encode())) == GOOD
    node = said
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    assert Index.from_bytes(gzip.compress(json.dumps(said).encode())) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"x", gzip.compress(b"[" * 100_000), gzip.compress(b"{}")[:-9] + b"y" * 9],
    ids=["nothing", "no gzip", "deep", "damaged"],  # gzip writes the time: workers must name tests alike
)
def test_bytes_that_are_no_index_are_built_anew(body: bytes) -> None:
    assert Index.from_bytes(body) is None


@pytest.mark.parametrize(
    "wrong", [{"failed_task": {}}, {"failure": {"error": 5}}, {"target_model": []}, {"as_of": "yesterday"}]
)
def test_a_record_with_members_of_another_type_is_passed_over(wrong: dict[str, Any]) -> None:
    name = "austin/20140101T000000Z-0000000001.json"
    with pytest.raises(ValueError, match=r"text|as_of"):
        RunSummary.of_record(name, record(**wrong))
