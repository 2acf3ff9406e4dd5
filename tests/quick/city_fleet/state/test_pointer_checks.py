"""What lies below live/ and history/ is believed only where it is the pointer of the city whose key it has."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet import naming
from city_fleet.errors import BrokenPointer, PublishError
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.pointer_checks import MAX_POINTER_BYTES
from tests.support.states import package_arn, pointer

#: One that does not say whose it is, as earlier versions wrote them; state/live.py refuses those of others.
POINTER = replace(pointer("austin", 3), fleet="", environment="")
GOOD = json.loads(POINTER.to_json())
WHERE = "s3://city-fleet/texas_housing/laptop/live/austin.json"
KEPT = "s3://city-fleet/texas_housing/laptop/history/austin/00000003.json"
ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package/"


def read(where: str = WHERE, **changes: Any) -> LivePointer:
    return LivePointer.from_json(json.dumps({**GOOD, **changes}).encode(), where)


def test_a_pointer_is_read_from_its_keys_alone() -> None:
    assert read() == read(KEPT) == POINTER
    assert read("s3://b/texas_housing/live/austin.json", package_arn=f"{ARN}texas-housing-laptop-austin/1")
    for where in (
        WHERE.replace("austin", "waco"),
        KEPT.replace("austin", "waco"),
        KEPT.replace("00000003", "00000002"),
        WHERE.replace("laptop", "production"),
        WHERE.replace("texas_housing", "texas"),
    ):
        with pytest.raises(BrokenPointer, match="is not a live pointer of this city"):
            read(where)


def test_groups_of_earlier_versions_are_their_citys() -> None:
    for group in ("texas-housing--laptop--austin", "texas-housing-laptop-austin"):
        assert read(package_arn=f"{ARN}{group}/7").package_arn.endswith("/7")
    city = "a_slug_of_many_words_" * 4 + "x"
    long = replace(
        pointer(city, 3), package_arn=f"{ARN}{naming.package_group('texas_housing', 'laptop', city)}/1"
    )
    where = WHERE.replace("austin", city)
    assert LivePointer.from_json(long.to_json(), where) == long
    earlier = "texas-housing-laptop-a-slug-of-many-words-a-slug-of-many"
    whole = f"texas-housing-laptop-{city.replace('_', '-')}"
    group = f"{whole[:56].rstrip('-')}-{naming.digest(whole, 6)}"
    assert group.startswith(earlier)
    assert LivePointer.from_json(replace(long, package_arn=f"{ARN}{group}/1").to_json(), where)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"target_model": "waco/20140101T000000Z-1a2b3c4d5e6f.tar.gz"}, "target_model"),
        ({"target_model": GOOD["target_model"] + "\r\n"}, "target_model"),
        ({"target_model": "../../x"}, "target_model"),
        ({"artifact_sha256": "f" * 64}, "target_model"),
        ({"artifact_sha256": GOOD["artifact_sha256"][:12]}, "artifact_sha256"),
        ({"artifact_sha256": GOOD["artifact_sha256"].upper()}, "artifact_sha256"),
        ({"as_of": "20140201T000000Z"}, "target_model"),
        ({"as_of": "yesterday"}, "as_of"),
        ({"as_of": "99999999T000000Z"}, "as_of"),
        ({"city": "waco"}, "target_model"),
        ({"city": "../waco"}, "city"),
        ({"package_arn": package_arn("waco")}, "package_arn"),
        ({"package_arn": package_arn("austin").replace("austin", "north-austin")}, "package_arn"),
        ({"package_arn": package_arn("austin") + "9" * 5000}, "package_arn"),
        ({"package_arn": "x/" + "9" * 5000}, "package_arn"),
        ({"package_arn": package_arn("austin") + "\n"}, "package_arn"),
        ({"predecessor": "waco/20140101T000000Z-1a2b3c4d5e6f.tar.gz"}, "predecessor"),
        ({"predecessor": "yesterday's"}, "target model"),
        ({"predecessor": 7}, "predecessor"),
        ({"sequence": 0}, "sequence"),
        ({"sequence": 10**30}, "sequence"),
        ({"sequence": 3.0}, "sequence"),
        ({"restores": "1"}, "restores"),
        ({"metrics": {"mape": "4%"}}, "metrics"),
        ({"metrics": {"mape": float("nan")}}, "metrics"),
        ({"metrics": {"mape": 10**400}}, "metrics"),
        ({"metrics": {"mape": True}}, "metrics"),
        ({"metrics": {"mape": {}}}, "metrics"),
        ({"metrics": []}, "metrics"),
        ({"features": [{"a": 1}]}, "features"),
        ({"features": {"a": 1}}, "features"),
        ({"reasons": "because"}, "reasons"),
        ({"reasons": [None]}, "reasons"),
        ({"pinned": "no"}, "pinned"),
        ({"moved_by": 5}, "moved_by"),
        ({"reason": None}, "reason"),
        ({"published_at": 2014}, "published_at"),
        ({"data_until": 20140101}, "data_until"),
        ({"settings_digest": []}, "settings_digest"),
        ({"endpoint": "-x"}, "endpoint"),
        ({"endpoint": "x" * 64}, "endpoint"),
        ({"route": {"target_model": "waco/20140101T000000Z-1a2b3c4d5e6f.tar.gz"}}, "route"),
        ({"route": {"container": "x"}}, "route"),
        ({"route": []}, "route"),
        ({"task": "ranking"}, "task"),
        ({"kind": ["table"]}, "kind"),
        ({"kind": "table"}, "inputs"),
        ({"inputs": [{"name": name, "kind": "number"} for name in GOOD["features"]]}, "inputs"),
        ({"kind": "table", "inputs": [{"name": "x", "kind": "number"}]}, "inputs"),
        (
            {"kind": "table", "inputs": [{"name": name, "kind": "money"} for name in GOOD["features"]]},
            "inputs",
        ),
        ({"kind": "table", "inputs": [{"name": name} for name in GOOD["features"]]}, "inputs"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(BrokenPointer, match=names) as caught:
        read(**changes)
    assert WHERE in str(caught.value)
    assert "./fleet rebuild" in str(caught.value)
    assert len(str(caught.value)) < 700, "what others have written is cut"


def test_a_pointer_of_an_earlier_version_is_that_of_a_series_on_the_fleets_endpoint() -> None:
    new = ("endpoint", "route", "task", "kind", "inputs")
    earlier = LivePointer.from_json(
        json.dumps({name: value for name, value in GOOD.items() if name not in new}).encode(), WHERE
    )
    assert earlier == POINTER
    assert (earlier.endpoint, earlier.task, earlier.kind, earlier.inputs) == ("", "regression", "series", ())
    assert earlier.route == {"target_model": earlier.target_model}


def test_a_tables_pointer_says_what_a_request_holds() -> None:
    inputs = [{"name": name, "kind": "category"} for name in GOOD["features"]]
    found = read(kind="table", task="multiclass", inputs=inputs, endpoint="city-fleet-2")
    assert found.is_table
    assert (found.inputs, found.endpoint) == (tuple(inputs), "city-fleet-2")
    assert LivePointer.from_json(found.to_json(), WHERE) == found


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        json.dumps({**GOOD, "metrics": 0}).encode().replace(b'"metrics": 0', b'"metrics": ' + b"[" * 100_000),
        b'{"format_version": ' + b"9" * 5000 + b"}",
        b" " * (MAX_POINTER_BYTES + 1),
        json.dumps({**GOOD, "reasons": ["x" * MAX_POINTER_BYTES]}).encode(),
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"",
    ],
    ids=range(10),
)
def test_bytes_that_are_no_pointer_are_refused_whatever_they_are(body: bytes) -> None:
    with pytest.raises(BrokenPointer, match="is not a live pointer"):
        LivePointer.from_json(body, WHERE)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(member=st.sampled_from(sorted(GOOD)), value=JSON_VALUES)
def test_any_member_of_any_value_is_read_whole_or_refused(member: str, value: Any) -> None:
    try:
        found = read(**{member: value})
    except PublishError as error:
        # A newer format is no broken pointer: nothing may replace it.
        assert isinstance(error, BrokenPointer) or "upgrade" in str(error)  # noqa: PT017 - either is right
        return
    assert LivePointer.from_json(found.to_json(), WHERE) == found


def test_what_a_forecast_is_made_of_is_whole_or_not_there() -> None:
    good = {"frequency": "month", "horizon": 3, "unit": "US$", "columns": ["median"]}
    assert read(forecast=good).forecast == good
    assert read(forecast=good | {"unit": None}).forecast["unit"] is None
    assert read(forecast={}).forecast == {}
    for wrong in (
        None,
        [],
        {"frequency": "month"},
        good | {"horizon": 0},
        good | {"horizon": 101},
        good | {"horizon": True},
        good | {"columns": []},
        good | {"columns": [5]},
        good | {"more": 1},
    ):
        with pytest.raises(BrokenPointer, match="forecast is"):
            read(forecast=wrong)
