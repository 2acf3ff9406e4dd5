"""The rows of the fleet's table: which of them fit a question, in which order, and what they say; the nights above."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from city_fleet.config import Fleet
from city_fleet.state.index_state import Champion, Index, RunSummary
from city_fleet.views import fleet as fleet_state
from city_fleet.views import fleet_table, night_strip
from city_fleet.views.fleet_table import CityRow, TableQuestion
from tests.support import page_nights
from tests.support.fleets import texas
from tests.support.page_nights import Ended

LAST = datetime(2026, 11, 26, tzinfo=UTC)


def index_of(fleet: Fleet, ended: list[Ended]) -> Index:
    runs, champions = [], {}
    for version, each in enumerate(ended, 1):
        name = f"{each.city}/{each.as_of:%Y%m%dT%H%M%SZ}-{version:010x}.json"
        record = page_nights.record_of(fleet, each, version)
        runs.append((each.city, RunSummary.of_record(name, record)))
        if each.outcome == "live":
            champions[each.city] = Champion.of_pointer(page_nights.pointer_of(fleet, each, 1), str(version))
    return Index().with_runs(runs).with_champions(dict(champions))


@pytest.fixture(scope="module")
def ended() -> list[Ended]:
    return list(page_nights.nights_of(list(texas().cities), 10, LAST))


@pytest.fixture(scope="module")
def rows(ended: list[Ended]) -> tuple[CityRow, ...]:
    index = index_of(texas(), ended)
    snapshot = fleet_state.take(texas(), index, LAST + timedelta(hours=3), code_digests={})
    strip = night_strip.strip_of(index, texas().digest.schedule)
    return fleet_table.rows_of(texas(), snapshot, index, strip.of_city)


def slugs(rows: Any, words: dict[str, str], **more: Any) -> list[str]:
    return [
        row.slug for row in fleet_table.page_of(rows, TableQuestion.of_query(words), groups={}, **more).rows
    ]


def test_a_row_says_how_good_the_champion_is(rows: tuple[CityRow, ...], ended: list[Ended]) -> None:
    row = next(row for row in rows if row.slug == "austin")
    (live, *_) = [each for each in reversed(ended) if each.city == "austin" and each.outcome == "live"]
    assert (row.metric, row.value, row.baseline, row.against) == (
        "mape",
        live.value,
        live.baseline,
        live.champion,
    )
    assert row.gain == pytest.approx((live.baseline - live.value) / live.baseline)
    assert live.champion is not None
    assert row.progress == pytest.approx((live.champion - live.value) / live.champion)
    of_city = [each.outcome for each in ended if each.city == "austin"]
    assert list(row.cells) == of_city
    assert [night.outcome for night in row.nights] == of_city[::-1]


def test_filters_narrow(rows: tuple[CityRow, ...], subtests: pytest.Subtests) -> None:
    every = [row.slug for row in rows]
    cases: list[tuple[dict[str, str], Any]] = [
        ({"q": "FORT"}, lambda row: "fort" in row.slug),
        ({"state": "not_deployed"}, lambda row: row.status.state == "NOT_DEPLOYED"),
        ({"outcome": "held"}, lambda row: row.status.last_run.outcome == "held"),
        ({"algorithm": "XGB"}, lambda row: True),
        ({"algorithm": "ridge"}, lambda row: False),
        ({"group": "gone.0123"}, lambda row: False),
        (
            {"q": "a", "outcome": "live"},
            lambda row: "a" in row.words and row.status.last_run.outcome == "live",
        ),
    ]
    for words, fits in cases:
        with subtests.test(str(words)):
            found = slugs(rows, {**words, "size": "200"})
            assert sorted(found) == [row.slug for row in rows if fits(row)]
    assert slugs(rows, {"size": "200"}, seen={"austin", "waco"}) == ["austin", "waco"]
    page = fleet_table.page_of(rows, TableQuestion(group="x"), groups={"x": {"waco"}})
    assert [row.slug for row in page.rows] == ["waco"]
    assert set(every) >= {"austin", "waco"}


def test_every_sort_is_an_order_and_its_reverse(rows: tuple[CityRow, ...], subtests: pytest.Subtests) -> None:
    for name, key in fleet_table.SORTS.items():
        with subtests.test(name):
            up = fleet_table.page_of(rows, TableQuestion(sort=name, size=200), groups={}).rows
            down = fleet_table.page_of(rows, TableQuestion(sort=f"-{name}", size=200), groups={}).rows
            values = [key(row) for row in up if key(row) is not None]
            assert values == sorted(values)
            assert [key(row) for row in down if key(row) is not None] == sorted(values, reverse=True)
            # What is not known stands last either way.
            unknown = len(rows) - len(values)
            assert all(key(row) is None for page in (up, down) for row in page[len(rows) - unknown :])


def test_pages_hold_every_row_once(rows: tuple[CityRow, ...]) -> None:
    pages = [
        fleet_table.page_of(rows, TableQuestion(page=number, size=25), groups={}) for number in (1, 2, 3, 99)
    ]
    assert [page.first for page in pages] == [1, 26, 26, 26]  # behind the last page is the last page
    assert [row.slug for page in pages[:2] for row in page.rows] == slugs(rows, {"size": "200"})
    assert pages[0].pages == 2
    nothing = fleet_table.page_of((), TableQuestion(), groups={})
    assert (nothing.first, nothing.pages, nothing.total) == (0, 1, 0)


def test_an_address_and_its_question_say_the_same(subtests: pytest.Subtests) -> None:
    asked = TableQuestion(q="fort & worth", state="STALE", group="held.0a1b", sort="-age", page=3, size=100)
    words = dict(pair.split("=") for pair in asked.query()[1:].split("&"))
    assert words["q"] == "fort+%26+worth"
    assert TableQuestion.of_query({**words, "q": "fort & worth"}) == asked
    assert asked.query(q="waco").count("page") == 0  # another question begins at its first page
    assert "page=4" in asked.query(page=4)
    assert TableQuestion().query() == "?"
    assert asked.sorted_by("age").endswith("sort=age&size=100")
    for words in ({"page": "-1"}, {"page": "²"}, {"size": "7"}, {"sort": "__class__"}, {"page": "9" * 30}):
        with subtests.test(str(words)):
            assert TableQuestion.of_query(words) == TableQuestion()


def test_a_bad_night_stands_out(ended: list[Ended]) -> None:
    strip = night_strip.strip_of(index_of(texas(), ended), texas().digest.schedule)
    assert len(strip.nights) == 10
    assert all(night.cities == len(texas().cities) for night in strip.nights)
    failed = [night.counts.get("failed", 0) for night in strip.nights]
    assert failed.index(max(failed)) == 7
    assert night_strip.strip_of(Index(), None).nights == ()


def test_a_city_that_joined_late_has_no_run_in_earlier_nights() -> None:
    ended = [each for each in page_nights.nights_of(["austin", "waco"], 5, LAST) if each.city != "waco"]
    late = list(page_nights.nights_of(["waco"], 2, LAST))
    strip = night_strip.strip_of(index_of(texas(), [*ended, *late]), None)
    assert strip.of_city["waco"][:3] == (None, None, None)
    assert None not in strip.of_city["austin"]


def test_the_strip_of_some_cities_has_their_nights_alone() -> None:
    days = [LAST + timedelta(days=number) for number in range(4)]
    nights = page_nights.nights_of
    ended = [*nights(["austin", "waco"], 2, days[1]), *nights(["dallas"], 1, days[3])]
    strip = night_strip.strip_of(index_of(texas(), ended), None)
    assert [night.cities for night in strip.nights] == [2, 2, 1]
    found = night_strip.narrowed(strip, {"waco", "dallas"})
    assert [night.cities for night in found.nights] == [1, 1, 1]
    found = night_strip.narrowed(strip, {"dallas"})
    assert [(night.until, night.counts) for night in found.nights] == [(strip.nights[2].until, {"live": 1})]
    assert found.of_city == {"dallas": ("live",)}
    assert night_strip.narrowed(strip, {"tyler"}) == night_strip.Strip((), {})
