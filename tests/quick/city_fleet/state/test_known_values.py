"""What a job says is known of a city is believed only as far as it is of this city, in bounds and made of numbers."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet import naming
from city_fleet.errors import BrokenKnown
from city_fleet.state import known_values
from city_fleet.state.known_values import KnownValues
from city_fleet.state.objects import Item

STAMP = "20150801T000000Z"
WHERE = "s3://city-fleet/houses/laptop/runs/austin/0123456789/preprocess/job/report/city=austin/known.json"
GOOD: dict[str, Any] = {
    "format_version": 1,
    "city": "austin",
    "as_of": STAMP,
    "frequency": "month",
    "known_until": "2015-07-01",
    "columns": ["median", "sales"],
    "first": "2015-06-01",
    "rows": [[251000.0, 2873], [None, 2700.5]],
}


def read(value: Any) -> KnownValues:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return known_values.parse(body, WHERE, "austin", STAMP)


def test_what_fits_is_handed_on_as_it_is_and_named_by_its_bytes() -> None:
    body = json.dumps(GOOD, indent=3).encode("utf-16")  # the bytes are named, the text is handed on
    found = read(body)
    assert json.loads(found.text) == GOOD
    assert len(found.text) < len(body) / 2
    assert found.sha256 == hashlib.sha256(body).hexdigest()
    keys = naming.Keys("city-fleet", "houses", "laptop")
    assert found.key(keys) == f"houses/laptop/known/austin/{STAMP}-{found.sha256[:12]}.json"
    assert read({**GOOD, "known_until": None}).known_until is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"city": "waco"}, "city is 'waco'; it must be 'austin'"),
        ({"as_of": "20150901T000000Z"}, "as_of is '20150901T000000Z'"),
        ({"format_version": 2}, "format_version is 2; this version of City Fleet reads 1"),
        ({"frequency": "hours"}, "frequency is 'hours'; allowed: hour, day"),
        ({"frequency": ["day"]}, "frequency is a list of 1"),
        ({"columns": []}, "columns is an empty list"),
        ({"columns": ["median", "median"]}, "columns is a list of 2"),
        ({"columns": ["median", 5]}, "columns is a list of 2"),
        ({"first": "June"}, "first is 'June'; allowed: a day"),
        ({"known_until": 5}, "known_until is 5"),
        ({"rows": {}}, "rows is not a list of rows of 2 numbers"),
        ({"rows": [[1.0]]}, "rows is not"),
        ({"rows": [[1.0, True]]}, "rows is not"),
        ({"rows": [[1.0, "2"]]}, "rows is not"),
        ({"rows": [[1.0, float("nan")]]}, "rows is not"),
        ({"rows": [[1.0, 10**400]]}, "is not what is known of city 'austin'"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BrokenKnown) as caught:
        read({**GOOD, **change})
    assert words in str(caught.value)
    assert WHERE in str(caught.value)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_member_is_needed(name: str) -> None:
    with pytest.raises(BrokenKnown, match=f"{name}"):
        read({key: value for key, value in GOOD.items() if key != name})


def test_bytes_that_are_no_json_or_too_many_are_refused() -> None:
    with pytest.raises(BrokenKnown, match="larger than 262,144 bytes"):
        read(b" " * (known_values.MAX_BYTES + 1))
    for body in (b"", b"[" * 100_000, b"\xff\xfe\x00", b"[]", b"5"):
        with pytest.raises(BrokenKnown):
            read(body)


def test_of_one_moment_the_copy_that_was_written_last_is_the_newest() -> None:
    keys, prefix = naming.Keys("b", "houses", "laptop"), "houses/laptop/known/austin/"
    noon = datetime(2015, 8, 2, 12, tzinfo=UTC)
    names = [
        ("20150801T000000Z-ffffffffffff.json", 1),
        ("20150801T000000Z-000000000000.json", 2),  # the data were put right, and the city run again
        ("20150701T000000Z-aaaaaaaaaaaa.json", 3),
        ("20990101T000000Z-short.json", 4),
    ]
    items = [Item(prefix + name, 100, "e", noon + timedelta(minutes=minute), noon) for name, minute in names]
    store: Any = SimpleNamespace(items=lambda asked: [each for each in items if each.key.startswith(asked)])
    found = [each.key.removeprefix(prefix) for each in known_values.copies(store, keys, "austin")]
    assert found == [names[1][0], names[0][0], names[2][0]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_whatever_stands_in_a_member_it_is_refused_or_can_be_sent(name: str, value: Any) -> None:
    try:
        found = read({**GOOD, name: value})
    except BrokenKnown:
        return
    json.loads(found.text, parse_constant=pytest.fail)
