"""Names are valid for AWS, never collide when shortened, and read back."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from city_fleet import naming

SLUGS = st.from_regex(r"[a-z0-9]{1,30}(_[a-z0-9]{1,30}){0,3}", fullmatch=True)
AWS_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Austin", "austin"),
        ("Bryan-College Station", "bryan_college_station"),
        ("NE Tarrant County", "ne_tarrant_county"),
        ("  São Paulo! ", "sao_paulo"),
        ("A__b--C", "a_b_c"),
    ],
)
def test_slug_keeps_letters_and_digits(name: str, slug: str) -> None:
    assert naming.slug(name) == slug
    assert naming.is_slug(slug)


def test_a_name_without_a_usable_character_is_refused() -> None:
    with pytest.raises(ValueError, match="no letter from a to z"):
        naming.slug("東京")


SHORT = st.from_regex(r"[a-z0-9]{1,8}(_[a-z0-9]{1,8}){0,2}", fullmatch=True)
#: Fleet and environment have at most 32 characters, by the fleet file; a city may be longer.
NAMES_UP_TO_32 = st.from_regex(r"[a-z0-9]+(_[a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) <= 32)
ENVIRONMENTS = NAMES_UP_TO_32.filter(lambda name: name not in naming.RESERVED_ENVIRONMENTS)
TRIPLES = st.tuples(NAMES_UP_TO_32, ENVIRONMENTS, SLUGS)
STEPS = st.sampled_from(["preprocess", "train", "evaluate"])


@given(TRIPLES, STEPS, st.integers(1, 999))
def test_job_names_are_valid_and_begin_as_those_of_their_installation(
    triple: tuple[str, str, str], step: str, attempt: int
) -> None:
    name = naming.job_name(*triple, step, request_digest="0123456789", attempt=attempt)
    assert AWS_NAME.fullmatch(name)
    assert name.endswith(f"{step}-0123456789-{attempt}")
    assert name.startswith(naming.job_prefix(*triple[:2]))


def test_a_long_fleet_is_cut_where_its_longest_job_name_is() -> None:
    fleet, environment = "a" * 32, "b" * 32
    name = naming.job_name(fleet, environment, "c", "preprocess", request_digest="0123456789", attempt=999)
    assert len(name) == 63
    assert name.startswith(naming.job_prefix(fleet, environment))
    assert naming.job_prefix("texas_housing", "laptop") == "texas-housing--laptop"


@st.composite
def rearranged(draw: st.DrawFn) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """Two triples of the same words in the same order, put together in different places."""
    words = draw(st.lists(st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), min_size=4, max_size=9))

    def triple() -> tuple[str, str, str]:
        first = draw(st.integers(1, len(words) - 2))
        second = draw(st.integers(first + 1, len(words) - 1))
        return "_".join(words[:first]), "_".join(words[first:second]), "_".join(words[second:])

    return triple(), triple()


@given(st.one_of(st.tuples(TRIPLES, TRIPLES), rearranged()))
@example((("a", "b_c", "d"), ("a_b", "c", "d")))
@example((("a", "b", "c_d"), ("a", "b_c", "d")))
@example((("a" * 32, "b" * 32, "c"), ("a" * 32, "b" * 31 + "c", "c")))
@example((("a" * 32, "b" * 31, "c"), ("a" * 32, "b" * 31, "c" * 40)))
def test_names_and_keys_of_two_cities_never_meet(
    pair: tuple[tuple[str, str, str], tuple[str, str, str]],
) -> None:
    one, other = pair
    for triple in pair:
        group = naming.package_group(*triple)
        assert AWS_NAME.fullmatch(group)
        assert group.startswith(naming.package_groups_part(*triple[:2]))
        assert AWS_NAME.fullmatch(naming.endpoint_name(*triple[:2]))
    if one != other:
        assert naming.package_group(*one) != naming.package_group(*other)
        assert keys_of(*one).isdisjoint(keys_of(*other))
    if one[:2] != other[:2]:
        assert naming.endpoint_name(*one[:2]) != naming.endpoint_name(*other[:2])
        ours, theirs = (naming.Keys("bucket", *triple[:2]).prefix for triple in pair)
        assert not ours.startswith(theirs)
        assert not theirs.startswith(ours)


def keys_of(fleet: str, environment: str, city: str) -> set[str]:
    """Where one city of an installation may be written to."""
    keys = naming.Keys("bucket", fleet, environment)
    return {
        keys.live(city),
        keys.history(city, 1),
        keys.retired(city),
        keys.model(f"{city}/x"),
        keys.city_records(city),
    }


@given(SHORT, SHORT)
def test_the_name_of_a_configuration_is_no_other_installations(fleet: str, environment: str) -> None:
    """Models and configurations of an endpoint end with ten digits; a word of ten digits may be an environment's."""
    name = naming.aws_name(fleet, environment, suffix="0123456789")
    longer = naming.aws_name(fleet, f"{environment}_0123456789", suffix="0123456789")
    assert AWS_NAME.fullmatch(name)
    assert name != longer


@given(st.lists(SLUGS, min_size=2, max_size=2, unique=True))
def test_long_names_that_share_their_beginning_stay_different(ends: list[str]) -> None:
    names = {naming.aws_name("a_fleet_with_a_very_long_name", "x" * 40 + end) for end in ends}
    assert len(names) == 2


def test_as_of_reads_back_and_needs_a_time_zone() -> None:
    moment = datetime(2014, 1, 1, 6, tzinfo=UTC)
    assert naming.as_of_stamp(moment) == "20140101T060000Z"
    assert naming.parse_as_of("20140101T060000Z") == moment
    assert naming.parse_as_of("2014-01-01T08:00:00+02:00") == moment
    assert naming.parse_as_of("2014-01-01") == datetime(2014, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="no time zone"):
        naming.as_of_stamp(datetime(2014, 1, 1))
    with pytest.raises(ValueError, match="got 'yesterday'"):
        naming.parse_as_of("yesterday")


def test_target_models_read_back() -> None:
    moment = datetime(2014, 1, 1, tzinfo=UTC)
    target = naming.target_model("austin", moment, "0123456789abcdef" * 4)
    assert target == "austin/20140101T000000Z-0123456789ab.tar.gz"
    assert naming.parse_target_model(target) == ("austin", moment, "0123456789ab")
    with pytest.raises(ValueError, match="not a target model"):
        naming.parse_target_model("austin/../waco.tar.gz")


def test_run_keys_differ_between_environments() -> None:
    assert naming.run_key("about", 1) != naming.run_key("about", 2)


def test_cities_are_spread_evenly_and_always_to_the_same_place() -> None:
    places = [naming.spread_seconds("fleet", f"city_{number}", 7200) for number in range(3000)]
    assert places == [naming.spread_seconds("fleet", f"city_{number}", 7200) for number in range(3000)]
    assert min(places) >= 0
    assert max(places) <= 7200
    per_tenth = [sum(low <= place < low + 720 for place in places) for low in range(0, 7200, 720)]
    assert all(200 < count < 400 for count in per_tenth), per_tenth
    assert naming.spread_seconds("fleet", "austin", 0) == 0


def test_history_keys_sort_by_sequence() -> None:
    keys = naming.Keys("bucket", "fleet", "laptop")
    assert keys.history("austin", 9) < keys.history("austin", 10)


@given(st.from_regex(r"[A-Za-z0-9_.~:+-]{1,250}", fullmatch=True))
def test_a_run_id_fits_into_a_tag_and_reads_back(run_id: str) -> None:
    tag = naming.tag_of_run_id(run_id)
    assert re.fullmatch(r"[A-Za-z0-9 _.:/=+@-]{1,256}", tag)
    assert naming.run_id_of_tag(tag) == run_id


def test_the_keys_of_a_fleet_are_those_of_the_architecture_page() -> None:
    """What an earlier version has written is found by these keys alone."""
    keys, moment = naming.Keys("bucket", "f", "e"), datetime(2014, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    stamp = "20140102T030405Z"
    assert {
        "uri": keys.uri("f/x"),
        "raw": keys.raw("c"),
        "code": keys.code("d"),
        "step": keys.step("c", "k", "train"),
        "decision": keys.decision("c", "k", "d"),
        "model": keys.model("c/x.tar.gz"),
        "live": keys.live("c"),
        "history": keys.history("c", 7),
        "known": keys.known("c", moment, "0123456789abcdef" * 4),
        "retired": keys.retired("c"),
        "retire_cursor": keys.retire_cursor(),
        "record": keys.record("c", moment, "k"),
        "event": keys.event(moment, keys.record("c", moment, "k")),
        "index": keys.index(),
        "breaker_mark": keys.breaker_mark(stamp, "c"),
        "night": keys.night(stamp),
        "reconciled": keys.reconciled(),
        "shared_endpoints": keys.shared_endpoints(),
        "moved": keys.moved(),
        "raw_asset": keys.raw_asset("c"),
        "live_asset": keys.live_asset("c"),
    } == {
        "uri": "s3://bucket/f/x",
        "raw": "f/raw/city=c/",
        "code": "f/e/code/d/",
        "step": "f/e/runs/c/k/train/",
        "decision": "f/e/runs/c/k/decide/decision-d.json",
        "model": "f/e/models/c/x.tar.gz",
        "live": "f/e/live/c.json",
        "history": "f/e/history/c/00000007.json",
        "known": f"f/e/known/c/{stamp}-0123456789ab.json",
        "retired": "f/e/state/retired/c.json",
        "retire_cursor": "f/e/state/retire.json",
        "record": f"f/e/state/runs/c/{stamp}-k.json",
        "event": f"f/e/state/events/{stamp}/c/{stamp}-k.json",
        "index": "f/e/state/index/fleet.json.gz",
        "breaker_mark": f"f/e/state/breaker/{stamp}/c.json",
        "night": f"f/e/state/breaker/{stamp}.json",
        "reconciled": "f/e/state/reconciled.json",
        "shared_endpoints": "f/e/state/endpoints.json",
        "moved": "f/e/state/moved.json",
        "raw_asset": "s3://bucket/f/raw/city=c",
        "live_asset": "s3://bucket/f/e/live/c.json",
    }


def test_what_is_listed_holds_what_is_put() -> None:
    keys, moment = naming.Keys("bucket", "f", "e"), datetime(2014, 1, 2, tzinfo=UTC)
    record = keys.record("c", moment, "k")
    for prefix, key in (
        (keys.raw_prefix(), keys.raw("c")),
        (keys.models_prefix(), keys.model("c/x")),
        (keys.live_prefix(), keys.live("c")),
        (keys.history_prefix("c"), keys.history("c", 1)),
        (keys.known_prefix("c"), keys.known("c", moment, "0" * 64)),
        (keys.runs_prefix(), keys.step("c", "k", "train")),
        (keys.records_prefix(), record),
        (keys.city_records("c"), record),
        (keys.events_prefix(), keys.event(moment, record)),
        (keys.breaker_marks_prefix("20140102T000000Z"), keys.breaker_mark("20140102T000000Z", "c")),
    ):
        assert prefix.endswith("/"), prefix
        assert key.startswith(prefix), key
        assert key != prefix, key


def test_a_uri_of_s3_is_split_at_its_first_slash() -> None:
    assert naming.split_uri("s3://bucket/a/b.json") == ("bucket", "a/b.json")
    assert naming.split_uri("s3://bucket/") == ("bucket", "")
    for wrong in ("bucket/a", "s3://bucket", "s3:///a", "https://bucket/a", "x s3://bucket/a"):
        with pytest.raises(ValueError, match="is not an S3 URI"):
            naming.split_uri(wrong)


def test_a_citys_place_in_a_window_may_be_its_end() -> None:
    assert {naming.spread_seconds("f", f"c{number}", 1) for number in range(40)} == {0, 1}
    assert {naming.spread_seconds("f", f"c{number}", 0) for number in range(40)} == {0}
