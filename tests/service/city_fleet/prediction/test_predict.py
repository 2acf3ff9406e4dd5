"""Predictions through pointer and endpoint, on a real endpoint with real models, on good days and bad ones."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from city_fleet.errors import BadRequest, NotReady, PredictError, ServingError, UnknownCity
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import THREADS, Prediction, Predictor
from city_fleet.state import live
from city_fleet.state.observed import Observed
from tests.support.aws_calls import Calls, client
from tests.support.local_sagemaker import running_server
from tests.support.serving import FEATURES, KEYS, ROW, Serving, city_name, serve
from tests.support.waiting import wait_until

SECONDS = 20.0


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Maker: TypeAlias = Callable[..., tuple[Predictor, Calls]]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("predict")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(server, tmp_path_factory.mktemp("models"))


@pytest.fixture
def make(serving: Serving) -> Maker:
    def make(
        endpoint: str = serving.endpoint, threads: int = THREADS, **caching: Any
    ) -> tuple[Predictor, Calls]:
        s3, runtime = (
            client(serving.server, "s3", read_timeout=SECONDS),
            client(serving.server, "sagemaker-runtime", read_timeout=SECONDS),
        )
        pointers = LivePointers(s3, KEYS, **caching)
        endpoints = Endpoints(serving.s3, KEYS, endpoint)  # asked beside what is counted
        return Predictor(pointers, runtime, endpoints, threads), Calls(s3, runtime)

    return make


@pytest.fixture
def predictor(make: Maker) -> Predictor:
    return make()[0]


@pytest.fixture
def city() -> str:
    return city_name()


def test_a_prediction_is_what_training_expected(serving: Serving, predictor: Predictor, city: str) -> None:
    pointer = serving.publish(city, 1)
    row, expected = serving.expected(1)
    started = time.perf_counter()
    answer = predictor.predict(city, dict(reversed(row.items())), SECONDS)
    took_ms = (time.perf_counter() - started) * 1000
    assert answer.prediction == pytest.approx(expected, rel=1e-9)
    assert (answer.city, answer.target_model) == (city, pointer.target_model)
    assert (answer.package_arn, answer.package_version) == (pointer.package_arn, 1)
    assert answer.as_of == "2014-01-01T00:00:00Z"
    assert 0 < answer.latency_ms <= took_ms + 1
    assert answer.to_dict()["status"] == 200
    json.dumps(answer.to_dict(), allow_nan=False)


def test_observers_are_told_and_do_no_harm(serving: Serving, city: str) -> None:
    serving.publish(city)
    seen: list[Observed] = []

    def refuses(observed: Observed) -> None:
        raise OSError("the disk is full")

    observed = Predictor(
        LivePointers(serving.s3, KEYS),
        client(serving.server, "sagemaker-runtime", read_timeout=SECONDS),
        Endpoints(serving.s3, KEYS, serving.endpoint),
        observers=(refuses, seen.append),
    )
    good, bad = observed.predict_many([(city, ROW), (city, {"trend": 1})], SECONDS)
    assert isinstance(good, Prediction)
    by_status = {each.status: each for each in seen}
    assert (by_status[200].prediction_id, by_status[200].asked) == (good.prediction_id, {"features": ROW})
    assert by_status[200].target_model == good.target_model
    assert by_status[400].error == f"BadRequest: {bad.message}"  # type: ignore[union-attr]


def test_a_missing_value_is_one_as_the_model_server_allows_it(
    serving: Serving, predictor: Predictor, city: str
) -> None:
    serving.publish(city)
    known = predictor.predict(city, ROW, SECONDS).prediction
    assert predictor.predict(city, {**ROW, "trend": None}, SECONDS).prediction > 0
    assert predictor.predict(city, {**ROW, "median_mean_12": 400_000}, SECONDS).prediction == pytest.approx(
        2 * known
    )
    with pytest.raises(BadRequest) as caught:
        predictor.predict(city, {**ROW, "median_mean_12": None}, SECONDS)
    assert str(caught.value) == (
        f"city {city!r}: feature 'median_mean_12': got nothing; allowed: a number above 0 "
        "(the model of austin predicts the ratio to it)."
    )
    (mistake,) = caught.value.mistakes
    assert (mistake["feature"], mistake["problem"]) == ("median_mean_12", "refused_by_model")


@pytest.mark.parametrize(
    ("changes", "problem", "words"),
    [
        ({"trend": "180"}, "not_a_number", "got '180'; allowed: a number, or null where the value"),
        ({"trend": True}, "not_a_number", "got true; allowed: a number"),
        ({"trend": [1]}, "not_a_number", "got a list of 1; allowed"),
        ({"trend": float("nan")}, "not_finite", "got NaN; allowed"),
        ({"trend": float("-inf")}, "not_finite", "got -Infinity; allowed"),
        ({"trend": 10**400}, "not_finite", "got a number beyond the range of a 64-bit float"),
        ({"sales_lag1": 1}, "unknown", "did you mean 'sales_lag_1'?"),
        ({"zzz": 1}, "unknown", "it has: median_mean_12, sales_lag_1, trend."),
    ],
)
def test_a_feature_that_does_not_fit_is_named(
    serving: Serving,
    make: Maker,
    changes: dict[str, Any],
    problem: str,
    words: str,
) -> None:
    city, (feature,) = city_name(), changes
    serving.publish(city)
    predictor, calls = make()
    with pytest.raises(BadRequest) as caught:
        predictor.predict(city, {**ROW, **changes}, SECONDS)
    assert words in str(caught.value)
    (mistake,) = caught.value.mistakes
    assert (mistake["feature"], mistake["problem"]) == (feature, problem)
    assert mistake["allowed"]
    assert caught.value.features == list(FEATURES)
    assert calls.counts == {"GetObject": 1}  # the endpoint is not asked what can be known before


def test_everything_that_is_wrong_with_a_row_is_said_at_once(
    serving: Serving, predictor: Predictor, city: str
) -> None:
    serving.publish(city)
    with pytest.raises(BadRequest) as caught:
        predictor.predict(city, {"sales_lag_1": "x", "trends": 1}, SECONDS)
    assert [(each["feature"], each["problem"], each["nearest"]) for each in caught.value.mistakes] == [
        ("trends", "unknown", "trend"),
        ("median_mean_12", "missing", None),
        ("sales_lag_1", "not_a_number", None),
        ("trend", "missing", None),
    ]
    assert "features missing: median_mean_12, trend; allowed for each: a number, or null" in str(caught.value)
    with pytest.raises(BadRequest, match="features: got a list of 2; allowed: an object") as caught:
        predictor.predict(city, [1, 2], SECONDS)
    # What a hostile caller sends does not come back whole.
    with pytest.raises(BadRequest, match="49990 more features are unknown") as caught:
        predictor.predict(city, {**ROW, **{f"{'x' * 500}{n}": n for n in range(50_000)}}, SECONDS)
    assert len(json.dumps(caught.value.to_dict())) < 20_000


def test_an_unknown_city_is_told_from_its_neighbour(serving: Serving, predictor: Predictor) -> None:
    for name in ("san_antonio", "san_angelo", "waco"):
        serving.publish(name)
    for given, nearest in (
        ("san_antonia", "san_antonio"),
        ("San Antonia", "san_antonio"),
        ("wacko", "waco"),
        ("nowhere_near", None),
        ("/../x", None),
        ("Ü", None),
        ("x" * 2000, None),
    ):
        with pytest.raises(UnknownCity) as caught:
            predictor.predict(given, ROW, SECONDS)
        assert caught.value.nearest == nearest
        assert ("Did you mean" in str(caught.value)) == (nearest is not None)
        assert len(str(caught.value)) < 300
    assert predictor.predict("San Antonio", ROW, SECONDS).city == "san_antonio"
    for given in (None, 5, "", ["waco"]):
        with pytest.raises(BadRequest, match="city: got"):
            predictor.predict(given, ROW, SECONDS)


def test_a_pointer_is_asked_for_when_its_time_is_over_and_only_then(
    serving: Serving, make: Maker, city: str
) -> None:
    clock = Clock()
    predictor, calls = make(ttl_seconds=30, clock=clock)
    first = serving.publish(city, 0)
    assert predictor.predict(city, ROW, SECONDS).target_model == first.target_model
    clock.now += 29.9
    second = serving.publish(city, 1)
    assert predictor.predict(city, ROW, SECONDS).target_model == first.target_model
    assert calls.counts == {"GetObject": 1, "InvokeEndpoint": 2}
    clock.now += 0.2
    answer = predictor.predict(city, ROW, SECONDS)
    assert (answer.target_model, answer.package_version) == (second.target_model, 2)
    # Nothing moved since: S3 is asked with the ETag, and answers without a body.
    clock.now += 30
    assert predictor.predict(city, ROW, SECONDS).target_model == second.target_model
    gets = [params for name, params in calls.seen if name == "GetObject"]
    current = live.read(serving.s3, KEYS, city)
    assert current is not None
    assert "IfNoneMatch" not in gets[0]
    assert gets[1]["IfNoneMatch"] != gets[2]["IfNoneMatch"] == current.etag
    assert len(gets) == 3
    # A pointer that is gone is not believed any longer.
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(city))
    clock.now += 30
    with pytest.raises(UnknownCity):
        predictor.predict(city, ROW, SECONDS)


def test_a_pointer_that_has_not_moved_is_not_sent_again(serving: Serving, city: str) -> None:
    serving.publish(city)
    first = live.read(serving.s3, KEYS, city)
    statuses: list[int] = []
    s3 = client(serving.server, "s3")
    s3.meta.events.register(
        "after-call.s3.GetObject", lambda http_response, **_: statuses.append(http_response.status_code)
    )
    assert live.read(s3, KEYS, city, first) is first
    serving.publish(city, 1)
    moved = live.read(s3, KEYS, city, first)
    assert moved is not None
    assert moved.pointer.sequence == 2
    assert statuses == [304, 200]


def test_no_more_pointers_are_kept_than_allowed(serving: Serving) -> None:
    from city_fleet.prediction.deadline import Deadline
    from city_fleet.prediction.live_cache import LivePointers

    s3 = client(serving.server, "s3")
    calls = Calls(s3)
    pointers = LivePointers(s3, KEYS, ttl_seconds=60, max_cities=2)
    cities = [city_name() for _ in range(3)]
    for name in cities:
        serving.publish(name)
        pointers.get(name, Deadline(SECONDS))
    pointers.get(cities[2], Deadline(SECONDS))
    assert calls.counts == {"GetObject": 3}
    pointers.get(cities[0], Deadline(SECONDS))
    assert calls.counts == {"GetObject": 4}


def test_s3_that_is_away_stops_only_who_has_no_pointer(serving: Serving, make: Maker, city: str) -> None:
    clock = Clock()
    predictor, calls = make(ttl_seconds=30, clock=clock)
    pointer = serving.publish(city)
    predictor.predict(city, ROW, SECONDS)
    clock.now += 31
    with serving.faults({"kind": "slow_down", "name": f"{KEYS.bucket}/{KEYS.live(city)}"}):
        assert predictor.predict(city, ROW, SECONDS).target_model == pointer.target_model
        so_far = calls.counts["GetObject"]
        assert predictor.predict(city, ROW, SECONDS).target_model == pointer.target_model
        assert calls.counts["GetObject"] == so_far  # S3 is left alone for a moment
        clock.now += 901
        for asked in (predictor, make()[0]):  # its pointer was not confirmed for long; it never had one
            with pytest.raises(NotReady, match=r"S3 \(s3://.* did not answer within 1 s after .* SlowDown"):
                asked.predict(city, ROW, 1.0)
    assert predictor.predict(city, ROW, SECONDS).target_model == pointer.target_model


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "throttling", "operation": "InvokeEndpoint", "count": 2},
        {"kind": "internal_error", "operation": "InvokeEndpoint", "count": 2},
        {"kind": "dropped_connection", "operation": "InvokeEndpoint", "count": 2},
        {"kind": "dropped_connection", "operation": "InvokeEndpoint", "count": 2, "when": "after"},
        {"kind": "slow_down", "operation": "s3:GetObject", "count": 2},
        {"kind": "dropped_connection", "operation": "s3:GetObject", "count": 2},
    ],
    ids=lambda fault: "-".join(
        str(value) for name, value in fault.items() if name in {"kind", "operation", "when"}
    ),
)
def test_what_passes_is_waited_for(
    serving: Serving,
    make: Maker,
    city: str,
    fault: dict[str, Any],
) -> None:
    serving.publish(city)
    predictor, calls = make()
    with serving.faults(fault):
        assert predictor.predict(city, ROW, SECONDS).prediction > 0
        assert serving.injected() == [2]
    assert sorted(calls.counts.values()) == [1, 3]


def test_what_does_not_pass_ends_at_the_deadline(serving: Serving, predictor: Predictor, city: str) -> None:
    serving.publish(city)
    with serving.faults({"kind": "throttling", "operation": "InvokeEndpoint"}):
        started = time.monotonic()
        with pytest.raises(NotReady) as caught:
            predictor.predict(city, ROW, 1.0)
        assert 0.5 < time.monotonic() - started < 10  # it would be refused for ever
        assert serving.injected()[0] >= 3
    assert caught.value.retry_after_seconds == 5
    assert "did not answer within 1 s after" in str(caught.value)
    assert "ThrottlingException" in str(caught.value)


def test_a_model_that_is_still_being_loaded_is_waited_for(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As on AWS, where a request waits 60 s for a model: here a quarter of a second, and the load takes three."""
    with running_server(tmp_path, "--model-load-timeout-seconds", "0.25") as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        serving = serve(server, tmp_path_factory.mktemp("models"), load_seconds=3)
        s3, runtime = client(server, "s3"), client(server, "sagemaker-runtime")
        predictor, calls = (
            Predictor(LivePointers(s3, KEYS), runtime, Endpoints(serving.s3, KEYS, serving.endpoint)),
            Calls(s3, runtime),
        )
        for city in ("austin", "waco"):
            serving.publish(city)
        with pytest.raises(NotReady, match=r"ModelNotReadyException, The model austin/.* is being loaded"):
            predictor.predict("austin", ROW, 1.5)
        answer = predictor.predict("waco", ROW, SECONDS)
        assert answer.prediction > 0
        assert answer.latency_ms > 1000
        assert calls.counts["InvokeEndpoint"] >= 3


def test_an_endpoint_that_is_slow_is_left_at_the_deadline(
    serving: Serving, predictor: Predictor, city: str
) -> None:
    serving.publish(city)
    slow = {"kind": "latency", "operation": "InvokeEndpoint", "seconds": 15, "name": serving.endpoint}
    with serving.faults(slow):
        started = time.monotonic()
        with pytest.raises(NotReady, match="did not answer within 1 s"):
            predictor.predict(city, ROW, 1.0)
        assert 0.9 < time.monotonic() - started < 12  # the answer itself takes 15 s
    # What was left alone does not keep the next request from its answer.
    assert predictor.predict(city, ROW, SECONDS).prediction > 0


def test_a_model_server_that_died_is_waited_for(serving: Serving, make: Maker, city: str) -> None:
    serving.publish(city)
    predictor, calls = make()
    expected = predictor.predict(city, ROW, SECONDS).prediction
    for _ in range(10):
        before = calls.counts["InvokeEndpoint"]
        with serving.faults({"kind": "model_server_crash", "name": serving.endpoint}):
            wait_until(lambda: serving.injected() == [1], 10, "the model server is killed")
        assert predictor.predict(city, ROW, 25).prediction == expected
        if calls.counts["InvokeEndpoint"] > before + 1:
            return  # the answer came after one that failed; a request may also be quicker than the signal
    pytest.fail("no request met a model server that was gone")


def test_a_model_that_fails_is_not_the_callers_fault(serving: Serving, make: Maker, city: str) -> None:
    serving.publish(city)
    predictor, calls = make()
    reason = "the booster does not load"
    fault = {"kind": "model_load_failure", "name": f"*{city}*", "reason": reason}
    with serving.faults(fault), pytest.raises(ServingError, match=f"the model failed: {reason}") as caught:
        predictor.predict(city, ROW, SECONDS)
    assert caught.value.status == 502
    assert calls.counts["InvokeEndpoint"] == 1
    broken = city_name()
    serving.publish(broken, b"this is no archive")
    with pytest.raises(ServingError, match="the model failed: Failed to extract model data"):
        predictor.predict(broken, ROW, SECONDS)


def test_an_artifact_that_is_gone_is_looked_for_behind_a_newer_pointer(
    serving: Serving, make: Maker, city: str
) -> None:
    predictor, calls = make(ttl_seconds=3600)
    old = serving.publish(city, 0)
    with pytest.raises(BadRequest):
        predictor.predict(city, {}, SECONDS)  # the pointer is known, the endpoint has not loaded the model
    new = serving.publish(city, 1)
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(old.target_model))
    assert predictor.predict(city, ROW, SECONDS).target_model == new.target_model
    assert calls.counts["InvokeEndpoint"] == 2
    gone = city_name()
    pointer = serving.publish(gone)
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(pointer.target_model))
    with pytest.raises(ServingError, match="Failed to download model data"):
        predictor.predict(gone, ROW, SECONDS)


def test_what_only_an_operator_can_mend_says_so(serving: Serving, make: Maker, city: str) -> None:
    serving.publish(city)
    with pytest.raises(ServingError, match=r"Endpoint nowhere of account .* not found"):
        make(endpoint="nowhere")[0].predict(city, ROW, SECONDS)
    broken = city_name()
    serving.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(broken), Body=b"{}")
    with pytest.raises(ServingError, match="is not a live pointer"):
        make()[0].predict(broken, ROW, SECONDS)


def test_cities_of_one_request_are_asked_at_the_same_time(serving: Serving, make: Maker) -> None:
    cities = [city_name() for _ in range(6)]
    for number, name in enumerate(cities):
        serving.publish(name, number % 3)
    predictor, _ = make(threads=3)
    single = [predictor.predict(name, ROW, SECONDS).prediction for name in cities]
    assert len(set(single)) == 3
    with serving.faults({"kind": "latency", "operation": "InvokeEndpoint", "seconds": 2}):
        started = time.monotonic()
        answers = predictor.predict_many([(name, ROW) for name in cities], SECONDS)
        took = time.monotonic() - started
    assert [answer.prediction for answer in answers if isinstance(answer, Prediction)] == single
    assert 4 <= took < 11.5  # six answers of two seconds each, three at a time


def test_each_city_has_an_answer_of_its_own(serving: Serving, predictor: Predictor, city: str) -> None:
    slow, fast = f"{city}_slow", f"{city}_fast"
    for name in (slow, fast):
        serving.publish(name)
    predictor.predict(fast, ROW, SECONDS)
    # Only the first of the calls is met: the slow city's, for it is alone on the only thread.
    hold = {"kind": "timeout", "operation": "s3:GetObject", "name": f"*{slow}*"}
    with serving.faults(hold):
        answers = predictor.predict_many(
            [(slow, ROW), (fast, ROW), ("nobody", ROW), (fast, {}), (None, ROW)], 4.0
        )
    kinds = [type(answer) for answer in answers]
    assert kinds == [NotReady, Prediction, UnknownCity, BadRequest, BadRequest]
    assert [answer.status for answer in answers if isinstance(answer, PredictError)] == [503, 404, 400, 400]
    assert predictor.predict_many([], 1.0) == []
    (late,) = predictor.predict_many([(fast, ROW)], 0.0)
    assert str(late) == "There was no answer within 0 s. Ask again in 5 s."


def test_a_client_in_a_loop_never_notices_a_hundred_moves(serving: Serving, make: Maker, city: str) -> None:
    """Whoever asks while the pointer moves gets the old model or the new one: never an error, never a step back."""
    predictor, _ = make(ttl_seconds=0)
    first = serving.publish(city, 0)
    expected = [serving.expected(number)[1] for number in range(3)]
    row = [serving.expected(number)[0] for number in range(3)]
    digests = [hashlib.sha256(body).hexdigest() for body in serving.artifacts]
    stamps = [f"{2000 + number}0601T000000Z" for number in range(100)]
    moves = [f"{city}/{stamp}-{digests[(n + 1) % 3][:12]}.tar.gz" for n, stamp in enumerate(stamps)]
    targets = [first.target_model, *moves]
    started = 0  # the newest move that a client may have seen
    ended = threading.Event()
    seen: list[int] = []
    failed: list[str] = []

    def ask() -> None:
        while not ended.is_set():
            for number in range(3):
                try:
                    answer = predictor.predict(city, row[number], SECONDS)
                except PredictError as error:
                    failed.append(str(error))
                    return
                place = targets.index(answer.target_model)
                if not (seen[-1] if seen else 0) <= place <= started:
                    failed.append(f"{place} after {seen[-1:]} while {started} was the newest")
                right = answer.prediction == pytest.approx(expected[number], rel=1e-9)
                if right != (place % 3 == number):
                    failed.append(f"{answer.target_model} predicts {answer.prediction}")
                seen.append(place)

    asking = threading.Thread(target=ask)
    asking.start()
    for number, target in enumerate(moves, start=1):
        serving.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.model(target), Body=serving.artifacts[number % 3])
        current = live.read(serving.s3, KEYS, city)
        assert current is not None
        started = number
        pointer = replace(
            current.pointer,
            sequence=number + 1,
            target_model=target,
            as_of=stamps[number - 1],
            artifact_sha256=digests[number % 3],
            predecessor=current.pointer.target_model,
        )
        live.move(serving.s3, KEYS, pointer, current)
    wait_until(lambda: failed or (seen and seen[-1] == 100), 30, "the client sees the last move")
    ended.set()
    asking.join(SECONDS)
    assert not failed
    assert len(set(seen)) > 10
