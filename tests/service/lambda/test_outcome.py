"""What really happened, said to the function: kept in the bucket as it was checked, or refused with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

from city_fleet import clock, traffic_rules
from city_fleet.prediction import prediction_id
from city_fleet.state.objects import ObjectStore
from tests.support.serving import KEYS, ROW, Serving

Load = Callable[[dict[str, str]], ModuleType]


def test_outcomes_are_kept_all_or_none(
    load: Load, environment: dict[str, str], serving: Serving, function: ModuleType
) -> None:
    store = ObjectStore(serving.s3, KEYS.bucket)
    rule = traffic_rules.CaptureRule(share=0.5, cities=("houston", "austin"))
    taking = load(environment | {traffic_rules.CAPTURE: rule.text()})

    def post(body: Any, by: ModuleType = taking, method: str = "POST") -> tuple[int, dict[str, Any]]:
        event = {
            "version": "2.0", "rawPath": "/outcome", "body": json.dumps(body),
            "requestContext": {"http": {"method": method}},
        }  # fmt: skip
        answer = by.handler(event, None)
        return answer["statusCode"], json.loads(answer["body"])

    def kept() -> list[str]:
        return [item.key for item in store.items(KEYS.outcomes_prefix())]

    now = clock.utc_now()
    captured = prediction_id.new("houston", now)[:-12] + "000000000001"
    passed_over = captured[:-12] + "ffffffffffff"
    status, answer = post({"prediction_id": captured, "outcome": 7})
    assert (status, answer) == (200, {"status": 200, "accepted": 1, "not_kept": 0})
    two = [{"prediction_id": each, "outcome": "House"} for each in (captured, passed_over)]
    assert post({"outcomes": two}) == (200, {"status": 200, "accepted": 2, "not_kept": 1})
    assert taking.handler({"outcomes": two}, None)["accepted"] == 2, "handed over as it is"
    bodies = [found.body.decode() for key in kept() if (found := store.get(key))]
    assert json.dumps({"prediction_id": captured, "outcome": 7}) + "\n" in bodies
    before = kept()
    assert len(before) == 3
    for city, said in (
        ("austin", "item 1: prediction_id austin."), ("austin", "its data are a series"),
        ("waco", "capture.cities does not name city 'waco'"), ("huston", "has no live model of city 'huston'"),
    ):  # fmt: skip
        wrong = {"prediction_id": prediction_id.new(city, now), "outcome": 1}
        status, answer = post({"outcomes": [wrong, *two]})
        expected = said if city != "waco" else "its data are a series"
        assert (status, answer["error"]) == (400, "BadRequest")
        assert expected in answer["message"], answer
    for body in (
        [],
        {},
        {"outcomes": []},
        {"outcomes": two * 501},
        {"outcomes": two, "city": "houston"},
        {"x": 1},
    ):
        assert post(body)[0] == 400
    assert post({}, method="GET")[0] == 405
    with serving.faults({"kind": "access_denied", "operation": "PutObject"}):
        status, answer = post({"outcomes": two})
        assert (status, answer["retry_after_seconds"]) == (503, 60)
        assert "send them again later" in answer["message"]
        assert taking.handler({"city": "waco", "features": ROW}, None)["status"] == 200
    assert kept() == before
    # A function that keeps no predictions takes none, and says what to set.
    status, answer = post({"outcomes": two}, by=function)
    assert (status, "capture.share is 0" in answer["message"]) == (400, True)
