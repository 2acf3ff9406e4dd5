"""Who may write below one prefix of the bucket neither makes a city answer with another's model nor stops others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from city_fleet.champions import moves, promotion, rebuild
from city_fleet.champions.champion_history import history
from city_fleet.doctor import serving_checks
from city_fleet.doctor.findings import Area, Finding, Level
from city_fleet.errors import BadRequest, BrokenPointer, PublishError, ServingError
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Prediction, Predictor
from city_fleet.state import index, live
from city_fleet.state.author import Author
from city_fleet.state.live_pointer import LivePointer
from tests.support.factors import KEYS, City, create_endpoint
from tests.support.fleets import texas
from tests.support.local_sagemaker import LocalSageMaker

ANN = Author("ann", "")


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    create_endpoint(aws)
    return City(aws)


@pytest.fixture
def other(aws: LocalSageMaker) -> City:
    return City(aws)


def put(city: City, key: str, body: bytes) -> None:
    city.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=body)


def of_other(city: City, other: City) -> dict[str, bytes]:
    """What somebody could write in a city's place: another's pointer, or parts of it."""
    mine, theirs = city.pointer, other.pointer
    assert mine is not None
    assert theirs is not None
    parts = ("target_model", "artifact_sha256", "package_arn", "as_of")
    return {
        "all of it": replace(theirs, sequence=mine.sequence).to_json(),
        "but the city": replace(theirs, city=mine.city, sequence=mine.sequence).to_json(),
        **{part: replace(mine, **{part: getattr(theirs, part)}).to_json() for part in parts},
        "metrics": replace(mine, metrics={"mape": "4%"}).to_json(),  # type: ignore[dict-item]
        "deep": b'{"format_version":' + b"[" * 100_000,
        "large": b" " * 60_000_000,
    }


def test_another_citys_model_is_refused_by_whoever_moves_or_looks(
    city: City, other: City, subtests: pytest.Subtests
) -> None:
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    other.go_live(1.5, month=3)
    orders: dict[str, Callable[[], Any]] = {
        "rollback": lambda: moves.rollback(city.context(), ANN),
        "unpin": lambda: moves.unpin(city.context(), ANN),
        "promote": lambda: promotion.promote(city.context(), ANN, promotion.Choice(1)),
    }
    for what, body in of_other(city, other).items():
        put(city, KEYS.live(city.slug), body)
        for name, order in orders.items():
            with (
                subtests.test(f"{name}: {what}"),
                pytest.raises(BrokenPointer, match="not a live pointer of this"),
            ):
                order()
        with subtests.test(f"looking: {what}"):
            assert "not a live pointer of this city" in (history(city.s3, KEYS, city.slug).problem or "")
            champion = index.build(city.s3, KEYS).cities[city.slug].champion
            assert champion is not None
            assert champion.problem
            findings = looked_at(city)
            assert any(each.level is Level.FAIL and city.slug in each.what for each in findings)
        with subtests.test(f"rebuild: {what}"):
            move = rebuild.rebuild(city.context(), ANN)
            assert move.after is not None
            assert move.after.target_model == second.target_model


def looked_at(city: City) -> list[Finding]:
    """Return what the doctor finds. Tests share the bucket: it looks at every city, and names each, for once."""
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("_LOOKED_AT", "_SHOWN"):
            patch.setattr(serving_checks, limit, 10**6)
        return list(serving_checks.serving(Area("AWS"), _fleet(), city.s3))


def _fleet() -> Any:
    return texas().model_copy(update={"fleet": KEYS.fleet, "bucket": KEYS.bucket})


def test_a_poisoned_history_is_passed_over_and_never_pinned(
    city: City, other: City, subtests: pytest.Subtests
) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    city.go_live(1.3, month=3)
    theirs = other.go_live(1.5, month=3)
    bodies = {
        "another's": replace(theirs, sequence=2).to_json(),
        "another's under this name": replace(theirs, sequence=2, city=city.slug).to_json(),
        "a model that was never registered": _unregistered(city, second),
        "deep": b"[" * 100_000,
        "large": b" " * 60_000_000,
        "of another move": replace(second, sequence=1).to_json(),
    }
    for what, body in bodies.items():
        with subtests.test(what):
            put(city, KEYS.history(city.slug, 2), body)
            with pytest.raises(PublishError):
                moves.rollback(city.context(), ANN, moves.Rollback(to=moves.Destination(sequence=2)))
            move = moves.rollback(city.context(), ANN, moves.Rollback(dry_run=True))
            assert move.after is not None
            assert move.after.target_model == first.target_model
            assert any(note.startswith("passed over sequence 2") for note in move.notes)
            (_, bad, *_) = history(city.s3, KEYS, city.slug).states
            assert bad.error or what == "a model that was never registered"


def _unregistered(city: City, state: LivePointer) -> bytes:
    """A pointer that fits itself and its key, of an artifact that lies there, in the name of a registered version."""
    trained, _ = city.train(9.9, 2, status=None)
    city.install(trained)
    model = trained.model
    return replace(
        state,
        target_model=model.target_model,
        artifact_sha256=model.artifact_sha256,
        as_of=model.as_of,
    ).to_json()


def test_bytes_are_held_against_the_digest_wherever_they_could_serve(city: City) -> None:
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    key = KEYS.model(second.target_model)
    put(city, key, b"somebody else's")
    found = hashlib.sha256(b"somebody else's").hexdigest()
    findings = looked_at(city)
    assert any(each.level is Level.FAIL and key in each.what and found in each.what for each in findings)
    move = rebuild.rebuild(city.context(), ANN)
    assert found in move.notes[0]
    assert move.after is not None
    assert move.after.target_model != second.target_model
    with pytest.raises(PublishError, match=found):
        moves.rollback(city.context(), ANN, moves.Rollback(to=moves.Destination(sequence=2)))


def test_the_local_endpoint_loads_no_bytes_that_the_key_does_not_name(
    city: City, aws: LocalSageMaker
) -> None:
    pointer = city.go_live(1.1, month=1)
    body = city.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.model(pointer.target_model))["Body"].read()
    swapped = pointer.target_model.replace(pointer.artifact_sha256[:12], "0" * 12)
    for target, refused in (
        (swapped, True),
        (f"{city.slug}/any-name.tar.gz", False),
        (pointer.target_model, False),
    ):
        put(city, KEYS.model(target), body)
        runtime = aws.client("sagemaker-runtime")
        ask: dict[str, Any] = {
            "EndpointName": city.context().endpoint,
            "ContentType": "text/csv",
            "Body": b"1,2",
        }
        if refused:
            with pytest.raises(runtime.exceptions.ModelError, match="but its key says 000000000000"):
                runtime.invoke_endpoint(TargetModel=target, **ask)
        else:
            runtime.invoke_endpoint(TargetModel=target, **ask)


def test_nothing_is_written_that_the_next_reader_would_refuse(city: City) -> None:
    pointer = city.go_live(1.1, month=1)
    current = live.read(city.s3, KEYS, city.slug)
    for changes in (
        {"metrics": {"mape": "x"}},
        {"reasons": (3,)},
        {"package_arn": "arn:x"},
        {"reason": "x" * 2_000_000},
    ):
        bad = replace(pointer, sequence=2, **changes)
        with pytest.raises(PublishError, match="nothing was changed"):
            live.move(city.s3, KEYS, bad, current)
    assert live.read(city.s3, KEYS, city.slug) == current


def test_one_citys_bad_pointer_is_that_citys_502(city: City, other: City, aws: LocalSageMaker) -> None:
    city.go_live(1.1, month=1)
    other.go_live(1.5, month=2)
    predictor = Predictor(
        LivePointers(aws.client("s3"), KEYS, ttl_seconds=0),
        _runtime(aws),
        Endpoints(aws.client("s3"), KEYS, city.context().endpoint),
    )
    row = {"x": 1.0, "y": 2.0}
    for what, body in of_other(city, other).items():
        put(city, KEYS.live(city.slug), body)
        bad, good, unknown = predictor.predict_many([(city.slug, row), (other.slug, row), (other.slug, {})])
        assert isinstance(bad, ServingError), what
        assert bad.status == 502
        assert "not a live pointer of this city" in bad.message
        assert isinstance(good, Prediction), what
        assert isinstance(unknown, BadRequest)
        json.dumps(bad.to_dict())


def test_whatever_goes_wrong_with_one_city_stays_with_it(
    city: City, other: City, aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    city.go_live(1.1, month=1)
    other.go_live(1.5, month=2)
    pointers = LivePointers(aws.client("s3"), KEYS, ttl_seconds=0)
    real = pointers.get

    def get(slug: str, *arguments: Any, **more: Any) -> LivePointer:
        if slug == city.slug:
            raise RecursionError("surprise")
        return real(slug, *arguments, **more)

    monkeypatch.setattr(pointers, "get", get)
    row = {"x": 1.0, "y": 2.0}
    bad, good = Predictor(
        pointers, _runtime(aws), Endpoints(aws.client("s3"), KEYS, city.context().endpoint)
    ).predict_many([(city.slug, row), (other.slug, row)])
    assert isinstance(bad, ServingError)
    assert "RecursionError" in bad.message
    assert isinstance(good, Prediction)


def _runtime(aws: LocalSageMaker) -> Any:
    return aws.client("sagemaker-runtime")
