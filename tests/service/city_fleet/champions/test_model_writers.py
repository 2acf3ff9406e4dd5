"""Who may write below ``models/``, or ``live/``, of the bucket: what is refused, and what is believed after all."""

from __future__ import annotations

import pytest

from city_fleet.champions import moves, promotion
from city_fleet.champions.champion_history import history
from city_fleet.errors import PublishError
from city_fleet.naming import split_uri
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.state.author import Author
from tests.support.factors import KEYS, City, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker

ANN = Author("ann", "")
THEIRS = b"somebody else's"


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    create_endpoint(aws)
    return City(aws)


def put(city: City, key: str, body: bytes) -> None:
    city.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=body)


def test_no_model_is_published_over_bytes_that_lie_under_its_name(city: City) -> None:
    """Whoever knows the digest can be there first."""
    champion = city.go_live(1.2, month=1)
    trained, holdout = city.train(1.1, month=2)
    put(city, KEYS.model(trained.target_model), THEIRS)
    with pytest.raises(PublishError, match="holds other bytes than its name says"):
        city.publish(trained, holdout, city.judge(holdout))
    with pytest.raises(PublishError, match="holds other bytes than its name says"):
        promotion.promote(city.context(), ANN, promotion.Choice(2))
    bucket, key = split_uri(trained.artifact_uri)
    city.s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(PublishError, match="it was registered with"):
        promotion.promote(city.context(), ANN, promotion.Choice(2))
    assert city.pointer == champion
    assert city.status(champion) == "Approved"


def test_an_unregistered_model_is_nothing_to_return_to_and_nobody_asks_for_it(city: City) -> None:
    """A file below models/ that no version names is no model of the city, whatever it holds."""
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    trained, _ = city.train(9.9, 1, status=None)
    city.install(trained)
    assert city.answer() == pytest.approx(1.2)
    with pytest.raises(PublishError):
        moves.rollback(city.context(), ANN, moves.Rollback(to=moves.Destination(sequence=3)))
    assert city.pointer == second


def test_a_pointer_to_an_older_model_of_the_same_city_is_believed_and_its_history_shows_it(
    city: City,
) -> None:
    """The most that a writer of live/ can do; the page on security says so."""
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    put(city, KEYS.live(city.slug), first.to_json())
    assert LivePointers(city.s3, KEYS).get(city.slug, Deadline(10)).target_model == first.target_model
    assert [state.sequence for state in history(city.s3, KEYS, city.slug).states] == [1, 2]
    with pytest.raises(PublishError, match="there is nothing to roll back to"):
        moves.rollback(city.context(), ANN)
    assert second.target_model != first.target_model
