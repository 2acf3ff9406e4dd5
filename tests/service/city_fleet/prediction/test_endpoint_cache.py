"""Which SageMaker endpoint answers, as an application reads it: believed for a while, and whatever happens to S3."""

from __future__ import annotations

import json
from dataclasses import replace

from city_fleet.naming import Keys
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.state import shared_endpoints
from city_fleet.state.objects import ObjectStore
from city_fleet.state.pointer_checks import TARGET_CONTAINER
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.states import pointer

KEYS = Keys("city-fleet", "many", "laptop")


def test_a_model_is_asked_for_where_its_pointer_and_the_object_say(aws: LocalSageMaker) -> None:
    s3 = aws.client("s3")
    store, now = ObjectStore(s3, KEYS.bucket), [100.0]
    endpoints = Endpoints(s3, KEYS, "many--laptop", ttl_seconds=30, clock=lambda: now[0])
    loaded = replace(pointer("austin", 3), endpoint="", route={})
    housed = replace(loaded, endpoint="many--laptop--own", route={TARGET_CONTAINER: "austin-0123456789ab"})

    def request(model: object = loaded) -> dict[str, str]:
        return endpoints.address_of(model, Deadline(5.0)).request  # type: ignore[arg-type]

    assert request() == {"EndpointName": "many--laptop", "TargetModel": loaded.target_model}
    own = ServingEndpoint(name="own-2", containers={"austin-0123456789ab": loaded.target_model})
    shared_endpoints.change(
        store, KEYS, "many--laptop", lambda _: SharedEndpoint(serving=ServingEndpoint(name="other"))
    )
    shared_endpoints.change(
        store,
        KEYS,
        "many--laptop--own",
        lambda _: SharedEndpoint(serving=ServingEndpoint(name="own-3"), replaced=(own,)),
    )
    assert request()["EndpointName"] == "many--laptop"  # what was read is believed
    now[0] += 31
    assert request()["EndpointName"] == "other"
    # A container that another endpoint has replaced answers until the pointer moves.
    assert request(housed) == {"EndpointName": "own-2", "TargetContainerHostname": "austin-0123456789ab"}

    for broken in (b"{", json.dumps({"format_version": 9, "endpoints": {}}).encode(), b"[" * 100_000):
        s3.put_object(Bucket=KEYS.bucket, Key=KEYS.shared_endpoints(), Body=broken)
        now[0] += 31
        assert request()["EndpointName"] == "other"
    s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.shared_endpoints())
    now[0] += 31
    assert request()["EndpointName"] == "many--laptop"
