"""Which SageMaker endpoint serves for a shared one, as it changes hands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from city_fleet.errors import PlatformError
from city_fleet.naming import Keys, container_hostname, endpoint_beside, named_endpoint
from city_fleet.state import shared_endpoints
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint, answering, parse

KEYS = Keys("city-fleet", "houses", "laptop")
WHERE = KEYS.uri(KEYS.shared_endpoints())
FIRST = ServingEndpoint(name="houses--laptop", config="c1", since="2026-01-01T00:00:00+00:00")
SECOND = ServingEndpoint(name="houses--laptop---0123456789", config="c2", since="2026-02-01T00:00:00+00:00")
THIRD = ServingEndpoint(name="houses--laptop---abcdef0123", config="c3", since="2026-03-01T00:00:00+00:00")


def test_who_takes_over_answers_and_who_went_before_is_kept_until_it_is_deleted() -> None:
    shared = SharedEndpoint(serving=FIRST).taken_over(SECOND).taken_over(THIRD)
    assert shared.answering() == THIRD.name
    assert [(each.name, each.until) for each in shared.replaced] == [
        (SECOND.name, THIRD.since),
        (FIRST.name, SECOND.since),
    ]
    assert shared.without([FIRST.name]).replaced == (replace(SECOND, until=THIRD.since),)
    # One that comes back is not among those that may be deleted.
    back = shared.taken_over(replace(FIRST, since="2026-04-01T00:00:00+00:00"))
    assert back.answering() == FIRST.name
    assert [each.name for each in back.replaced] == [THIRD.name, SECOND.name]
    # The same endpoint with another configuration replaces nothing.
    updated = SharedEndpoint(serving=FIRST).taken_over(replace(FIRST, config="c9"))
    assert (updated.serving.config, updated.replaced) == ("c9", ())


def test_a_container_answers_where_it_is_also_on_an_endpoint_that_was_replaced() -> None:
    old, new = {"austin-1": "a1", "waco-1": "w1"}, {"austin-2": "a2", "waco-1": "w1"}
    shared = SharedEndpoint(serving=replace(FIRST, containers=old)).taken_over(
        replace(SECOND, containers=new)
    )
    endpoints = {"houses--laptop": shared}
    assert answering(endpoints, "houses--laptop", "austin-1") == FIRST.name, "its pointer has not moved yet"
    assert answering(endpoints, "houses--laptop", "austin-2") == SECOND.name
    assert answering(endpoints, "houses--laptop", "waco-1") == SECOND.name
    # Nowhere: the one that serves says so better than any guess.
    assert answering(endpoints, "houses--laptop", "dallas-1") == SECOND.name
    assert answering(endpoints, "another", "austin-1") == "another"


def test_what_is_written_is_read_back() -> None:
    shared = {
        "houses--laptop": SharedEndpoint(
            serving=replace(FIRST, algorithms={"xgboost": "1a2b3c4d"})
        ).taken_over(SECOND),
        "houses--laptop--sklearn": SharedEndpoint(serving=replace(THIRD, containers={"austin-1": "a1"})),
    }
    assert parse(shared_endpoints._bytes(shared), WHERE) == shared


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "does not say which endpoints serve"),
        (b"[]", "does not say which endpoints serve"),
        (b'{"format_version": 2, "endpoints": {}}', "format_version is 2, this version .* upgrade it"),
        (b'{"format_version": 1}', "it has no 'endpoints'"),
        (b'{"format_version": 1, "endpoints": {"a": {"serving": {}, "replaced": []}}}', "it has no 'name'"),
        (b'{"format_version": 1, "endpoints": {"a": {"serving": 1}}}', "run the fleet's _endpoint DAG"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (shared_endpoints.MOST_BYTES + 1), "is larger than"),
    ],
)  # fmt: skip
def test_what_is_no_such_object_is_a_sentence_with_what_to_do(body: bytes, words: str) -> None:
    with pytest.raises(PlatformError, match=words) as caught:
        parse(body, WHERE)
    assert str(caught.value).startswith("s3://city-fleet/houses/laptop/state/endpoints.json: ")


def test_names_fit_sagemaker_and_tell_endpoints_apart() -> None:
    assert named_endpoint("texas-housing--laptop", "sklearn_own") == "texas-housing--laptop--sklearn-own"
    assert (
        endpoint_beside("texas-housing--laptop", "0123456789abcdef") == "texas-housing--laptop---0123456789"
    )
    long = "e" * 63
    names = {named_endpoint(long, "a"), named_endpoint("e" * 62 + "f", "a"), endpoint_beside(long, "0" * 10)}
    assert len(names) == 3
    assert all(len(name) <= 63 and "--" in name for name in names)
    assert container_hostname("san_antonio", "0123456789abcdef") == "san-antonio-0123456789ab"
    assert len(container_hostname("c" * 95, "0" * 64)) == 63
