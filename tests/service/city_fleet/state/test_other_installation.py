"""What says that it belongs to another installation is neither believed nor changed, whoever reads it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from city_fleet.champions import breaker, moves, promotion, rebuild
from city_fleet.config import Breaker
from city_fleet.errors import ArtifactError, OtherInstallation, ServingError
from city_fleet.naming import Keys
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.retiring import remove
from city_fleet.state import index, installation, live, registry, retire_marks, run_records
from city_fleet.state.author import Author
from city_fleet.state.live_pointer import LivePointer
from tests.support.factors import KEYS, City
from tests.support.local_sagemaker import LocalSageMaker

ANN = Author("ann")
THEIRS = (
    "belongs to fleet 'factors', environment 'rehearsal', and this is fleet 'factors', environment 'laptop'"
)


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    return City(aws)


def overwrite(city: City, key: str, **changes: Any) -> None:
    """Change members of a JSON object behind the library's back, as who copies it from another installation does."""
    body = json.loads(city.s3.get_object(Bucket=KEYS.bucket, Key=key)["Body"].read())
    city.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=json.dumps({**body, **changes}).encode())


def test_whoever_moves_a_pointer_says_whose_it_is_and_an_older_reader_goes_on(city: City) -> None:
    pointer = city.go_live(1.1, month=1)
    assert (pointer.fleet, pointer.environment) == ("factors", "laptop")
    body = json.loads(city.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))["Body"].read())
    assert body["format_version"] == 1
    # One of an earlier version says nothing, and is as good.
    for name in ("fleet", "environment"):
        del body[name]
    for key in (KEYS.live(city.slug), KEYS.history(city.slug, 1)):
        city.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=json.dumps(body).encode())
    city.go_live(1.2, month=2)
    assert [state.environment for state in city.chain()] == ["", "laptop"]


def test_a_copied_pointer_stops_every_mover_and_the_lambda(city: City, subtests: pytest.Subtests) -> None:
    city.go_live(1.1, month=1)
    city.go_live(1.2, month=2)
    candidate, holdout = city.train(1.0, 3)
    decision = city.judge(holdout)
    overwrite(city, KEYS.live(city.slug), environment="rehearsal")
    before = city.s3.head_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))["ETag"]
    context = city.context()
    for name, move in {
        "publish": lambda: city.publish(candidate, holdout, decision),
        "rollback": lambda: moves.rollback(context, ANN),
        "unpin": lambda: moves.unpin(context, ANN),
        "promote": lambda: promotion.promote(context, ANN, promotion.Choice(1)),
        "rebuild": lambda: rebuild.rebuild(context, ANN),
        "remove": lambda: remove.remove(context, ANN, None),
    }.items():
        with subtests.test(name), pytest.raises(OtherInstallation, match=THEIRS) as caught:
            move()
        assert f"aws s3 rm {KEYS.uri(KEYS.live(city.slug))}" in str(caught.value)
    with subtests.test("the Lambda"), pytest.raises(ServingError, match=THEIRS) as answer:
        LivePointers(city.s3, KEYS).get(city.slug, Deadline(10))
    assert answer.value.status == 502
    with subtests.test("status"):
        champion = index.build(city.s3, KEYS).cities[city.slug].champion
        assert champion is not None
        assert THEIRS in str(champion.problem)
    assert city.s3.head_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))["ETag"] == before
    # What the sentence says to do.
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))
    assert rebuild.rebuild(context, ANN).outcome == "moved"


def test_a_copy_in_the_history_is_passed_over(city: City) -> None:
    city.go_live(1.1, month=1)
    city.go_live(1.2, month=2)
    overwrite(city, KEYS.history(city.slug, 2), fleet="houses")
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))
    move = rebuild.rebuild(city.context(), ANN)
    assert move.after is not None
    assert move.after.target_model == live.read_kept(city.s3, KEYS, city.slug, 1).target_model
    assert any("belongs to fleet 'houses'" in note for note in move.notes)


def test_marks_and_nights_of_another_installation_are_refused(city: City) -> None:
    retire_marks.update(city.s3, KEYS, city.slug, lambda _: retire_marks.Marks(going=frozenset({"models/a"})))
    overwrite(city, KEYS.retired(city.slug), environment="rehearsal")
    with pytest.raises(OtherInstallation, match=THEIRS):
        retire_marks.claim(city.s3, KEYS, city.slug, "b")
    keys = Keys(KEYS.bucket, f"f{uuid.uuid4().hex}", "laptop")
    breaker.mark(city.s3, keys, "20140101T000000Z", "austin", ["bad"])
    rule = Breaker(max_failed_share=0.1, minimum_sample=1)
    assert breaker.stop_or_read(city.s3, keys, "20140101T000000Z", rule) is not None
    overwrite(city, keys.night("20140101T000000Z"), environment="rehearsal")
    for act in (
        lambda: breaker.read(city.s3, keys, "20140101T000000Z"),
        lambda: breaker.settle(city.s3, keys, "20140101T000000Z", breaker.APPROVED, by="ann", note=""),
    ):
        with pytest.raises(OtherInstallation, match="Somebody has copied it there"):
            act()


def test_records_and_an_index_of_another_installation_do_not_count(city: City) -> None:
    keys = Keys(KEYS.bucket, f"f{uuid.uuid4().hex}", "laptop")
    as_of = datetime(2014, 1, 1, tzinfo=UTC)
    for name, environment in (("austin", "laptop"), ("waco", "rehearsal")):
        record = {
            "fleet": keys.fleet,
            "environment": environment,
            "city": name,
            "as_of": "20140101T000000Z",
            "outcome": "live",
            "finished_at": "2014-01-01T03:00:00+00:00",
        }
        run_records.write(city.s3, keys, record, as_of=as_of, key_of_run="0123456789")
    first = index.refresh(city.s3, keys).index
    assert list(first.cities) == ["austin"]
    assert (first.fleet, first.environment) == (keys.fleet, "laptop")
    theirs = Keys(keys.bucket, keys.fleet, "rehearsal")
    body = city.s3.get_object(Bucket=keys.bucket, Key=keys.index())["Body"].read()
    city.s3.put_object(Bucket=keys.bucket, Key=theirs.index(), Body=body)
    assert index.load(city.s3, theirs)[0] is None
    assert list(index.refresh(city.s3, theirs).index.cities) == []


def test_a_version_of_another_installation_is_not_brought_live(city: City) -> None:
    trained, _ = city.train(1.1, 1)
    city.install(trained)
    city.sagemaker.update_model_package(
        ModelPackageArn=trained.package_arn,
        CustomerMetadataProperties={"fleet": "factors", "environment": "rehearsal"},
    )
    version = registry.read(city.sagemaker, trained.package_arn)
    with pytest.raises(OtherInstallation, match="Decide about it with the fleet file of that installation"):
        registry.refuse_other(KEYS, version)
    with pytest.raises(OtherInstallation):
        promotion.promote(city.context(), ANN, promotion.Choice(1))
    pointer = LivePointer.serving(trained.model, sequence=1, published_at="2014-01-01", published_by="ann")
    with pytest.raises(ArtifactError, match="belongs to fleet 'factors', environment 'rehearsal'"):
        moves.load_usable(city.context(), pointer, claim=False)
    assert city.pointer is None


def test_an_environment_of_before_was_written_with_a_hyphen() -> None:
    keys = Keys("bucket", "fleet", "pre_prod")
    assert installation.other(keys, {"fleet": "fleet", "environment": "pre-prod"}) is None
    assert installation.other(keys, {}) is None
    assert installation.other(keys, {"fleet": "other"}) is not None
