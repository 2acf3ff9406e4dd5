"""An application follows an endpoint that was replaced, and goes on while S3 does not say which one serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from city_fleet.errors import ServingError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Predictor, clients
from city_fleet.state import shared_endpoints
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import ServingEndpoint
from tests.support.local_sagemaker import running_server
from tests.support.serving import KEYS, ROW, Serving, serve


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("endpoints")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(server, tmp_path_factory.mktemp("models"))


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_application_follows_the_endpoint_that_takes_over(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in serving.server.environment.items():
        monkeypatch.setenv(name, value)
    s3, runtime = clients()
    store, clock = ObjectStore(serving.s3, KEYS.bucket), Time()
    endpoints = Endpoints(s3, KEYS, "houses--laptop", ttl_seconds=30, clock=clock)
    predictor = Predictor(LivePointers(s3, KEYS), runtime, endpoints)
    pointer = serving.publish("austin")
    # Nothing was ever noted: a shared endpoint is the SageMaker endpoint of its name, and there is none of that.
    assert endpoints.address_of(pointer, Deadline(5)).endpoint == "houses--laptop"
    with pytest.raises(ServingError, match="houses--laptop"):
        predictor.predict("austin", ROW)
    shared_endpoints.note(store, KEYS, "houses--laptop", ServingEndpoint(name="gone"))
    shared_endpoints.note(store, KEYS, "houses--laptop", ServingEndpoint(name=serving.endpoint))
    # What is known is wrong and believed on: the refused request asks again, and is answered.
    assert endpoints.address_of(pointer, Deadline(5)).endpoint == "houses--laptop"
    assert predictor.predict("austin", ROW).target_model == pointer.target_model
    assert endpoints.address_of(pointer, Deadline(5)).endpoint == serving.endpoint
    # A model on another shared endpoint goes there.
    elsewhere = replace(pointer, endpoint="houses--laptop--sklearn")
    assert endpoints.address_of(elsewhere, Deadline(5)).endpoint == "houses--laptop--sklearn"
    # What can't be read changes nothing.
    serving.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.shared_endpoints(), Body=b"{")
    clock.now += 31
    assert endpoints.address_of(pointer, Deadline(5)).endpoint == serving.endpoint
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.shared_endpoints())
    clock.now += 31
    assert endpoints.address_of(pointer, Deadline(5)).endpoint == "houses--laptop"
