"""The morning's message, from a snapshot and the night's runs alone."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.config import Fleet
from city_fleet.errors import ConfigError
from city_fleet.state.index_state import Champion, Index, IndexEntry, RunSummary
from city_fleet.views import digest_text
from city_fleet.views.digest import (
    DigestWindow,
    NightDigest,
    cause_of,
    compose,
    last_night,
    less_sure,
    night_of,
    runs_of,
)
from city_fleet.views.fleet import Waiting, take
from tests.support.fleets import pooled_texas, texas
from tests.support.states import CODE, champion, summary

MORNING = datetime(2014, 1, 1, 7, tzinfo=UTC)
NIGHT = DigestWindow(datetime(2013, 12, 31, 7, tzinfo=UTC), MORNING)
AS_OF = "20140101T000000Z"


def run(city: str, outcome: str, reason: str = "", as_of: str = AS_OF, **fields: Any) -> RunSummary:
    return RunSummary(
        as_of,
        "0123456789",
        "2014-01-01T03:00:00+00:00",
        f"{city}/{as_of}-0123456789.json",
        outcome,
        reasons=(reason,) if reason else (),
        **fields,
    )


def digest(entries: dict[str, IndexEntry], fleet: Fleet | None = None, **more: Any) -> NightDigest:
    index, fleet = Index(cities=entries), fleet or texas()
    snapshot = take(fleet, index, MORNING, code_digests=CODE, **more)
    runs = runs_of(index, NIGHT)[0]
    return compose(fleet, snapshot, NIGHT, runs, less_sure(index, runs))


@pytest.mark.parametrize(
    ("moment", "schedule", "until"),
    [
        (datetime(2014, 1, 1, 0, 0, tzinfo=UTC), "0 7 * * *", datetime(2014, 1, 1, 7, tzinfo=UTC)),
        (datetime(2014, 1, 1, 7, 0, tzinfo=UTC), "0 7 * * *", datetime(2014, 1, 1, 7, tzinfo=UTC)),
        (datetime(2014, 1, 1, 7, 0, 1, tzinfo=UTC), "0 7 * * *", datetime(2014, 1, 2, 7, tzinfo=UTC)),
        (datetime(2013, 12, 31, 23, 0, tzinfo=UTC), None, datetime(2014, 1, 1, 12, tzinfo=UTC)),
        (datetime(2014, 1, 1, 7, tzinfo=UTC), "0 7 * * 1", datetime(2014, 1, 6, 7, tzinfo=UTC)),
    ],
)
def test_a_night_lies_between_two_ticks(moment: datetime, schedule: str | None, until: datetime) -> None:
    found = night_of(moment, schedule)
    assert found.until == until
    assert found.since < moment <= found.until
    assert night_of(found.until, schedule) == found


def test_the_newest_night_with_a_run_is_the_last() -> None:
    entries = {"austin": IndexEntry(None, (run("austin", "live", as_of="20131115T000000Z"),))}
    found = last_night(Index(cities=entries), "0 7 * * *")
    assert found is not None
    assert found.until == datetime(2013, 11, 15, 7, tzinfo=UTC)
    assert last_night(Index(), None) is None


def test_a_night_is_told_by_outcome_and_cause() -> None:
    held = "MAPE {}% on 12 held-out rows does not beat the naive forecast's {}%"
    failed = (
        "task train failed: Job texas-housing--laptop--{}-train-0123456789-1 ended as Failed: AlgorithmError: "
        "city '{}': 3 rows at 2013-{}-01T00:00:00Z"
    )
    entries = {
        "austin": IndexEntry(champion(as_of=AS_OF), (run("austin", "live", "good"),)),
        "abilene": IndexEntry(None, (run("abilene", "live"),)),
        "el_paso": IndexEntry(None, (run("el_paso", "failed", failed.format("el-paso", "el_paso", "07")),)),
        "waco": IndexEntry(None, (run("waco", "failed", failed.format("waco", "waco", "11")),)),
        "tyler": IndexEntry(None, (run("tyler", "failed", "task publish failed: endpoint"),)),
        "dallas": IndexEntry(None, (run("dallas", "held", held.format("9.31", "5.8")),)),
        "houston": IndexEntry(None, (run("houston", "held", held.format("12", "5")),)),
        "irving": IndexEntry(None, (run("irving", "too_little_data", "40 usable months of 60"),)),
    }
    found = digest(entries)
    assert next(iter(found.outcomes)) == "live"
    assert [group.cities for group in found.outcomes["live"]] == [("abilene", "austin")]
    (both,) = found.outcomes["held"]
    assert both.cities == ("dallas", "houston")
    assert both.cause == "MAPE …% on … held-out rows does not beat the naive forecast's …%"
    first, second = found.outcomes["failed"]
    assert first.cities == ("el_paso", "waco")
    assert first.cause == (
        "task train failed: Job texas-housing--laptop--<city>-train-… ended as Failed: AlgorithmError: "
        "city '<city>': … rows at …"
    )
    assert second.cities == ("tyler",)
    assert found.counts == {
        **{"live": 2, "held": 2, "failed": 3, "too_little_data": 1},
        **{
            "without_result": 39,
            "waiting": 0,
            "old": 0,
            "by_parent": 0,
            "broken": 0,
            "removed": 0,
            "less_sure": 0,
        },
    }


def test_cities_that_a_parent_answers_for_are_named_by_parent() -> None:
    found = digest({
        "kerrville": IndexEntry(None, (run("kerrville", "held", "worse"),)),
        "lufkin": IndexEntry(None, (run("lufkin", "too_little_data"),)),
        "austin": IndexEntry(champion(as_of=AS_OF), (run("austin", "live"),)),
        "texas": IndexEntry(champion("texas", as_of=AS_OF), (run("texas", "live"),)),
    }, fleet=pooled_texas())  # fmt: skip
    said = digest_text.text(found)
    assert found.counts["by_parent"] == 45, "all of its cities but austin: no other has a model"
    assert "SERVED BY THEIR PARENT, 45:" in said
    assert "  texas: abilene, amarillo," in said
    assert found.to_dict()["by_parent"][0]["served_by"] == "texas"
    assert "SERVED BY THEIR PARENT" not in digest_text.text(digest({"austin": IndexEntry(champion())}))


def test_an_owner_is_told_of_their_own_cities_alone() -> None:
    fleet = texas()
    austin = fleet.cities["austin"].model_copy(update={"owner": "ann"})
    fleet = fleet.model_copy(update={"cities": {**fleet.cities, "austin": austin}})
    entries = {
        "austin": IndexEntry(runs=(run("austin", "failed", "no data"),)),
        "waco": IndexEntry(runs=(run("waco", "failed", "no data"),)),
    }
    index = Index(cities=entries)
    snapshot, runs = take(fleet, index, MORNING, code_digests=CODE), runs_of(index, NIGHT)[0]
    theirs = compose(fleet, snapshot, NIGHT, runs, owner="ann")
    assert theirs.counts == {**dict.fromkeys(theirs.counts, 0), "failed": 1}
    assert theirs.to_dict()["owner"] == "ann"
    text = digest_text.text(theirs)
    assert text.startswith("texas_housing (laptop, ann), 2014-01-01: 1 failed")
    assert "./fleet status --fleet texas_housing --owner ann shows more." in text
    assert "waco" not in text
    assert compose(fleet, snapshot, NIGHT, runs, owner="nobody").is_empty
    assert "owner" not in compose(fleet, snapshot, NIGHT, runs).to_dict()


def test_another_nights_run_is_no_result() -> None:
    early = run("austin", "live", as_of="20131231T070000Z")
    found = digest({"austin": IndexEntry(champion(), (early,))})
    assert "austin" in found.without_result
    assert found.outcomes == {}
    last = run("austin", "live", as_of="20140101T070000Z")
    assert "austin" not in digest({"austin": IndexEntry(champion(), (last, early))}).without_result


def test_only_cities_with_a_tick_are_expected() -> None:
    fleet = texas()

    def with_austin(**fields: Any) -> Fleet:
        austin = fleet.cities["austin"].model_copy(update=fields)
        return fleet.model_copy(update={"cities": {"austin": austin}})

    assert digest({}, with_austin()).without_result == ("austin",)
    for nothing in (
        with_austin(schedule="@yearly", start_date=date(2014, 1, 2)),
        with_austin(schedule=None),
        with_austin(end_date=date(2013, 12, 31)),
        with_austin(schedule="0 6 1 * *", spread_minutes=90),
    ):
        found = digest({}, nothing)
        assert found.is_empty
        assert digest_text.subject(found).endswith("nothing to tell")


def test_who_needs_a_person_is_listed() -> None:
    waiting = Waiting("arn", 7, datetime(2014, 1, 1, 3, 12, tzinfo=UTC))
    fleet = texas().model_copy(update={"broken": {"ys": ConfigError(got="x", city="ys")}})
    found = digest(
        {
            "austin": IndexEntry(champion(as_of="20131001T000000Z", pinned=True, reason="bad data")),
            "waco": IndexEntry(champion("waco", as_of="20130901T000000Z", data_until="2013-07-01")),
            "atlantis": IndexEntry(champion("atlantis", as_of="20131201T000000Z")),
            "tyler": IndexEntry(Champion('"e"', "is no pointer")),
        },
        fleet,
        waiting={"texas-housing--laptop--austin": [waiting]},
    )
    assert [city.city for city in found.old] == ["waco", "austin"], "the oldest first"
    text = digest_text.text(found)
    assert "\n  austin: version 7 since 2014-01-01 03:12\n" in text
    assert "\n  waco: as of 20130901T000000Z, 122 days old, data until 2013-07-01\n" in text
    assert "\n  austin: as of 20131001T000000Z, 92 days old, pinned: bad data\n" in text
    assert "BROKEN, 2:\n  tyler: is no pointer\n  ys: city 'ys': got x" in text
    assert "BUT SERVED, 1:\n  atlantis: as of 20131201T000000Z, 31 days old\n" in text
    json.dumps(found.to_dict())


def test_a_message_about_thousands_stays_short() -> None:
    slugs = [f"c{number:05}" for number in range(5000)]
    city = texas().cities["austin"]
    cities = {slug: city.model_copy(update={"slug": slug, "name": slug}) for slug in slugs}
    fleet = texas().model_copy(update={"cities": cities})
    outcomes = ("live", "held", "failed")
    entries = {
        slug: IndexEntry(
            champion(slug, as_of="20130901T000000Z"),
            (
                run(
                    slug,
                    outcomes[number % 3],
                    f"cause {'abcdefghijklmnop'[number % 16]}",
                    seconds=(("ml.m5.large", 90),),
                ),
            ),
        )
        for number, slug in enumerate(slugs)
    }
    found = digest(entries, fleet)
    text = digest_text.text(found)
    assert len(text) < 10_000
    assert "FAILED, 1666:" in text
    assert "8 other causes" in text
    assert "and 4980 more" in text
    assert "Billable: 125.0 h ml.m5.large." in text
    assert len(digest_text.subject(found)) < 100


def test_a_model_that_is_less_sure_than_the_one_before_is_named() -> None:
    before = "20131201T000000Z"
    entries = {
        "austin": IndexEntry(
            runs=(run("austin", "live", doubt=0.081), run("austin", "live", as_of=before, doubt=0.04))
        ),
        "dallas": IndexEntry(
            runs=(run("dallas", "live", doubt=0.03), run("dallas", "live", as_of=before, doubt=0.027))
        ),
        # A held challenger's doubt is nobody's: neither tonight's nor that of the month before.
        "houston": IndexEntry(
            runs=(run("houston", "held", doubt=0.9), run("houston", "live", as_of=before, doubt=0.1))
        ),
        "waco": IndexEntry(
            runs=(run("waco", "live", doubt=0.9), run("waco", "held", as_of=before, doubt=0.1))
        ),
        "bryan": IndexEntry(runs=(run("bryan", "live"), run("bryan", "live", as_of=before, doubt=0.1))),
    }
    found = digest(entries)
    assert [each.city for each in found.less_sure] == ["austin"]
    assert "LESS SURE THAN BEFORE, 1 " in digest_text.text(found)
    assert "  austin: ± 8.1 %, before ± 4 %" in digest_text.text(found)
    assert found.counts["less_sure"] == 1
    assert found.to_dict()["less_sure"] == [{"city": "austin", "doubt": 0.081, "before": 0.04}]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 59)), max_size=12), st.integers(1, 5))
def test_a_nights_run_is_found_or_said_to_be_forgotten(runs: list[tuple[int, int]], day: int) -> None:
    """Whatever was folded in: the index gives the night's last run, or says that it may have dropped it."""
    stamps = [f"2014010{number}T000000Z" for number in range(1, 6)]
    found = [summary(stamps[number % 5], number, minute) for number, minute in runs]
    index = Index().with_runs(("austin", each) for each in found)
    night = DigestWindow(
        datetime(2014, 1, day, tzinfo=UTC) - timedelta(days=1), datetime(2014, 1, day, tzinfo=UTC)
    )
    by_city, forgotten = runs_of(index, night)
    ended = {each.run_key for each in found if night.holds(each)}
    if not ended:
        assert by_city == {}
    elif not forgotten:
        assert by_city["austin"].run_key in ended


def test_causes_keep_what_does_not_vary() -> None:
    assert cause_of("austin", run("austin", "held", "R2 of austin is 0.5, not above r2 0.7")) == (
        "R2 of <city> is …, not above r2 …"
    )
    assert cause_of("san_angelo", run("san_angelo", "failed", "San Angelo, san-angelo and san_angelo")) == (
        "<city>, <city> and <city>"
    )
    assert cause_of("paris", run("paris", "failed", "comparison failed")) == "comparison failed"
    assert cause_of("paris", run("paris", "failed")) == "no reason given"
